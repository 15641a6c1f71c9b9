"""Defines the flags of `medpairs evaluate` for the classification by an encoder, without heavy imports."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

from evaluation.datasets.split_slices import parse_split

PROBE_IMAGES = 2000


def add_flags(parser: argparse.ArgumentParser, folder: Callable[[str], Path]) -> None:
    """Adds the flags.

    Args:
        parser: the parser of the command.
        folder: converts the text of a flag to a folder of this machine.
    """
    group = parser.add_argument_group("classification by an encoder")
    group.add_argument(
        "--base",
        metavar="NAME",
        help="untouched encoder that is scored beside the model: folder or repository (default: none)",
    )
    group.add_argument(
        "--probe_images",
        type=whole_number,
        metavar="N",
        default=PROBE_IMAGES,
        help="labeled images per source that probes are fitted on, drawn class-balanced; 0 fits none (default: "
        "%(default)s)",
    )
    group.add_argument(
        "--save_head",
        type=folder,
        metavar="DIR",
        help="folder for an image classifier per source, the encoder with a fitted probe (default: none)",
    )


def whole_number(text: str) -> int:
    """Converts the value of a flag to an integer of at least 0."""
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text} is not an integer of at least 0")
    return int(text)


def flags_given(options: argparse.Namespace) -> dict[str, Any]:
    """Returns the flags that differ from their defaults, all of which require an encoder."""
    defaults = {"base": None, "probe_images": PROBE_IMAGES, "save_head": None}
    return {name: getattr(options, name) for name, value in defaults.items() if getattr(options, name) != value}


def settings_of(options: argparse.Namespace) -> dict[str, Any]:
    """Returns the flags that change what is measured, for the record; defaults are left out."""
    return {name: value for name, value in flags_given(options).items() if name != "save_head"}


def problem_of_flags(options: argparse.Namespace) -> str:
    """Returns what is wrong with the flags, "" if nothing is."""
    if options.save_head is not None and options.probe_images == 0:
        return "--save_head cannot be combined with --probe_images 0, which fits no probe. Leave out one of the two."
    if options.save_head is not None and parse_split(options.split).name == "train":
        return (
            f"--save_head cannot be combined with --split {options.split}: the probe is fitted on this split. Evaluate "
            "another one."
        )
    return ""
