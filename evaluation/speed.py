"""Times a model beside the plain loop of transformers: images, texts and tokens per second, and memory.

    medpairs speed --model org/siglip-med --batch_sizes 1,8 --dtypes float32,bfloat16

An encoder embeds images and texts; a decoder answers a question about each image: the time to the first token, and the
tokens per second after it. Both ways alternate on the same model, except for a decoder, whose plain loop is timed
before it is patched. Times are end to end, from images and texts to the result: median (p50) and 95th percentile.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from typing import Any

if __package__ in (None, ""):  # run as a script: import the project from its root, not from this folder
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from evaluation.loading import InputError, check_model, load_model_and_processor, model_revision, model_type
from model_cards.commands.console import Parser, command
from model_cards.rendering import aligned_table
from model_cards.results import write_json

DTYPES = ("float32", "bfloat16", "float16")
ENCODERS, DECODERS = ("siglip",), ("mllama",)
COLUMNS = ("what", "dtype", "batch", "by", "p50 ms", "p95 ms", "per second", "times the control", "peak memory, MiB")


@command
def main(argv: list[str] | None = None) -> int:
    """Runs the command; returns its exit status, see `model_cards/commands/console.py`."""
    options = argument_parser().parse_args(argv)
    check_model(options.model)
    options.model_revision = model_revision(options.model, options.model_revision) or None
    kind = model_type(options.model, options.model_revision)
    if kind not in ENCODERS + DECODERS:
        known = ", ".join(ENCODERS + DECODERS)
        raise InputError(f"--model {options.model}: a model of type {kind!r} cannot be timed; the types are {known}")
    lines = time_encoder(options) if kind in ENCODERS else time_decoder(options)
    print(aligned_table([list(COLUMNS), *map(cells, lines)], texts=(0, 1, 3)), end="")
    if options.output_file:
        from evaluation.records.provenance import provenance

        names = ("model", "model_revision", "batch_sizes", "dtypes", "warmup", "repeats", "max_new_tokens")
        settings = {name: getattr(options, name) for name in names}
        write_json(
            options.output_file, settings | {"lines": lines, "versions": versions(), **provenance({"images": 0})}
        )
        print(f"Written to {options.output_file}")
    return 0


def argument_parser() -> argparse.ArgumentParser:
    """Returns the parser of the command."""
    parser = Parser(prog="medpairs speed", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True, type=os.path.expanduser, help="folder, or repository on the Hub")
    parser.add_argument("--model_revision", help="commit, branch or tag of the model (default: the main branch)")
    parser.add_argument(
        "--batch_sizes",
        type=sizes,
        metavar="N,N",
        default=[1, 8],
        help="images, texts or questions per batch, separated by commas (default: 1,8)",
    )
    parser.add_argument(
        "--dtypes",
        type=dtypes,
        metavar="NAME,NAME",
        default=["float32"],
        help=f"precisions, separated by commas: {', '.join(DTYPES)} (default: float32)",
    )
    parser.add_argument(
        "--warmup", type=positive, metavar="N", default=3, help="rounds that are not counted (default: %(default)s)"
    )
    parser.add_argument(
        "--repeats", type=positive, metavar="N", default=20, help="rounds that are counted (default: %(default)s)"
    )
    parser.add_argument(
        "--max_new_tokens",
        type=positive,
        metavar="N",
        default=32,
        help="tokens that a decoder generates per answer, at least 2 (default: %(default)s)",
    )
    parser.add_argument("--output_file", type=Path, metavar="FILE", help="JSON file for the record (default: none)")
    return parser


def positive(text: str) -> int:
    """Converts the value of a flag to an integer of at least 1."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text} is not a positive integer")
    return int(text)


def sizes(text: str) -> list[int]:
    """Converts `1,8` to different positive integers in increasing order."""
    return sorted({positive(part.strip()) for part in text.split(",")})


def dtypes(text: str) -> list[str]:
    """Converts `float32,bfloat16` to names of DTYPES."""
    names = list(dict.fromkeys(part.strip() for part in text.split(",")))
    if unknown := [name for name in names if name not in DTYPES]:
        raise argparse.ArgumentTypeError(f"{unknown[0]!r} is not one of {', '.join(DTYPES)}")
    return names


def time_encoder(options: argparse.Namespace) -> list[dict[str, Any]]:
    """Times images and texts by dtype and batch size; returns a line per workload and way."""
    from transformers import AutoModel

    from evaluation.timing.clock import alternating_times
    from evaluation.timing.memory import peak_memory
    from evaluation.timing.workloads import encoder_workloads

    lines = []
    for name in options.dtypes:
        model, processor = load(options, AutoModel, name)
        for size in options.batch_sizes:
            for what, ways in encoder_workloads(model.eval(), processor, size).items():
                times = alternating_times(ways, options.warmup, options.repeats)
                memory = {way: peak_memory(action) for way, action in ways.items()}
                lines += compared({"what": what, "dtype": name, "batch_size": size}, times, memory, same_rounds=True)
        del model
    return lines


def time_decoder(options: argparse.Namespace) -> list[dict[str, Any]]:
    """Times the first token and the further ones by dtype and batch size; returns a line per part and way."""
    from transformers import AutoModelForImageTextToText

    from evaluation.timing.clock import alternating_times
    from evaluation.timing.memory import peak_memory
    from evaluation.timing.workloads import CONTROL, OURS, our_generation, parts_of_generation, plain_generation

    if options.max_new_tokens < 2:
        raise InputError("--max_new_tokens 1: a decoder needs at least 2, of which the first is timed by itself")
    lines = []
    for name in options.dtypes:
        model, processor = load(options, AutoModelForImageTextToText, name)
        found: dict[int, dict[str, dict[str, list[float]]]] = {size: {} for size in options.batch_sizes}
        memory: dict[int, dict[str, dict[str, Any]]] = {size: {} for size in options.batch_sizes}
        for way, make in ((CONTROL, plain_generation), (OURS, our_generation)):  # ours patches the model
            for size in options.batch_sizes:
                generate = make(model.eval(), processor, size)
                actions = {
                    "first": lambda run=generate: run(1),
                    "all": lambda run=generate: run(options.max_new_tokens),
                }
                times = alternating_times(actions, options.warmup, options.repeats)
                further = parts_of_generation(times["first"], times["all"], options.max_new_tokens)
                found[size][way] = {"first token": times["first"], "further tokens": further}
                memory[size][way] = peak_memory(actions["all"])
        for size, ways in found.items():
            for what in ("first token", "further tokens"):
                times = {way: ways[way][what] for way in (OURS, CONTROL)}
                about = {"what": what, "dtype": name, "batch_size": size}
                lines += compared(about, times, memory[size], same_rounds=False)
        del model
    return lines


def compared(
    about: dict[str, Any], times: dict[str, list[float]], memory: dict[str, dict[str, Any]], same_rounds: bool
) -> list[dict[str, Any]]:
    """Returns a line per way: times, items per second, the ratio to the control with its interval, and memory.

    Args:
        about: `what`, `dtype` and `batch_size`, the number of items per call.
        times: the seconds of each call by way.
        memory: the peak by way.
        same_rounds: whether the ways alternated.
    """
    from evaluation.timing.clock import speedup, summary
    from evaluation.timing.workloads import CONTROL

    lines = []
    for way, seconds in times.items():
        ratio = None if way == CONTROL else speedup(seconds, times[CONTROL], same_rounds)
        line = {**about, "by": way, **summary(seconds, about["batch_size"])}
        lines.append(line | {"speedup": ratio, "peak_memory": memory[way]})
    return lines


def load(options: argparse.Namespace, model_class: type, dtype: str) -> tuple[Any, Any]:
    """Loads the model in a precision, on the GPU if there is one, and its processor."""
    import torch

    model, processor = load_model_and_processor(
        options.model, model_class, options.model_revision, dtype=getattr(torch, dtype)
    )
    return model.to("cuda" if torch.cuda.is_available() else "cpu"), processor


def versions() -> dict[str, str]:
    """Returns the versions of the packages that decide the speed."""
    from importlib.metadata import version

    return {name: version(name) for name in ("torch", "transformers", "numpy", "pillow")}


def cells(line: dict[str, Any]) -> list[str]:
    """Returns the cells of a line, see COLUMNS."""
    ratio, peak = line["speedup"], line["peak_memory"]["bytes"]
    return [
        line["what"],
        line["dtype"],
        f"{line['batch_size']:,}",
        line["by"],
        f"{line['p50_ms']:.1f}",
        f"{line['p95_ms']:.1f}",
        f"{line['per_second']:.1f}",
        "–" if ratio is None else f"{ratio[0]:.2f} [{ratio[1]:.2f}, {ratio[2]:.2f}]",
        "–" if peak is None else f"{peak / 2**20:,.0f}",
    ]


if __name__ == "__main__":
    sys.exit(main())
