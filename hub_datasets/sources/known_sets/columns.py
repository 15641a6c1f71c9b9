"""Recognizes what the columns of a row are: a chat, a question and an answer, a text, or a label."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from hub_datasets.sources.reports import column_names as known
from hub_datasets.texts.official_splits import SPLIT_COLUMNS
from hub_datasets.texts.patient_ids import fold

CHATS = ("plain_messages", "messages", "conversations", "conversation", "dialog", "dialogue", "texts")
QUESTIONS = ("question", "questions", "query", "instruction", "问题")
ANSWERS = ("answer", "answers", "response", "output", "答案", "回答")
LABELS = (
    "label", "labels", "class", "class_name", "class_label", "diagnosis", "dx", "disease", "category", "target",
    "finding_labels", "标签", "类别", "诊断",
)  # fmt: skip
NO_IMPRESSIONS = {fold(name) for name in LABELS}  # a column called diagnosis holds a class here
SECTIONS = (  # (heading of the joined text in English and in Chinese, columns)
    (("Findings", "影像所见"), tuple(known.FINDINGS)),
    (("Impression", "影像诊断"), tuple(name for name in known.IMPRESSION if name not in NO_IMPRESSIONS)),
)


@dataclass(frozen=True, slots=True)
class Columns:
    """The columns of a table by what they hold, in their own spelling; empty or None where there is none.

    Attributes:
        texts: each with the heading under which it is joined with the others.
    """

    chat: str = ""
    question: str = ""
    answer: str = ""
    texts: tuple[tuple[str, str], ...] = ()
    label: str = ""
    split: str = ""
    language: str = ""
    category: str = ""
    image: str = ""

    @property
    def kind(self) -> str:
        """What a row says: `chat`, `question`, `text` or `label`, in this order; empty for nothing."""
        if self.chat:
            return "chat"
        if self.question and self.answer:
            return "question"
        return "text" if self.texts else "label" if self.label else ""

    def said(self) -> set[str]:
        """The columns whose content becomes the record's texts, which need not be kept as metadata."""
        used = {"chat": (self.chat,), "question": (self.question, self.answer)}.get(self.kind)
        return set(used) if used else {column for _, column in self.texts} if self.kind == "text" else set()


def columns_of(names: Iterable[str]) -> Columns:
    """Returns what columns hold, from their names compared without case, blanks and underscores."""
    written: dict[str, str] = {}
    for name in names:
        written.setdefault(fold(name), name)

    def first(aliases: Iterable[str]) -> str:
        return next((written[fold(alias)] for alias in aliases if fold(alias) in written), "")

    whole = first(known.TEXT)
    sections = tuple(
        (headings[not column.isascii()], column) for headings, aliases in SECTIONS if (column := first(aliases))
    )
    return Columns(
        chat=first(CHATS),
        question=first(QUESTIONS),
        answer=first(ANSWERS),
        texts=(("", whole),) if whole else sections,
        label=first(LABELS),
        split=first(SPLIT_COLUMNS),
        language=first(known.LANGUAGE),
        category=first(("category", "modality", "image_organ", "location")),
        image=first(known.IMAGE),
    )


def text_of(row: Mapping[str, Any], columns: Columns) -> list[str]:
    """Returns the texts of a row: one, or several of an image with several captions; sections stand in one text."""
    cells = [(heading, row.get(column)) for heading, column in columns.texts]
    if len(cells) == 1 and isinstance(cells[0][1], list):
        return [text.strip() for text in cells[0][1] if isinstance(text, str) and text.strip()]
    filled = [(heading, cell.strip()) for heading, cell in cells if isinstance(cell, str) and cell.strip()]
    if len(cells) == 1:
        return [text for _, text in filled]
    joined = (f"{heading}：{text}" if not heading.isascii() else f"{heading}: {text}" for heading, text in filled)
    return [said] if (said := " ".join(joined)) else []
