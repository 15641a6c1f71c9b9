"""Reads a dataset that this project has built: the config `chat`, or `pairs` where only that was written.

A row whose question came from a template becomes a record with a text, and gets another question; a row with a question
of its own keeps it. The groups and splits of the built dataset are kept as groups and official splits.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from typing import Any

from hub_datasets.chat.templates import CONTEXT
from hub_datasets.errors import printable
from hub_datasets.filesystem.source_folder import Folder
from hub_datasets.records import Ignored, RawRecord, Reason, Rejection
from hub_datasets.schema import CONTEXTS
from hub_datasets.sources.hugging_face.parquet_rows import images_of, opened
from hub_datasets.sources.known_sets.chats import NotAChat, parse_chat
from hub_datasets.sources.known_sets.columns import Columns
from hub_datasets.sources.known_sets.contents import Content, make_records
from hub_datasets.sources.known_sets.finder import Finder
from hub_datasets.sources.known_sets.split_names import split_of_path
from hub_datasets.sources.reports.rows import NAME

CHAT_COLUMNS = {"marked_messages", "template_id", "group_id", "source_dataset"}
PAIR_COLUMNS = {"text", "group_id", "source_dataset", "image_path", "license"}
KEPT = ("source_dataset", "image_path", "license", "group_id")
# What stands beside the rows of such a dataset: its reports, the pictures of its card, its rows once more.
BESIDE = re.compile(
    r"(report\.json|(rejections|review|records|moved)\.jsonl|splits\.txt|chat_instructions\.jsonl|README\.md|croissant\.json|"
    r"\.build\.json|eval\.yaml|llama_factory/dataset_info\.json|assets/\w+\.png)"
)


def config_of(columns: set[str]) -> str:
    """Returns `chat` or `pairs` for the columns of a file of such a dataset; empty for any other file."""
    return "chat" if columns >= CHAT_COLUMNS else "pairs" if columns >= PAIR_COLUMNS else ""


def read_export(folder: Folder, name: str, config: str, finder: Finder) -> Iterator[RawRecord | Rejection | Ignored]:
    """Yields the records of a file of one config."""
    table = opened(folder, name)
    for number, row, names, context in with_contexts(table.rows()):
        item = f"{printable(name)} row {number}"
        images = images_of(name, names, finder)
        try:
            cells, columns = content_of(row, config)
        except NotAChat as error:
            yield Rejection(NAME, item, Reason.MALFORMED_ROW, str(error))
            continue
        content = Content(item, cells, images, split_of_path(name), groups=groups_of(row))
        for record in make_records(content, columns):
            if isinstance(record, RawRecord):
                record.context = context
            yield record


def with_contexts(rows: Iterable[tuple[int, dict[str, Any], Any]]) -> Iterator[tuple[int, dict[str, Any], Any, str]]:
    """Yields (number, row, names, context) of each row: a row's second form, which follows it, gives its context.

    A second form whose first one is not there, for example in a part of the rows, is a row of its own.
    """
    held: tuple[int, dict[str, Any], Any] | None = None
    for one in rows:
        if held is not None and is_second_form(one[1], held[1]):
            yield *held, context_in(one[1])
            held = None
            continue
        if held is not None:
            yield *held, ""
        held = one
    if held is not None:
        yield *held, ""


def is_second_form(row: dict[str, Any], first: dict[str, Any]) -> bool:
    """Returns whether a row is another one with clinical context in its question: the same image and answer."""
    if row.get("context") != CONTEXTS[1] or first.get("context") != CONTEXTS[0]:
        return False
    same = all(row.get(name) == first.get(name) for name in ("image_path", "group_id", "language", "template_id"))
    return same and answer_of(row) == answer_of(first)


def answer_of(row: dict[str, Any]) -> Any:
    """Returns the last message of a row; None if it has none."""
    messages = row.get("plain_messages") or row.get("messages")
    return messages[-1] if isinstance(messages, list) and messages else None


def context_in(row: dict[str, Any]) -> str:
    """Returns what the question of a row's second form adds to that of the first."""
    asked = parse_chat(row.get("plain_messages") or row.get("messages")).turns[0][0]
    for template in CONTEXT.values():
        _, separator, context = asked.partition(template.format(question="", context=""))
        if separator:
            return context
    return ""


def content_of(row: dict[str, Any], config: str) -> tuple[dict[str, Any], Columns]:
    """Returns the cells of a row as its source gave them, and what they hold. Raises NotAChat."""
    cells = {**fields_of(row.get("metadata")), **{key: row.get(key) for key in KEPT}, "category": row.get("category")}
    messages = row.get("plain_messages") or row.get("messages")
    columns = {"language": "language", "category": "category"}
    cells["language"] = row.get("language")
    if config == "pairs":
        return cells | {"text": row.get("text")}, Columns(texts=(("", "text"),), **columns)
    if row.get("template_id"):
        return cells | {"text": parse_chat(messages).turns[0][1]}, Columns(texts=(("", "text"),), **columns)
    return cells | {"messages": messages}, Columns(chat="messages", **columns)


def fields_of(metadata: Any) -> dict[str, Any]:
    """Returns the fields of a row's metadata, which is JSON in a string."""
    try:
        fields = json.loads(metadata) if isinstance(metadata, str) else metadata
    except (ValueError, RecursionError):
        return {}
    return fields if isinstance(fields, dict) else {}


def groups_of(row: dict[str, Any]) -> tuple[str, ...]:
    """Returns the group of a row, without the name of the source that it came from."""
    group = row.get("group_id")
    if not isinstance(group, str) or ":" not in group:
        return ()
    source, slash, key = group.partition("/")
    return (key if slash and ":" not in source else group,)
