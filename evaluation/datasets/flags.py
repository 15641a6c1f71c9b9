"""Declares the flags that say which rows of a dataset are scored, and which columns of other people's datasets."""

from __future__ import annotations

import argparse
import os

from evaluation.loading import InputError

# The columns that can be named, with the names that are tried if they are not, and the task that reads each.
COLUMNS = {
    "image_column": ("image", "images"),
    "question_column": ("question",),
    "answer_column": ("answer",),
    "text_column": ("text", "caption"),
}
OF_ENCODERS, OF_DECODERS = ("text_column",), ("question_column", "answer_column")


def add_dataset_flags(parser: argparse.ArgumentParser) -> None:
    """Adds the flags to the parser of `medpairs evaluate`."""
    parser.add_argument(
        "--dataset",
        default="data/processed",
        type=os.path.expanduser,
        help="folder of a build, any folder or repository that `datasets` reads (default: %(default)s)",
    )
    parser.add_argument("--dataset_revision", help="commit, branch or tag of the dataset (default: the main branch)")
    parser.add_argument(
        "--dataset_config",
        metavar="NAME",
        help="configuration of the dataset (default: `pairs` for an encoder, `chat` for a decoder, else the only one)",
    )
    parser.add_argument(
        "--split",
        default="validation",
        help="split to evaluate on, also a part of it: `test[:100]`, `test[10%%:20%%]` (default: %(default)s)",
    )
    helps = {
        "image_column": "column of the images",
        "question_column": "column of the questions, for a decoder",
        "answer_column": "column of the answers, for a decoder",
        "text_column": "column of the texts, for an encoder",
    }
    for name, text in helps.items():
        tried = " or ".join(f"`{column}`" for column in COLUMNS[name])
        parser.add_argument(f"--{name}", metavar="NAME", help=f"{text} (default: {tried})")


def check_dataset_flags(options: argparse.Namespace, is_encoder: bool) -> None:
    """Raises InputError for a column that the task does not read."""
    for name in OF_DECODERS if is_encoder else OF_ENCODERS:
        if getattr(options, name) is not None:
            other = "a decoder" if is_encoder else "an encoder"
            raise InputError(f"--{name} requires {other}, but --model {options.model} is not one")


def column_settings(options: argparse.Namespace) -> dict[str, str]:
    """Returns the columns that were named, for the record."""
    return {name: getattr(options, name) for name in COLUMNS if getattr(options, name) is not None}
