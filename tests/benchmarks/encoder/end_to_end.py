"""Measures speed and recall of complete encoder trainings, compared with two baselines.

    OMP_NUM_THREADS=1 python tests/benchmarks/encoder/end_to_end.py --real_data DIR

generates the project's sample, builds it, and trains the same small checkpoint on it with one command after the other:
`run_encoder.py` with its defaults, with plain accumulation, with the specification's loss, and with an update in one
batch. The baselines (`peers.py`) are SiglipModel in the stock Trainer, as in transformers' `run_clip.py`, and the
accumulation loop of the specification. Data, initial weights, optimizer, seed and the 64 pairs per update are the same.
No run evaluates during training; all checkpoints, one per epoch, are scored afterwards by the same code. With
`--real_data`, the speed is also measured on the photographs in that folder. The script prints a table of ratios and
writes `tests/benchmarks/results/encoder_end_to_end.json`.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable
from importlib.metadata import version
from pathlib import Path
from typing import Any

if __package__ in (None, ""):  # run as a script: import the project from its root, not from this folder
    sys.path[0] = str(Path(__file__).resolve().parents[3])

from model_cards.results import write_json
from tests.benchmarks.encoder.ratios import Run, figures, print_tables, ratios, reach, steady

ROOT = Path(__file__).resolve().parents[3]
PEER = "tests/benchmarks/encoder/peers.py"
RESULT = Path(__file__).parents[1] / "results" / "encoder_end_to_end.json"
PACKAGES = ("torch", "transformers", "accelerate", "datasets", "pillow")
MICRO, UPDATE = 8, 64  # pairs per micro-batch and per update, as in the specification (8 x 8)
# The bias that minimizes a sigmoid loss over 64 random pairs. With -10, which suits 32,768 pairs, all runs with a bias
# would spend these epochs on learning it. The specification's loss does not depend on the bias.
BIAS = -math.log(UPDATE - 1)
OURS, PLAIN, WHOLE = "ours", "ours, plain accumulation", "ours, one batch of 64"
SOFTMAX = "ours, the loop's loss"
RUN_CLIP, RUN_CLIP_WHOLE, LOOP = "run_clip", "run_clip, one batch of 64", "loop"
PEERS = (RUN_CLIP, LOOP)
WAYS: dict[str, tuple[str, tuple[str, ...]]] = {  # the program, and the flags that differ from the other runs
    RUN_CLIP: ("run_clip", ()),
    LOOP: ("loop", ()),
    OURS: ("ours", ()),
    PLAIN: ("ours", ("--contrastive_batch_size", str(MICRO))),
    SOFTMAX: ("ours", ("--contrastive_loss", "sigmoid_logsumexp")),
    RUN_CLIP_WHOLE: (
        "run_clip",
        ("--per_device_train_batch_size", str(UPDATE), "--gradient_accumulation_steps", "1"),
    ),
    WHOLE: ("ours", ("--per_device_train_batch_size", str(UPDATE), "--gradient_accumulation_steps", "1")),
}
FOLDERS = {"knee": "--knee_dir", "pad_ufes": "--pad_ufes_dir", "slake": "--slake_dir", "reports": "--reports_dir"}
REAL = ("pad_ufes", "slake")
SETTINGS = ("image_size", "epochs", "learning_rate", "logit_bias", "seeds", "photograph_epochs")
QUICK = {"scale": 0.05, "image_size": 32, "epochs": 2, "photograph_epochs": [1, 2], "ways": [RUN_CLIP, LOOP, OURS]}
SECONDS_BETWEEN_LOOKS = 0.02  # at the checkpoints and the memory of a running command


def main(argv: list[str] | None = None) -> int:
    options = argument_parser().parse_args(argv)
    if options.quick:
        vars(options).update(QUICK)
    found: dict[str, Any] = {
        "date": time.strftime("%Y-%m-%d", time.gmtime()),
        "machine": {
            "processors": os.cpu_count(),
            "system": f"{platform.system()} {platform.machine()}",
            "threads": int(threads()),
        },
        "versions": {"python": platform.python_version(), **{name: version(name) for name in PACKAGES}},
        "load_before": round(os.getloadavg()[0], 2),
        "settings": {
            name: getattr(options, name) for name in ("image_size", "epochs", "learning_rate", "logit_bias", "seeds")
        },
    }
    with tempfile.TemporaryDirectory(dir=options.work_dir) as folder:
        work = Path(folder)
        command("hub_datasets/generate_sample.py", "--output_dir", work / "raw", "--scale", options.scale)
        found["sample"] = compare(work / "sample", work / "raw", options)
        write_json(options.output, found)
        if options.real_data:
            found["photographs"] = photographs(work / "real", options.real_data, options)
    found["load_after"] = round(os.getloadavg()[0], 2)
    print_tables(found)
    write_json(options.output, found)
    return 0


def argument_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--epochs", type=int, default=14, help="epochs, at least 2; the first is not timed (default: %(default)s)"
    )
    parser.add_argument("--image_size", type=int, default=64, help="image size in pixels (default: %(default)s)")
    parser.add_argument("--learning_rate", type=float, default=1e-3, help="learning rate (default: %(default)s)")
    parser.add_argument("--logit_bias", type=float, default=BIAS, help="initial logit bias (default: %(default).2f)")
    parser.add_argument(
        "--seeds", type=int, nargs="+", default=[0], help="seeds, one run of each kind per seed (default: %(default)s)"
    )
    parser.add_argument(
        "--ways", nargs="+", choices=WAYS, default=list(WAYS), metavar="WAY", help=f"{'; '.join(WAYS)} (default: all)"
    )
    parser.add_argument("--target", type=float, help="target R@5 (default: the best R@5 of the worst run)")
    parser.add_argument("--scale", type=float, default=1.0, help="size of the synthetic sample (default: %(default)s)")
    parser.add_argument(
        "--real_data", type=Path, metavar="DIR", help=f"folder with {' and '.join(REAL)}, to measure the speed"
    )
    parser.add_argument(
        "--photograph_epochs",
        type=int,
        nargs=2,
        default=[2, 22],
        metavar="N",
        help="epochs of the short and the long run on photographs (default: %(default)s)",
    )
    parser.add_argument("--quick", action="store_true", help="very small run, to test the benchmark")
    parser.add_argument("--work_dir", type=Path, help="folder for all written files (default: a temporary folder)")
    parser.add_argument("--output", type=Path, default=RESULT, help="JSON file to write (default: %(default)s)")
    return parser


# --- the runs ---


def compare(work: Path, raw: Path, options: argparse.Namespace) -> dict[str, Any]:
    """Trains on the synthetic sample in all ways, in turns for each seed, and returns the measurements."""
    data, start, pairs = prepare(work, raw, tuple(FOLDERS), options)
    runs: dict[str, list[Run]] = {way: [] for way in options.ways}
    for seed in options.seeds:
        for way in options.ways:
            output = work / f"{way} {seed}"
            line = training(way, data, start, output, options.epochs, options.learning_rate, seed)
            runs[way].append(watched(line, output))
            say(way, runs[way][-1])
    checkpoints = [epoch[0] for way in runs.values() for run in way for epoch in run.epochs]
    scores = json.loads(command(PEER, "score", "--dataset", data, "--checkpoints", *checkpoints))
    measured = {way: figures(made, pairs["train"], scores) for way, made in runs.items()}
    target = options.target or min(max(one["recall_at_5"]) for one in measured.values())
    for one in measured.values():
        one["to_target"] = reach(one, target, pairs["train"])
    return {
        "pairs": pairs,
        "chance_recall_at_5": round(next(iter(scores.values()))["chance_recall_at_5"], 4),
        "target_recall_at_5": round(target, 4),
        "ways": measured,
        "ratios": {peer: ratios(measured, peer) for peer in PEERS if peer in measured},
    }


def photographs(work: Path, raw: Path, options: argparse.Namespace) -> dict[str, Any]:
    """Measures how fast the baselines and our defaults train on real photographs, which are too few for a quality.

    One checkpoint per epoch would take most of the time, so none is written. The time of an epoch is the difference
    between a run of many epochs and one of few.
    """
    data, start, pairs = prepare(work, raw, REAL, options)
    few, many = options.photograph_epochs
    measured = {}
    for way in (way for way in options.ways if way in (*PEERS, OURS)):
        runs = []
        for epochs in (few, many):
            output = work / f"{way} {epochs}"
            line = training(way, data, start, output, epochs, options.learning_rate, options.seeds[0])
            runs.append(watched([*line, "--save_strategy", "no"], output))
            say(way, runs[-1])
        took = [getattr(runs[1], kind) - getattr(runs[0], kind) for kind in ("seconds", "processor_seconds")]
        measured[way] = steady(pairs["train"] * (many - few), *took) | {"peak_mb": round(runs[1].peak_mb)}
    shown = {peer: ratios(measured, peer) for peer in PEERS if peer in measured}
    return {"pairs": pairs, "epochs": [few, many], "ways": measured, "ratios": shown}


def prepare(
    work: Path, raw: Path, sources: Iterable[str], options: argparse.Namespace
) -> tuple[Path, Path, dict[str, int]]:
    """Builds a dataset and writes the initial checkpoint; returns both folders and the number of pairs per split."""
    data, start = work / "data", work / "start"
    folders = [part for source in sources for part in (FOLDERS[source], raw / source)]
    shares = (
        "--val_fraction",
        0.2,
        "--test_fraction",
        0.08,
    )  # a large validation split, because the recall of few pairs is noisy
    command("hub_datasets/build.py", *folders, "--output_dir", data, *shares)
    shape = ("--image_size", options.image_size, "--logit_bias", options.logit_bias)
    command(PEER, "start", "--dataset", data, "--start", start, *shape)
    return data, start, json.loads((data / "report.json").read_text(encoding="utf-8"))["splits"]["pairs"]


def say(way: str, run: Run) -> None:
    print(f"{way}: {run.seconds:.0f} s, processor {run.processor_seconds:.0f} s", flush=True)


def training(way: str, data: Path, start: Path, output: Path, epochs: int, lr: float, seed: int) -> list[str]:
    """Returns the command line of a training in one of the WAYS."""
    program, more = WAYS[way]
    flags: tuple = ("--dataset", data, "--output_dir", output, "--num_train_epochs", epochs)
    flags += ("--learning_rate", lr, "--seed", seed, *more)
    if program != "ours":
        return words(PEER, program, "--start", start, *flags)
    # Evaluations and reports are off, because the baselines have none. All checkpoints are kept, as in the baselines.
    flags += ("--eval_strategy", "no", "--report_to", "none", "--save_total_limit", epochs, "--use_cpu", "True")
    flags += ("--image_cache", output.with_name(f"{output.name} images"), "--disable_tqdm", "True")  # one cache per run
    return words("trainers/run_encoder.py", "--model_name_or_path", start, *flags)


def words(script: str, *flags: Any) -> list[str]:
    return [sys.executable, str(ROOT / script), *map(str, flags)]


def command(script: str, *flags: Any) -> str:
    """Runs one of the project's scripts and returns its output. Raises RuntimeError with the output if it fails."""
    done = subprocess.run(words(script, *flags), capture_output=True, text=True, env=environment(), cwd=ROOT)
    if done.returncode:
        raise RuntimeError(f"{script} failed:\n{(done.stdout + done.stderr)[-2000:]}")
    return done.stdout


def threads() -> str:
    return os.environ.get("OMP_NUM_THREADS", "1")


def environment() -> dict[str, str]:
    return os.environ | {
        "OMP_NUM_THREADS": threads(),
        "HF_HUB_OFFLINE": "1",
        "TOKENIZERS_PARALLELISM": "false",
        "HF_DATASETS_DISABLE_PROGRESS_BARS": "1",
        "CUDA_VISIBLE_DEVICES": "",
    }


def watched(line: list[str], output: Path) -> Run:
    """Runs a training to its end and records when its checkpoints appear. It requires Linux's /proc.

    Raises RuntimeError with the output if the training fails.
    """
    seen: dict[str, tuple[float, float]] = {}
    peak = 0.0
    with tempfile.TemporaryFile() as said:
        started = time.perf_counter()
        process = subprocess.Popen(line, stdout=said, stderr=said, env=environment(), cwd=ROOT)
        ended, status, used = os.wait4(process.pid, os.WNOHANG)
        while not ended:
            for checkpoint in map(str, output.glob("checkpoint-*[0-9]")):
                if checkpoint not in seen:
                    seen[checkpoint] = (time.perf_counter() - started, processor_seconds(process.pid))
            peak = max(peak, peak_mb(process.pid))
            time.sleep(SECONDS_BETWEEN_LOOKS)
            ended, status, used = os.wait4(process.pid, os.WNOHANG)
        seconds = time.perf_counter() - started
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            said.seek(0)
            raise RuntimeError(f"{' '.join(line)} failed:\n{said.read().decode(errors='replace')[-2000:]}")
    epochs = tuple((name, *moment) for name, moment in sorted(seen.items(), key=lambda item: item[1]))
    return Run(seconds, used.ru_utime + used.ru_stime, peak, epochs)


def processor_seconds(pid: int) -> float:
    """Returns the CPU seconds that all threads of a process have used so far."""
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace").rpartition(")")[2].split()
    # Fields 14 and 15 of proc(5), utime and stime, in clock ticks; the split starts at field 3.
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def peak_mb(pid: int) -> float:
    """Returns the peak resident memory of a process so far, in MiB.

    The peak from `wait4` cannot be used, because it includes the memory of the parent before the child starts.
    """
    found = Path(f"/proc/{pid}/status").read_text(encoding="ascii", errors="replace").partition("VmHWM:")[2].split()
    return int(found[0]) / 1024 if found else 0.0  # the process has just ended


if __name__ == "__main__":
    sys.exit(main())
