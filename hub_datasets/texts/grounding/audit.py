"""Audits a text: which of its sentences say what its image cannot show, and what is left without them.

A model that is trained on such sentences learns to invent them: "unchanged" without an earlier film, an age, a biopsy,
a size in millimeters without a scale. The audit knows wordings, not images.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import lru_cache
from typing import NamedTuple

from hub_datasets.texts.grounding import chinese, english, views

AUDITED = ("en", "zh")  # the languages with rules; texts in other languages are counted as not audited
REMEMBERED = 5_000  # short texts, because answers repeat; about 5 MB
SHORT = 200  # characters
HAN = re.compile("[\u3400-\u9fff]")
# A sentence ends at a line end, or at a stop before a blank that does not follow a title, an initial or an
# abbreviation. A question and its answer, as in a caption, are one sentence.
ENDS = {
    "en": re.compile(r"(?<=[.!;])(?<!\bdr\.)(?<!\bmr\.)(?<!\bmrs\.)(?<!\bvs\.)(?<!\be\.g\.)(?<!\bi\.e\.)(?<!\b[a-z]\.)"
                     r"(?<!\bapprox\.)\s+|\s*\n+\s*", re.IGNORECASE),
    "zh": re.compile(r"(?<=[。！；!;])\s*|\s*\n+\s*|(?<=[\u3400-\u9fff][.])\s+"),
}  # fmt: skip
QUESTION_MARK = re.compile("[?？]")
STOPS = ".!;。！；"


class Sentence(NamedTuple):
    """A sentence with its end and the blanks behind it, and the kinds of what cannot be seen in it."""

    text: str
    kinds: frozenset[str]


def ungrounded_kinds(text: str, language: str, images: int = 1) -> tuple[str, ...]:
    """Returns the kinds, sorted, of what a text says that its images cannot show; none for other languages.

    Args:
        text: the text of a pair, or an answer.
        language: of the row; `en` or `zh`.
        images: of the row. A text may name as many views.
    """
    return tuple(sorted({kind for sentence in audited(text, language, images) for kind in sentence.kinds}))


def grounded_part(text: str, language: str, images: int = 1) -> str:
    """Returns a text without the sentences that say what its images cannot show; empty if none is left."""
    return "".join(sentence.text for sentence in audited(text, language, images) if not sentence.kinds).strip()


def audited(text: str, language: str, images: int = 1) -> tuple[Sentence, ...]:
    """Returns the sentences of a text, which together are the text."""
    return (remembered if len(text) <= SHORT else audit)(text, language, images)


def audit(text: str, language: str, images: int) -> tuple[Sentence, ...]:
    """Returns what `audited` returns, without the memory of earlier texts."""
    if language not in AUDITED:
        return (Sentence(text, frozenset()),)
    parts = list(split_sentences(text, language))
    found = [set((remembered_kinds if len(part) <= SHORT else kinds_in)(part)) for part in parts]
    named: dict[str, int] = {}
    naming = []
    for number, part in enumerate(parts):
        sentence = part.lower()
        shown, refers = views.views_in(sentence, HAN.search(sentence) is not None)
        named |= shown
        if shown:
            naming.append(number)
        if refers and images == 1:
            found[number].add(views.KIND)
    if views.images_needed(named) > images:
        for number in naming:
            found[number].add(views.KIND)
    return tuple(Sentence(part, frozenset(kinds)) for part, kinds in zip(parts, found, strict=True))


def kinds_in(part: str) -> frozenset[str]:
    """Returns the kinds of what cannot be seen in a sentence by itself, whatever its text says of views."""
    sentence = part.lower()
    rules = chinese if HAN.search(sentence) else english
    sentence = rules.ADVICE.sub(" ", without_questions(sentence))
    return frozenset(rule.kind for rule in rules.RULES if rule.applies(sentence))


remembered, remembered_kinds = (lru_cache(maxsize=REMEMBERED)(function) for function in (audit, kinds_in))


def split_sentences(text: str, language: str) -> Iterator[str]:
    """Yields the sentences of a text with the blanks behind them, so that joined they are the text."""
    start = 0
    for end in ENDS[language].finditer(text):
        if end.end() > start:
            yield text[start : end.end()]
            start = end.end()
    if start < len(text):
        yield text[start:]


def without_questions(sentence: str) -> str:
    """Returns a sentence without its questions, which claim nothing."""
    *asked, rest = QUESTION_MARK.split(sentence)
    before = (part[: max(map(part.rfind, STOPS)) + 1] for part in asked)
    return " ".join((*before, rest))
