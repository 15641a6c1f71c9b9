"""Reads a file as tables of reports: CSV, TSV, text, JSON, JSONL, Excel, or the `{"annotations": [...]}` of XrayGLM.

A table must have a column for the image, or a key of its DICOM header, and one for the text; see `columns.py`. Of
several columns that may name the image, the first that names files of the folder is used.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

from hub_datasets.errors import BuildError
from hub_datasets.records import ColumnNames, Problem
from hub_datasets.sources.reports.columns import EXPECTED, NAME_THEM, Roles, listed, prefer, roles_of
from hub_datasets.sources.reports.formats.csv_rows import CsvTable, NotReports, Row, lacking
from hub_datasets.sources.reports.formats.excel_rows import SUFFIXES as EXCEL
from hub_datasets.sources.reports.formats.excel_rows import read_sheets
from hub_datasets.sources.reports.formats.json_rows import read_json_lines, read_json_rows
from hub_datasets.sources.reports.image_names import Images
from hub_datasets.sources.text_encoding import decode_table

TEXT_TABLES = (".csv", ".tsv", ".txt", ".tab", ".psv")
SUFFIXES = (*TEXT_TABLES, ".json", ".jsonl", ".ndjson", *EXCEL)
SAMPLE = 30  # rows that decide which of several columns names the image
BASE64 = re.compile(r"(?:data:image/[\w.+-]+;base64,)?(?:iVBORw0KGgo|/9j/|R0lGOD|Qk[0-9A-Za-z]{2}|UklGR|SUkq|TU0AK)"
                    r"[A-Za-z0-9+/=\s]{60}|data:image/")  # fmt: skip
FEW_KEYS = 200  # columns of a JSON table that are listed in the report


@dataclass(slots=True)
class Table:
    """A table of reports.

    Attributes:
        name: the file, and the sheet if it has several.
        rows: yields the position of each row, and its cells by column or what is wrong with it; read lazily.
        header: the columns; of JSON those of its first rows.
        names: the columns that the user has named.
        first: the column of the image that the files speak for; empty if that is the preferred one of each row.
        by_key: whether the rows are joined with the headers of DICOM files.
        numbered: whether image ids are `<study>_<number>`, as in the annotations of XrayGLM.
        encoding: of a text, if it is not UTF-8.
        repaired: returns the number of rows that were recovered, by kind, in the last complete reading.
    """

    name: str
    rows: Callable[[], Iterator[Row]]
    header: list[str]
    names: ColumnNames = field(default_factory=ColumnNames)
    first: str = ""
    by_key: bool = False
    numbered: bool = False
    encoding: str = ""
    repaired: Callable[[], dict[str, int]] = dict

    def roles(self, row: dict[str, Any] | None = None) -> Roles:
        """Returns what the columns of the table, or of one row, are."""
        header = tuple(self.header if row is None else row)
        found = roles_of(header, self.names)
        return prefer(found, self.first) if self.first in header else found


def read_tables(name: str, path: str, data: bytes, names: ColumnNames, images: Images) -> list[Table | NotReports]:
    """Reads the bytes of a file according to the suffix of its name; one table, or one per sheet of a workbook.

    Args:
        name: how messages name the file.
        path: the file below its folder, from which images are searched.

    Raises BuildError if it cannot be decoded or parsed, and NotReports if no row has the columns.
    """
    suffix = posixpath.splitext(path)[1].lower()
    if suffix in EXCEL:
        tables = [
            sheet if isinstance(sheet, NotReports)
            else Table(sheet.name, sheet.rows, sheet.header, names)
            for sheet in read_sheets(name, data, names)
        ]  # fmt: skip
    else:
        text, encoding = decode_table(data, name)
        tables = [read_text_table(name, path, text, names, images, "" if encoding == "UTF-8" else encoding)]
    for table in tables:
        if isinstance(table, Table):
            choose_image(table, path, images)
    return tables


def read_text_table(name: str, path: str, text: str, names: ColumnNames, images: Images, encoding: str) -> Table:
    """Reads a table of text: JSON, lines of JSON, or cells with delimiters. Raises NotReports if it is none."""
    suffix = posixpath.splitext(path)[1].lower()
    if suffix in TEXT_TABLES:

        def is_image(column: str, cell: str) -> bool:
            keywords = [keyword for keyword, name in found.roles.keys if name == column]
            keyed = any(not isinstance(images.find_key(keyword, cell), Problem) for keyword in keywords)
            return keyed or any(images.has(one, path) for one in split_paths(cell))

        found = CsvTable(name, text, names, is_image)
        return Table(name, found.rows, found.header, names, encoding=encoding, repaired=lambda: found.repaired)
    rows, numbered = read_json_rows(name, text) if suffix == ".json" else (None, False)
    if rows is None:
        table = Table(name, lambda: read_json_lines(name, text), [], names, encoding=encoding)
    else:
        table = Table(name, lambda: iter(rows), [], names, numbered=numbered, encoding=encoding)
    table.header = json_header(table)
    return table


def json_header(table: Table) -> list[str]:
    """Returns the columns of the first rows. Raises NotReports if there are rows and none has those of a table."""
    header: dict[str, None] = {}
    first, fitting = None, 0
    for item, row in table.rows():
        first = first or (item, row)
        if isinstance(row, dict) and len(header) < FEW_KEYS:
            header |= dict.fromkeys(row)
        if isinstance(row, dict) and roles_of(tuple(row), table.names).is_table():
            fitting += 1
            if fitting == SAMPLE:
                break
    if first is not None and not fitting:
        item, row = first
        named = lacking(roles_of(tuple(header), table.names), table.names) if table.names.given() else ""
        found = row.message if isinstance(row, Problem) else f"its columns are: {listed(row)}"
        expected = named or f"no row has {EXPECTED}"
        where = item.removeprefix(table.name).strip()
        raise NotReports(f"{table.name}: {expected}; {NAME_THEM}; {where}: {found}")
    return list(header)


def choose_image(table: Table, path: str, images: Images) -> None:
    """Chooses the column of the image by the files: the first whose cells name files of the folder.

    If none does, but a column holds keys of DICOM headers, the rows are joined by them. Raises BuildError for images as
    text in the cells.
    """
    rows = [row for _, row in islice(table.rows(), SAMPLE) if isinstance(row, dict)]
    roles = table.roles()
    refuse_base64(table, roles, rows)
    found = {}
    for name in roles.image:
        paths = [one for row in rows for one in split_paths(row.get(name))]
        found[name] = sum(images.has(one, path) for one in paths)
        if paths and not found[name]:
            images.learn(paths, path)
            found[name] = sum(images.has(one, path) for one in paths)
    best = next((name for name in roles.image if found[name]), "")
    table.by_key = not best and bool(roles.keys) and bool(images.keys())
    if not roles.image and not table.by_key:
        best = column_of_files([column for _, column in roles.keys], rows, path, images)
    table.first = best if (best,) != roles.image[:1] else ""


def column_of_files(columns: list[str], rows: list[dict[str, Any]], path: str, images: Images) -> str:
    """Returns the only one of some columns of identifiers whose cells nearly all name files; empty if none does."""
    found = []
    for name in columns:
        cells = [str(row[name]) for row in rows if isinstance(row.get(name), (str, int)) and str(row[name]).strip()]
        if cells and sum(images.has(cell, path) for cell in cells) >= 0.8 * len(cells):
            found.append(name)
    return found[0] if len(found) == 1 else ""


def refuse_base64(table: Table, roles: Roles, rows: list[dict[str, Any]]) -> None:
    """Raises BuildError if the first cell of the image holds the bytes of a picture as text."""
    for name in roles.image[:1]:
        cell = next((row[name] for row in rows if row.get(name)), None)
        cell = cell.get("bytes") if isinstance(cell, dict) else cell
        if isinstance(cell, str) and BASE64.match(cell.lstrip()):
            message = "holds images as base64 text; write them to files, and their names into this column"
            raise BuildError(f"{table.name}: the column {name!r} {message}")


QUOTED = re.compile(r"\s*(?:\"((?:[^\"\\]|\\.)*)\"|'((?:[^'\\]|\\.)*)'|([^\s,'\"\[\]()]+))\s*,?")
SEPARATOR = re.compile(r"[;|\n]")
MAX_LIST = 100_000  # characters of a cell


def split_paths(value: Any) -> list[str]:
    """Returns the paths in a cell that may be all of several: of a list, or between `;`, `|`, commas or line ends."""
    if isinstance(value, (list, tuple)):
        return [path for one in value for path in split_paths(one)]
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return [str(value)]
    if not isinstance(value, str) or len(value) > MAX_LIST:
        return []
    listed_paths = parse_list(value)
    if listed_paths is not None:
        return listed_paths
    return [value] if value.strip() else []


def parse_list(text: str) -> list[str] | None:
    """Returns the items of a list in the notation of Python or JSON, `['a.png', "b.png"]`; None if it is not one."""
    text = text.strip()
    if len(text) > MAX_LIST or (text[:1], text[-1:]) not in (("[", "]"), ("(", ")")):
        return None
    items, place, inside = [], 0, text[1:-1].rstrip()
    while place < len(inside):
        found = QUOTED.match(inside, place)
        if found is None or found.end() == place:
            return None
        item = next(part for part in found.groups() if part is not None)
        items.append(re.sub(r"\\(.)", r"\1", item))
        place = found.end()
    return items
