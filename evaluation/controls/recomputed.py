"""Computes the controls of a record again from the answers in its predictions, without a model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from evaluation.controls.changed_images import answers_under_changes
from evaluation.controls.measure import entry_of
from evaluation.controls.questions import read_questions
from evaluation.controls.reliance import image_reliance
from evaluation.controls.subgroups import answer_subgroups
from model_cards.controls import OTHER_ANSWER, PRIOR, SAME_ANSWER
from model_cards.tables.reliance_tables import CHANGES


def recomputed(
    rows: Any, predictions: Sequence[Mapping[str, Any]], recorded: Sequence[Mapping[str, Any]], rule: str
) -> dict[str, Any]:
    """Computes what a record says of its controls.

    Args:
        rows: [N] the rows that were scored, a `datasets.Dataset`.
        predictions: [N] the predictions of the record, with the answers of its controls.
        recorded: the controls of the record, whose notes are kept: they say what answered.
        rule: the rule of the accuracies.

    Returns:
        `controls`, `reliance` (None if no image was changed) and `subgroups`, as `medpairs evaluate` writes them.

    Raises:
        ValueError: the answer to a swapped image is not the one to the question about that image.
    """
    questions = read_questions(rows)
    real = [str(row["generated"]) for row in predictions]
    answers = [row.get("controls") or {} for row in predictions]
    texts = {name: [one.get(name) for one in answers] for name in {name for one in answers for name in one}}
    nothing: list[str | None] = [None] * len(real)
    entries = [
        entry_of(entry["name"], questions, real, texts.get(entry["name"]), entry.get("note") or "", rule)
        for entry in recorded
    ]
    reliance = None
    if any(name in texts for name in CHANGES):
        swapped = answers_under_changes(rows, questions, real, None)
        for name in (OTHER_ANSWER, SAME_ANSWER):
            for row, (found, expected) in enumerate(zip(texts.get(name, nothing), swapped[name], strict=True), 1):
                if found != expected:
                    raise ValueError(f"row {row}: the answer to the {name} is not that to the question there")
        reliance = image_reliance(questions, real, {name: texts.get(name, nothing) for name in CHANGES}, rule)
    subgroups = answer_subgroups(rows, real, texts.get(PRIOR, nothing), rule)
    return {"controls": entries, "reliance": reliance, "subgroups": subgroups}
