"""Lays out a table of the leaderboard: the models in their order, and the controls beside and below them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from model_cards.controls import (
    BLIND,
    OTHER_ROWS,
    RETRIEVAL_CONTROLS,
    TASK_CONTROLS,
    check_controls,
    control_line,
    needs_controls,
)
from model_cards.rendering import number
from model_cards.results import HEADLINE, EvaluationResult


@dataclass(frozen=True)
class Line:
    """One line of a table.

    Attributes:
        place: the rank of a model, "" for a control.
        title: the name of the model or control.
        cells: a text per metric.
    """

    place: str
    title: str
    cells: list[str]


def control_entries(result: EvaluationResult, metrics: list[str], blind: bool) -> list[dict[str, Any]]:
    """Returns what a table keeps of the controls of a result: those that never see an image, or the others."""
    names = TASK_CONTROLS[result.task]
    entries = {entry["name"]: entry for entry in result.controls if entry.get("name") in names}
    found = []
    for name in names:
        if name in entries and (name in BLIND or name in RETRIEVAL_CONTROLS) == blind:
            entry = {key: entries[name].get(key) for key in ("name", "samples", "note")}
            for key in ("metrics", "real"):
                values = entries[name].get(key) or {}
                entry[key] = {metric: values[metric] for metric in metrics if metric in values}
            if entries[name].get("metrics") and not entry["metrics"]:
                entry["note"] = OTHER_ROWS
            found.append(entry)
    return found


def table_lines(table: Mapping[str, Any]) -> list[Line]:
    """Returns the lines of a table of the leaderboard below its header.

    A control that never sees an image stands where its scores put it, so that a model below it is seen to have a lower
    score. The controls of a model are below the model.

    Raises:
        ValueError: the table has scores and not all of their controls.
    """
    check_table(table)
    metrics, lines = table["metrics"], []
    ranks = table.get("ranks") or range(1, len(table["rows"]) + 1)  # a table of an earlier version has none
    models = [(best_first(table["task"], row), rank, row) for rank, row in zip(ranks, table["rows"], strict=True)]
    blind = [(best_first(table["task"], entry["metrics"]), entry) for entry in table.get("controls", [])]
    for key, place, row in models:
        lines += [control(entry, table) for other, entry in blind if other < key]
        blind = [(other, entry) for other, entry in blind if not other < key]
        lines.append(Line(str(place), row["model"], [number(row[name]) for name in metrics]))
        lines += [control(entry, table, of_model=True) for entry in row.get("controls", [])]
    return lines + [control(entry, table) for _, entry in blind]


def control(entry: Mapping[str, Any], table: Mapping[str, Any], of_model: bool = False) -> Line:
    title, *cells = control_line(entry, table["metrics"], table["samples"])
    return Line("", f"└ {title}" if of_model else title, cells)


def best_first(task: str, values: Mapping[str, float | None]) -> tuple:
    """Returns a key that sorts the best scores first by the metrics of a task; a missing value comes last."""
    key: list = []
    for name, larger_is_better in HEADLINE[task].items():
        value = values.get(name)
        # False sorts before True, so missing values come last; a negated value sorts in descending order.
        key += [value is None, 0 if value is None else -value if larger_is_better else value]
    return tuple(key)


def check_table(table: Mapping[str, Any]) -> None:
    """Raises ValueError if a table has scores and not all of their controls."""
    if not needs_controls(table["task"], table["metrics"]):
        return
    shared = table.get("controls") or []
    for row in table["rows"]:
        metrics = {name: row[name] for name in table["metrics"] if row.get(name) is not None}
        facts = {"dataset": table["dataset"], "dataset_config": "", "dataset_split": table["split"], "versions": {}}
        result = EvaluationResult(
            model=row["model"], task=table["task"], samples=table["samples"], metrics=metrics,
            controls=[*shared, *row.get("controls", [])], **facts,
        )  # fmt: skip
        check_controls(result)
