"""Declares the flags that say what is evaluated and how it is loaded."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from evaluation.loading import InputError
from evaluation.models.source import is_address

DTYPES = ("auto", "float32", "bfloat16", "float16")
# The flags of one kind of model, with their defaults.
LOADING = {"dtype": "auto", "device_map": None, "load_in_4bit": False}
SERVING = {"served_model": None, "api_key_env": None, "timeout": 120.0}


def add_model_flags(parser: argparse.ArgumentParser) -> None:
    """Adds the flags to the parser of `medpairs evaluate`."""
    parser.add_argument(
        "--model",
        type=os.path.expanduser,
        default="",
        help="folder, repository on the Hub, adapters over a model, or http:// address of an OpenAI-compatible server; "
        "with --predictions, the name of the model that wrote them",
    )
    parser.add_argument("--model_revision", help="commit, branch or tag of the model (default: the main branch)")
    parser.add_argument(
        "--dtype",
        choices=DTYPES,
        default=LOADING["dtype"],
        help="precision of the weights (default: auto, as they are stored)",
    )
    parser.add_argument(
        "--device_map",
        metavar="NAME",
        help="spread the model over devices, for example `auto` (default: the first GPU, or the CPU)",
    )
    parser.add_argument(
        "--load_in_4bit", action="store_true", help="quantize the weights to 4 bits, which requires bitsandbytes"
    )
    parser.add_argument(
        "--served_model", metavar="NAME", help="model at the address (default: the only one that it serves)"
    )
    parser.add_argument(
        "--api_key_env", metavar="NAME", help="environment variable with the key for the address (default: no key)"
    )
    parser.add_argument(
        "--timeout",
        type=seconds,
        metavar="S",
        default=SERVING["timeout"],
        help="seconds to wait for an answer of the address, before it is asked again (default: %(default)s)",
    )
    parser.add_argument(
        "--predictions",
        type=Path,
        metavar="FILE",
        help="score the answers in a file, one JSON object per line, instead of asking a model",
    )
    parser.add_argument(
        "--prediction_key",
        metavar="NAMES",
        help="fields, separated by commas, that join predictions to the rows of the dataset, for example `image_path,"
        "question`; `row` is the number of the row from 0 (default: `row`, or lmms-eval's doc_id)",
    )


def seconds(text: str) -> float:
    """Converts the value of a flag to a number of seconds above 0."""
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value <= 86_400:
        raise argparse.ArgumentTypeError(f"{text} is not a number of seconds")
    return value


def loading_settings_of(options: argparse.Namespace) -> dict[str, object]:
    """Returns the flags that change the weights, for the record, if they are not the defaults."""
    names = ("dtype", "load_in_4bit")
    return {name: getattr(options, name) for name in names if getattr(options, name) != LOADING[name]}


def check_model_flags(options: argparse.Namespace) -> None:
    """Raises InputError for flags that do not belong together or would have no effect."""
    if options.predictions is None and not options.model:
        raise InputError("--model is required, or a file of answers with --predictions")
    if options.prediction_key is not None and options.predictions is None:
        raise InputError("--prediction_key requires --predictions")
    is_local = options.predictions is None and not is_address(options.model)
    given = "--predictions" if options.predictions is not None else "an address"
    if not is_local:
        for name in ("model_revision", *LOADING):
            if getattr(options, name) != LOADING.get(name):
                raise InputError(f"--{name} cannot be combined with {given}, because no weights are loaded here")
        if options.push_to_hub:
            raise InputError(f"--push_to_hub cannot be combined with {given}, because the weights are not known")
    if options.predictions is not None or is_local:
        for name, default in SERVING.items():
            if getattr(options, name) != default:
                raise InputError(f"--{name} requires --model with an address, for example http://localhost:8000/v1")
    if options.predictions is not None:
        if not options.predictions.is_file():
            raise InputError(f"--predictions {options.predictions}: no such file")
        options.model = options.model or options.predictions.name.removesuffix(".jsonl")
