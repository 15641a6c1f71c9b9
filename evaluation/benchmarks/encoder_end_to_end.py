"""How fast, and how well, does the encoder train from start to end, beside what others would write?

    OMP_NUM_THREADS=1 python evaluation/benchmarks/encoder_end_to_end.py --real_data DIR

draws the project's sample, builds it, and trains the same small checkpoint on it as commands, one after the other:
`run_encoder.py` with its defaults, with plain accumulation, and with an update that is one batch; beside SiglipModel
in the stock Trainer as transformers' `run_clip.py` has it, and the accumulation loop of the specification
(`encoder_peers.py`). Data, start, optimizer, seed and updates of 64 pairs are the same. Nobody evaluates while
training; all checkpoints, one an epoch, are scored afterwards by the same code. With `--real_data` the speed is
measured on the photographs of that folder, too. A ratio table is printed, a JSON written.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from statistics import mean
from typing import Any

if __package__ in (None, ""):  # run as a script: import the project from its root, not from this folder
    sys.path[0] = str(Path(__file__).resolve().parents[2])

from model_cards.results import write_json

ROOT = Path(__file__).resolve().parents[2]
RESULT = Path(__file__).parent / "results" / "encoder_end_to_end.json"
PACKAGES = ("torch", "transformers", "accelerate", "datasets", "pillow")
MICRO, UPDATE = 8, 64  # pairs, as the specification has them: 8 x 8
OURS, PLAIN, WHOLE = "ours", "ours, plain accumulation", "ours, one batch of 64"
RUN_CLIP, RUN_CLIP_WHOLE, LOOP = "run_clip", "run_clip, one batch of 64", "loop"
PEERS = (RUN_CLIP, LOOP)
WAYS: dict[str, tuple[str, tuple[str, ...]]] = {  # the program, and the flags that all do not have
    RUN_CLIP: ("run_clip", ()),
    LOOP: ("loop", ()),
    OURS: ("ours", ()),
    PLAIN: ("ours", ("--contrastive_batch_size", str(MICRO))),
    RUN_CLIP_WHOLE: (
        "run_clip",
        ("--per_device_train_batch_size", str(UPDATE), "--gradient_accumulation_steps", "1"),
    ),
    WHOLE: ("ours", ("--per_device_train_batch_size", str(UPDATE), "--gradient_accumulation_steps", "1")),
}
FOLDERS = {"knee": "--knee_dir", "pad_ufes": "--pad_ufes_dir", "slake": "--slake_dir", "reports": "--reports_dir"}
REAL = ("pad_ufes", "slake")
QUICK = {"scale": 0.05, "image_size": 32, "epochs": 2, "ways": [RUN_CLIP, LOOP, OURS]}
SECONDS_BETWEEN_LOOKS = 0.02


@dataclass(frozen=True, slots=True)
class Run:
    """A command that has ended.

    Attributes:
        seconds, processor_seconds: of the whole of it, its start included.
        peak_mb: the most memory that it had resident.
        epochs: for each `checkpoint-N` in its output folder, in their order, the folder and the seconds by the clock
            and of the processors since the command's start when it appeared.
    """

    seconds: float
    processor_seconds: float
    peak_mb: float
    epochs: tuple[tuple[str, float, float], ...]


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
        "settings": {name: getattr(options, name) for name in ("image_size", "epochs", "learning_rate", "seeds")},
    }
    with tempfile.TemporaryDirectory(dir=options.work_dir) as folder:
        work = Path(folder)
        command("hub_datasets/sample_sources.py", "--output_dir", work / "raw", "--scale", options.scale)
        found["sample"] = compare(work / "sample", work / "raw", tuple(FOLDERS), options)
        if options.real_data:
            # so few pairs that they say how fast, not how well
            found["photographs"] = compare(work / "real", options.real_data, REAL, options, quality=False)
    found["load_after"] = round(os.getloadavg()[0], 2)
    print_tables(found)
    write_json(options.output, found)
    return 0


def argument_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--epochs", type=int, default=10, help="at least 2; the first is not timed (%(default)s)")
    parser.add_argument("--image_size", type=int, default=64, help="pixels (%(default)s)")
    parser.add_argument("--learning_rate", type=float, default=1e-3, help="for random weights (%(default)s)")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0], help="runs of each way (%(default)s)")
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=list(WAYS), metavar="WAY", help=f"{', '.join(WAYS)}")
    parser.add_argument("--target", type=float, help="R@5 to reach; what the worst way reaches, unless given")
    parser.add_argument("--scale", type=float, default=1.0, help="size of the drawn sample (%(default)s)")
    parser.add_argument(
        "--real_data", type=Path, metavar="DIR", help=f"has folders {' and '.join(REAL)}; for the speed"
    )
    parser.add_argument("--quick", action="store_true", help="a very small run, to see that all works")
    parser.add_argument("--work_dir", type=Path, help="folder for everything that is written; a temporary one if none")
    parser.add_argument("--output", type=Path, default=RESULT, help="(%(default)s)")
    return parser


# --- what is run ---


def compare(work: Path, raw: Path, sources: Iterable[str], options: Any, quality: bool = True) -> dict[str, Any]:
    """Builds a dataset, trains on it in all ways, in turns for each seed, and returns what was measured."""
    data, start = work / "data", work / "start"
    folders = [part for source in sources for part in (FOLDERS[source], raw / source)]
    shares = ("--val_fraction", 0.2, "--test_fraction", 0.08)  # a large validation split: a recall of few is a die
    command("hub_datasets/build.py", *folders, "--output_dir", data, *shares)
    peer = "evaluation/benchmarks/encoder_peers.py"
    command(peer, "start", "--dataset", data, "--start", start, "--image_size", options.image_size)
    report = json.loads((data / "report.json").read_text(encoding="utf-8"))
    pairs = report["splits"]["pairs"]["train"]
    runs: dict[str, list[Run]] = {way: [] for way in options.ways}
    for seed in options.seeds:
        for way in options.ways:
            output = work / f"{way} {seed}"
            line = training(way, data, start, output, options.epochs, options.learning_rate, seed)
            runs[way].append(watched(line, output))
            done = runs[way][-1]
            print(f"{way}, seed {seed}: {done.seconds:.0f} s, processor {done.processor_seconds:.0f} s", flush=True)
            shutil.rmtree(image_cache(output), ignore_errors=True)  # the next one makes its own
    checkpoints = [epoch[0] for way in runs.values() for run in way for epoch in run.epochs]
    scores: dict[str, dict[str, float]] = {}
    if quality:
        scores = json.loads(command(peer, "score", "--dataset", data, "--checkpoints", *checkpoints))
    measured = {way: figures(made, pairs, scores) for way, made in runs.items()}
    found: dict[str, Any] = {"pairs": report["splits"]["pairs"], "ways": measured}
    if quality:
        chance = next(iter(scores.values()))["chance_recall_at_5"]
        target = options.target or min(max(one["recall_at_5"]) for one in measured.values())
        found |= {"chance_recall_at_5": round(chance, 4), "target_recall_at_5": round(target, 4)}
        for one in measured.values():
            one["to_target"] = reach(one, target, pairs)
    found["ratios"] = {peer: ratios(measured, peer) for peer in PEERS if peer in measured}
    return found


def training(way: str, data: Path, start: Path, output: Path, epochs: int, lr: float, seed: int) -> list[str]:
    """The command that trains in one of the WAYS."""
    program, more = WAYS[way]
    flags: tuple = ("--dataset", data, "--output_dir", output, "--num_train_epochs", epochs)
    flags += ("--learning_rate", lr, "--seed", seed, *more)
    if program != "ours":
        return words("evaluation/benchmarks/encoder_peers.py", program, "--start", start, *flags)
    # What nobody else does is off: evaluations, reports. All checkpoints are kept, as the others keep them.
    flags += ("--eval_strategy", "no", "--report_to", "none", "--save_total_limit", epochs, "--use_cpu", "True")
    flags += ("--image_cache", image_cache(output), "--disable_tqdm", "True")
    return words("trainers/run_encoder.py", "--model_name_or_path", start, *flags)


def image_cache(output: Path) -> Path:
    return output.with_name(f"{output.name} images")


def words(script: str, *flags: Any) -> list[str]:
    return [sys.executable, str(ROOT / script), *map(str, flags)]


def command(script: str, *flags: Any) -> str:
    """Runs one of the project's commands; returns what it prints. Raises RuntimeError, with that, where it fails."""
    done = subprocess.run(words(script, *flags), capture_output=True, text=True, env=environment(), cwd=ROOT)  # noqa: S603
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
    """Runs a training to its end and notes when its checkpoints appear; it needs Linux's /proc.

    Raises RuntimeError, with what it said, where it fails.
    """
    seen: dict[str, tuple[float, float]] = {}
    with tempfile.TemporaryFile() as said:
        started = time.perf_counter()
        process = subprocess.Popen(line, stdout=said, stderr=said, env=environment(), cwd=ROOT)  # noqa: S603
        ended, status, used = os.wait4(process.pid, os.WNOHANG)
        while not ended:
            for checkpoint in output.glob("checkpoint-*"):
                if str(checkpoint) not in seen:
                    seen[str(checkpoint)] = (time.perf_counter() - started, processor_seconds(process.pid))
            time.sleep(SECONDS_BETWEEN_LOOKS)
            ended, status, used = os.wait4(process.pid, os.WNOHANG)
        seconds = time.perf_counter() - started
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            said.seek(0)
            raise RuntimeError(f"{' '.join(line)} failed:\n{said.read().decode(errors='replace')[-2000:]}")
    epochs = tuple((name, *moment) for name, moment in sorted(seen.items(), key=lambda item: item[1]))
    return Run(seconds, used.ru_utime + used.ru_stime, used.ru_maxrss / 1024, epochs)


def processor_seconds(pid: int) -> float:
    """What a process has used until now, all its threads together."""
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


# --- what it means ---


def figures(runs: list[Run], pairs: int, scores: dict[str, dict[str, float]]) -> dict[str, Any]:
    """What the runs of one way, which differ by their seeds, took; means over them, and the largest memory.

    Steady is from the end of the first epoch to the end of the last: without the start, and without what an image cache
    does once. The lists have a number for each epoch.
    """
    epochs = len(runs[0].epochs)
    # seconds of the steady part; by the clock, then of the processors
    steady = [mean(run.epochs[-1][kind] - run.epochs[0][kind] for run in runs) for kind in (1, 2)]
    trained = pairs * (epochs - 1)
    found: dict[str, Any] = {
        "steady_samples_per_second": round(trained / steady[0], 1),
        "steady_samples_per_processor_second": round(trained / steady[1], 1),
        "whole_run_samples_per_second": round(pairs * epochs / mean(run.seconds for run in runs), 1),
        "whole_run_seconds": round(mean(run.seconds for run in runs), 1),
        "whole_run_processor_seconds": round(mean(run.processor_seconds for run in runs), 1),
        "peak_mb": round(max(run.peak_mb for run in runs)),
        "epoch_ends_after_seconds": by_epoch(runs, lambda epoch: epoch[1], 1),
        "epoch_ends_after_processor_seconds": by_epoch(runs, lambda epoch: epoch[2], 1),
    }
    if scores:
        for metric in ("recall_at_5", "recall_at_1"):
            found[metric] = by_epoch(runs, lambda epoch, metric=metric: scores[epoch[0]][metric], 4)
        found["best_recall_at_5"] = max(found["recall_at_5"])
        found["final_recall_at_5"] = found["recall_at_5"][-1]
    return found


def by_epoch(runs: list[Run], number: Any, digits: int) -> list[float]:
    """The mean over runs of a number of each epoch."""
    return [
        round(mean(number(epoch) for epoch in epochs), digits)
        for epochs in zip(*(run.epochs for run in runs), strict=True)
    ]


def reach(found: dict[str, Any], target: float, pairs: int) -> dict[str, Any] | None:
    """What it took until the mean recall at 5 of an epoch was at least `target`; None where it never was."""
    for epoch, recall in enumerate(found["recall_at_5"]):
        if recall >= round(target, 4):
            seconds, used = (found[f"epoch_ends_after_{kind}"][epoch] for kind in ("seconds", "processor_seconds"))
            return {"samples": pairs * (epoch + 1), "seconds": seconds, "processor_seconds": used}
    return None


def ratios(measured: dict[str, dict[str, Any]], peer: str) -> dict[str, dict[str, float | None]]:
    """By way, how many times as good as the peer it is: above 1 it is faster, smaller, or nearer to the right texts."""
    more, less = (
        ("steady_samples_per_second", "steady_samples_per_processor_second", "best_recall_at_5", "final_recall_at_5"),
        ("whole_run_seconds", "whole_run_processor_seconds", "peak_mb"),
    )
    base, found = measured[peer], {}
    for way, one in measured.items():
        row: dict[str, float | None] = {name: round(one[name] / base[name], 2) for name in more if base.get(name)}
        row |= {name: round(base[name] / one[name], 2) for name in less}
        if "to_target" in one:
            for name in ("samples", "seconds", "processor_seconds"):
                both = one["to_target"] and base["to_target"]
                row[f"{name}_to_target"] = round(base["to_target"][name] / one["to_target"][name], 2) if both else None
        found[way] = row
    return found


def print_tables(found: dict[str, Any]) -> None:
    """Says what was found."""
    machine = found["machine"]
    print(f"load {found['load_before']} before, {found['load_after']} after, on {machine['processors']} processors")
    for name in ("sample", "photographs"):
        if name not in found:
            continue
        part = found[name]
        print(f"\n{name}: {part['pairs']['train']} pairs; in brackets: times as good as {', '.join(part['ratios'])}")
        if "target_recall_at_5" in part:
            print(f"target: R@5 {part['target_recall_at_5']:.3f} (chance {part['chance_recall_at_5']:.3f})")
        columns = {
            "steady_samples_per_second": "samples/s",
            "steady_samples_per_processor_second": "/processor s",
            "whole_run_processor_seconds": "processor s",
            "peak_mb": "MB",
            "best_recall_at_5": "best R@5",
        }
        reached = {"samples_to_target": "samples to target", "processor_seconds_to_target": "processor s"}
        print(f"{'':28}" + "".join(f"{title:>26}" for title in (*columns.values(), *reached.values())))
        for way, one in part["ways"].items():
            goal = {f"{key}_to_target": value for key, value in (one.get("to_target") or {}).items()}
            cells = [cell(part, way, column, (one | goal).get(column)) for column in (*columns, *reached)]
            print(f"{way:28}" + "".join(f"{text:>26}" for text in cells))


def cell(part: dict[str, Any], way: str, column: str, value: float | None) -> str:
    """A number and, in brackets, its ratios to the peers."""
    if value is None:
        return "-"
    times = [rows[way].get(column) for rows in part["ratios"].values()]
    shown = ", ".join("-" if ratio is None else f"{ratio:.2f}" for ratio in times)
    return f"{value:,.3f} ({shown})" if column == "best_recall_at_5" else f"{value:,.0f} ({shown})"


if __name__ == "__main__":
    sys.exit(main())
