"""Draws each picture of a dataset card once for the same numbers, and compiles each template once.

A build of a few rows does little else. That pictures are the same bytes each time is a test of `model_cards`, and of
builds by the script itself, which knows nothing of this.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import io
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from PIL import Image

from model_cards import rendering

FOLDER = "MEDPAIRS_TESTS_DRAWN"  # variable with the folder of the pictures, which a process shares with its children
PICTURES = ("funnel", "split_shares", "categories", "class_shares", "text_lengths", "contact_sheet")


def draw_once() -> None:
    """Makes dataset cards take a picture that was drawn before from its file."""
    from model_cards import dataset_card

    for name in PICTURES:
        setattr(dataset_card, name, remembered(getattr(dataset_card, name)))


@contextlib.contextmanager
def blank() -> Iterator[None]:
    """Has builds put one white pixel in place of each picture, where a test needs their rows alone."""
    content = io.BytesIO()
    Image.new("RGB", (1, 1), "white").save(content, "PNG")
    with replaced(lambda draw: lambda *arguments: content.getvalue()):
        yield


@contextlib.contextmanager
def replaced(change: Callable[[Callable[..., bytes]], Callable[..., bytes]]) -> Iterator[None]:
    """Has builds draw each picture by what `change` makes of its function."""
    from model_cards import dataset_card

    drawn = {name: getattr(dataset_card, name) for name in PICTURES}
    try:
        for name, draw in drawn.items():
            setattr(dataset_card, name, change(draw))
        yield
    finally:
        for name, draw in drawn.items():
            setattr(dataset_card, name, draw)


def remembered(draw: Callable[..., bytes]) -> Callable[..., bytes]:
    def once(*arguments: Any) -> bytes:
        if not (folder := os.environ.get(FOLDER)):
            return draw(*arguments)
        key = hashlib.sha256(repr((draw.__name__, arguments)).encode("utf-8", "surrogatepass")).hexdigest()
        path = Path(folder, key)
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            unfinished = path.with_suffix(f".{os.getpid()}")
            unfinished.write_bytes(draw(*arguments))
            unfinished.replace(path)
        return path.read_bytes()

    return once


def compile_once() -> None:
    """Keeps the environments of the templates, and with them the templates; called before anything imports them."""
    make = rendering.environment
    kept = functools.cache(lambda html, folder: make(html))
    rendering.environment = lambda html=False: kept(html, rendering.TEMPLATES)
