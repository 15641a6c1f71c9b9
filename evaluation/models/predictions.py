"""Answers questions with a file of predictions, which is joined to the rows of the dataset by a stated key.

A row without a prediction, a key that is there twice and a prediction for no row are refused by name: a score on other
rows than it names would be wrong.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from evaluation.datasets.split_slices import parse_split
from evaluation.loading import InputError
from evaluation.models.protocols import FROZEN, IMAGES, Answerer
from evaluation.scoring.messages import plain_messages
from evaluation.scoring.prediction_files import LONGEST_ANSWER, first_text, rows_of

ROW, DOC_ID, QUESTION = "row", "doc_id", "question"
# Tried in this order if no key is stated: the first that all predictions have.
KEYS = ((ROW,), (DOC_ID,), ("image_path", QUESTION))
ASKED = "left out, because a file of predictions cannot be asked again"
NO_TOWER = "left out, because a file of predictions has no vision tower; name an encoder by --frozen_encoder"
SHOWN = 3  # keys that a message names


def predictions_answerer(
    options: argparse.Namespace, rows: Any, numbers: Sequence[int], hashes: Sequence[str]
) -> Answerer:
    """Returns a file of predictions as an answerer whose answers are known.

    Args:
        options: the flags, of which `predictions`, `prediction_key`, `split` and `limit` are read.
        rows: [N] the rows of the config `chat` that are scored.
        numbers: [N] the number of each row in its split.
        hashes: [N] the hash of each row, which `medpairs evaluate` writes as `row`.

    Raises:
        InputError: the file cannot be read, or predictions and rows are not one to one.
    """
    path = options.predictions
    try:
        entries = list(rows_of(path))
    except ValueError as error:
        raise InputError(f"--predictions {error}") from None
    names = key_names(options.prediction_key, entries, path)
    by_key: dict[tuple[str, ...], tuple[int, str]] = {}
    for number, entry in entries:
        where = f"--predictions {path}, row {number}"
        key = tuple(key_text(field_of(entry, name, where)) for name in names)
        if key in by_key:
            raise InputError(f"{where}: {shown(names, key)} is there twice, first in row {by_key[key][0]}")
        by_key[key] = (number, prediction_of(entry, where))
    # `row` is a number, or in the predictions of this project the hash of the row.
    hashed = names == (ROW,) and hashes and all(len(key[0]) == len(hashes[0]) for key in by_key)
    keys = [(digest,) for digest in hashes] if hashed else keys_of(rows, names, numbers)
    if missing := [key for key in keys if key not in by_key]:
        raise InputError(
            f"--predictions {path}: no prediction for {len(missing):,} of {len(keys):,} rows: {listed(names, missing)}"
        )
    is_complete = options.limit is None and not parse_split(options.split).is_part
    if is_complete and (unknown := set(by_key) - set(keys)):
        raise InputError(
            f"--predictions {path}: {len(unknown):,} predictions for no row of the split: "
            f"{listed(names, [key for key in by_key if key in unknown])}"
        )
    check_references(dict(entries), [by_key[key][0] for key in keys], rows, path)
    texts = [by_key[key][1] for key in keys]

    def answer(asked: Sequence[dict]) -> list[str]:
        raise ValueError("a file of predictions cannot be asked")

    return Answerer(answer, known=texts, left_out={FROZEN: NO_TOWER, IMAGES: ASKED})


def key_names(stated: str | None, entries: Sequence[tuple[int, dict]], path: Path) -> tuple[str, ...]:
    """Returns the fields that join predictions to rows. Raises InputError if none is stated and none is known."""
    if not entries:
        raise InputError(f"--predictions {path}: the file has no rows")
    if stated is not None:
        names = tuple(name.strip() for name in stated.split(","))
        if not all(names):
            raise InputError(f"--prediction_key {stated}: name fields, separated by commas")
        return names
    for names in KEYS:
        if all(name in entry for name in names for _, entry in entries):
            return names
    raise InputError(
        f"--predictions {path}: no field `row` with the number of the row from 0, so state by --prediction_key how "
        f"predictions are joined to rows; the first one has {', '.join(map(str, entries[0][1]))}"
    )


def field_of(entry: dict[str, Any], name: str, where: str) -> Any:
    """Returns a field of a prediction, which lmms-eval has in `doc`. Raises InputError if there is none."""
    doc = entry.get("doc")
    for place in (entry, doc if isinstance(doc, dict) else {}):
        if place.get(name) is not None:
            return place[name]
    raise InputError(f"{where}: no {name}, by which predictions are joined to rows")


def key_text(value: Any) -> str:
    """Returns a value of a key as a text, so that 7 and "7" are the same."""
    return " ".join(str(value).split())


def keys_of(rows: Any, names: Sequence[str], numbers: Sequence[int]) -> list[tuple[str, ...]]:
    """Returns the key of each row. Raises InputError if a column is missing or a key is there twice."""
    columns: list[Iterable[Any]] = []
    for name in names:
        if name in rows.column_names and name not in (ROW, DOC_ID):
            columns.append(rows[name])
        elif name in (ROW, DOC_ID):
            columns.append(numbers)
        elif name == QUESTION:
            columns.append([plain_messages(messages)[-2]["content"] for messages in rows["messages"]])
        else:
            raise InputError(f"--prediction_key {name}: the dataset has no such column")
    keys = [tuple(map(key_text, values)) for values in zip(*columns, strict=True)]
    first: dict[tuple[str, ...], int] = {}
    for number, key in enumerate(keys):
        if first.setdefault(key, number) != number:
            raise InputError(
                f"--prediction_key {','.join(names)}: rows {first[key]} and {number} of the dataset both have "
                f"{shown(names, key)}; state fields by which rows differ, for example row"
            )
    return keys


def prediction_of(entry: dict[str, Any], where: str) -> str:
    """Returns the answer of a prediction in one of the known forms. Raises InputError if it has none."""
    for name in ("generated", "prediction", "filtered_resps", "resps"):
        if name in entry:
            text = first_text(entry[name])
            if isinstance(text, str) and len(text) <= LONGEST_ANSWER:
                return text.strip()
            raise InputError(f"{where}: {name} is not a text of at most {LONGEST_ANSWER:,} characters")
    raise InputError(f"{where}: no answer; a prediction has `generated`, `prediction` or lmms-eval's `filtered_resps`")


def check_references(entries: dict[int, dict], numbers: Sequence[int], rows: Any, path: Path) -> None:
    """Raises InputError if a prediction was made for another reference than that of its row, by a wrong key or split.

    Args:
        entries: the predictions by their number in the file.
        numbers: [N] the number of the prediction of each row.
    """
    for row, (number, messages) in enumerate(zip(numbers, rows["messages"], strict=True)):
        said = entries[number].get("reference", entries[number].get("target"))
        reference = plain_messages(messages)[-1]["content"]
        if isinstance(said, str) and key_text(said).casefold() != key_text(reference).casefold():
            raise InputError(
                f"--predictions {path}, row {number}: its reference is {said:.60}, but row {row} of the dataset has "
                f"{reference:.60}. Is this another split, or another key"
            )


def shown(names: Sequence[str], key: Sequence[str]) -> str:
    """Returns a key for a message."""
    return ", ".join(f"{name} {value:.60}" for name, value in zip(names, key, strict=True))


def listed(names: Sequence[str], keys: Sequence[tuple[str, ...]]) -> str:
    """Returns the first keys for a message."""
    more = ", ..." if len(keys) > SHOWN else ""
    return "; ".join(shown(names, key) for key in keys[:SHOWN]) + more
