"""Makes records from the content of one row and its images, wherever the row stands: JSON, Parquet or a text file."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import Any

from hub_datasets.records import Problem, RawRecord, Reason, Rejection
from hub_datasets.sources.known_sets.chats import Chat, NotAChat, cauldron_chats, parse_chat
from hub_datasets.sources.known_sets.columns import Columns, text_of
from hub_datasets.sources.known_sets.split_names import split_named
from hub_datasets.sources.known_sets.wording import is_described
from hub_datasets.sources.reports.label_texts import in_words, label_text
from hub_datasets.sources.reports.language import detect, language_named
from hub_datasets.sources.reports.rows import NAME
from hub_datasets.texts.patient_ids import patient_of, study_of


@dataclass(frozen=True, slots=True)
class Content:
    """One row.

    Attributes:
        item: where a person finds it.
        row: its cells by column, without its images.
        images: the names of its images, or what is wrong with each.
        split: the official split of its file; a column for the split decides before it.
        groups: keys beside those of its patient and study columns.
        classes: the names of the numbers in its label column.
        about: what an image is called in a text of which only the label is known.
    """

    item: str
    row: dict[str, Any]
    images: Sequence[str | Problem]
    split: str = ""
    groups: tuple[str, ...] = ()
    classes: Sequence[str] = ()
    about: str = "Image"


class UnusableRow(Exception):
    """Raised for a row of which nothing can be used."""


def make_records(content: Content, columns: Columns) -> Iterator[RawRecord | Rejection]:
    """Yields the records of a row, or a rejection for each image or turn that cannot be one."""
    try:
        if not content.images:
            raise UnusableRow("the row names no image")
        yield from MAKERS[columns.kind](content, columns)
    except (UnusableRow, NotAChat) as unfit:
        yield Rejection(NAME, content.item, Reason.MALFORMED_ROW, str(unfit))


def chat_records(content: Content, columns: Columns) -> Iterator[RawRecord | Rejection]:
    """Yields the records of a conversation: a turn each."""
    value = content.row.get(columns.chat)
    if columns.chat.casefold() == "texts":
        chat = Chat(list(cauldron_chats(value)))
        if not chat.turns:
            raise NotAChat("no question with an answer")
    else:
        chat = parse_chat(value)
    more = {"system": chat.system} if chat.system else {}
    named = language_of_row(content.row, columns)
    for number, (question, answer) in enumerate(chat.turns, 1):
        item = content.item if len(chat.turns) == 1 else f"{content.item} turn {number}"
        language = named or detect(f"{question} {answer}")
        if is_described(question, answer):
            yield from text_records(content, columns, item, answer, language, question, more)
        elif len(content.images) == 1:
            yield from question_record(content, columns, item, question, answer, language, more)
        else:
            message = f"a question about {len(content.images)} images at once; only descriptions of several are read"
            yield Rejection(NAME, item, Reason.MALFORMED_ROW, message)


def question_records(content: Content, columns: Columns) -> Iterator[RawRecord | Rejection]:
    """Yields the record of a question with its answer."""
    question, answer = (content.row.get(column) for column in (columns.question, columns.answer))
    answer = first_answer(answer)
    added = content.row.get("input") if columns.question.casefold() == "instruction" else None
    if not isinstance(question, str) or not isinstance(answer, str):
        raise UnusableRow(f"the columns {columns.question} and {columns.answer} must hold text")
    if isinstance(added, str) and added.strip():
        question = f"{question}\n{added}"
    question, answer = question.strip(), answer.strip()
    language = language_of_row(content.row, columns) or detect(f"{question} {answer}")
    if is_described(question, answer):
        yield from text_records(content, columns, content.item, answer, language, question)
    elif len(content.images) == 1:
        yield from question_record(content, columns, content.item, question, answer, language)
    else:
        raise UnusableRow(
            f"a question about {len(content.images)} images at once; only descriptions of several are read"
        )


def first_answer(answer: Any) -> Any:
    """Returns a number as text, and the first of a list of equal or alternative answers."""
    if isinstance(answer, list) and answer:
        answer = answer[0]
    return str(answer) if isinstance(answer, (int, float)) and not isinstance(answer, bool) else answer


def described_records(content: Content, columns: Columns) -> Iterator[RawRecord | Rejection]:
    """Yields the records of a row with a text, or several captions."""
    texts = text_of(content.row, columns)
    if not texts:
        yield Rejection(NAME, content.item, Reason.TEXT_EMPTY, "the text is empty")
    named = language_of_row(content.row, columns)
    for number, text in enumerate(texts, 1):
        item = content.item if len(texts) == 1 else f"{content.item} text {number}"
        yield from text_records(content, columns, item, text, named or detect(text))


def label_records(content: Content, columns: Columns) -> Iterator[RawRecord | Rejection]:
    """Yields the record of an image of which only the class is known."""
    value = content.row.get(columns.label)
    named = [name_of(one, content.classes) for one in (value if isinstance(value, list) else [value])]
    words = ", ".join(filter(None, (in_words(name) for name in named)))
    if not words:
        raise UnusableRow(f"the label {value!r:.60} is not a word, so it cannot be said in a text")
    for record in text_records(content, columns, content.item, *label_text(words, content.about)):
        if isinstance(record, RawRecord):
            record.category = record.label = words[:200]
        yield record


def name_of(value: Any, classes: Sequence[str]) -> str:
    """Returns the name of a class, from its number if the classes are named."""
    if isinstance(value, int) and not isinstance(value, bool):
        return classes[value] if 0 <= value < len(classes) else ""
    return value if isinstance(value, str) else ""


MAKERS = {"chat": chat_records, "question": question_records, "text": described_records, "label": label_records}


def text_records(
    content: Content,
    columns: Columns,
    item: str,
    text: str,
    language: str,
    question: str | None = None,
    more: Mapping[str, Any] | None = None,
) -> Iterator[RawRecord | Rejection]:
    """Yields a record with a text for every image of a row; several are one conversation."""
    conversation = ""
    if len(content.images) > 1:
        said = [*(image if isinstance(image, str) else image.message for image in content.images), text]
        conversation = f"row:{hashlib.blake2b(json.dumps(said).encode(), digest_size=8).hexdigest()}"
    for number, image in enumerate(content.images, 1):
        where = f"{item} image {number}" if len(content.images) > 1 else item
        if isinstance(image, Problem):
            yield Rejection(NAME, where, image.code, image.message)
            continue
        record = bare_record(content, columns, where, image, language, more)
        record.text, record.conversation = text, conversation
        if question:
            record.question, record.answer = question, text
        yield record


def question_record(
    content: Content,
    columns: Columns,
    item: str,
    question: str,
    answer: str,
    language: str,
    more: Mapping[str, Any] | None = None,
) -> Iterator[RawRecord | Rejection]:
    """Yields the record of a question about the only image of a row."""
    (image,) = content.images
    if isinstance(image, Problem):
        yield Rejection(NAME, item, image.code, image.message)
        return
    record = bare_record(content, columns, item, image, language, more)
    record.question, record.answer = question, answer
    yield record


def bare_record(
    content: Content, columns: Columns, item: str, image: str, language: str, more: Mapping[str, Any] | None
) -> RawRecord:
    """Returns a record without texts."""
    row = content.row
    category = row.get(columns.category) if columns.category else None
    label = row.get(columns.label) if columns.kind == "text" else None
    label = in_words(label)[:200] if isinstance(label, str) else ""
    category = category or label
    default = {"text": "report", "label": "label"}.get(columns.kind, "conversation")
    keys = (patient_of(row), study_of(row), *content.groups)
    return RawRecord(
        source=NAME,
        item=item,
        image=image,
        category=category.strip() if isinstance(category, str) and category.strip() else default,
        language=language,
        groups=tuple(dict.fromkeys(key for key in keys if key)),
        official_split=split_named(row.get(columns.split)) or content.split,
        metadata={key: plain(value) for key, value in row.items() if key not in columns.said()} | dict(more or {}),
        label=label,
    )


def language_of_row(row: Mapping[str, Any], columns: Columns) -> str | None:
    """Returns the language that a row names; None if it names none. Raises UnusableRow for one that is not known."""
    value = row.get(columns.language) if columns.language else None
    if value is None or (isinstance(value, str) and not value.strip()):
        return None
    language = language_named(value) if isinstance(value, str) else None
    if language is None:
        raise UnusableRow(f"language {value!r:.80}; expected the name of a language")
    return language


def plain(value: Any) -> Any:
    """Returns a value of a Parquet cell as JSON can hold it."""
    if isinstance(value, dict):
        return {key: plain(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(inner) for inner in value]
    if isinstance(value, (datetime, date, time)):
        return value.isoformat()
    if isinstance(value, (Decimal, timedelta)):
        return str(value)
    if isinstance(value, float) and value != value:  # NaN, which tables use for an empty cell
        return None
    return value
