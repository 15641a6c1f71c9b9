"""Lays out the scores of retrieval within each source and language, as on the model card."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from model_cards.controls import with_interval
from model_cards.rendering import number

FEWEST_ROWS = 30  # a score of fewer rows says nothing, and is not shown
TOO_FEW = "too few to say"
COLUMNS = {"source_dataset": "source", "language": "language"}
# The median ranks are of one direction each: images rank texts, texts rank images.
MEDIANS = {"image_to_text_median_rank": "median rank of texts", "text_to_image_median_rank": "of images"}
SHOWN = {"recall_at_5": "R@5", "map": "mAP", "finding_recall_at_1": "R@1 by finding"}


def retrieval_parts_table(parts: Mapping[str, Mapping[str, Any]]) -> list[list[str]]:
    """Returns the table of scores within each source and language; no lines if there are no parts.

    A score has its interval and, behind a slash, its chance level, because the candidates differ from part to part.

    Args:
        parts: see `EvaluationResult.parts`.
    """
    lines = []
    for column, title in COLUMNS.items():
        for value, part in parts.get(column, {}).items():
            lines.append([f"{title}: {value}", number(part["samples"]), *cells_of(part)])
    return [["within one part", "rows", *SHOWN.values(), *MEDIANS.values()], *lines] if lines else []


def cells_of(part: Mapping[str, Any]) -> list[str]:
    """Returns a cell per column."""
    if part["samples"] < FEWEST_ROWS:
        return [TOO_FEW] * (len(SHOWN) + len(MEDIANS))
    metrics, intervals, cells = part["metrics"], part.get("intervals", {}), []
    for name in (*SHOWN, *MEDIANS):
        shown = with_interval(metrics[name], intervals.get(name)) if name in metrics else number(None)
        cells.append(f"{shown} / {number(metrics.get('chance_' + name))}" if name in metrics else shown)
    return cells
