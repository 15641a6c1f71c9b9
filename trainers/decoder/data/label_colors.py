"""Shows which tokens of a row are labels: colored in a terminal, in brackets elsewhere."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from itertools import groupby
from typing import Any

LABEL, PROMPT, IMAGE, PADDING = "label", "prompt", "image", "padding"
# Terminal codes: green, dim, magenta.
ANSI = {LABEL: "\033[32m", PROMPT: "\033[2m", IMAGE: "\033[35m"}
RESET = "\033[0m"
BRACKETS = {LABEL: ("[[", "]]")}


def has_colors(stream: Any = None) -> bool:
    """Returns whether a stream (default: standard output) is a terminal that may show colors (no-color.org)."""
    stream = sys.stdout if stream is None else stream
    return bool(stream.isatty()) and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def marked_text(
    ids: Sequence[int], labels: Sequence[int], mask: Sequence[int], tokenizer: Any, image_token_id: int, color: bool
) -> str:
    """Returns the text of a row with its labels marked.

    Labels are green or in [[ ]], other tokens dim, the image token magenta; padding is counted.

    Args:
        ids: `[L]` tokens.
        labels: `[L]`, IGNORE_INDEX where a token is not a label.
        mask: `[L]`, 0 at padding.
        color: whether to write terminal codes instead of brackets.
    """
    shown = []
    kinds = [kind_of(*one, image_token_id) for one in zip(ids, labels, mask, strict=True)]
    for kind, group in groupby(zip(kinds, ids, strict=True), key=lambda pair: pair[0]):
        tokens = [token for _, token in group]
        if kind == PADDING:
            shown.append(f" + {len(tokens)} padding")
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
    """Returns the text on one line, with control characters as escapes, so that they have no effect in a terminal."""
    return "".join(
        "\\n" if letter == "\n" else letter if letter.isprintable() else f"\\x{ord(letter):02x}" for letter in text
    )


def kind_of(token: int, label: int, seen: int, image_token_id: int) -> str:
    """Returns the kind of a token: LABEL, PROMPT, IMAGE or PADDING."""
    if not seen:
        return PADDING
    if token == image_token_id:
        return IMAGE
    return LABEL if label >= 0 else PROMPT


def legend(color: bool) -> str:
    """Returns a line that explains the marks of `marked_text`."""
    if not color:
        return "labels are in [[ ]]"
    return f"{ANSI[LABEL]}label{RESET}, {ANSI[PROMPT]}not a label{RESET}, {ANSI[IMAGE]}image token{RESET}"
