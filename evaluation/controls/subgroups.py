"""Scores the answers of a decoder on groups of patients, see `evaluation/scoring/subgroups.py`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from evaluation.controls.questions import read_questions
from evaluation.controls.reliance import row_scores
from evaluation.metrics.vqa_accuracy.short_answers import CLOSED, OPEN
from evaluation.scoring.answers import simplify
from evaluation.scoring.subgroups import attributes_of, subgroup_scores


def answer_subgroups(rows: Any, generated: Sequence[str], rule: str) -> list[dict[str, Any]]:
    """Returns exact match, and the accuracy of open and closed questions, of each group of patients.

    Args:
        rows: [N] rows of the config `chat`.
        generated: [N] the answers of the model.
        rule: the rule of the accuracies.
    """
    questions = read_questions(rows)
    scores = row_scores(questions, generated, rule)
    pairs = list(zip(questions.answers, generated, strict=True))
    values: dict[str, list[float | None]] = {
        "exact_match": [float(simplify(text) == simplify(answer.reference)) for answer, text in pairs]
    }
    for kind in (OPEN, CLOSED):
        values[f"accuracy_{kind.lower()}"] = [
            score if answer.kind == kind else None for answer, score in zip(questions.answers, scores, strict=True)
        ]
    return subgroup_scores(attributes_of(rows), values, questions.groups)
