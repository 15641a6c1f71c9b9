"""Puts the name of a class into words, and into the text of an image of which nothing else is known."""

from __future__ import annotations

import re

from hub_datasets.sources.reports.language import CHINESE

NUMBER_BEFORE = re.compile(r"\A[0-9]+[\s_.-]*(?=\D)")
CAMEL = re.compile(r"(?<=[a-z])(?=[A-Z][a-z])")
BETWEEN = re.compile(r"[\s_]+|(?<=\w)-(?=\w{3})")


def in_words(name: str) -> str:
    """Returns the name of a class as words: `2_BacterialPneumonia` is `bacterial pneumonia`, `BCC` stays.

    Empty if it has no letter: a number says nothing about an image.
    """
    name = NUMBER_BEFORE.sub("", name.strip())
    words = [word for word in BETWEEN.split(CAMEL.sub(" ", name)) if word]
    lowered = [word.lower() if word[1:].islower() else word for word in words]
    text = " ".join(lowered)
    return text if any(character.isalpha() for character in text) else ""


def label_text(words: str, about: str = "Image") -> tuple[str, str]:
    """Returns the text of an image of which only the class is known, and its language.

    Args:
        about: what the images are, for example `Dermatoscopic image`.
    """
    return (f"图像：{words}。", "zh") if CHINESE.search(words) else (f"{about} of: {words}.", "en")
