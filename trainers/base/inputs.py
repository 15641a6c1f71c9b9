"""Opens what a training starts from: the rows that its flags name, at one revision of the dataset, and a model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from evaluation.loading import InputError, dataset_revision, load_splits, model_revision, print_source
from model_cards.results import is_commit
from trainers.base.arguments import BaseTrainingArguments, DataArguments
from trainers.base.distributed import from_first, rank
from trainers.base.trainer import without_evaluation

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
    """The splits to train on and to evaluate on, and the commit or the fingerprint of their dataset.

    Without a split to evaluate on the evaluation is turned off, which is said.

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


def starting_commit(model: str) -> str | None:
    """The commit of a model on the Hub, the same in every process, which is printed; None for a folder.

    Raises:
        InputError: there is no such folder or repository.
    """
    commit = from_first(model_revision(model, flag="--model_name_or_path") if rank() == 0 else "")
    if rank() == 0:
        print_source("model", model, commit)
    return commit or None
