"""Defines what passes between the steps of a build: raw records, rejections, and flags for a person to review."""

from __future__ import annotations

import enum
from dataclasses import dataclass, field
from typing import Any


class Reason(enum.StrEnum):
    """Why a raw record did not become a row. The value is the `code` in `rejections.jsonl` and `report.json`."""

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


@dataclass(frozen=True, slots=True)
class Rejection:
    """One line of `rejections.jsonl`."""

    source: str
    item: str
    code: Reason
    message: str


@dataclass(frozen=True, slots=True)
class Ignored:
    """What is no record and was passed over: a file that is no data, a caption that no text bounds allow.

    The report names it with the reason.
    """

    source: str
    item: str
    why: str


@dataclass(frozen=True, slots=True)
class Problem:
    """Why an image or a text cannot be used."""

    code: Reason
    message: str


@dataclass(frozen=True, slots=True)
class Flag:
    """Something that a person should look at before the data is shared; it rejects nothing.

    Attributes:
        kind: what was seen: `phone_number`, `email`, `national_id`, `birth_date`, `burned_in_text`, ...
        detail: where, without repeating what was found: a report must not spread what it warns of.
    """

    kind: str
    detail: str


@dataclass(slots=True)
class RawRecord:
    """One row or file of a source, as the source has it; nothing is checked yet.

    Attributes:
        item: where a person finds it: `metadata.csv line 17 (PAT_46_881_939.png)`.
        image: path of the image relative to the source's folder, as the source gives it (not to be trusted).
        text: what the pair says. None for a question and answer, which become part of a caption of their image.
        question, answer: a turn of a conversation as the source gives it.
        groups: keys of everything that must stay in one split, such as `patient:PAT_46` or `study:12`. The image
            itself is added when its content is known.
        conversation: records of one source with the same value are one conversation with several images, such as the
            two views of one report. Empty: the record is a conversation of its own.
        official_split: `train`, `validation` or `test`, where the source has splits of its own.
        metadata: the source's own fields, unchanged.
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
