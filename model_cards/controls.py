"""Defines the controls that stand beside every score of generated answers, and the table with both.

A score says something only above what is reached without the image. A table of scores of answers is therefore refused
unless its result has each control, or says in words why one was left out.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from model_cards.rendering import number
from model_cards.results import GENERATION, HEADLINE, NAMES, EvaluationResult

FROZEN, PRIOR, MAJORITY, CONSTANT = "frozen_features", "question_prior", "majority", "constant"
BLANK, MIRRORED, OTHER_ANSWER, SAME_ANSWER = "blank_image", "mirrored_image", "other_answer", "same_answer"
# In the order of the table.
CONTROLS = {
    FROZEN: "frozen features",
    PRIOR: "question prior",
    MAJORITY: "majority",
    CONSTANT: "constant text",
    BLANK: "blank image",
    OTHER_ANSWER: "image of a patient with another answer",
    MIRRORED: "mirrored image",
}
# A change of the image that is no control: rows that exchange their answers have the same score by construction. How
# many of the answers change is part of the image reliance.
SAME_TITLE = "image of a patient with the same answer"
BLIND = (PRIOR, MAJORITY, CONSTANT)  # equal for all models on the same rows
MEANINGS = {
    FROZEN: "kernel ridge on image features and words of the question, which a fine-tuned model should beat",
    PRIOR: "the most frequent answer to the same question, or to its type; no image",
    MAJORITY: "the most frequent answer of the same answer type and language",
    CONSTANT: "the same frequent words for every question",
    BLANK: "the model with a gray image",
    OTHER_ANSWER: "the model with the image of another patient, whose answer to the same question is another one",
    MIRRORED: "the model with the mirrored image, for open and closed questions about left and right",
}
# Scores of answers; a loss has no control.
SCORES = [name for name, larger_is_better in HEADLINE[GENERATION].items() if larger_is_better]
COMPARED = {
    "accuracy_closed": "closed questions",
    "accuracy_open": "open questions",
    "clinical_f1": "findings of reports",
}


def needs_controls(task: str, metrics: Iterable[str]) -> bool:
    """Returns whether a table with these metrics requires controls, as all scores of answers do."""
    return task == GENERATION and bool({*metrics} & {*SCORES})


def missing_controls(result: EvaluationResult) -> list[str]:
    """Returns the names of the controls that a result requires, and neither has nor explains."""
    if not needs_controls(result.task, result.metrics):
        return []
    there = {entry.get("name") for entry in result.controls if entry.get("metrics") or entry.get("note")}
    return [name for name in CONTROLS if name not in there]


def check_controls(result: EvaluationResult) -> None:
    """Raises ValueError if a control of the result is missing."""
    if missing := missing_controls(result):
        raise ValueError(
            f"the result of {result.model} on {result.dataset}, split {result.dataset_split}, has no "
            f"{', '.join(CONTROLS[name] for name in missing)}: scores are not shown without their controls. Evaluate "
            "the model again with `medpairs evaluate`."
        )


def control_line(entry: Mapping[str, Any], metrics: Iterable[str], samples: int) -> list[str]:
    """Returns the line of a control in a table: its title, then a cell per metric.

    A control on some of the rows has the scores of the model on these rows in parentheses. A control that was left out
    has the reason in its title.

    Args:
        entry: an element of `EvaluationResult.controls`.
        metrics: the columns.
        samples: the number of rows of the result.
    """
    found, real, title = entry.get("metrics") or {}, entry.get("real", {}), CONTROLS[entry["name"]]
    if not found:
        return [f"{title}: {entry['note']}", *(number(None) for _ in metrics)]
    partial = entry["samples"] < samples
    cells = [
        f"{number(found.get(name))} ({number(real[name])})" if partial and name in real else number(found.get(name))
        for name in metrics
    ]
    return [title + (f", {entry['samples']:,} rows" if partial else ""), *cells]


def result_table(result: EvaluationResult) -> list[list[str]]:
    """Returns the table of a result with its controls: the header, the model, and a line per control.

    Raises ValueError if a control is missing.
    """
    check_controls(result)
    metrics = [name for name in HEADLINE[GENERATION] if name in result.metrics]
    entries = {entry["name"]: entry for entry in result.controls}
    header = ["answers", *(NAMES[name] for name in metrics)]
    model = ["this model", *(number(result.metrics[name]) for name in metrics)]
    return [header, model, *(control_line(entries[name], metrics, result.samples) for name in CONTROLS)]


def notes(result: EvaluationResult) -> list[str]:
    """Returns a sentence per control that was measured: what it is, and what is special about it in this result."""
    said = []
    for entry in result.controls:
        if (name := entry.get("name")) in CONTROLS and entry.get("metrics"):
            note = f"; {entry['note']}" if entry.get("note") else ""
            said.append(f"{CONTROLS[name]}: {MEANINGS[name]}{note}.")
    return said


def verdicts(result: EvaluationResult) -> list[str]:
    """Returns sentences that say whether the model is better than the question prior and than frozen features."""
    said = []
    for entry in result.controls:
        for metric, title in COMPARED.items():
            if found := entry.get("difference", {}).get(metric):
                said.append(f"{title.capitalize()}: {verdict(CONTROLS[entry['name']], *found)}")
    return said


def verdict(control: str, difference: float, low: float | None, high: float | None) -> str:
    """Returns what a difference between the model and a control means, with its 95 % interval."""
    if low is None or high is None:
        return f"the difference to the {control} is {difference:+.3f}; too few patients or images for an interval."
    interval = f"{difference:+.3f} [{low:+.3f}, {high:+.3f}]"
    if low > 0:
        return f"better than the {control}, {interval}."
    if high < 0:
        return f"**worse than the {control}**, {interval}."
    return f"**not better than the {control}**, as far as these rows can tell, {interval}."
