"""What several sources need to read their files: text with a clear error, JSON, CSV lines, junk files."""

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
csv.field_size_limit(2**31 - 1)  # a text that is too long is rejected by name; it does not break the whole file


def is_junk(path: Path) -> bool:
    """True for files an operating system wrote beside the data (`Thumbs.db`, `.DS_Store`, `._name`)."""
    return path.name.lower() in JUNK_NAMES or path.name.startswith("._") or "__MACOSX" in path.parts


def printable(name: str) -> str:
    """The name of a file as text that can be written as UTF-8, whatever bytes it is made of."""
    return name.encode(errors="backslashreplace").decode()


def read_text(path: Path) -> str:
    """The file's text, UTF-8 with or without a byte order mark. Raises BuildError if it is not UTF-8."""
    try:
        return path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise BuildError(f"{path}: not UTF-8 (byte {error.start}); save the file as UTF-8 and run again") from None


def read_json_array(path: Path) -> list[Any]:
    """The elements of a JSON array. Raises BuildError where the file is cut off, is no JSON, or holds no array."""
    text = read_text(path)
    try:
        rows = json.loads(text)
    except (ValueError, RecursionError) as error:  # ValueError also for an integer of thousands of digits
        cut_off = text.strip().startswith("[") and not text.rstrip().endswith("]")
        if isinstance(error, json.JSONDecodeError):
            cut_off = cut_off or error.pos >= len(text.rstrip()) or "Unterminated" in error.msg
        what = "the file is cut off" if cut_off else "not valid JSON"
        raise BuildError(f"{path}: {what} ({error}); download or export it again") from None
    if not isinstance(rows, list):
        raise BuildError(f"{path}: expected a JSON array of rows, found {type(rows).__name__}")
    return rows


def read_csv_rows(path: Path, required: tuple[str, ...]) -> Iterator[tuple[int, dict[str, str] | None]]:
    """Yields (line number, row) of a CSV file with a header; the row is None where its number of cells is wrong.

    Raises BuildError where a required column is missing or a column occurs twice, and where a quoted cell has no end
    or goes on behind it: the rows that it swallowed cannot be told from its text.
    """
    reader = csv.reader(io.StringIO(read_text(path), newline=""), strict=True)
    try:
        header = next(reader, [])
        if missing := [name for name in required if name not in header]:
            found = " ".join(", ".join(header).split())[:500] or "nothing"
            raise BuildError(f"{path}: no column {', '.join(missing)}; the columns found are: {found}")
        if twice := sorted({name for name in header if header.count(name) > 1}):
            raise BuildError(f"{path}: the column {', '.join(map(repr, twice))} occurs more than once")
        for cells in reader:
            if cells:  # a blank line between rows is no row
                row = dict(zip(header, cells, strict=True)) if len(cells) == len(header) else None
                yield reader.line_num, row
    except csv.Error as error:
        raise BuildError(f"{path} line {reader.line_num}: not valid CSV ({error})") from None
