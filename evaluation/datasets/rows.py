"""Loads the rows that are scored, and those of the train split, in the layout of the task."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from evaluation.datasets.columns import to_chat, to_pairs
from evaluation.datasets.split_slices import SplitSlice, parse_split
from evaluation.loading import ConfigError, InputError, load_splits
from evaluation.scoring.sampling import stratified_rows
from model_cards.results import is_commit


@dataclass(frozen=True)
class Rows:
    """The rows of an evaluation.

    Attributes:
        scored: [N] the rows to score.
        numbers: [N] their numbers in the split.
        train: the rows of the train split; None if there are none, they are the same rows, or the layout is `pairs`.
        config: the configuration that was read.
    """

    scored: Any
    numbers: Sequence[int]
    train: Any
    config: str


def load_rows(options: argparse.Namespace, layout: str, revision: str) -> Rows:
    """Loads the rows to score, and those from which controls know the answers.

    Args:
        options: the flags; `train_split` is None if no other rows are needed.
        layout: `pairs` or `chat`.
        revision: the revision of the dataset; a commit is used, a fingerprint is not.

    Raises:
        InputError: a split or column is missing, or `--train_split` names rows that are scored.
    """
    commit = revision if is_commit(revision) else None
    split = parse_split(options.split)
    train = None
    if layout == "chat" and options.train_split is not None:
        train = parse_split(options.train_split, "--train_split")
    names = [split.name] if train is None else [split.name, train.name]
    config, splits = load_config(options, layout, names, commit)
    where = f"--dataset {options.dataset}, config {config}"
    if split.name not in splits:
        splits |= load_splits(options.dataset, config, [split.name], commit)  # raises, and names the splits
    if train is not None and train.name not in splits and options.train_split != "train":
        raise InputError(f"--train_split {options.train_split}: {where} has no such split; leave the flag out")
    table = splits[split.name]
    chosen: Sequence[int] = split.rows(len(table))
    if not chosen:
        raise InputError(f"--split {options.split}: no rows; {where}, split {split.name} has {len(table):,}")
    if options.limit is not None:
        part = select(table, chosen)
        sources = part["source_dataset"] if "source_dataset" in part.column_names else [""] * len(part)
        chosen = [chosen[row] for row in stratified_rows(list(map(str, sources)), options.limit, options.seed or 0)]
    convert = to_pairs if layout == "pairs" else to_chat
    rows = convert(select(table, chosen), options, where)
    known = None if train is None else train_rows(options, split, train, splits.get(train.name), chosen)
    return Rows(rows, chosen, None if known is None else convert(known, options, where), config)


def load_config(options: argparse.Namespace, layout: str, names: list[str], commit: str | None) -> tuple[str, dict]:
    """Loads splits of the named configuration; else of the one with the name of the layout, else of the only one."""
    config = options.dataset_config or layout
    try:
        return config, load_splits(options.dataset, config, names, commit)
    except ConfigError as error:
        if options.dataset_config is not None or len(error.available) != 1:
            raise InputError(f"{error} Or name another by --dataset_config.") from None
        (config,) = error.available
    return config, load_splits(options.dataset, config, names, commit)


def select(table: Any, chosen: Sequence[int]) -> Any:
    """Returns some rows; the table itself if these are all."""
    return table if len(chosen) == len(table) else table.select(chosen)


def train_rows(
    options: argparse.Namespace, split: SplitSlice, train: SplitSlice, table: Any, chosen: Sequence[int]
) -> Any | None:
    """Returns the rows of the train split; None if there are none, or they are the rows that are scored.

    Raises:
        InputError: `--train_split` names a part of the split with rows that are scored, whose answers would be known.
    """
    if table is None:
        return None
    known = train.rows(len(table))
    if train.name == split.name and set(known) & set(chosen):
        if train.is_part:
            raise InputError(f"--train_split {options.train_split} and --split {options.split} have rows in common")
        return None
    return select(table, known) if known else None
