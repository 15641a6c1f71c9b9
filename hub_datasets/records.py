"""Defines what passes between the steps of a build: raw records, rejections, and flags for a person to review."""

from __future__ import annotations

import enum
import json
from dataclasses import dataclass, field
from typing import Any


class Reason(enum.StrEnum):
    """The reason why a record was rejected. The value is the `code` in `rejections.jsonl` and `report.json`."""

    IMAGE_MISSING = "image_missing"
    IMAGE_OUTSIDE_ROOT = "image_outside_root"
    IMAGE_FORMAT = "image_format"
    IMAGE_UNREADABLE = "image_unreadable"
    IMAGE_TRUNCATED = "image_truncated"
    IMAGE_TOO_LARGE = "image_too_large"
    IMAGE_TOO_SMALL = "image_too_small"
    IMAGE_ANIMATED = "image_animated"
    TEXT_EMPTY = "text_empty"
    TEXT_SHORT = "text_short"
    TEXT_LONG = "text_long"
    TEXT_ENCODING = "text_encoding"
    TEXT_CONTROL_CHARACTERS = "text_control_characters"
    MALFORMED_ROW = "malformed_row"
    DUPLICATE_IMAGE = "duplicate_image"
    DUPLICATE_ROW = "duplicate_row"
    CONFLICTING_LABELS = "conflicting_labels"
    REVIEWED = "reviewed"
    UNGROUNDED = "ungrounded"
    FLAGGED = "flagged"


@dataclass(frozen=True, slots=True)
class Rejection:
    """One line of `rejections.jsonl`."""

    source: str
    item: str
    code: Reason
    message: str


@dataclass(frozen=True, slots=True)
class Ignored:
    """A file that is not data, or a caption outside the text bounds, which was passed over.

    The report names it with the reason.
    """

    source: str
    item: str
    why: str


@dataclass(frozen=True, slots=True)
class Regions:
    """What a source marks in one of its images.

    Attributes:
        image: the image, as its records name it.
        boxes: `(name, x, y, width, height)` in pixels from the upper left corner.
        mask: path of an image of the same size in which each region has a color of its own; empty if there is none.
    """

    source: str
    image: str
    boxes: tuple[tuple[str, float, float, float, float], ...]
    mask: str = ""


@dataclass(frozen=True, slots=True)
class Problem:
    """The reason why an image or a text cannot be used."""

    code: Reason
    message: str


@dataclass(frozen=True, slots=True)
class Flag:
    """A finding that a person should review before the data is shared; it rejects nothing.

    Attributes:
        kind: `phone_number`, `email`, `national_id`, `birth_date`, `burned_in_text`, ...
        detail: where it is, without repeating it: a report must not spread what it warns of.
        column: the column of the metadata that it is in; empty for a text or an image.
    """

    kind: str
    detail: str
    column: str = ""


@dataclass(slots=True)
class RawRecord:
    """One row or file of a source, unchanged and unchecked.

    Attributes:
        item: where a person finds it, for example `metadata.csv line 17 (PAT_46_881_939.png)`.
        image: path of the image relative to the source's folder, as the source gives it (not to be trusted).
        text: the text of the pair. None for a question and answer, which become part of a caption of their image.
        question, answer: a turn of a conversation as the source gives it. With a text, the answer in `chat` if it is
            not the text.
        groups: keys of everything that must stay in one split, such as `patient:PAT_46` or `study:12`. The image
            itself is added when its content is known.
        conversation: records of one source with the same value are one conversation with several images, for example
            the two views of one report. Empty: the record is a conversation by itself.
        official_split: `train`, `validation` or `test`, if the source has its own splits.
        metadata: the source's own fields, unchanged.
        scan_series, scan_number: for a source whose image numbers follow its scans, what slices of one scan have in
            common, for example the modality, and the number: images with close numbers are compared (`splits/scans`).
            An empty series: the number says nothing about scans.
        label: the class of the image in its source's own list of classes; empty if the source has none.
        modality: how the image was taken, for example `X-ray`; empty if unknown.
        body_part: what it shows, for example `knee`; empty if unknown.
        context: what the image cannot show, in words: a second form of the conversation has it in the question.
    """

    source: str
    item: str
    image: str
    category: str
    language: str
    text: str | None = None
    question: str | None = None
    answer: str | None = None
    groups: tuple[str, ...] = ()
    conversation: str = ""
    official_split: str = ""
    metadata: dict[str, Any] = field(default_factory=dict)
    scan_series: str = ""
    scan_number: int = 0
    label: str = ""
    modality: str = ""
    body_part: str = ""
    context: str = ""


TO_JSON = {strict: json.JSONEncoder(ensure_ascii=False, allow_nan=not strict).encode for strict in (False, True)}


def encoded(record: RawRecord, strict: bool = False) -> str:
    """Returns a record as JSON, a list of its fields; with `strict`, NaN and infinity are a ValueError."""
    return TO_JSON[strict]([getattr(record, name) for name in RawRecord.__slots__])


def decoded(content: str) -> RawRecord:
    """Returns the record that `encoded` wrote."""
    record = RawRecord(*json.loads(content))
    record.groups = tuple(record.groups)
    return record


@dataclass(frozen=True, slots=True)
class ColumnNames:
    """The columns of a table that the user has named by flags such as `--image_column`; empty: recognized by name."""

    image: str = ""
    text: str = ""
    patient: str = ""
    split: str = ""
    label: str = ""

    def given(self) -> dict[str, str]:
        """Returns the columns that are named, by their flag."""
        named = {name: getattr(self, name) for name in self.__slots__}
        return {f"--{name}_column": column for name, column in named.items() if column}


@dataclass(frozen=True, slots=True)
class TableNote:
    """How a table was understood, for the report.

    Attributes:
        item: the table's file, and its sheet if it has several.
        columns: what the columns were taken for: columns by `image`, `text`, `findings`, `patient`, ...
        kept: columns that were not understood and are kept as metadata.
        encoding: of its text, if it is not UTF-8.
        rows: number of its rows.
        repaired: number of repaired cells by kind, and of rows whose quotes or commas were repaired.
        passed_over: why it was not read; empty for a table of reports.
    """

    item: str
    columns: dict[str, list[str]]
    kept: list[str]
    encoding: str = ""
    rows: int = 0
    repaired: dict[str, int] = field(default_factory=dict)
    passed_over: str = ""
