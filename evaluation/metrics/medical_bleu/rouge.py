"""Computes ROUGE-L, the F1 of the longest common subsequence of words (Lin, 2004, aclanthology.org/W04-1013)."""

from __future__ import annotations

from collections.abc import Sequence

from .tokens import words_of

SIGNATURE = "tok:words+characters|case:lower|stem:no|beta:1|refs:best|mean:samples"


def rouge_l(prediction: str, references: Sequence[str]) -> float:
    """Returns the ROUGE-L of one text in 0..100; of several references, the best one counts.

    For texts in ASCII it is 100 times the F-measure of the package `rouge_score` without stemming. That package drops
    every character beside a-z and 0-9, so that all Chinese texts have no words and a score of 0.
    """
    ours, best = words_of(prediction), 0.0
    for reference in references:
        theirs = words_of(reference)
        if ours and theirs:
            best = max(best, 200 * common_length(ours, theirs) / (len(ours) + len(theirs)))
    return best


def common_length(ours: Sequence[str], theirs: Sequence[str]) -> int:
    """Returns the length of the longest common subsequence of words.

    A row of the usual table is kept as the bits of one integer, 0 where the length grows (Crochemore et al., 2001, "A
    fast and practical bit-vector algorithm for the longest common subsequence problem"), so that reports of thousands
    of words take milliseconds.
    """
    places: dict[str, int] = {}
    for place, word in enumerate(ours):
        places[word] = places.get(word, 0) | 1 << place
    everything = (1 << len(ours)) - 1
    row = everything
    for word in theirs:
        matched = row & places.get(word, 0)
        row = ((row + matched) | (row - matched)) & everything
    return len(ours) - row.bit_count()
