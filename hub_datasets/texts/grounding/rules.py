"""Defines a rule: how a kind of claim that no image shows is worded, and which wordings look alike but can be seen."""

from __future__ import annotations

import re
from collections import defaultdict
from dataclasses import dataclass

KINDS = (
    "age",
    "biopsy",
    "comparison",
    "date",
    "history",
    "laboratory",
    "measurement",
    "reader",
    "sex",
    "symptoms",
    "view",
)


@dataclass(frozen=True, slots=True)
class Rule:
    """The wordings of one kind of claim.

    Attributes:
        claims: finds the kind in a sentence in lower case.
        visible: wordings that `claims` would find although an image shows them, for example `bone age`. They are
            removed from the sentence first.
    """

    kind: str
    claims: re.Pattern
    visible: re.Pattern | None

    def applies(self, sentence: str) -> bool:
        """Returns whether a sentence in lower case makes a claim of this kind."""
        found = self.claims.search(sentence)
        if found is None or self.visible is None:
            return found is not None
        shown = self.visible.sub(" ; ", sentence)
        return shown == sentence or self.claims.search(shown) is not None


def word_rule(kind: str, claims: list[str], visible: list[str] | None = None) -> Rule:
    """Returns a rule whose wordings are whole words."""
    return Rule(kind, any_word(claims), any_word(visible) if visible else None)


def any_word(wordings: list[str]) -> re.Pattern:
    """Returns a pattern for any of some wordings, each a pattern without `|` outside of parentheses.

    It begins at a word, and wordings that begin with the same letter are tried together: of several hundred, only a few
    are compared with each word.
    """
    by_letter: dict[str, list[str]] = defaultdict(list)
    for wording in wordings:
        fixed = wording[0].isalpha() and wording[1:2] not in ("?", "*", "{")
        by_letter[wording[0] if fixed else ""].append(wording[1:] if fixed else wording)
    grouped = [f"{letter}(?:{'|'.join(rest)})" for letter, rest in sorted(by_letter.items(), reverse=True)]
    return re.compile(rf"\b(?:{'|'.join(grouped)})(?![a-z0-9])")


def sign_rule(kind: str, claims: list[str], visible: list[str] | None = None) -> Rule:
    """Returns a rule for Chinese, where words have no boundaries."""
    return Rule(kind, re.compile("|".join(claims)), re.compile("|".join(visible)) if visible else None)
