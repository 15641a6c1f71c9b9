"""What passes between the steps of a build: raw records, reasons for rejection, and the columns of the two configs.

Column names and codes are defined here and nowhere else in this folder.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from model_cards.console import CommandError

if TYPE_CHECKING:  # `datasets` takes over half a second to import, and `--help` does not need it
    import datasets

    from hub_datasets.folder import Folder

LANGUAGES = ("en", "zh")
SPLITS = ("train", "validation", "test")
CONFIGS = ("pairs", "chat")
TURNS = ("single", "multi")  # one conversation for each question, or for all questions of an image


class BuildError(CommandError):
    """A build that cannot go on: the message names the folder, file or flag at fault and what to do about it."""


def printable(text: str) -> str:
    r"""The text as one line that neither UTF-8 nor a terminal trips over: what cannot be seen becomes `\n`, `\x1b`, ...

    The names of files, and what libraries say of them, may hold line ends, commands to a terminal, signs that turn the
    line around, and bytes that are no UTF-8.
    """
    if text.isprintable():
        return text
    return "".join(
        character if character.isprintable() else character.encode("unicode_escape").decode() for character in text
    )


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


@dataclass(frozen=True, slots=True)
class Source:
    """A source of images and texts; `hub_datasets/sources/` has one file for each.

    Attributes:
        name: the value of the column `source_dataset`.
        flag: the command-line option that names its folder, or each of several.
        kind: which question templates fit its images: a key of `chat.TEMPLATES`.
        read: yields a RawRecord for each row or file found in one folder, a Rejection for each that cannot be one (a
            line that is no JSON, a row without its columns), and an Ignored for files that are no data. Raises
            BuildError where the folder is not this source at all, or a file of it cannot be parsed.
        title, homepage, licence, citation: for the card. `licence` is an SPDX identifier where there is one.
        redistributable: whether its licence lets others publish it; if not, a push is refused unless told otherwise.
        caption: makes the text of a pair from an image's questions and answers, for sources whose records have no
            text of their own. It gets all accepted records of one image in one language, in source order, and the
            longest length allowed.
        settle: what to do with the records of one source that share an image, pixel for pixel: yields each record to
            keep, and a Rejection for each other one. `duplicates.drop_repeats` unless a source knows better.
        choices: command-line options of its own: the name, and its values with the default first. `settle` gets the
            chosen values by name.
    """

    name: str
    flag: str
    kind: str
    read: Callable[[Folder], Iterator[RawRecord | Rejection | Ignored]]
    title: str
    homepage: str
    licence: str
    citation: str
    redistributable: bool = True
    caption: Callable[[list[RawRecord], int], str] | None = None
    settle: Callable[[list[RawRecord], dict[str, str]], Iterator[RawRecord | Rejection]] | None = None
    choices: dict[str, tuple[str, ...]] = field(default_factory=dict)


def pair_features() -> datasets.Features:
    """Columns of the config `pairs`: one image with one text about it.

    `metadata` is JSON in a string: `Json()` cuts floats to 10 decimals, and `datasets` before 4.7 cannot open it.
    """
    from datasets import Features, Image, Value

    return Features(
        {
            "image": Image(),
            "image_path": Value("string"),
            "text": Value("string"),
            "source_dataset": Value("string"),
            "category": Value("string"),
            "language": Value("string"),
            "license": Value("string"),
            "group_id": Value("string"),
            "metadata": Value("string"),
        }
    )


def chat_features() -> datasets.Features:
    """Columns of the config `chat`: the same images as conversations.

    `messages` holds plain strings: `Json()` content would turn the answer "42" into a number, and mixed lists of
    parts would not load in every trainer. `marked_messages` are the same with `<image>` for each image in the first
    question: TRL puts the images there by itself, LLaMA-Factory wants them marked.
    """
    from datasets import Features, Image, List, Value

    return Features(
        {
            "images": List(Image()),
            "messages": List({"role": Value("string"), "content": Value("string")}),
            "marked_messages": List({"role": Value("string"), "content": Value("string")}),
            "image_path": Value("string"),
            "source_dataset": Value("string"),
            "category": Value("string"),
            "language": Value("string"),
            "license": Value("string"),
            "template_id": Value("string"),
            "answer_type": Value("string"),
            "modality": Value("string"),
            "location": Value("string"),
            "content_type": Value("string"),
            "group_id": Value("string"),
            "metadata": Value("string"),
        }
    )
