"""Reads the rows of text tables with commas, semicolons, tabs or bars, and recovers rows with bad quotes.

Python's strict reader reads what is valid. Where it stops, at a quote inside a quoted cell or at one that is never
closed, the row is read again by itself: a quoted cell ends at a quote before a delimiter or the end of the line. And a
row with more cells than the header has a text with unquoted delimiters, if its other cells are in their places. Both
are done only if the row then names an image of the folder; otherwise that row alone is rejected.
"""

from __future__ import annotations

import csv
import re
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

from hub_datasets.errors import BuildError
from hub_datasets.records import ColumnNames, Problem, Reason
from hub_datasets.sources.reports.columns import NAME_THEM, Roles, listed, roles_of
from hub_datasets.sources.text_encoding import BROKEN, broken_byte
from hub_datasets.texts.repair import LOST, repair_encoding

Row = tuple[str, dict[str, Any] | Problem]
IsImage = Callable[[str, str], bool]  # of a column and a cell in it

DELIMITERS = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "bars"}
SEPARATOR_LINE = re.compile(r"\s*\"?sep=(.)\"?\r?\n", re.IGNORECASE)  # what Excel writes and reads above a header
BLANK_LINES = re.compile(r"(?:[ \t]*\r?\n)+")
LINE = re.compile(r"[^\r\n]*(?:\r\n?|\n)|[^\r\n]+\Z")
TITLE_LINES = 6  # a title or a note may stand above the header
MOST_LINES = 1000  # of one row; a quote that is never closed must not swallow the table
csv.field_size_limit(2**31 - 1)


class NotReports(BuildError):
    """Raised for a valid file that is not a table of reports."""


class CsvTable:
    """The rows of a table, which can be read several times.

    Attributes:
        header: the names of its columns.
        roles: what they are.
        repaired: number of rows that were recovered, by kind, in the last complete reading.
    """

    def __init__(self, name: str, text: str, names: ColumnNames, is_image: IsImage | None = None):
        """Reads the header. Raises NotReports if no delimiter gives it the columns of a table of reports."""
        self.name, self.is_image = name, is_image
        self.repaired: Counter[str] = Counter()
        self._text = text
        self._start = self._above = 0
        for above in (BLANK_LINES, SEPARATOR_LINE):
            if found := above.match(text, self._start):
                self._start, self._above = found.end(), self._above + found[0].count("\n")
        self._delimiter, title = delimiter(name, text, self._start, names)
        lines = Lines(text, self._start)
        for _ in range(title):
            next(lines)
        cells = first_row(lines, self._delimiter)
        self.header = named_columns(name, cells, names)
        self.roles = roles_of(tuple(self.header), names)
        self._body, self._above = lines.place, self._above + lines.count

    def rows(self) -> Iterator[Row]:
        """Yields a row for each line below the header with a cell that is not empty."""
        self.repaired.clear()
        lines = Lines(self._text, self._body)
        reader = csv.reader(lines, delimiter=self._delimiter, strict=True)
        while True:
            start, count = lines.place, lines.count
            try:
                cells = next(reader, None)
                if cells is None:
                    return
                broken = lines.count - count > MOST_LINES or (lines.count - count > 1 and self._swallows(start, lines))
            except csv.Error:
                broken = True
            if broken:
                lines.go_to(start, count)
                cells = self._recover(lines)
                reader = csv.reader(lines, delimiter=self._delimiter, strict=True)
            if any(cell.strip() for cell in cells):
                yield f"{self.name} line {lines.count + self._above}", self._row(cells, broken)

    def _swallows(self, start: int, lines: Lines) -> bool:
        """Returns whether a quoted cell holds the beginning of another row: its quote was meant as a character."""
        inner = LINE.findall(self._text[start : lines.place])[1:]
        return any(self._begins_row(line) for line in inner)

    def _begins_row(self, line: str) -> bool:
        cells = lenient_cells(line, self._delimiter)
        return len(cells) >= len(self.header) and self._names_image(cells)

    def _names_image(self, cells: list[str]) -> bool:
        columns = [*self.roles.image, *(column for _, column in self.roles.keys)]
        row = dict(zip(self.header, cells, strict=False))
        return bool(self.is_image) and any(self.is_image(name, row[name]) for name in columns if row.get(name))

    def _recover(self, lines: Lines) -> list[str]:
        """Returns the cells of the row that begins here: all lines up to the next one that begins a row."""
        row = next(lines, "")
        for _ in range(MOST_LINES):
            place, count = lines.place, lines.count
            line = next(lines, None)
            if line is None:
                break
            if not line.strip() or self._begins_row(line) or not self.is_image:
                lines.go_to(place, count)
                break
            row += line
        return lenient_cells(row, self._delimiter)

    def _row(self, cells: list[str], recovered: bool) -> dict[str, Any] | Problem:
        if BROKEN.search("".join(cells)):
            return undecoded("".join(cells))
        wanted = len(self.header)
        while len(cells) > wanted and not cells[-1].strip():  # delimiters at the end of the line
            cells = cells[:-1]
        if len(cells) == wanted:
            if recovered and not self._names_image(cells):
                return Problem(Reason.MALFORMED_ROW, "its quotes are not balanced; quote its cells as CSV does")
            self.repaired["quotes"] += recovered
            return dict(zip(self.header, cells, strict=True))
        if len(cells) > wanted and (joined := self._joined(cells)):
            self.repaired["delimiters_in_text"] += 1
            return dict(zip(self.header, joined, strict=True))
        return Problem(Reason.MALFORMED_ROW, f"{len(cells)} cells; the header has {wanted}")

    def _joined(self, cells: list[str]) -> list[str] | None:
        """Returns the cells with the surplus joined to the text, if there is one text and the image is in its place."""
        texts = [name for one in self.roles.texts for name in one.names()]
        if len(texts) != 1:
            return None
        place, after = self.header.index(texts[0]), len(self.header) - self.header.index(texts[0]) - 1
        end = len(cells) - after
        joined = [*cells[:place], self._delimiter.join(cells[place:end]), *cells[end:]]
        return joined if self._names_image(joined) else None


class Lines:
    """The lines of a text with their ends, from any place; an `io.StringIO` would use four bytes per character."""

    def __init__(self, text: str, place: int):
        self.text, self.place, self.count = text, place, 0

    def __iter__(self) -> Lines:
        return self

    def __next__(self) -> str:
        found = LINE.match(self.text, self.place)
        if found is None or not found[0]:
            raise StopIteration
        self.place, self.count = found.end(), self.count + 1
        return found[0]

    def go_to(self, place: int, count: int) -> None:
        self.place, self.count = place, count


def lenient_cells(text: str, delimiter: str) -> list[str]:
    """Returns the cells of one row whose quotes are not balanced or not doubled."""
    text = text.rstrip("\r\n")
    end_of_quoted = re.compile(rf'"(?=[ \t]*(?:{re.escape(delimiter)}|\Z))')
    cells, place = [], 0
    while True:
        start = place
        while start < len(text) and text[start] == " ":
            start += 1
        found = end_of_quoted.search(text, start + 1) if text[start : start + 1] == '"' else None
        if found:
            cells.append(text[start + 1 : found.start()].replace('""', '"'))
            place = text.find(delimiter, found.end())
        else:
            end = text.find(delimiter, place)
            cells.append(text[place:] if end < 0 else text[place:end])
            place = end
        if place < 0:
            return cells
        place += len(delimiter)


def delimiter(name: str, text: str, start: int, names: ColumnNames) -> tuple[str, int]:
    """Returns the delimiter with which the header has the required columns, and the number of lines above the header.

    Raises NotReports if there is none.
    """
    headers: dict[str, list[str]] = {}
    for title in range(TITLE_LINES):
        for character in DELIMITERS:
            lines = Lines(text, start)
            for _ in range(title):
                next(lines, None)
            cells = first_row(lines, character)
            if roles_of(tuple(map(column_name, cells)), names).is_table():
                return character, title
            headers.setdefault(character, cells)
    best = max(headers, key=lambda character: len(headers[character]))
    header = [cell.strip() for cell in headers[best]]
    found = f"{listed(header)} (at {DELIMITERS[best]})" if header else "nothing"
    raise NotReports(f"{name}: {lacking(roles_of(tuple(header), names), names)}; the columns found are: {found}")


def lacking(roles: Roles, names: ColumnNames) -> str:
    """Returns what a table of reports must have and these columns have not."""
    if roles.lacking:
        return "; ".join(f"no column {names.given()[flag]!r} ({flag})" for flag in roles.lacking)
    return f"no {' and no '.join(roles.missing())}; {NAME_THEM}"


def column_name(cell: str) -> str:
    """Returns the name in a cell of a header, also if it was read in a wrong encoding."""
    name = cell.replace("\0", "").strip()
    found = repair_encoding(name)
    return name if found.startswith(LOST) else found


def first_row(lines: Lines, delimiter: str) -> list[str]:
    """Returns the cells of the header."""
    place = lines.place
    try:
        return next(csv.reader(lines, delimiter=delimiter), [])
    except csv.Error:  # a carriage return in the middle of a cell
        lines.go_to(place, 0)
        return lenient_cells(next(lines, ""), delimiter)


def named_columns(name: str, cells: list[str], names: ColumnNames) -> list[str]:
    """Returns the names of the columns: `column 3` where there is none, `note (2)` for the second `note`.

    Raises BuildError if the image or the text has two columns of one name: which of them is meant cannot be known.
    """
    header = [column_name(cell) or f"column {number}" for number, cell in enumerate(cells, 1)]
    seen: dict[str, list[str]] = {}
    for column in header:
        seen.setdefault(column.casefold(), []).append(column)
    roles = roles_of(tuple(header), names)
    used = {one.casefold() for one in (*roles.image[:1], *(n for texts in roles.texts for n in texts.names()))}
    if twice := sorted(
        {column for same in seen.values() if len(same) > 1 for column in same if same[0].casefold() in used}
    ):
        raise BuildError(f"{name}: the column {', '.join(map(repr, twice))} occurs more than once")
    count: Counter[str] = Counter()
    for place, column in enumerate(header):
        count[column.casefold()] += 1
        if count[column.casefold()] > 1:
            header[place] = f"{column} ({count[column.casefold()]})"
    return header


def undecoded(text: str) -> Problem:
    """Returns the reason why a row with a broken byte is rejected."""
    return Problem(Reason.TEXT_ENCODING, f"the byte {broken_byte(text)} does not belong to the file's encoding")
