"""Reads the sheets of an Excel workbook (.xlsx, .xlsm) as tables, with the values that Excel showed last.

A workbook is a zip file of XML. Before openpyxl reads it, its members are checked as those of any zip file of a source:
their unpacked size, their compression ratio, and that none declares a document type, of which a few lines can expand to
gigabytes.
"""

from __future__ import annotations

import datetime
import io
import warnings
import zipfile
from collections.abc import Iterator
from itertools import islice
from typing import Any

from hub_datasets.errors import BuildError, one_line
from hub_datasets.filesystem.zip_archive import MAX_RATIO, RATIO_BYTES
from hub_datasets.records import ColumnNames, Problem, Reason
from hub_datasets.sources.reports.columns import listed, roles_of
from hub_datasets.sources.reports.formats.csv_rows import NotReports, Row, lacking, named_columns

SUFFIXES = (".xlsx", ".xlsm")
MAX_UNPACKED = 512 * 1024 * 1024
MAX_COLUMNS = 1000
HEADER_ROWS = 20  # a title or a note may stand above the header
MAX_EMPTY = 10_000  # rows; a cell at the end of a sheet makes a million empty ones
CHUNK = 1024 * 1024
DOCTYPES = (b"<!DOCTYPE", "<!DOCTYPE".encode("utf-16-le"), "<!DOCTYPE".encode("utf-16-be"))


class Sheet:
    """The rows of one sheet.

    Attributes:
        name: the file, and the sheet if there are several.
        header: the names of the columns.
        roles: what they are.
    """

    def __init__(self, data: bytes, name: str, title: str, place: int, header: list[str], names: ColumnNames):
        self.name, self.header, self.roles = name, header, roles_of(tuple(header), names)
        self.repaired: dict[str, int] = {}
        self._data, self._title, self._place = data, title, place

    def rows(self) -> Iterator[Row]:
        """Yields a row for each line below the header with a cell that is not empty."""
        empty = 0
        with opened(self.name, self._data) as book:
            for number, cells in enumerate(cells_of(book[self._title]), 1):
                if number <= self._place:
                    continue
                empty = 0 if any(cells) else empty + 1
                if empty > MAX_EMPTY:
                    return
                if not empty:
                    yield f"{self.name} line {number}", self._row(cells)

    def _row(self, cells: list[str]) -> dict[str, Any] | Problem:
        surplus = [cell for cell in cells[len(self.header) :] if cell]
        if surplus:
            return Problem(Reason.MALFORMED_ROW, f"a cell beside the header's {len(self.header)} columns")
        return dict(zip(self.header, [*cells, *[""] * len(self.header)], strict=False))


def read_sheets(name: str, data: bytes, names: ColumnNames) -> list[Sheet | NotReports]:
    """Returns the sheets of a workbook: tables of reports, and for each other one why it is none.

    Raises BuildError if the file is damaged, protected by a password, or could expand without limit.
    """
    check_members(name, data)
    with opened(name, data) as book:
        titles = [sheet.title for sheet in book.worksheets]
        return [
            read_sheet(name if len(titles) == 1 else f"{name} sheet {title!r}", data, title, book[title], names)
            for title in titles
        ]


def read_sheet(name: str, data: bytes, title: str, sheet: Any, names: ColumnNames) -> Sheet | NotReports:
    """Returns a sheet whose header is among its first rows, or why it is not a table of reports."""
    widest: list[str] = []
    for place, cells in enumerate(islice(cells_of(sheet), HEADER_ROWS), 1):
        while cells and not cells[-1]:
            cells.pop()
        if roles_of(tuple(cells), names).is_table():
            return Sheet(data, name, title, place, named_columns(name, cells, names), names)
        widest = max(widest, cells, key=lambda row: sum(map(bool, row)))
    found = listed([cell for cell in widest if cell]) if any(widest) else "nothing"
    return NotReports(f"{name}: {lacking(roles_of(tuple(widest), names), names)}; the columns found are: {found}")


def opened(name: str, data: bytes) -> Any:
    """Returns the workbook, a context manager."""
    import contextlib

    from openpyxl import load_workbook

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # openpyxl tells of every style that it does not know
            book = load_workbook(io.BytesIO(data), read_only=True, data_only=True, keep_links=False)
    except Exception as error:  # on broken data anything that Python can raise
        raise damaged(name, error) from None
    return contextlib.closing(Book(name, book))


class Book:
    """A workbook whose errors on damaged data are of one kind."""

    def __init__(self, name: str, book: Any):
        self.name, self._book = name, book
        self.worksheets = book.worksheets

    def __getitem__(self, title: str) -> tuple[str, Any]:
        return self.name, self._book[title]

    def close(self) -> None:
        self._book.close()


def cells_of(named: tuple[str, Any]) -> Iterator[list[str]]:
    """Yields the cells of each row as text. Raises BuildError where the sheet is damaged."""
    name, sheet = named
    try:
        sheet.reset_dimensions()  # those that the file declares need not be true
        for row in sheet.iter_rows(max_col=MAX_COLUMNS, values_only=True):
            yield [shown(value) for value in row]
    except Exception as error:  # as above
        raise damaged(name, error) from None


def shown(value: Any) -> str:
    """Returns a cell's value as text: whole numbers without `.0`, dates as ISO 8601."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float) and value.is_integer() and abs(value) < 2**53:
        return str(int(value))
    if isinstance(value, datetime.datetime) and value.time() == datetime.time():
        return value.date().isoformat()
    return value.isoformat() if isinstance(value, (datetime.date, datetime.time)) else str(value).strip()


def check_members(name: str, data: bytes) -> None:
    """Raises BuildError for a workbook that is not one, or that could expand without limit."""
    if data.startswith(b"\xd0\xcf\x11\xe0"):  # also how Excel stores a workbook with a password
        raise BuildError(f"{name}: a workbook of an old Excel, or with a password; save it as .xlsx without a password")
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            for info in archive.infolist():
                ratio = info.file_size // max(1, info.compress_size)
                if info.file_size > RATIO_BYTES and ratio > MAX_RATIO:
                    message = f"compression ratio {ratio:,}:1 exceeds the limit of {MAX_RATIO}:1 (possible zip bomb)"
                    raise BuildError(f"{name}: {message}; save it as CSV")
            if (size := sum(info.file_size for info in archive.infolist())) > MAX_UNPACKED:
                raise BuildError(f"{name}: {size:,} bytes unpacked, the limit is {MAX_UNPACKED:,}; save it as CSV")
            for info in archive.infolist():
                if info.filename.lower().endswith((".xml", ".rels", ".vml")) and declares_type(archive, info):
                    message = f"{info.filename[:100]!r} has a <!DOCTYPE>, which may expand without limit"
                    raise BuildError(f"{name}: {message}; save it with Excel again")
    except BuildError:
        raise
    except Exception as error:  # on broken data the parser raises a dozen types
        raise damaged(name, error) from None


def declares_type(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> bool:
    """Returns whether a member of XML declares a document type, in any place."""
    before = b""
    with archive.open(info) as member:
        while chunk := member.read(CHUNK):
            if any(mark in before + chunk for mark in DOCTYPES):
                return True
            before = chunk[-20:]
    return False


def damaged(name: str, error: Exception) -> BuildError:
    return BuildError(f"{name}: not a readable workbook ({one_line(error)}); save it with Excel again, or as CSV")
