"""Reads the rows of JSON and JSONL files of reports."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

from hub_datasets.errors import BuildError
from hub_datasets.records import Problem, Reason
from hub_datasets.sources.reports.columns import EXPECTED, listed
from hub_datasets.sources.reports.formats.csv_rows import NotReports, Row, undecoded
from hub_datasets.sources.text_encoding import BROKEN

NOT_JSON = Problem(Reason.MALFORMED_ROW, "not valid JSON")
LINE = re.compile(r"[^\n]*\n|[^\n]+\Z")


def read_json_rows(name: str, text: str) -> tuple[list[Row] | None, bool]:
    """Returns the rows of an array, or of an object with one under `annotations`, and whether it was the latter.

    None stands for a file with one object per line, whatever its name is. Raises NotReports if there are no rows.
    """
    try:
        content = parse_json(name, text)
    except BuildError:
        if is_json_lines(text):
            return None, False
        raise
    numbered = isinstance(content, dict) and isinstance(content.get("annotations"), list)
    found = content["annotations"] if numbered else content
    if not isinstance(found, list):
        message = f"{name}: expected a JSON array of rows, or one under 'annotations', found {describe(content)}"
        raise NotReports(f"{message}; {EXPECTED} are required")
    return [(f"{name} row {number}", as_row(row)) for number, row in enumerate(found, 1)], numbered


def is_json_lines(text: str) -> bool:
    """Returns whether the first two lines of a text are an object each."""
    lines = [line for line in text.strip().split("\n", 2) if line.strip()][:2]
    return len(lines) == 2 and all(isinstance(parse_line(line), dict) for line in lines)


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
    for number, found in enumerate(LINE.finditer(text), 1):  # an `io.StringIO` would use four bytes per character
        if found[0].strip():
            yield f"{name} line {number}", parse_line(found[0])


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


def describe(value: Any) -> str:
    """Returns the kind of a JSON value for a message."""
    if isinstance(value, dict):
        return f"an object with the keys {listed(value)}"
    return {list: "an array", str: "text", bool: "true or false", type(None): "null"}.get(type(value), "a number")
