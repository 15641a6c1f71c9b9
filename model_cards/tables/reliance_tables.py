"""Lays out the image reliance of a model: what becomes of its answers when the image is another one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from model_cards.controls import BLANK, CONTROLS, MIRRORED, OTHER_ANSWER, SAME_ANSWER, SAME_TITLE

# In the order of the table.
CHANGES = (OTHER_ANSWER, SAME_ANSWER, BLANK, MIRRORED)
CELLS = {
    "right_dependent": "right, changes",
    "right_blind": "right, stays",
    "wrong_dependent": "wrong, changes",
    "wrong_blind": "wrong, stays",
    "flips": "changes in all",
}
PARTS = {"source": "source", "language": "language", "answer_type": "answer type", "question_type": "question type"}
TOO_FEW = "too few to say"


def reliance_table(reliance: Mapping[str, Any]) -> list[list[str]]:
    """Returns the table of what happens to the answers by the change of the image; no lines if nothing was measured."""
    changes = reliance.get("changes") or {}
    titles = CONTROLS | {SAME_ANSWER: SAME_TITLE}
    lines = [cells_line(titles[name], changes[name]) for name in CHANGES if changes.get(name, {}).get("rows")]
    return [["image", "questions", *CELLS.values()], *lines] if lines else []


def parts_table(reliance: Mapping[str, Any]) -> list[list[str]]:
    """Returns the table of parts of the questions, with the image of a patient with another answer."""
    parts = reliance.get("parts") or {}
    lines = [
        cells_line(f"{title}: {value}", part)
        for name, title in PARTS.items()
        for value, part in (parts.get(name) or {}).items()
        if value != "unknown"
    ]
    return [["questions of", "questions", *CELLS.values()], *lines] if lines else []


def cells_line(title: str, part: Mapping[str, Any]) -> list[str]:
    """Returns a line with the share of each cell; a part of few questions has no shares."""
    shown = [share(part[name]) if name in part else TOO_FEW for name in CELLS]
    return [title, f"{part['rows']:,}", *shown]


def share(found: Sequence[float | None]) -> str:
    """Returns `31 % [25, 38]`: a share with its 95 % interval, in percent."""
    value, low, high = found
    if low is None or high is None:
        return f"{100 * (value or 0):.0f} %"
    return f"{100 * (value or 0):.0f} % [{100 * low:.0f}, {100 * high:.0f}]"


def reliance_words(reliance: Mapping[str, Any]) -> str:
    """Returns sentences about the headline, "" if it was not measured."""
    found = (reliance.get("changes") or {}).get(OTHER_ANSWER, {})
    if not found.get("rows"):
        return ""
    said = [
        f"Right and image-dependent: {share(found['right_dependent'])} of the answers to the {found['rows']:,} "
        "questions that are also asked about a patient with another answer."
    ]
    if shuffled := reliance.get("shuffled"):
        said.append(shuffled_words(**shuffled))
    said.append(f"With the image of that patient, {share(found['blind'])} of the answers stay.")
    if mirror := reliance.get("follows_mirror"):
        said.append(f"Of the answers that name a side, {share(mirror)} name the other one in a mirrored image.")
    return " ".join(said)


def shuffled_words(grounded_accuracy: float, difference: Sequence[float | None]) -> str:
    """Returns what the same answers reach when they are shuffled, and whether the model is above it."""
    by_chance = (
        f"The same answers, shuffled among the images of a question, would reach {100 * grounded_accuracy:.0f} %"
    )
    value, low, high = (None if bound is None else 100 * bound for bound in difference)
    if low is None or high is None:
        return f"{by_chance}; there are too few patients or images to compare."
    interval = f"{value:+.0f} [{low:+.0f}, {high:+.0f}] points"
    if low > 0:
        return f"{by_chance}: the model uses what the images show, {interval}."
    return f"{by_chance}: **the model is not shown to use what the images show**, {interval}."
