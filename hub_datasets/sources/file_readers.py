"""Reads the text, JSON and CSV files of sources with a clear error for each fault, and recognizes junk files."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator
from typing import Any

from hub_datasets.errors import BuildError, printable
from hub_datasets.filesystem.source_folder import Folder, FolderError
from hub_datasets.records import Ignored

MAX_TABLE_BYTES = 1024**3  # a table is held in memory
MANY = 20  # more files than this that are passed over for one reason are counted
# Files that operating systems leave in every folder they show; they belong to no data set.
JUNK_NAMES = {"thumbs.db", "desktop.ini", ".ds_store"}
csv.field_size_limit(2**31 - 1)  # a text that is too long is rejected by name; it does not break the whole file


def is_junk(name: str) -> bool:
    """Returns whether an operating system wrote the file (`Thumbs.db`, `.DS_Store`, `._name`)."""
    *folders, base = name.split("/")
    return base.lower() in JUNK_NAMES or base.startswith("._") or "__MACOSX" in folders


def passed_over(source: str, names: list[str], why: str, many: int = MANY) -> Iterator[Ignored]:
    """Returns an Ignored for each name or, for more than `many` of them, one with their number."""
    if len(names) > many:
        yield Ignored(source, f"{printable(names[0])} and {len(names) - 1:,} more", why)
    else:
        yield from (Ignored(source, printable(name), why) for name in names)


def passed_over_by_default(source: str, folder: Folder) -> Iterator[Ignored]:
    """Yields what no source reads: links to folders, and junk files of operating systems."""
    yield from passed_over(source, list(folder.linked_folders()), folder.why_not_followed())
    junk = [file.name for file in folder.files() if is_junk(file.name)]
    yield from passed_over(source, junk, "junk file of the operating system")


def find_files(folder: Folder, base: str) -> list[str]:
    """Returns the names of the files called `base` in any folder, ignoring case, the least nested first."""
    found = [file.name for file in folder.files() if file.name.rpartition("/")[2].lower() == base.lower()]
    return sorted((name for name in found if not is_junk(name)), key=lambda name: (name.count("/"), name))


class ImageIndex:
    """Finds files by the last parts of their names in any folder, ignoring case."""

    def __init__(self, folder: Folder, parts: int):
        """Indexes all files of a folder.

        Args:
            parts: how many parts of a name are given: 1 for `PAT_1.png`, 2 for `xmlab1/source.jpg`.
        """
        self._folder, self._parts = folder, parts
        self._names: dict[str, list[str]] = {}
        self._found: dict[str, list[str]] = {}
        for file in folder.files():
            if not is_junk(file.name):
                self._names.setdefault(self._end(file.name).lower(), []).append(file.name)

    def _end(self, name: str) -> str:
        return "/".join(name.split("/")[-self._parts :])

    def find(self, end: str) -> list[str]:
        """Returns the files whose names end like this, one per content: none, one, or several that differ.

        Of files with the same content the least nested is returned. A name in the same case as `end` is preferred.
        """
        if end not in self._found:
            names = self._names.get(end.lower(), [])
            names = [name for name in names if self._end(name) == end] or names
            names = sorted(names, key=lambda name: (name.count("/"), name))
            self._found[end] = names[:1] + [name for name in names[1:] if not self._same(names[0], name)]
        return self._found[end]

    def _same(self, one: str, other: str) -> bool:
        try:
            return self._folder.read(one) == self._folder.read(other)
        except FolderError:  # one of them is refused; they cannot be told to be the same
            return False


def read_table(folder: Folder, name: str) -> bytes:
    """Returns the bytes of a file that a source requires. Raises BuildError if it cannot be read."""
    try:
        return folder.read(name, MAX_TABLE_BYTES)
    except FolderError as error:
        raise BuildError(f"{folder.named(name)}: {error}") from None


def read_text(folder: Folder, name: str) -> str:
    """Returns a UTF-8 file's text without its byte order mark. Raises BuildError if it is not there or not UTF-8."""
    try:
        return read_table(folder, name).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise BuildError(
            f"{folder.named(name)}: not UTF-8 (byte {error.start}); save the file as UTF-8 and run again"
        ) from None


def read_json_array(folder: Folder, name: str) -> list[Any]:
    """Returns the elements of a JSON array. Raises BuildError if the file is truncated, not JSON, or not an array."""
    place = folder.named(name)
    text = read_text(folder, name)
    try:
        rows = json.loads(text)
    except (ValueError, RecursionError) as error:  # ValueError also for an integer of thousands of digits
        cut_off = text.strip().startswith("[") and not text.rstrip().endswith("]")
        if isinstance(error, json.JSONDecodeError):
            cut_off = cut_off or error.pos >= len(text.rstrip()) or "Unterminated" in error.msg
        what = "the file is truncated" if cut_off else "not valid JSON"
        raise BuildError(f"{place}: {what} ({error}); download or export it again") from None
    if not isinstance(rows, list):
        raise BuildError(f"{place}: expected a JSON array of rows, found {type(rows).__name__}")
    return rows


def read_csv_rows(folder: Folder, name: str, required: tuple[str, ...]) -> Iterator[tuple[int, dict[str, str] | None]]:
    """Yields (line number, row) of a CSV file with a header; the row is None if its number of cells is wrong.

    Raises BuildError if a required column is missing or a column occurs twice, and if a quoted cell is not closed or
        continues after its closing quote: the rows inside it cannot be distinguished from its text.
    """
    place = folder.named(name)
    reader = csv.reader(io.StringIO(read_text(folder, name), newline=""), strict=True)
    try:
        header = next(reader, [])
        if missing := [column for column in required if column not in header]:
            found = " ".join(", ".join(header).split())[:500] or "nothing"
            hint = "; save the table with commas as separators" if len(header) == 1 and ";" in header[0] else ""
            raise BuildError(f"{place}: no column {', '.join(missing)}; the columns found are: {found}{hint}")
        if twice := sorted({column for column in header if header.count(column) > 1}):
            raise BuildError(f"{place}: the column {', '.join(map(repr, twice))} occurs more than once")
        for cells in reader:
            if cells:  # blank lines between rows are skipped
                row = dict(zip(header, cells, strict=True)) if len(cells) == len(header) else None
                yield reader.line_num, row
    except csv.Error as error:
        raise BuildError(f"{place} line {reader.line_num}: not valid CSV ({error})") from None
