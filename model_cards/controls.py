"""Defines the controls that stand beside every score of answers and of retrieval, and the table with both.

A score says something only above what is reached without the image. A table of scores is therefore refused unless its
result has each control of its task, or says in words why one was left out.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from model_cards.rendering import number
from model_cards.results import GENERATION, HEADLINE, NAMES, RETRIEVAL, EvaluationResult, columns_of, parts_in

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
CHANCE, FREQUENCY, LENGTH, METADATA = "chance", "text_frequency", "text_length", "metadata"
RETRIEVAL_CONTROLS = {
    CHANCE: "chance",
    FREQUENCY: "text frequency",
    LENGTH: "text length",
    METADATA: "metadata prior",
}
TASK_CONTROLS = {GENERATION: CONTROLS, RETRIEVAL: RETRIEVAL_CONTROLS}
CONTROL_TITLES = CONTROLS | RETRIEVAL_CONTROLS
# A change of the image that is no control: rows that exchange their answers have the same score by construction. How
# many of the answers change is part of the image reliance.
SAME_TITLE = "image of a patient with the same answer"
BLIND = (PRIOR, MAJORITY, CONSTANT)  # equal for all models on the same rows, as those of retrieval are
MEANINGS = {
    FROZEN: "kernel ridge on image features and words of the question, which a fine-tuned model should beat",
    PRIOR: "the most frequent answer to the same question, or to its type; no image",
    MAJORITY: "the most frequent answer of the same answer type and language",
    CONSTANT: "the same frequent words for every question",
    BLANK: "the model with a gray image",
    OTHER_ANSWER: "the model with the image of another patient, whose answer to the same question is another one",
    MIRRORED: "the model with the mirrored image, for open and closed questions about left and right",
    CHANCE: "a random order",
    FREQUENCY: "for every image, the texts that most of these rows have come first; no image, no model",
    LENGTH: "for every image, the texts of the most usual length come first; no image, no model",
    METADATA: "texts of rows that agree in more of source, modality, body part and language come first; no image, no "
    "model. A model above it tells more than where an image is from and what part of the body it shows",
}
# The scores of each task; a loss has no control.
SCORES = {task: [name for name, is_score in metrics.items() if is_score] for task, metrics in HEADLINE.items()}
TO_BEAT = (FROZEN, PRIOR, FREQUENCY, METADATA)  # what a model is compared with in words
COMPARED = {
    "accuracy_closed": "closed questions",
    "accuracy_open": "open questions",
    "clinical_f1": "findings of reports",
    "recall_at_5": NAMES["recall_at_5"],
    "finding_recall_at_1": NAMES["finding_recall_at_1"],
}


OTHER_ROWS = "none of these rows"  # of a control that is measured, but not by the scores of a table


def needs_controls(task: str, metrics: Iterable[str]) -> bool:
    """Returns whether a table with these metrics requires controls, as all scores of a task do."""
    return bool({*metrics} & {*SCORES[task]})


def missing_controls(result: EvaluationResult) -> list[str]:
    """Returns the names of the controls that a result requires, and neither has nor explains."""
    if not needs_controls(result.task, result.metrics):
        return []
    there = {entry.get("name") for entry in result.controls if entry.get("metrics") or entry.get("note")}
    return [name for name in TASK_CONTROLS[result.task] if name not in there]


def check_controls(result: EvaluationResult) -> None:
    """Raises ValueError if a control of the result is missing."""
    if missing := missing_controls(result):
        raise ValueError(
            f"the result of {result.model} on {result.dataset}, split {result.dataset_split}, has no "
            f"{', '.join(CONTROL_TITLES[name] for name in missing)}: scores are not shown without their controls. "
            "Evaluate the model again with `medpairs evaluate`."
        )


def control_line(entry: Mapping[str, Any], metrics: Iterable[str], samples: int) -> list[str]:
    """Returns the line of a control in a table: its title, then a cell per metric.

    A control on some of the rows has the scores of the model on these rows in parentheses. A control that was left out
    has the reason in its title, and so has one that is measured on rows of another table alone.

    Args:
        entry: an element of `EvaluationResult.controls`.
        metrics: the columns.
        samples: the number of rows of the result.
    """
    found, real, title = entry.get("metrics") or {}, entry.get("real", {}), CONTROL_TITLES[entry["name"]]
    metrics = list(metrics)
    if not any(name in found for name in metrics):
        reason = OTHER_ROWS if found else entry["note"]
        return [f"{title}: {reason}", *(number(None) for _ in metrics)]
    partial = entry["samples"] < samples
    cells = [
        f"{number(found.get(name))} ({number(real[name])})" if partial and name in real else number(found.get(name))
        for name in metrics
    ]
    return [title + (f", {entry['samples']:,} rows" if partial else ""), *cells]


def result_tables(result: EvaluationResult) -> list[list[list[str]]]:
    """Returns a table for short answers and one for reports, or one for all rows, see `result_table`."""
    return [result_table(result, part) for part in parts_in(result.metrics)]


def result_table(result: EvaluationResult, part: str = "") -> list[list[str]]:
    """Returns the table of a result with its controls: the header, the model with its intervals, a line per control.

    Args:
        result: the result.
        part: one of PARTS, "" for all metrics.

    Raises ValueError if a control is missing.
    """
    check_controls(result)
    metrics = columns_of(result.task, part, result.metrics)
    entries = {entry["name"]: entry for entry in result.controls}
    header = [part or ("answers" if result.task == GENERATION else "ranked by"), *(NAMES[name] for name in metrics)]
    model = ["this model", *(with_interval(result.metrics[name], result.intervals.get(name)) for name in metrics)]
    names = TASK_CONTROLS[result.task]
    return [header, model, *(control_line(entries[name], metrics, result.samples) for name in names)]


def with_interval(value: float, bounds: Sequence[float] | None) -> str:
    """Returns a score with its 95 % interval, if it is known: `0.42 [0.35, 0.49]`."""
    return f"{number(value)} [{number(bounds[0])}, {number(bounds[1])}]" if bounds else number(value)


def notes(result: EvaluationResult) -> list[str]:
    """Returns a sentence per control that was measured: what it is, and what is special about it in this result."""
    said = []
    for entry in result.controls:
        if (name := entry.get("name")) in CONTROL_TITLES and entry.get("metrics"):
            note = f"; {entry['note']}" if entry.get("note") else ""
            said.append(f"{CONTROL_TITLES[name]}: {MEANINGS[name]}{note}.")
    return said


def verdicts(result: EvaluationResult, metrics: Iterable[str] = tuple(COMPARED)) -> list[str]:
    """Returns sentences that say whether the model is better, by these metrics, than the controls it should beat."""
    metrics = set(metrics)
    said = []
    for entry in result.controls:
        for metric, title in COMPARED.items() if entry.get("name") in TO_BEAT else ():
            if metric in metrics and (found := entry.get("difference", {}).get(metric)):
                said.append(f"{title[0].upper()}{title[1:]}: {verdict(CONTROL_TITLES[entry['name']], *found)}")
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
