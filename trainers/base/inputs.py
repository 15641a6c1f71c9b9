"""Opens what a training starts from: the rows that its flags name, at one revision of the dataset, and a model."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from evaluation.loading import InputError, dataset_revision, load_splits, model_revision, print_source
from model_cards.results import is_commit
from trainers.base.arguments import BaseTrainingArguments, DataArguments
from trainers.base.distributed import from_first, rank

BUILD = ".build.json"  # the manifest of a build, in which a push notes where it went
COLUMNS = {"pairs": ("image", "text"), "chat": ("images", "messages")}  # that a training reads, by config


@dataclass
class Inputs:
    """What a training starts from.

    Attributes:
        splits: `datasets.Dataset` by name; rows: the same as EncoderRows or DecoderRows.
        revision: the commit, or the fingerprint, of the dataset.
    """

    splits: dict[str, Any]
    revision: str
    model: Any
    processor: Any
    rows: dict[str, Any]


def open_splits(arguments: DataArguments, training: BaseTrainingArguments, config: str) -> tuple[dict[str, Any], str]:
    """Opens the splits to train on and to evaluate on, and finds the commit or the fingerprint of their dataset.

    Without a split to evaluate on, the evaluation is turned off, which is printed.

    Args:
        config: `pairs` or `chat`.

    Returns:
        `datasets.Dataset` by name of the split, and the revision.

    Raises:
        InputError: the dataset cannot be read, has neither split, or lacks a column.
    """
    revision = dataset_revision(arguments.dataset, arguments.dataset_revision) if rank() == 0 else ""
    revision = from_first(revision)  # the repository may change between two looks at it
    if rank() == 0:
        print_source("dataset", arguments.dataset, revision)
    commit = revision if is_commit(revision) else None  # what is recorded is what is read
    splits = load_splits(arguments.dataset, config, [arguments.train_split, arguments.eval_split], commit)
    for split, rows in splits.items():
        if missing := [name for name in COLUMNS[config] if name not in rows.column_names]:
            raise InputError(
                f"--dataset {arguments.dataset}, config {config}, split {split}: no column {', '.join(missing)}; its "
                f"columns are {', '.join(rows.column_names)}. `medpairs build` writes a dataset that has them"
            )
    if arguments.train_split not in splits:
        raise InputError(
            f"--dataset {arguments.dataset}, config {config}: no split {arguments.train_split}; --train_split names it"
        )
    if arguments.eval_split not in splits:
        without_evaluation(training, arguments.eval_split)
    return splits, revision


def without_evaluation(training: BaseTrainingArguments, split: str) -> None:
    """Turns the evaluation during the training off, because its split does not exist, and prints that."""
    print(f"There is no split {split!r}: nothing is evaluated during the training, and the last checkpoint is kept")
    training.eval_strategy, training.load_best_model_at_end = "no", False


def published_as(dataset: str, revision: str) -> tuple[str, str]:
    """Returns the repository and the commit that a local build was pushed as; else name and revision as given.

    Not where a Parquet file has another size than the pushed one.
    """
    folder = Path(dataset)
    try:
        build = json.loads((folder / BUILD).read_text(encoding="utf-8"))
        repository, commit = build["pushed"]["repository"], build["pushed"]["commit"]
        sizes = {name: size for name, size in build["files"].items() if name.endswith(".parquet")}
        is_same = all((folder / name).stat().st_size == size for name, size in sizes.items())
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return dataset, revision
    return (repository, commit) if is_same and is_commit(commit) else (dataset, revision)


def starting_commit(model: str) -> str | None:
    """Prints and returns the commit of a model on the Hub, the same in every process; None for a folder.

    Raises:
        InputError: there is no such folder or repository.
    """
    commit = from_first(model_revision(model, flag="--model_name_or_path") if rank() == 0 else "")
    if rank() == 0:
        print_source("model", model, commit)
    return commit or None
