"""Makes the tables of the dataset card that compare splits: classes, subgroups, and the bytes of each config."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

FEW = 30  # rows; a score on fewer says little about a subgroup
KINDS = {"sex": "sex", "age": "age in years", "skin_type": "Fitzpatrick skin type", "body_part": "body part"}

Counts = Mapping[str, int]  # rows by split


def class_tables(report: Mapping[str, Any]) -> dict[str, dict[str, Counts]]:
    """Returns the rows of each class by source, class and split, in the order of the column `label`."""
    labels = report["rows_by"].get("pairs", {}).get("label", {})
    tables: dict[str, dict[str, Counts]] = {}
    for name in [*report["classes"], *labels]:
        source, _, label = name.partition("/")
        tables.setdefault(source, {})[label] = labels.get(name, {})
    return {source: table for source, table in tables.items() if any(table.values())}


def share(counts: Mapping[str, Counts], name: str, split: str) -> str:
    """Returns the share of a class in a split, as `12.3%`; a dash if the split has no labels."""
    whole = sum(by_split.get(split, 0) for by_split in counts.values())
    return f"{counts[name].get(split, 0) / whole:.1%}" if whole else "–"


def class_picture(source: str) -> str:
    """Returns the name of the picture of a source's classes."""
    return f"classes-{re.sub('[^A-Za-z0-9_]', '_', source)}.png"


def subgroup_rows(report: Mapping[str, Any]) -> list[tuple[str, str, str, Counts]]:
    """Returns (source, kind, value, rows by split) of all subgroups."""
    return [
        (source, KINDS.get(kind, kind), value, counts)
        for source, kinds in report["subgroups"].items()
        for kind, values in kinds.items()
        for value, counts in values.items()
    ]


def is_too_few(split: str, rows: int) -> bool:
    """Returns whether a subgroup has too few held-out rows to be tested on a split."""
    return split != "train" and rows < FEW


def bibtex_of(report: Mapping[str, Any]) -> str:
    """Returns the BibTeX entries of all sources that have any and are not synthetic as a whole."""
    entries = [source.get("bibtex", "") for source in report["sources"].values()]
    return "\n\n".join(entry.strip() for entry in entries if entry.strip())
