"""Which words of a row are learned? Its text with the labels in colour, or between brackets where there is none."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from itertools import groupby
from typing import Any

LEARNED, PROMPT, IMAGE, PADDING = "learned", "prompt", "image", "padding"
ANSI = {LEARNED: "\033[32m", PROMPT: "\033[2m", IMAGE: "\033[35m"}
RESET = "\033[0m"
BRACKETS = {LEARNED: ("[[", "]]")}


def has_colors(stream: Any = None) -> bool:
    """Whether a stream, the standard output unless given, is a terminal that may show colours (no-color.org)."""
    stream = sys.stdout if stream is None else stream
    return bool(stream.isatty()) and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def marked_text(
    ids: Sequence[int], labels: Sequence[int], mask: Sequence[int], tokenizer: Any, image_token_id: int, color: bool
) -> str:
    """A row's text: what is learned green or in [[ ]], what is not dim, the image token violet, padding counted.

    Args:
        ids: `[L]` tokens; labels `[L]`, -100 where nothing is learned; mask `[L]`, 0 at padding.
        color: whether terminal codes are written.
    """
    shown = []
    kinds = [kind_of(*one, image_token_id) for one in zip(ids, labels, mask, strict=True)]
    for kind, group in groupby(zip(kinds, ids, strict=True), key=lambda pair: pair[0]):
        tokens = [token for _, token in group]
        if kind == PADDING:
            shown.append(f" + {len(tokens)} of padding")
            continue
        text = tokenizer.decode(tokens, skip_special_tokens=False, clean_up_tokenization_spaces=False)
        text = printable(text)
        if color:
            shown.append(f"{ANSI[kind]}{text}{RESET}")
        else:
            before, after = BRACKETS.get(kind, ("", ""))
            shown.append(f"{before}{text}{after}")
    return "".join(shown)


def printable(text: str) -> str:
    """The text in one line; what a terminal would obey is written as what it is."""
    return "".join(
        "\\n" if letter == "\n" else letter if letter.isprintable() else f"\\x{ord(letter):02x}" for letter in text
    )


def kind_of(token: int, label: int, seen: int, image_token_id: int) -> str:
    if not seen:
        return PADDING
    if token == image_token_id:
        return IMAGE
    return LEARNED if label >= 0 else PROMPT


def legend(color: bool) -> str:
    if not color:
        return "what is learned stands in [[ ]]"
    return (
        f"{ANSI[LEARNED]}learned{RESET}, {ANSI[PROMPT]}read, not learned{RESET}, {ANSI[IMAGE]}the image's place{RESET}"
    )
