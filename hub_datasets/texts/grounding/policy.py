"""Applies `--ungrounded` to a target: what is published of a text that says more than its images show."""

from __future__ import annotations

from typing import NamedTuple

from hub_datasets.texts.grounding.audit import grounded_part, ungrounded_kinds

ORIGINAL = "original_text"  # the key of a row's metadata that holds the text before `strip`


class Target(NamedTuple):
    """A text as it is published.

    Attributes:
        text: without the sentences that were taken out; empty if the row must not be published.
        kinds: what it says that its images cannot show, sorted.
        found: the same of the text before sentences were taken out.
    """

    text: str
    kinds: tuple[str, ...]
    found: tuple[str, ...]


def settle_target(text: str, language: str, images: int, mode: str) -> Target:
    """Returns what becomes of a text under one of UNGROUNDED_MODES.

    Args:
        images: of the row or conversation, of which the text may name as many views.
    """
    kinds = ungrounded_kinds(text, language, images)
    if not kinds or mode not in ("strip", "reject"):
        return Target(text, kinds, kinds)
    return Target(grounded_part(text, language, images) if mode == "strip" else "", (), kinds)


def refusal(found: tuple[str, ...], mode: str) -> str:
    """Returns why a text is not published, for its rejection."""
    said = f"says what the image cannot show ({', '.join(found)})"
    return f"{said}; no usable text is left without it" if mode == "strip" else said
