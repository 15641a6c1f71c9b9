"""Reads CSV tables whose rows have no report: questions with answers, ROCO's captions, and labels of images."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from typing import Any

from hub_datasets.errors import BuildError, printable
from hub_datasets.filesystem.source_folder import Folder, FolderError
from hub_datasets.records import Problem, RawRecord, Reason, Rejection
from hub_datasets.sources.file_readers import MAX_TABLE_BYTES
from hub_datasets.sources.known_sets import skin_lesions
from hub_datasets.sources.known_sets.columns import Columns, columns_of
from hub_datasets.sources.known_sets.contents import Content, make_records
from hub_datasets.sources.known_sets.finder import Finder
from hub_datasets.sources.known_sets.split_names import split_of_path
from hub_datasets.sources.reports.rows import NAME
from hub_datasets.sources.text_encoding import BROKEN, decode_lines
from hub_datasets.texts.patient_ids import fold

SUFFIXES = (".csv", ".tsv")
DELIMITERS = ",;\t"
ROCO_HEADERS = ({"id", "name", "caption"}, {"id", "caption"})
MANY_LABELS = "|"  # between the labels of an image, as in NIH's ChestX-ray14


def header_of(head: bytes) -> tuple[list[str], str]:
    """Returns the columns of a table and its delimiter, from its first bytes; no columns if it is not UTF-8."""
    try:
        text = head.decode("utf-8-sig", "strict" if len(head) < 1024 else "ignore")
    except UnicodeDecodeError:
        return [], ","
    line = text.split("\n", 1)[0].rstrip("\r")
    delimiter = max(DELIMITERS, key=line.count)
    try:
        cells = next(csv.reader([line], delimiter=delimiter), [])
    except csv.Error:
        return [], ","
    return [cell.strip() for cell in cells], delimiter


def kind_of(header: list[str]) -> str:
    """Returns what a table of these columns is: `roco`, `skin`, `question`, `label`; empty for any other."""
    names = {fold(cell) for cell in header}
    if names in ROCO_HEADERS:
        return "roco"
    if skin_lesions.is_known(header):
        return "skin"
    columns = columns_of(header)
    if not columns.image:
        return ""
    if columns.kind == "question":
        return "question"
    return "label" if columns.kind == "label" else ""


def read_table(folder: Folder, name: str, kind: str, finder: Finder) -> Iterator[RawRecord | Rejection]:
    """Yields the records of a table. Raises BuildError if it cannot be read."""
    place = folder.named(name)
    try:
        text = decode_lines(folder.read(name, MAX_TABLE_BYTES), place)
    except FolderError as error:
        raise BuildError(f"{folder.named()}: {error.message}") from None
    header, delimiter = header_of(text[:65536].encode("utf-8", "surrogatepass"))
    split = split_of_path(name)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
    columns = columns_of(header)
    if kind == "roco":
        columns = Columns(texts=(("", next(cell for cell in header if fold(cell) == "caption")),), image=header[0])
    try:
        next(reader, None)
        for cells in reader:
            if any(cell.strip() for cell in cells):
                item = f"{printable(name)} line {reader.line_num}"
                yield from row_records(item, header, cells, columns, kind, finder, name, split)
    except csv.Error as error:
        raise BuildError(f"{place} line {reader.line_num}: not valid CSV ({error}); export it again") from None


def row_records(
    item: str,
    header: list[str],
    cells: list[str],
    columns: Columns,
    kind: str,
    finder: Finder,
    name: str,
    split: str,
) -> Iterator[RawRecord | Rejection]:
    """Yields the records of a row."""
    problem = None
    if len(cells) != len(header):
        problem = Problem(Reason.MALFORMED_ROW, f"{len(cells)} cells; the header has {len(header)}")
    elif BROKEN.search("".join(cells)):
        problem = Problem(Reason.TEXT_ENCODING, "a byte does not belong to the file's encoding")
    if problem:
        yield Rejection(NAME, item, problem.code, problem.message)
        return
    row: dict[str, Any] = dict(zip(header, cells, strict=True))
    if kind == "skin":
        yield from skin_lesions.row_records(item, row, name, split, finder)
        return
    path = row.get(columns.image, "")
    if not path.strip():
        yield Rejection(NAME, item, Reason.MALFORMED_ROW, f"the column {columns.image} is empty")
        return
    if kind == "label" and MANY_LABELS in row[columns.label]:
        row = row | {columns.label: row[columns.label].split(MANY_LABELS)}
    if kind == "roco" and "name" in row and not finder.has(path):  # the file's name stands beside the ID
        path = row["name"] or path
    yield from make_records(Content(item, row, [finder.find(path, name)], split), columns)
