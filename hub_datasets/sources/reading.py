"""What several sources need to read their files: text with a clear error, JSON arrays, CSV lines, junk files."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from hub_datasets.schema import BuildError

# Files that operating systems leave in every folder they show; they belong to no data set.
JUNK_NAMES = {"thumbs.db", "desktop.ini", ".ds_store"}


def is_junk(path: Path) -> bool:
    """True for files an operating system wrote beside the data (`Thumbs.db`, `.DS_Store`, `._name`)."""
    return path.name.lower() in JUNK_NAMES or path.name.startswith("._") or "__MACOSX" in path.parts


def read_text(path: Path) -> str:
    """The file's text, UTF-8 with or without a byte order mark. Raises BuildError if it is not UTF-8."""
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise BuildError(f"{path}: not UTF-8 (byte {error.start}); save the file as UTF-8 and run again") from None


def read_json_array(path: Path) -> list[Any]:
    """The elements of a JSON array. Raises BuildError where the file is cut off, is no JSON, or holds no array."""
    text = read_text(path)
    try:
        rows = json.loads(text)
    except json.JSONDecodeError as error:
        cut_off = error.pos >= len(text.rstrip()) - 1 or "Unterminated" in error.msg
        what = "the file is cut off" if cut_off else "not valid JSON"
        raise BuildError(
            f"{path}: {what} (line {error.lineno}, column {error.colno}: {error.msg}); download or export it again"
        ) from None
    if not isinstance(rows, list):
        raise BuildError(f"{path}: expected a JSON array of rows, found {type(rows).__name__}")
    return rows


def read_csv_rows(path: Path, required: tuple[str, ...]) -> Iterator[tuple[int, dict[str, str] | None]]:
    """Yields (line number, row) of a CSV file with a header; the row is None where its number of cells is wrong.

    Raises BuildError where a required column is missing.
    """
    reader = csv.reader(io.StringIO(read_text(path), newline=""))
    header = next(reader, [])
    missing = [name for name in required if name not in header]
    if missing:
        found = ", ".join(header) or "nothing"
        raise BuildError(f"{path}: no column {', '.join(missing)}; the columns found are: {found}")
    try:
        for cells in reader:
            if cells:  # a blank line between rows is no row
                row = dict(zip(header, cells, strict=True)) if len(cells) == len(header) else None
                yield reader.line_num, row
    except csv.Error as error:
        raise BuildError(f"{path} line {reader.line_num}: not valid CSV ({error})") from None
