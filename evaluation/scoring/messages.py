"""Reads the messages of conversations in either form: plain texts, or content parts as chat templates require them."""

from __future__ import annotations

from typing import Any


def plain_messages(messages: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Returns the messages with plain texts as their content.

    Texts of several parts are joined by line breaks. Image parts are left out: `are_images_first` tells whether they
    are where `to_turns` puts the images.

    Args:
        messages: turns with `role`, and `content`, which is a text, or a list of parts `{"type": "image"}` and
            `{"type": "text", "text": ...}`.
    """
    return [{"role": message["role"], "content": plain_text(message["content"])} for message in messages]


def plain_text(content: Any) -> Any:
    """Returns the text of a message's content; None if it has no content."""
    if content is None or isinstance(content, str):
        return content
    return "\n".join(part.get("text") or "" for part in content if part["type"] == "text")


def are_images_first(messages: list[dict[str, Any]], images: int | None = None) -> bool:
    """Returns whether all image parts are at the start of the first question.

    Plain texts have no image parts, and their images belong there.

    Args:
        images: the number of image parts that are expected, one for each image of the row; None for any number.
    """
    if all(isinstance(message["content"], str | None) for message in messages):
        return True
    first = next((message for message in messages if message["role"] == "user"), None)
    places = [
        (message is first, place)
        for message in messages
        if isinstance(message["content"], list)
        for place, part in enumerate(message["content"])
        if part["type"] == "image"
    ]
    return places == [(True, place) for place in range(len(places) if images is None else images)]


def part_types(messages: list[dict[str, Any]]) -> set[str]:
    """Returns the types of all content parts; plain texts have none."""
    contents = [message["content"] for message in messages if isinstance(message["content"], list)]
    return {part["type"] for content in contents for part in content}


def row_number(rows: Any, place: int) -> int:
    """Returns the number of a row for messages: in the split, if `rows` are a part of it that knows its `numbers`."""
    numbers = getattr(rows, "numbers", None)
    return place if numbers is None else numbers[place]
