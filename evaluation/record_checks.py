"""Checks what a record rests on, link by link; see `verify.py`."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from evaluation.loading import InputError
from model_cards.results import GENERATION, RETRIEVAL, EvaluationResult, json_text


class AbsentError(Exception):
    """Something that a link is checked with is not on this machine. The message says what."""


class BrokenError(Exception):
    """A link does not hold. The message says why."""


@dataclass(frozen=True)
class Evidence:
    """What a record is checked with.

    Attributes:
        text: the text of the record.
        fields: its fields as they are in the file.
        result: the same as a result.
        dataset, model: where the dataset and the model are.
        predictions: the file of predictions.
    """

    text: str
    fields: dict[str, Any]
    result: EvaluationResult
    dataset: str
    model: str
    predictions: Path

    def content(self, name: str) -> str:
        """Returns the recorded hash of the content of a link."""
        return next(entry["content"] for entry in self.result.chain if entry["name"] == name)


def check_link(evidence: Evidence, name: str) -> None:
    """Raises BrokenError unless the link is in its place, and its hash follows from its content and the link before."""
    from evaluation.records.chain import LINKS, link_hash

    chain = evidence.result.chain
    place = LINKS.index(name)
    if place >= len(chain) or chain[place]["name"] != name:
        raise BrokenError("it is not in its place in the chain")
    if link_hash(chain[place - 1]["link"] if place else "", name, chain[place]["content"]) != chain[place]["link"]:
        raise BrokenError("its hash does not follow from its content and the link before it")


def check_dataset(evidence: Evidence) -> str:
    """Hashes the rows that were scored again."""
    from evaluation.records.chain import fingerprint, row_hashes

    try:
        rows = evaluated_rows(evidence)
        found = fingerprint(row_hashes(rows))
    except (InputError, OSError) as error:
        raise AbsentError(str(error)) from None
    if found != evidence.content("dataset"):
        raise BrokenError(f"the rows of {evidence.dataset} are not those that were scored")
    return f"{len(rows):,} rows of {evidence.result.dataset_split}"


def evaluated_rows(evidence: Evidence) -> Any:
    """Loads the rows that were scored. Raises InputError if they cannot be loaded."""
    from evaluation.datasets.flags import COLUMNS
    from evaluation.datasets.rows import load_rows

    result = evidence.result
    columns = {name: result.settings.get(name) for name in COLUMNS}
    chosen = {name: result.settings.get(name) for name in ("limit", "seed")}
    options = argparse.Namespace(
        dataset=evidence.dataset,
        dataset_config=result.dataset_config,
        split=result.dataset_split,
        train_split=None,
        **columns,
        **chosen,
    )
    return load_rows(options, "pairs" if result.task == RETRIEVAL else "chat", result.dataset_revision).scored


def check_checkpoint(evidence: Evidence) -> str:
    """Hashes the weights again, and the other files of a model's folder."""
    from evaluation.loading import cached_weights
    from evaluation.records.run import checkpoint_hash
    from model_cards.hub.weights import folder_weights

    result, folder = evidence.result, Path(evidence.model)
    if not result.weights:
        raise AbsentError("the record does not say which weights were evaluated")
    try:
        weights = folder_weights(folder) if folder.is_dir() else cached_weights(evidence.model, result.model_revision)
    except Exception as error:  # not a name of a repository, a broken cache: each raises its own type
        raise AbsentError(f"{evidence.model}: {error}") from None
    if not weights:
        raise AbsentError(f"no weights of {evidence.model} on this machine")
    if weights != result.weights:
        raise BrokenError(f"the weights of {evidence.model} are not those that were evaluated")
    # A repository has no files in the hash but its weights: the recorded commit fixes the others.
    found = checkpoint_hash("" if result.model_revision else evidence.model, weights)
    if found != evidence.content("checkpoint"):
        raise BrokenError(f"a file of the configuration or tokenizer of {evidence.model} was changed")
    return f"weights {weights[:8]} of {evidence.model}"


def check_answers(evidence: Evidence) -> str:
    """Hashes again what the model said."""
    from evaluation.records.chain import answers_hash

    rows = prediction_rows(evidence)
    if answers_hash(rows) != evidence.content("answers"):
        raise BrokenError(f"an answer in {evidence.predictions} was changed")
    if evidence.result.task == GENERATION and (known := rows_at_hand(evidence)) is not None:
        check_references(evidence, rows, known)
        return f"{len(rows):,} answers to the questions of the dataset, beside its references"
    return f"{len(rows):,} answers"


def rows_at_hand(evidence: Evidence) -> Any:
    """Returns the rows that were scored, None if the dataset is not at hand."""
    try:
        return evaluated_rows(evidence)
    except (InputError, OSError):
        return None


def check_references(evidence: Evidence, predictions: list[dict[str, Any]], rows: Any) -> None:
    """Raises BrokenError unless each prediction has the question, reference, language and type of its row."""
    from evaluation.scoring.messages import plain_messages

    if len(predictions) != len(rows):
        raise BrokenError(f"{evidence.predictions} has {len(predictions):,} answers to {len(rows):,} rows")
    kinds = list(rows["answer_type"]) if "answer_type" in rows.column_names else [""] * len(rows)
    columns = zip(rows["messages"], rows["language"], kinds, strict=True)
    for number, (prediction, (messages, language, kind)) in enumerate(zip(predictions, columns, strict=True)):
        *_, question, answer = plain_messages(messages)
        expected = {
            "question": question["content"], "reference": answer["content"], "language": language, "answer_type": kind
        }  # fmt: skip
        for name, value in expected.items():
            if prediction.get(name) != value:
                raise BrokenError(f"{evidence.predictions}, row {number + 1}: {name} is not that of the dataset")


def check_predictions(evidence: Evidence) -> str:
    """Hashes the file of predictions again."""
    from model_cards.hub.weights import file_sha256

    prediction_rows(evidence)
    if file_sha256(evidence.predictions) != evidence.content("predictions"):
        raise BrokenError(f"{evidence.predictions} was changed")
    return str(evidence.predictions)


def prediction_rows(evidence: Evidence) -> list[dict[str, Any]]:
    """Reads the predictions. Raises AbsentError if there is no such file, BrokenError if it is not readable."""
    from evaluation.records.rescoring import read_rows

    if not evidence.predictions.is_file():
        raise AbsentError(f"no file {evidence.predictions}")
    try:
        return read_rows(evidence.predictions)
    except ValueError as error:
        raise BrokenError(str(error)) from None


def check_score(evidence: Evidence) -> str:
    """Computes the scores of a decoder again from its predictions, and compares every digit."""
    from evaluation.metrics.vqa_accuracy.short_answers import DEFAULT_RULE
    from evaluation.records.chain import score_hash
    from evaluation.records.rescoring import score_predictions

    result = evidence.result
    if score_hash(evidence.fields) != evidence.content("score"):
        raise BrokenError("a metric, an interval, a control, a signature or a setting was changed")
    rows = prediction_rows(evidence)
    if len(rows) != result.samples and result.task == GENERATION:
        raise BrokenError(f"{len(rows):,} predictions for {result.samples:,} rows")
    if result.task != GENERATION:
        raise AbsentError("the metrics of an encoder follow from its embeddings, which are not kept")
    try:
        metrics, signatures, intervals = score_predictions(rows, result.settings.get("rule", DEFAULT_RULE))
    except ValueError as error:
        raise BrokenError(f"the predictions cannot be scored ({error})") from None
    from dataclasses import replace

    again = replace(result, metrics=metrics, signatures=signatures, intervals=intervals)
    for kind in ("metrics", "signatures", "intervals"):
        recorded, found = getattr(result, kind), getattr(again, kind)
        for name in sorted({*recorded, *found}):
            if recorded.get(name) != found.get(name):
                raise BrokenError(
                    f"{kind}: {name} is recorded as {recorded.get(name)} and is {found.get(name)} by the predictions"
                )
    return f"{len(result.metrics)} metrics and {len(result.intervals)} intervals computed again, all equal"


def check_controls(evidence: Evidence) -> str:
    """Computes the controls, image reliance and groups of patients of a decoder again from the answers in the file."""
    from evaluation.controls.recomputed import recomputed
    from evaluation.metrics.vqa_accuracy.short_answers import DEFAULT_RULE
    from evaluation.records.chain import canonical

    result = evidence.result
    if result.task != GENERATION:
        raise AbsentError("those of an encoder follow from its embeddings, which are not kept")
    if (rows := rows_at_hand(evidence)) is None:
        raise AbsentError(f"no rows of {evidence.dataset} on this machine")
    rule = result.settings.get("rule", DEFAULT_RULE)
    try:
        found = recomputed(rows, prediction_rows(evidence), result.controls, rule)
    except ValueError as error:
        raise BrokenError(str(error)) from None
    for name, value in found.items():
        recorded = getattr(result, name)
        if canonical(recorded) != canonical(recorded if value is None and not recorded else value):
            raise BrokenError(f"{name}: the record has other values than the answers in {evidence.predictions}")
    measured = sum(bool(entry.get("metrics")) for entry in result.controls)
    return f"{measured} controls computed again from their answers, all equal"


def check_record(evidence: Evidence) -> str:
    """Hashes all fields of the record again, and compares its text with that of its fields."""
    from evaluation.records.chain import record_hash

    if record_hash(evidence.fields) != evidence.content("record"):
        raise BrokenError("a field of the record was changed")
    if json_text(evidence.fields) != evidence.text:
        raise BrokenError("the text of the record is not that of its fields")
    return f"measured {evidence.result.date}"


CHECKS: dict[str, Callable[[Evidence], str]] = {
    "dataset": check_dataset,
    "checkpoint": check_checkpoint,
    "answers": check_answers,
    "predictions": check_predictions,
    "score": check_score,
    "controls": check_controls,  # no link of its own: the score covers them
    "record": check_record,
}
