"""Checks the length, encoding and control characters of a record's texts, and that they can be written."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field

from hub_datasets.records import ColumnNames, Problem, RawRecord, Reason, encoded

CONTROL_CHARACTERS = re.compile(  # all but tab and line ends: C0 and C1, those that turn the line around, U+FEFF
    "[\x01-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ufeff]"
)


MAX_TURN = 20_000  # characters of a question or an answer


MAX_CATEGORY = 200


LONG_NUMBER = re.compile(r"\d{19}")  # only such integers may have more than 64 bits


BROKEN_ENCODING = re.compile("[\0\ufffd-\uffff\ud800-\udfff]")


@dataclass(frozen=True, slots=True)
class TextSettings:
    """The bounds of a pair's text, and the columns of tables that hold texts.

    Attributes:
        min_chars, max_chars: a text must be longer than the first and shorter than the second, in characters.
        max_report_chars: replaces `max_chars` for reports; those of a CT often pass 1,000 characters.
        columns: the columns that the user has named.
    """

    min_chars: int = 5
    max_chars: int = 1000
    max_report_chars: int = 8000
    columns: ColumnNames = field(default_factory=ColumnNames)

    def limit(self, kind: str) -> tuple[int, str]:
        """Returns the upper bound for the texts of a kind of source, and the flag that sets it."""
        if kind == "report":
            return self.max_report_chars, "--max_report_chars"
        return self.max_chars, "--max_text_chars"


def write_record(record: RawRecord) -> str | Problem:
    """Returns a record as JSON (`records.encoded`), or why that cannot be written or read by other programs."""
    try:
        content = encoded(record, strict=True)  # ValueError for NaN and infinity
        content.encode()  # UnicodeEncodeError for one half of a surrogate pair
        if LONG_NUMBER.search(content):
            json.loads(content, parse_int=check_integer)
    except (ValueError, RecursionError) as error:
        return Problem(Reason.MALFORMED_ROW, f"cannot be stored as JSON in UTF-8: {error}")
    return content


def check_integer(digits: str) -> None:
    """Raises ValueError for an integer of more than 64 bits, which `datasets` writes but cannot read."""
    if not -(2**63) <= int(digits) < 2**64:
        raise ValueError(f"the integer {digits:.30} does not fit in 64 bits")


def check_text(record: RawRecord, min_chars: int, max_chars: int, max_flag: str = "--max_text_chars") -> Problem | None:
    """Checks the texts of a record. The bounds apply to the text of a pair; an answer ("No", "是") must not be empty.

    Args:
        min_chars, max_chars: the text of a pair must be longer than the first and shorter than the second.
        max_flag: the flag that sets the second.
    """
    said = {name: getattr(record, name) for name in ("text", "question", "answer")}
    required = ("question", "answer") if record.text is None else ("text",)
    if empty := [name for name in required if not said[name]]:
        return Problem(Reason.TEXT_EMPTY, f"the {' and the '.join(empty)} is empty")
    for name, text in said.items():
        if text and (problem := check_characters(name, text)):
            return problem
    if not 0 < len(record.category) <= MAX_CATEGORY or not record.category.isprintable():
        return Problem(Reason.MALFORMED_ROW, f"the category is not one line of 1 to {MAX_CATEGORY} characters")
    if record.text is None:
        long = [name for name in required if len(said[name]) > MAX_TURN]
        problem = f"the {' and the '.join(long)}: more than {MAX_TURN:,} characters"
        return Problem(Reason.TEXT_LONG, problem) if long else None
    length = len(record.text)
    if length <= min_chars:
        return Problem(
            Reason.TEXT_SHORT,
            f"{length} characters, more than {min_chars} are needed (--min_text_chars): {record.text!r}",
        )
    if length >= max_chars:
        return Problem(Reason.TEXT_LONG, f"{length:,} characters, fewer than {max_chars:,} are allowed ({max_flag})")
    return None


def check_characters(name: str, text: str) -> Problem | None:
    """Checks that a text has no characters that were lost in decoding, and no control characters.

    Zero-width joiners and spaces (U+200B to U+200F) are allowed: they are common in Chinese text copied from web pages.
    """
    if found := BROKEN_ENCODING.search(text):
        why = "the file was read in the wrong encoding, or a character was lost before; correct the source"
        return Problem(Reason.TEXT_ENCODING, f"{place(found, name)}: {why}")
    if found := CONTROL_CHARACTERS.search(text):
        return Problem(Reason.TEXT_CONTROL_CHARACTERS, f"{place(found, name)}: remove it from the source")
    return None


def place(found: re.Match, name: str) -> str:
    return f"the {name} has U+{ord(found[0]):04X} as its character {found.start() + 1} of {len(found.string)}"
