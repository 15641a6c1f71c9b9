"""Reads which rows belong to one patient, scan or image: intervals draw these together."""

from __future__ import annotations

import re
from typing import Any

# The first of these columns that a dataset has says which rows stay together: those of a patient or a scan.
GROUP_COLUMNS = ("group_id", "patient", "image_path")
POSITION = re.compile(r"(.*:)?row \d+", re.DOTALL)  # of a row or image without a name, which differs between splits


def read_groups(rows: Any) -> list[str]:
    """Returns the patient or scan that each row belongs to, which intervals draw together.

    A row that names neither patient nor image is in a group of its own.
    """
    sources = column(rows, "source_dataset")
    # Groups go across sources, but two sources can have a patient 7 each.
    columns = [
        [
            f"{source}:{value}" if value and name != GROUP_COLUMNS[0] else value
            for source, value in zip(sources, column(rows, name), strict=True)
        ]
        for name in GROUP_COLUMNS
        if name in rows.column_names
    ]
    return [next(filter(None, names), f"row {row}") for row, *names in zip(range(len(rows)), *columns, strict=True)]


def named_groups(groups: list[str]) -> set[str]:
    """Returns the groups that have a name, which is the same in another split."""
    return {group for group in groups if not POSITION.fullmatch(group)}


def column(rows: Any, name: str) -> list[str]:
    """Returns a column as texts; "" where it is null or missing."""
    if name not in rows.column_names:
        return [""] * len(rows)
    return ["" if value is None else str(value) for value in rows[name]]
