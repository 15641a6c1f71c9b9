"""Converts plain messages to content parts, the form that chat templates of vision-language models require."""

from __future__ import annotations

from typing import Any

Message = dict[str, Any]  # `role`, and `content`: plain text, or a list of parts


def to_parts(messages: list[dict[str, str]], images: int) -> list[Message]:
    """Returns the messages with lists of parts as their content, and an image part for each image.

    The image parts come before the text of the first question. Every part has both keys, because a column of Parquet
    has one type: an image part is `{"type": "image", "text": None}`.
    """
    turns = [{"role": turn["role"], "content": [{"type": "text", "text": turn["content"]}]} for turn in messages]
    first = next(turn for turn in turns if turn["role"] == "user")
    first["content"] = [{"type": "image", "text": None} for _ in range(images)] + first["content"]
    return turns
