"""Reads conversations about images: LLaVA's `conversations`, and the `messages` of OpenAI, ShareGPT and LLaMA-Factory.

A turn whose question asks for a description becomes a record with a text; the others are questions and answers.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

# What stands for an image in a text; each tool has its own.
MARKS = re.compile(r"\s*<(?:image|img|\|image\||image_placeholder|ImageHere)>\s*(?:</(?:image|img)>)?\s*", re.I)
ROLES = {
    "user": "user", "human": "user", "assistant": "assistant", "gpt": "assistant", "bot": "assistant",
    "model": "assistant", "chatgpt": "assistant", "system": "system",
}  # fmt: skip


class NotAChat(Exception):
    """Raised for a value that is not a conversation; the message says why."""


@dataclass(slots=True)
class Chat:
    """A conversation.

    Attributes:
        turns: questions with their answers, without the marks of images.
        system: what the system was told; empty for nothing.
        images: the paths that stand in the messages themselves.
    """

    turns: list[tuple[str, str]] = field(default_factory=list)
    system: str = ""
    images: list[str] = field(default_factory=list)


def parse_chat(value: Any) -> Chat:
    """Returns a conversation. Raises NotAChat for anything else: unknown roles, questions without an answer."""
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except (ValueError, RecursionError):
            raise NotAChat("expected a list of messages, found text") from None
    if not isinstance(value, list) or not value:
        raise NotAChat("expected a list of messages")
    chat, asked = Chat(), None
    for number, message in enumerate(value, 1):
        role, text, images = parse_message(message, number)
        chat.images += images
        if role == "system":
            chat.system = f"{chat.system}\n{text}".strip()
        elif role == "user":
            if asked is not None:
                raise NotAChat(f"message {number} is a second question before an answer")
            asked = text
        elif asked is None:
            raise NotAChat(f"message {number} is an answer without a question")
        else:
            chat.turns.append((asked, text))
            asked = None
    if asked is not None:
        raise NotAChat("the last question has no answer")
    if not chat.turns:
        raise NotAChat("no question with an answer")
    return chat


def parse_message(message: Any, number: int) -> tuple[str, str, list[str]]:
    """Returns the role, the text and the paths of images of one message."""
    if not isinstance(message, dict):
        raise NotAChat(f"message {number} is not an object with a role and a content")
    named = message.get("role", message.get("from"))
    role = ROLES.get(named.strip().casefold()) if isinstance(named, str) else None
    if role is None:
        raise NotAChat(f"message {number} has the role {named!r:.40}; read are user, assistant and system")
    content = message.get("content", message.get("value"))
    if isinstance(content, list):
        texts, images = parse_parts(content, number)
    elif isinstance(content, str):
        texts, images = [content], []
    else:
        raise NotAChat(f"message {number} has no text")
    return role, without_marks("\n".join(texts)), images


def parse_parts(parts: list[Any], number: int) -> tuple[list[str], list[str]]:
    """Returns the texts and the paths of images of a message in parts."""
    texts, images = [], []
    for part in parts:
        kind = part.get("type") if isinstance(part, dict) else None
        if isinstance(part, str):
            texts.append(part)
        elif kind == "text" and isinstance(part.get("text"), str):
            texts.append(part["text"])
        elif kind in ("image", "image_url"):
            named = part.get("image") or part.get("path") or part.get("image_url")
            named = named.get("url") if isinstance(named, dict) else named
            images += [named] if isinstance(named, str) and named.strip() else []
        else:
            raise NotAChat(f"message {number} has a part of the type {kind!r:.40}; read are text and image")
    return texts, images


def without_marks(text: str) -> str:
    """Returns a text without the marks of images."""
    return MARKS.sub(lambda found: "\n" if found.start() and found.end() < len(text) else "", text).strip()


def cauldron_chats(value: Any) -> Iterator[tuple[str, str]]:
    """Yields the turns of `[{"user": question, "assistant": answer}]`. Raises NotAChat for anything else."""
    for number, turn in enumerate(value if isinstance(value, list) else [], 1):
        asked, said = (turn.get(role) if isinstance(turn, dict) else None for role in ("user", "assistant"))
        if not isinstance(asked, str) or not isinstance(said, str):
            raise NotAChat(f"turn {number} is not an object with user and assistant")
        yield without_marks(asked), without_marks(said)
