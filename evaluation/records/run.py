"""Runs one measurement so that it can be continued, shared and checked: journal, predictions and record in one place.

The predictions are written as soon as the model has answered, before losses and controls, under a name that depends on
the answers. At the end they get the name of the record, which depends on all that was measured: the same measurement
twice has one record, and another one never replaces it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from evaluation.loading import InputError
from evaluation.records.chain import (
    ANSWERS,
    CHECKPOINT,
    DATASET,
    PREDICTIONS,
    RECORD,
    answers_hash,
    fingerprint,
    links,
    row_hashes,
    sealed,
    sha256,
)
from evaluation.records.journal import Journal
from evaluation.records.provenance import code_commit, device, provenance
from evaluation.records.rescoring import SEED
from evaluation.records.sharing import batches, rank, share, world_size
from model_cards.hub.weights import file_sha256, folder_weights
from model_cards.results import PREDICTIONS_ENDING, EvaluationResult, load_result, without_nan, write_text

# Files of a model's folder that decide its answers beside the weights. A card and results may be added later.
SETTINGS_FILES = (
    "config.json", "generation_config.json", "processor_config.json", "preprocessor_config.json", "tokenizer.json",
    "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json", "chat_template.jinja", "vocab.json",
    "vocab.txt", "merges.txt", "tokenizer.model", "spiece.model", "adapter_config.json",
    "chat_template.json", "open_clip_config.json",
)  # fmt: skip


class Run:
    """One measurement. A context manager that holds the journal.

    Args:
        draft: the result without its scores.
        folder: the folder of the results.
        rows: [N] the rows that are scored.

    Attributes:
        hashes: [N] the hash of each row.
    """

    def __init__(self, draft: EvaluationResult, folder: Path, rows: Any) -> None:
        self.draft, self.folder = draft, folder
        self.hashes = row_hashes(rows)
        self.contents = {DATASET: fingerprint(self.hashes), CHECKPOINT: checkpoint_hash(draft.model, draft.weights)}
        header = {
            "model": draft.model, "model_revision": draft.model_revision, "rows": self.contents[DATASET],
            "checkpoint": self.contents[CHECKPOINT], "base": base_hash(draft.base_model), "settings": draft.settings,
            "versions": draft.versions, "code": code_commit(), "device": device(),
        }  # fmt: skip
        self.journal = Journal(folder, header, rank())
        self.early: Path | None = None

    def __enter__(self) -> Run:
        self.journal.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        self.journal.__exit__(*error)

    def collect(
        self,
        kind: str,
        rows: Any,
        keys: Sequence[str],
        make: Callable[[Any], Sequence[Any]],
        batch_size: int,
        progress: Callable = iter,
    ) -> list[Any]:
        """Returns what `make` returns for each row; values that are known from an earlier run are not made again.

        Several processes share the batches, see `sharing.py`.

        Args:
            kind: what the values are, for example `answers`.
            rows: [N] rows, a sequence or a `datasets.Dataset`.
            keys: [N] what identifies each row, for this kind.
            make: takes some of the rows and returns a text, or other JSON, for each.
            batch_size: rows per call of `make`.
            progress: a function that wraps the loop over the batches, for example `tqdm`.
        """

        def work(numbers: range) -> list[Any]:
            part = [keys[number] for number in numbers]
            return self.journal.values(kind, part, lambda: make(Part(rows, numbers)))

        return [value for values in share(batches(len(keys), batch_size), work, progress) for value in values]

    def write_predictions(self, predictions: Iterable[Mapping[str, Any]]) -> None:
        """Writes the predictions before losses and controls are measured."""
        predictions = list(predictions)
        draft = replace(self.draft, chain=list(links(self.contents | {ANSWERS: answers_hash(predictions)})))
        if rank() == 0:
            self.early = predictions_path(self.folder / draft.file_name)
            write_text(self.early, json_lines(predictions))

    def finish(
        self, result: EvaluationResult, predictions: Sequence[Mapping[str, Any]], seeds: Mapping[str, int]
    ) -> tuple[EvaluationResult, Path, bool]:
        """Writes the predictions and the record, and deletes the journal.

        Args:
            result: the result with its scores.
            predictions: its predictions.
            seeds: the seeds by what they are for.

        Returns:
            the result with its chain, the path of its record, and whether it was written. False: the same measurement
            is there already, and stays as it is.

        Raises:
            InputError: another record has the same name.
        """
        text = json_lines(predictions)
        facts = provenance({"bootstrap": SEED, **seeds}, world_size())
        contents = self.contents | {ANSWERS: answers_hash(predictions), PREDICTIONS: sha256(text)}
        result = sealed(replace(result, provenance=facts), contents)
        path = self.folder / result.file_name
        is_new = not path.exists()
        if rank() == 0:
            if not is_new:
                result = same_measurement(path, result)
            write_text(predictions_path(path), text)
            if is_new:
                result.save(self.folder)
            if self.early is not None and self.early != predictions_path(path):
                self.early.unlink(missing_ok=True)
            self.journal.remove()
        return result, path, is_new


class Part(Sequence):
    """Some of the rows, which are read when they are needed.

    Args:
        rows: all rows.
        numbers: the numbers of those that belong to the part.
    """

    def __init__(self, rows: Any, numbers: range) -> None:
        self.rows, self.numbers = rows, numbers

    def __len__(self) -> int:
        return len(self.numbers)

    def __getitem__(self, place: Any) -> Any:
        return self.rows[self.numbers[place]]


def same_measurement(path: Path, result: EvaluationResult) -> EvaluationResult:
    """Returns the result of an existing record. Raises InputError unless it is the same measurement."""
    try:
        found = load_result(path)
    except ValueError as error:
        raise InputError(f"{error}. Move the file away; it is not replaced.") from None
    if measured(found) != measured(result):
        raise InputError(f"{path}: the record of another measurement has the same name; it is not replaced. Move it.")
    return found


def measured(result: EvaluationResult) -> list[tuple[str, str]]:
    """Returns the hashes of all contents but the record itself, which has the date in it."""
    return [(entry["name"], entry["content"]) for entry in result.chain if entry["name"] != RECORD]


def checkpoint_hash(model: str, weights: str) -> str:
    """Returns the hash of a checkpoint: of its weights and, for a folder, of its configuration and tokenizer.

    On the Hub the commit fixes these other files.

    Args:
        model: a folder or repository.
        weights: the digest of its weights, "" if unknown.
    """
    folder = Path(model)
    names = [name for name in SETTINGS_FILES if (folder / name).is_file()] if folder.is_dir() else []
    return sha256("".join([f"{weights}\n", *(f"{file_sha256(folder / name)}  {name}\n" for name in names)]))


def base_hash(model: str) -> str:
    """Returns what names the model below adapters: the hash of a folder's checkpoint, or the name of a repository."""
    return checkpoint_hash(model, folder_weights(Path(model))) if model and Path(model).is_dir() else model


def predictions_path(record: Path) -> Path:
    """Returns the path of the predictions that belong to a record."""
    return record.with_suffix(PREDICTIONS_ENDING)


def json_lines(rows: Iterable[Mapping[str, Any]]) -> str:
    """Returns one JSON object per line."""
    return "".join(json.dumps(without_nan(row), ensure_ascii=False, allow_nan=False) + "\n" for row in rows)
