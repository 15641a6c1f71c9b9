"""Measures samples per second and held-out loss of the decoder's training, compared with TRL and the stock Trainer.

    OMP_NUM_THREADS=1 python tests/benchmarks/decoder/end_to_end.py --real_data DIR

generates the project's sample and builds two datasets from it: the questions of its SLAKE part, and all of it; with
`--real_data` also one from a real SLAKE folder. On each, TRL's SFTTrainer, the stock Trainer and `run_decoder.py` train
adapters of the same random Mllama (see `peers.py`), one after the other, each in its own process. Repeats alternate
between the programs, and each has its own seed. All see the same number of rows in the same number of updates, less
than an epoch. The speed is measured from the end of the first update to the end of the last; the time before it, for
example for reading and caching images, is in `begin_seconds`. All models are scored on the same held-out rows by the
same code, the stock forward pass, because batches with several rows of one image must not reduce quality. TRL gets its
best settings, and loader processes if they are faster; its defaults are reported in a row of their own. The script
prints a table of medians and writes `tests/benchmarks/results/decoder_end_to_end.json`.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import Any

if __package__ in (None, ""):  # run as a script: import the project from its root, not from this folder
    sys.path[0] = str(Path(__file__).resolve().parents[3])

from model_cards.results import write_json
from tests.benchmarks.encoder.end_to_end import FOLDERS, command, threads

PEER = "tests/benchmarks/decoder/peers.py"
MEASURED = "measured.json"
RESULT = Path(__file__).parents[1] / "results" / "decoder_end_to_end.json"
PACKAGES = ("torch", "transformers", "trl", "peft", "accelerate", "datasets", "pillow")
TRL, TRL_WORKERS, TRL_DEFAULTS = "TRL", "TRL, 2 loader processes", "TRL, its defaults"
HF, OURS, OURS_APART = "Trainer", "ours", "ours, rows drawn independently"
WAYS: dict[str, tuple[str, tuple[str, ...]]] = {  # the program, and the flags that differ from the other runs
    TRL: ("trl", ()),
    OURS: ("ours", ()),
    TRL_WORKERS: ("trl", ("--dataloader_num_workers", "2")),
    HF: ("hf", ()),
    OURS_APART: ("ours", ("--rows_per_image", "1")),
    TRL_DEFAULTS: ("trl_defaults", ()),
}
REPEATED = (TRL, OURS, TRL_WORKERS)
BEST_OF_TRL = (TRL, TRL_WORKERS)
PARTS = {"slake": ("slake",), "all": tuple(FOLDERS)}  # sources of each dataset from the sample
FEW = (TRL, OURS)  # the runs on `all`, in which most images have one row
QUICK = {"scale": 0.05, "steps": 3, "repeats": 1, "ways": [TRL, OURS], "parts": ["slake"], "score_rows": 8}


def main(argv: list[str] | None = None) -> int:
    options = argument_parser().parse_args(argv)
    if options.quick:
        vars(options).update(QUICK)
    names = ("steps", "batch_size", "accumulation", "learning_rate", "repeats", "score_rows")
    found: dict[str, Any] = {
        "date": time.strftime("%Y-%m-%d", time.gmtime()),
        "machine": {
            "processors": os.cpu_count(),
            "system": f"{platform.system()} {platform.machine()}",
            "threads": int(threads()),
        },
        "versions": {"python": platform.python_version(), **{name: version(name) for name in PACKAGES}},
        "load_before": round(os.getloadavg()[0], 2),
        "settings": {name: getattr(options, name) for name in names},
        "parts": {},
    }
    with tempfile.TemporaryDirectory(dir=options.work_dir) as folder:
        work = Path(folder)
        command("hub_datasets/generate_sample.py", "--output_dir", work / "raw", "--scale", options.scale)
        sources = {part: [(FOLDERS[name], work / "raw" / name) for name in PARTS[part]] for part in options.parts}
        if options.real_data:
            sources["real slake"] = [(FOLDERS["slake"], options.real_data)]
        for part, folders in sources.items():
            few = {"slake": WAYS, "all": FEW}.get(part, REPEATED)
            ways = [way for way in options.ways if way in few]
            found["parts"][part] = compare(work / part, folders, ways, options)
            write_json(options.output, found)
    found["load_after"] = round(os.getloadavg()[0], 2)
    print_tables(found)
    write_json(options.output, found)
    return 0


def argument_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--steps", type=int, default=14, help="updates per run; the first is not timed (default: %(default)s)"
    )
    parser.add_argument("--batch_size", type=int, default=8, help="rows per batch (default: %(default)s)")
    parser.add_argument("--accumulation", type=int, default=2, help="batches per update (default: %(default)s)")
    parser.add_argument("--learning_rate", type=float, default=1e-3, help="learning rate (default: %(default)s)")
    parser.add_argument(
        "--repeats", type=int, default=3, help=f"runs of {'; '.join(REPEATED)}, others run once (default: %(default)s)"
    )
    parser.add_argument(
        "--ways", nargs="+", choices=WAYS, default=list(WAYS), metavar="WAY", help=f"{'; '.join(WAYS)} (default: all)"
    )
    parser.add_argument(
        "--parts", nargs="+", choices=PARTS, default=list(PARTS), help="parts of the sample (default: %(default)s)"
    )
    parser.add_argument(
        "--score_rows", type=int, default=128, help="maximum number of held-out rows (default: %(default)s)"
    )
    parser.add_argument("--scale", type=float, default=1.0, help="size of the synthetic sample (default: %(default)s)")
    parser.add_argument("--real_data", type=Path, metavar="DIR", help="SLAKE folder with train.json, imgs/ and so on")
    parser.add_argument("--quick", action="store_true", help="very small run, to test the benchmark")
    parser.add_argument("--work_dir", type=Path, help="folder for all written files (default: a temporary folder)")
    parser.add_argument("--output", type=Path, default=RESULT, help="JSON file to write (default: %(default)s)")
    return parser


def compare(
    work: Path, sources: list[tuple[str, Path]], ways: list[str], options: argparse.Namespace
) -> dict[str, Any]:
    """Builds a dataset, trains on it in all ways, in turns, and returns the measurements."""
    data, start = work / "data", work / "start"
    folders = [word for pair in sources for word in pair]
    shares = ("--val_fraction", 0.2, "--test_fraction", 0.08)
    command("hub_datasets/build.py", *folders, "--output_dir", data, *shares)
    both = ("--dataset", data, "--start", start)
    sizes = ("--per_device_train_batch_size", options.batch_size)
    shape = json.loads(command(PEER, "start", *both, *sizes).splitlines()[-1])
    update, rows = options.batch_size * options.accumulation, shape["rows"]
    steps = min(options.steps, rows // update)  # less than an epoch, so that every update is complete
    if steps < 2:
        raise ValueError(f"{data} has {rows} rows, fewer than two updates of {update} rows; increase --scale")
    flags = (*both, *sizes, "--gradient_accumulation_steps", options.accumulation, "--max_steps", steps)
    flags += ("--learning_rate", options.learning_rate)
    runs: dict[str, list[tuple[Path, dict]]] = {way: [] for way in ways}
    for repeat in range(options.repeats):
        for way in (way for way in ways if repeat == 0 or way in REPEATED):
            program, more = WAYS[way]
            output = work / f"{way} {repeat}"
            command(PEER, program, *flags, "--output_dir", output, "--seed", repeat, *more)
            runs[way].append((output, json.loads((output / MEASURED).read_text(encoding="utf-8"))))
            print(f"{way}: {rates(runs[way][-1][1], update)[0]:.1f} samples/s", flush=True)
    models = [start, *(folder for made in runs.values() for folder, _ in made)]
    said = command(PEER, "score", *both, "--models", *models, "--score_rows", options.score_rows)
    scores = json.loads(said.splitlines()[-1])
    measured = {
        way: figures([one for _, one in made], [scores[str(folder)] for folder, _ in made], update)
        for way, made in runs.items()
    }
    found = {"model": shape, "steps": steps, "start_loss": round(scores[str(start)], 4), "ways": measured}
    return found | {"ratios": ratios(measured)}


# --- evaluation of the runs ---


def rates(measured: dict[str, Any], update: int) -> tuple[float, float]:
    """Returns samples per second and per CPU second (without loader processes), after the first update."""
    (first, used_first), (last, used_last) = measured["steps"][0], measured["steps"][-1]
    samples = update * (len(measured["steps"]) - 1)
    return samples / (last - first), samples / (used_last - used_first)


def figures(runs: list[dict[str, Any]], losses: list[float], update: int) -> dict[str, Any]:
    """Summarizes the runs of one way: medians, the single runs, and the training losses of the first run."""
    speed, used = zip(*(rates(run, update) for run in runs), strict=True)
    return {
        "samples_per_second": round(median(speed), 2),
        "samples_per_second_of_runs": [round(one, 2) for one in speed],
        "samples_per_processor_second": round(median(used), 2),
        "begin_seconds": round(median(run["begin_seconds"] for run in runs), 1),
        "peak_mb": round(max(run["peak_mb"] for run in runs)),
        "held_out_loss": round(median(losses), 4),
        "held_out_loss_of_runs": [round(one, 4) for one in losses],
        "train_losses": runs[0]["losses"],
    }


def ratios(measured: dict[str, dict[str, Any]]) -> dict[str, dict[str, float]]:
    """Returns the speedup of ours over each of the others, by wall time and by CPU time.

    By wall time, the speedup over the faster of TRL's two runs with its best settings is included. CPU seconds do not
    include loader processes, so the run with loader processes has no speedup by CPU time.
    """
    if OURS not in measured:
        return {}
    ours = measured[OURS]
    found = {"samples_per_second": {}, "samples_per_processor_second": {}}
    for kind, row in found.items():
        others = [way for way in measured if way != OURS and (kind == "samples_per_second" or way != TRL_WORKERS)]
        row |= {way: round(ours[kind] / measured[way][kind], 2) for way in others}
    clock = found["samples_per_second"]
    if any(way in clock for way in BEST_OF_TRL):
        clock["TRL at its best"] = min(clock[way] for way in BEST_OF_TRL if way in clock)
    return found


def print_tables(found: dict[str, Any]) -> None:
    """Prints the results."""
    machine = found["machine"]
    print(f"load {found['load_before']} before, {found['load_after']} after, on {machine['processors']} processors")
    titles = ("samples/s", "min", "max", "/CPU s", "begin s", "MB", "held-out loss")
    for part, one in found["parts"].items():
        model = one["model"]
        print(
            f"\n{part}: {model['rows']} rows of {model['images']} images, {one['steps']} updates; vision tower "
            f"{model['vision_tower']:.1%} of the forward FLOPs; initial loss {one['start_loss']:.3f}"
        )
        print(f"{'':32}" + "".join(f"{title:>14}" for title in titles))
        for way, row in one["ways"].items():
            runs = row["samples_per_second_of_runs"]
            cells = [row["samples_per_second"], min(runs), max(runs), row["samples_per_processor_second"]]
            cells += [row["begin_seconds"], row["peak_mb"], row["held_out_loss"]]
            print(f"{way:32}" + "".join(f"{cell:>14,.3f}" if cell < 10 else f"{cell:>14,.1f}" for cell in cells))
        used = one["ratios"].get("samples_per_processor_second", {})
        for way, ratio in one["ratios"].get("samples_per_second", {}).items():
            print(
                f"ours is {ratio:.2f} times as fast as {way}"
                + (f", {used[way]:.2f} by CPU time" if way in used else "")
            )


if __name__ == "__main__":
    sys.exit(main())
