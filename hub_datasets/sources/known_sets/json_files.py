"""Reads JSON and JSONL of conversations, questions or lists of images: LLaVA, LLaMA-Factory, R2Gen, VQA-RAD.

Other JSON is left to the reader of tables. The first bytes of a file tell which it is, so that no file is parsed twice.
"""

from __future__ import annotations

import json
import posixpath
import re
from collections.abc import Iterator
from typing import Any

from hub_datasets.errors import BuildError, printable
from hub_datasets.filesystem.source_folder import Folder, FolderError
from hub_datasets.filesystem.zip_archive import Unreadable
from hub_datasets.records import Problem, RawRecord, Reason, Rejection
from hub_datasets.sources.file_readers import MAX_TABLE_BYTES
from hub_datasets.sources.known_sets.chats import NotAChat, parse_chat
from hub_datasets.sources.known_sets.columns import Columns, columns_of
from hub_datasets.sources.known_sets.contents import Content, make_records
from hub_datasets.sources.known_sets.finder import Finder
from hub_datasets.sources.known_sets.split_names import split_named, split_of_path
from hub_datasets.sources.reports.rows import NAME
from hub_datasets.sources.text_encoding import BROKEN, decode_lines, decode_text
from hub_datasets.texts.patient_ids import study_key

SUFFIXES = (".json", ".jsonl", ".ndjson")
HEAD = 256 * 1024  # bytes in which the first row begins
CHAT = re.compile(rb'"(plain_messages|messages|conversations?|dialog(ue)?)"\s*:\s*(\[|")', re.I)
QUESTION = re.compile(rb'"(question|questions|query|instruction)"\s*:\s*"', re.I)
ANSWER = re.compile(rb'"(answers?|response|output)"\s*:', re.I)
IMAGE_LIST = re.compile(rb'"(image_path|image_paths|file_names)"\s*:\s*\[', re.I)
SPLIT_KEYS = re.compile(
    rb'\A(\xef\xbb\xbf)?\s*\{\s*"(train|training|val|valid|validation|dev|test)"\s*:\s*\[\s*\{', re.I
)
ROWS_BELOW = ("annotations", "data", "rows", "questions", "samples", "images")
# VQA-RAD marks its test questions by how they were phrased.
VQA_RAD_TEST = {"test_freeform": "test", "test_para": "test", "freeform": "train", "para": "train"}


def head_of(folder: Folder, name: str) -> bytes:
    """Returns the first bytes of a file; none if it cannot be read, which its reader will report."""
    try:
        with folder.open(name) as file:
            return file.read(HEAD)
    except (Unreadable, OSError):
        return b""


def is_known(head: bytes) -> bool:
    """Returns whether the first bytes of a JSON file are those of a layout that is read here."""
    if CHAT.search(head) or (QUESTION.search(head) and ANSWER.search(head)):
        return True
    return bool(IMAGE_LIST.search(head) or SPLIT_KEYS.match(head))


def is_object_with_text(head: bytes) -> bool:
    """Returns whether the first bytes of a JSON file are those of one object with a text, or of a text."""
    try:
        content = json.loads(head)
    except (ValueError, RecursionError):  # also an object that is longer than its head
        return False
    return bool(columns_of(content).kind) if isinstance(content, dict) else isinstance(content, str)


def read_json(folder: Folder, name: str, finder: Finder) -> Iterator[RawRecord | Rejection]:
    """Yields the records of a file. Raises BuildError if it cannot be read, decoded or parsed."""
    place = folder.named(name)
    try:
        data = folder.read(name, MAX_TABLE_BYTES)
    except FolderError as error:
        raise BuildError(f"{folder.named()}: {error.message}") from None
    split = split_of_path(name)
    rows = lines_of(place, data, name) if not name.lower().endswith(".json") else rows_of(place, data, name, split)
    for item, row, own_split in rows:
        if isinstance(row, Problem):
            yield Rejection(NAME, item, row.code, row.message)
        else:
            yield from row_records(item, row, own_split or split, name, finder)


def lines_of(place: str, data: bytes, name: str) -> Iterator[tuple[str, Any, str]]:
    """Yields (item, row, split) of each line that is not blank."""
    text = decode_lines(data, place)
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        item = f"{printable(name)} line {number}"
        if BROKEN.search(line):
            yield item, Problem(Reason.TEXT_ENCODING, "a byte does not belong to the file's encoding"), ""
            continue
        try:
            yield item, as_row(json.loads(line)), ""
        except (ValueError, RecursionError):
            yield item, Problem(Reason.MALFORMED_ROW, "not valid JSON"), ""


def rows_of(place: str, data: bytes, name: str, split: str) -> Iterator[tuple[str, Any, str]]:
    """Yields (item, row, split) of an array, of an object with an array, or of one with an array per split."""
    content = parse(place, decode_text(data, place))
    parts: list[tuple[str, str, Any]] = [("", split, content)]
    if isinstance(content, dict):
        named = [(key, split_named(key), rows) for key, rows in content.items() if isinstance(rows, list)]
        parts = [(f"{key} ", found, rows) for key, found, rows in named if found]
        if not parts:
            parts = [("", split, rows) for key, _, rows in named if key.casefold() in ROWS_BELOW][:1]
        if not parts and columns_of(content).kind:  # a single row
            parts = [("", split, [content])]
    for before, own_split, rows in parts:
        if not isinstance(rows, list):
            raise BuildError(f"{place}: expected a JSON array of rows; export it as one")
        for number, row in enumerate(rows, 1):
            yield f"{printable(name)} {before}row {number}", as_row(row), own_split
    if not parts:
        raise BuildError(f"{place}: expected a JSON array of rows, or one per split; export it as one")


def parse(place: str, text: str) -> Any:
    """Returns the content of a JSON file. Raises BuildError if it is truncated or not JSON."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:  # ValueError also for an integer of thousands of digits
        cut_off = text.strip()[-1:] not in ("]", "}")
        what = "the file is truncated" if cut_off else "not valid JSON"
        raise BuildError(f"{place}: {what} ({error}); download or export it again") from None


def as_row(value: Any) -> dict[str, Any] | Problem:
    """Returns the value if it is an object."""
    if isinstance(value, dict):
        return value
    return Problem(Reason.MALFORMED_ROW, f"expected an object with the columns of a row, found {type(value).__name__}")


def row_records(
    item: str, row: dict[str, Any], split: str, name: str, finder: Finder
) -> Iterator[RawRecord | Rejection]:
    """Yields the records of a row of JSON."""
    columns = columns_of(row)
    if not columns.kind:
        found = ", ".join(row)[:200]
        message = f"no conversation, question with answer, text or label; its columns are {printable(found)}"
        yield Rejection(NAME, item, Reason.MALFORMED_ROW, message)
        return
    try:
        paths = paths_of(row, columns)
    except NotAChat as error:
        yield Rejection(NAME, item, Reason.MALFORMED_ROW, str(error))
        return
    if paths is None:
        message = f"the column {columns.image or 'image'} names no image by its path"
        yield Rejection(NAME, item, Reason.MALFORMED_ROW, message)
        return
    groups: list[str] = []
    if columns.kind == "text" and (key := study_key(row.get("id"))) and len(paths) > 1:  # R2Gen: an ID per report
        groups.append(key)
    if "phrase_type" in row and "image_case_url" in row:  # VQA-RAD: a case has several images
        item += f" (qid {row.get('qid')})"
        split = VQA_RAD_TEST.get(str(row["phrase_type"]), split)
        groups += filter(None, [study_key(row["image_case_url"])])
    images = [finder.find(path, name) for path in paths]
    yield from make_records(Content(item, row, images, split, tuple(groups)), columns)


def paths_of(row: dict[str, Any], columns: Columns) -> list[str] | None:
    """Returns the paths that a row names in its column of images, else in its messages; None if a value is no path."""
    value = row.get(columns.image) if columns.image else None
    if value is None or value == []:
        value = parse_chat(row[columns.chat]).images if columns.kind == "chat" else []
    if isinstance(value, (int, str)) and not isinstance(value, bool):
        value = [str(value)]
    if not isinstance(value, list):
        return None
    value = [one.get("path") if isinstance(one, dict) else one for one in value]
    if not value or not all(isinstance(path, str) and path.strip() for path in value):
        return None
    return [posixpath.normpath(path) if path.startswith("./") else path for path in value]
