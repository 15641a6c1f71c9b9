"""Reads the rows of a table of reports: CSV, TSV, JSON, JSONL, or the `{"annotations": [...]}` of XrayGLM.

A table must have a column for the image and a column for the text. The recognized names are listed below; the first of
them that a row has is used. Names are compared without case and surrounding blanks.
"""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from hub_datasets.errors import BuildError
from hub_datasets.records import Problem, Reason
from hub_datasets.sources.text_encoding import BROKEN, broken_byte, decode_lines, decode_text

SUFFIXES = (".csv", ".tsv", ".json", ".jsonl")
IMAGE_COLUMNS = ("images", "image", "image_path", "file_name", "image_id")  # `images` and cells may name several
TEXT_COLUMNS = ("text", "report", "caption")
EXPECTED = (
    "a column for the image (images, image, image_path, file_name or image_id) and one for the text (text, report or "
    "caption)"
)
DELIMITERS = {",": "commas", ";": "semicolons", "\t": "tabs"}
SEPARATOR_LINE = re.compile(r"\s*\"?sep=(.)\"?\r?\n", re.IGNORECASE)  # what Excel writes and reads above a header
NOT_JSON = Problem(Reason.MALFORMED_ROW, "not valid JSON")
JSON_LINE = re.compile(r"[^\n]*\n|[^\n]+\Z")
CSV_LINE = re.compile(r"[^\r\n]*(?:\r\n?|\n)|[^\r\n]+\Z")
Row = tuple[str, dict[str, Any] | Problem]


class NotReports(BuildError):
    """Raised for a valid file that is not a table of reports."""


@dataclass(frozen=True, slots=True)
class Table:
    """The content of a file.

    Attributes:
        rows: the position of each row, and its cells by column or what is wrong with it; read lazily.
        numbered: whether image ids are `<study>_<number>`, as in the annotations of XrayGLM.
    """

    rows: Iterator[Row]
    numbered: bool = False


def read_report_table(name: str, data: bytes) -> Table:
    """Reads the bytes of a file according to the suffix of its name.

    Raises BuildError if it cannot be decoded or parsed, and NotReports if no row has the columns. CSV may be damaged at
    any place: the error is raised when its rows are read.
    """
    suffix = name[name.rfind(".") :].lower()
    if suffix == ".json":
        return read_json_table(name, data)
    text = decode_lines(data, name)
    read = read_json_lines if suffix == ".jsonl" else read_csv
    check_columns(name, read(name, text))
    return Table(read(name, text))


def read_json_table(name: str, data: bytes) -> Table:
    """Reads an array of rows, or an object with one under `annotations`."""
    content = parse_json(name, decode_text(data, name))
    numbered = isinstance(content, dict) and isinstance(content.get("annotations"), list)
    found = content["annotations"] if numbered else content
    if not isinstance(found, list):
        message = f"{name}: expected a JSON array of rows, or one under 'annotations', found {describe(content)}"
        raise NotReports(f"{message}; {EXPECTED} are required")
    rows = [(f"{name} row {number}", as_row(row)) for number, row in enumerate(found, 1)]
    check_columns(name, rows)
    return Table(iter(rows), numbered)


def parse_json(name: str, text: str) -> Any:
    """Returns the parsed value. Raises BuildError if the file is truncated or not JSON."""
    try:
        return json.loads(text, object_pairs_hook=as_object)
    except (ValueError, RecursionError) as error:  # ValueError also for an integer of thousands of digits
        start, end = text.strip()[:1], text.strip()[-1:]
        cut_off = (start, end) not in (("[", "]"), ("{", "}"))
        if isinstance(error, json.JSONDecodeError):
            cut_off = cut_off or error.pos >= len(text.rstrip()) or "Unterminated" in error.msg
        what = "the file is truncated" if cut_off else "not valid JSON"
        raise BuildError(f"{name}: {what} ({error}); download or export it again") from None


def read_json_lines(name: str, text: str) -> Iterator[Row]:
    """Yields a row for each line that is not blank."""
    for number, line in enumerate(split_lines(JSON_LINE, text), 1):
        if line.strip():
            yield f"{name} line {number}", parse_line(line)


def split_lines(kind: re.Pattern, text: str) -> Iterator[str]:
    """Yields the lines with their ends. An `io.StringIO` would use four bytes for every character."""
    return (found[0] for found in kind.finditer(text))


def parse_line(line: str) -> dict[str, Any] | Problem:
    """Returns the row of one line."""
    if BROKEN.search(line):
        return undecoded(line)
    try:
        return as_row(json.loads(line, object_pairs_hook=as_object))
    except (ValueError, RecursionError):  # ValueError also for an integer of thousands of digits
        return NOT_JSON


class Repeated(dict):
    """An object with a repeated key, for which JSON has no rule and of which Python keeps the last value."""


def as_object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Returns the object of these keys and values."""
    found = dict(pairs)
    return found if len(found) == len(pairs) else Repeated(found)


def as_row(value: Any) -> dict[str, Any] | Problem:
    """Returns the value if it is an object without repeated keys."""
    if isinstance(value, Repeated):
        return Problem(Reason.MALFORMED_ROW, "a column occurs more than once in the row")
    if isinstance(value, dict):
        return value
    return Problem(Reason.MALFORMED_ROW, f"expected an object with the columns of a row, found {describe(value)}")


def check_columns(name: str, rows: Iterable[Row]) -> None:
    """Reads rows up to the first that has the columns. Raises NotReports if there are rows and none has them."""
    first = None
    for item, row in rows:
        if isinstance(row, dict) and not missing(row):
            return
        first = first or (item, row)
    if first is not None:
        item, row = first
        found = row.message if isinstance(row, Problem) else f"its columns are: {listed(row)}"
        raise NotReports(f"{name}: no row has {EXPECTED}; {item.removeprefix(name).strip()}: {found}")


def read_csv(name: str, text: str) -> Iterator[Row]:
    """Yields a row for each line below the header with a cell that is not empty.

    Raises BuildError if a column occurs twice, and if a quoted cell is not closed or continues after its closing quote:
        the rows inside it cannot be distinguished from its text.
    """
    skipped = 0
    if above := SEPARATOR_LINE.match(text):
        text, skipped = text[above.end() :], 1
    reader = csv.reader(split_lines(CSV_LINE, text), delimiter=delimiter(name, text), strict=True)
    try:
        header = [cell.strip() or f"column {number}" for number, cell in enumerate(next(reader), 1)]
        folded = [cell.casefold() for cell in header]
        if twice := sorted({cell for cell in header if folded.count(cell.casefold()) > 1}):
            raise BuildError(f"{name}: the column {', '.join(map(repr, twice))} occurs more than once")
        for cells in reader:
            if not any(cell.strip() for cell in cells):
                continue
            if BROKEN.search("".join(cells)):
                row = undecoded("".join(cells))
            elif len(cells) != len(header):
                message = f"{len(cells)} cells; the header has {len(header)}"
                row = Problem(Reason.MALFORMED_ROW, message)
            else:
                row = dict(zip(header, cells, strict=True))
            yield f"{name} line {reader.line_num + skipped}", row
    except csv.Error as error:
        raise BuildError(f"{name} line {reader.line_num + skipped}: not valid CSV ({error})") from None


def delimiter(name: str, text: str) -> str:
    """Returns the delimiter with which the header has the required columns.

    Raises NotReports if there is none.
    """
    headers = {}
    for character in DELIMITERS:
        try:
            headers[character] = next(csv.reader(split_lines(CSV_LINE, text), delimiter=character), [])
        except csv.Error:  # a carriage return in the middle of a cell
            headers[character] = []
        if headers[character] and not missing(dict.fromkeys(headers[character])):
            return character
    best = max(headers, key=lambda character: len(headers[character]))
    header = dict.fromkeys(headers[best])
    found = f"{listed(header)} (at {DELIMITERS[best]})" if header else "nothing"
    lacking = " and no ".join(f"column {' or '.join(names)}" for names in missing(header))
    raise NotReports(f"{name}: no {lacking}; the columns found are: {found}")


def missing(row: dict[str, Any]) -> list[tuple[str, ...]]:
    """Returns the groups of column names of which a row has none."""
    return [names for names in (IMAGE_COLUMNS, TEXT_COLUMNS) if column(row, names) is None]


def column(row: dict[str, Any], names: tuple[str, ...]) -> str | None:
    """Returns the first of the names that a row has, in its spelling there."""
    written = {key.strip().casefold(): key for key in reversed(row)}
    return next((written[name] for name in names if name in written), None)


def undecoded(text: str) -> Problem:
    """Returns the reason why a row with a broken byte is rejected."""
    return Problem(Reason.TEXT_ENCODING, f"the byte {broken_byte(text)} does not belong to the file's encoding")


def listed(row: dict[str, Any]) -> str:
    """Returns the columns of a row for a message, on one line."""
    return " ".join(", ".join(row).split())[:500].encode(errors="backslashreplace").decode() or "none"


def describe(value: Any) -> str:
    """Returns the kind of a JSON value for a message."""
    if isinstance(value, dict):
        return f"an object with the keys {listed(value)}"
    return {list: "an array", str: "text", bool: "true or false", type(None): "null"}.get(type(value), "a number")
