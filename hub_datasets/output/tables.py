"""Reports how the tables of reports were understood: what each column was taken for, and what was repaired."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from typing import Any

from hub_datasets.errors import printable
from hub_datasets.ingest.catalog import Catalog
from hub_datasets.ingest.ingest import Stage
from hub_datasets.records import TableNote

TABLES = 1000  # tables that the report describes for each source
TABLES_PRINTED, COLUMNS_PRINTED = 20, 12


def table_reports(stages: Sequence[Stage], is_shareable: Callable[[Stage], bool]) -> list[dict[str, Any]]:
    """Returns how the tables of a source were understood.

    Args:
        is_shareable: whether the names of a folder's files may be published; if not, each has a number instead.
    """
    found = []
    for stage in stages:
        catalog = Catalog(stage.catalog)
        for note in catalog.notes():
            name = stage.folder.labeled(note.item) if is_shareable(stage) else f"table {len(found) + 1}"
            found.append(asdict(note) | {"item": name})
        catalog.close()
    return found[:TABLES]


def table_lines(stages: Sequence[Stage]) -> Iterator[str]:
    """Yields a line for each table: what its columns were taken for, and what was repaired."""
    count = 0
    for stage in stages:
        catalog = Catalog(stage.catalog)
        for note in catalog.notes():
            if (count := count + 1) <= TABLES_PRINTED:
                yield f"{stage.source.name} {stage.folder.labeled(note.item)}: {table_line(note)}"
        catalog.close()
    if count > TABLES_PRINTED:
        yield f"... and {count - TABLES_PRINTED:,} more tables, see `tables` in report.json"


def table_line(note: TableNote) -> str:
    """Returns what the columns of a table were taken for, or why it was not read, on one line."""
    if note.passed_over:
        return printable(f"passed over: {note.passed_over}")
    parts = [f"{role} = {' + '.join(columns)}" for role, columns in note.columns.items()]
    kept = note.kept[:COLUMNS_PRINTED] + [f"{len(note.kept) - COLUMNS_PRINTED:,} more"] * (
        len(note.kept) > COLUMNS_PRINTED
    )
    line = ", ".join(parts) + (f"; without a role: {', '.join(kept)}" if kept else "")
    line += f"; read as {note.encoding}" if note.encoding else ""
    if note.repaired:
        line += "; repaired: " + ", ".join(f"{kind} {number:,}" for kind, number in note.repaired.items())
    return printable(line)
