"""Answers questions from the answers to other questions alone: the question prior, and the majority.

A model that looks at its images has to score above both. Medical questions repeat, and many have one usual answer.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Hashable, Sequence

from evaluation.scoring.prediction_files import Answer

# Each answer is a list of (probability, text), which sum to 1; these have one text.
Choices = list[tuple[float, str]]
Key = Callable[[Answer], Hashable | None]

# What a Chinese question asks for, the longest first, because Chinese has no spaces that separate its first words.
CHINESE_ASKS = re.compile("有没有|是不是|是否|多少|哪些|哪里|哪个|什么|为什么|怎么|怎样|几|谁|吗|么")


def question_key(answer: Answer) -> Hashable | None:
    """Returns what equal questions share: the language and the words, without case; None without a question."""
    words = " ".join(answer.question.lower().split())
    return (answer.language, words) if words else None


def type_key(answer: Answer) -> Hashable | None:
    """Returns what questions of one type share; None if there is neither a type nor a question.

    The type is that of the dataset, for example the `content_type` of SLAKE. Without it, it is how the question begins:
    its first two words ("is there", "which organ"), or in Chinese the word that asks.
    """
    kind = answer.question_type.strip().lower() or opening(answer.question)
    return (answer.language, answer.kind, kind) if kind else None


def opening(question: str) -> str:
    """Returns the first two words of a question in lower case, or the word of a Chinese question that asks."""
    if found := CHINESE_ASKS.search(question):
        return found[0]
    return " ".join(question.lower().split()[:2])


def kind_key(answer: Answer) -> Hashable | None:
    return answer.language, answer.kind


def language_key(answer: Answer) -> Hashable | None:
    return (answer.language,)


# The prior's levels by name, the most similar questions first.
BACKOFF: dict[str, Key] = {
    "question": question_key, "question type": type_key, "answer type": kind_key, "language": language_key,
}  # fmt: skip
MAJORITY: dict[str, Key] = {name: BACKOFF[name] for name in ("answer type", "language")}


def prior(answers: Sequence[Answer], seen: Sequence[Answer]) -> list[Choices]:
    """Returns for each question the most frequent reference of the most similar questions, by `BACKOFF`.

    See `most_frequent` for the arguments.
    """
    return [[(1.0, text)] for text, _ in most_frequent(answers, seen, BACKOFF)]


def majority(answers: Sequence[Answer], seen: Sequence[Answer]) -> list[Choices]:
    """Returns for each question the most frequent reference of its answer type (open or closed) and language."""
    return [[(1.0, text)] for text, _ in most_frequent(answers, seen, MAJORITY)]


def most_frequent(answers: Sequence[Answer], seen: Sequence[Answer], levels: dict[str, Key]) -> list[tuple[str, str]]:
    """Returns for each question the most frequent reference at the first level that knows one.

    Of equally frequent references, the one that is more frequent in the language is taken, then the first in the order
    of the alphabet.

    If `seen` is `answers`, a level does not know a question that is alone in its group, because otherwise each question
    that is asked once would be answered by its own reference. In larger groups all references count, the question's
    own as well: without it, two rows of a question with the answers Yes and No would each get the wrong one. The result
    is then rather too good than too bad (of these two rows it has one right), which is the safe side for a control.

    Args:
        answers: [N] questions to answer.
        seen: the questions whose references are known: those of a train split, or `answers` itself.
        levels: functions that return the group of a question, or None, by name and in the order of use.

    Returns:
        [N] pairs of a text and the name of its level; two empty texts if no level knows a reference.
    """
    fewest = 2 if seen is answers else 1
    in_language = counts_by(language_key, seen)
    leaders: dict[str, dict[Hashable, str]] = {
        name: {
            group: leader(group, count, in_language)
            for group, count in counts_by(key, seen).items()
            if count.total() >= fewest
        }
        for name, key in levels.items()
    }
    found = []
    for answer in answers:
        known = ((leaders[name].get(key(answer)), name) for name, key in levels.items())
        found.append(next(((text, name) for text, name in known if text is not None), ("", "")))
    return found


def counts_by(key: Key, seen: Sequence[Answer]) -> dict[Hashable, Counter[str]]:
    """Returns how often each reference occurs in each group."""
    counts: dict[Hashable, Counter[str]] = defaultdict(Counter)
    for answer in seen:
        if (group := key(answer)) is not None:
            counts[group][answer.reference] += 1
    return dict(counts)


def leader(group: tuple, count: Counter[str], in_language: dict[Hashable, Counter[str]]) -> str:
    """Returns the most frequent reference of a group, whose first element is its language."""
    of_language = in_language[group[:1]]
    return min(count, key=lambda text: (-count[text], -of_language[text], text))
