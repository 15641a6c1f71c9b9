"""Turns records into conversations: a question about an image, and its text or answer as the reply."""

from __future__ import annotations

import hashlib
import json

from hub_datasets.chat.templates import CONTEXT, COUNTS, TEMPLATES
from hub_datasets.records import RawRecord
from hub_datasets.schema import CONTEXTS

# A source's attributes of a question, by the names of its field and of the column.
FIELDS = ("answer_type", "modality", "location", "content_type")


def make_conversation(
    records: list[RawRecord], kind: str, system_prompt: str = "", picture: str = "", context: str = CONTEXTS[0]
) -> dict:
    """Returns the columns of a row of the config `chat`, except its images, for the records of one conversation.

    The question for a record with a text comes from a template of its kind and language; a record's own question is
    used unchanged. Records with questions about one image become the turns of one conversation, in the order given.
    Records with a text must share it: they are the images of one examination, and one question is about all of them.

    Args:
        records: the records of one conversation, with one source and language, in the order of the source.
        kind: a key of `TEMPLATES`.
        system_prompt: the first message; none if empty.
        picture: an identifier of the image that survives a move of its file, for example a hash of its pixels.
        context: one of `contexts_of(records)`: whether the question tells what the image cannot show.

    Returns:
        `messages`, a list of `{"role", "content"}`; `template_id`, empty for questions of the source's own;
        `context`; and `answer_type`, `modality`, `location`, `content_type` from the source: empty if it has none, or
        if the turns differ.

    Raises:
        ValueError: the records are not one conversation.
    """
    check_one_conversation(records)
    first, template_id = records[0], ""
    if first.text is None:
        turns = [(record.question, record.answer) for record in records]
    else:
        if first.question:  # the source's own request for this text
            question = first.question
        else:
            template_id, question = choose_question(kind, first.language, record_key(first, picture), len(records))
        if context != CONTEXTS[0]:
            question = CONTEXT[first.language].format(question=question, context=first.context)
        turns = [(question, first.text if first.answer is None else first.answer)]
    messages = [{"role": "system", "content": system_prompt}] if system_prompt.strip() else []
    for question, answer in turns:
        messages += [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]
    return {"messages": messages, "template_id": template_id, "context": context} | {
        field: common_value(records, field) for field in FIELDS
    }


def contexts_of(records: list[RawRecord]) -> tuple[str, ...]:
    """Returns the forms of a conversation: without context and, where its records have one and the same, with it."""
    first = records[0]
    shared = first.context and all(record.context == first.context for record in records)
    return CONTEXTS if shared and first.text is not None else CONTEXTS[:1]


def common_value(records: list[RawRecord], field: str) -> str:
    """Returns the text that all records have in a field of their metadata; empty if it is missing or differs."""
    value = records[0].metadata.get(field)
    return value if isinstance(value, str) and all(r.metadata.get(field) == value for r in records) else ""


def check_one_conversation(records: list[RawRecord]) -> None:
    """Raises ValueError, naming two records, if the records cannot be one conversation."""
    if not records:
        raise ValueError("a conversation needs at least one record")
    first = records[0]
    for other in records:
        both = f"{first.source}: {first.item} and {other.item} cannot be one conversation:"
        if (other.source, other.language) != (first.source, first.language):
            raise ValueError(f"{both} {first.source}, {first.language} and {other.source}, {other.language}")
        if other.text != first.text or (first.text is not None and other.answer != first.answer):
            raise ValueError(f"{both} their texts differ")
        if other.text is None and (other.question is None or other.answer is None):
            raise ValueError(f"{other.source}: {other.item} has neither a text nor a question with its answer")
        if other.text is None and other.image != first.image:
            raise ValueError(f"{both} their questions are about {first.image} and {other.image}")


def record_key(record: RawRecord, picture: str = "") -> str:
    """Returns the key that determines the choice of a question: the source, the image or examination, and the language.

    The image is identified by its picture or, without one, by its name.
    """
    # as JSON, in ASCII: the name of a file may hold bytes that are not UTF-8
    return json.dumps([record.source, record.conversation or picture or record.image, record.language])


def choose_question(kind: str, language: str, key: str, images: int = 1) -> tuple[str, str]:
    """Returns the ID and the text of a question about `images` images.

    Each template has a score, a hash of its ID and the key, and the highest score wins (rendezvous hashing). The choice
    does not depend on the order of the rows, and a new template takes over its share of the rows without changing
    others.

    Raises:
        ValueError: there are no templates of that kind.
    """
    if kind not in TEMPLATES:
        raise ValueError(f"no question templates for {kind!r}; kinds are {', '.join(TEMPLATES)}")
    language = question_language(kind, language)
    templates = {f"{kind}-{language}-{n:02d}": texts for n, texts in enumerate(TEMPLATES[kind][language], 1)}
    chosen = max(templates, key=lambda name: hashlib.blake2b(f"{name} {key}".encode(), digest_size=8).digest())
    one, several = templates[chosen]
    return chosen, one if images == 1 else several.replace("{count}", count_word(images, language))


def question_language(kind: str, language: str) -> str:
    """Returns the language in which a text is asked for: its own, or English where there are no templates in it.

    The answer keeps its language, and so does the row; `template_id` names the language of the question.
    """
    return language if language in TEMPLATES[kind] else "en"


def count_word(count: int, language: str) -> str:
    """Returns a number of two or more as it is written before a noun."""
    words = COUNTS[language]
    return words[count - 2] if count < len(words) + 2 else str(count)
