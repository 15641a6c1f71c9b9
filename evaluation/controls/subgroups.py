"""Scores the answers of a decoder on groups of patients, see `evaluation/scoring/subgroups.py`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from evaluation.controls.questions import read_questions
from evaluation.controls.reliance import row_scores
from evaluation.metrics.vqa_accuracy.short_answers import CLOSED, OPEN
from evaluation.scoring.answers import simplify
from evaluation.scoring.subgroups import attributes_of, subgroup_scores
from model_cards.controls import PRIOR


def answer_subgroups(
    rows: Any, generated: Sequence[str], prior: Sequence[str | None], rule: str
) -> list[dict[str, Any]]:
    """Returns exact match, and the accuracy of open and closed questions, of each group of patients.

    The names of the question prior's scores begin with `question_prior_`; a group can be easy without any image.

    Args:
        rows: [N] rows of the config `chat`.
        generated: [N] the answers of the model.
        prior: [N] those of the question prior.
        rule: the rule of the accuracies.
    """
    questions = read_questions(rows)
    values: dict[str, list[float | None]] = {}
    for prefix, texts in (("", generated), (f"{PRIOR}_", prior)):
        pairs = zip(questions.answers, texts, strict=True)
        values[f"{prefix}exact_match"] = [
            None if text is None else float(simplify(text) == simplify(answer.reference)) for answer, text in pairs
        ]
        scores = row_scores(questions, texts, rule)
        for kind in (OPEN, CLOSED):
            values[f"{prefix}accuracy_{kind.lower()}"] = [
                score if answer.kind == kind else None for answer, score in zip(questions.answers, scores, strict=True)
            ]
    return subgroup_scores(attributes_of(rows), values, questions.groups)
