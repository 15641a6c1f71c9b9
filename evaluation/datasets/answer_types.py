"""Finds the answer type of a question from its answer, for datasets that do not say it.

The rule: an answer is closed if it is one word that affirms or denies (yes, no, 是, 否, 有, 没有 ...), or if the
question offers it beside another by "or" or 还是 ("Is it CT or MRI"). An answer of at most MOST_WORDS words or
MOST_CHARACTERS Chinese characters is open. A longer one is a report, which has no type and no accuracy.
"""

from __future__ import annotations

import re

from evaluation.metrics.vqa_accuracy.plain_rules import normalize, split_words

CLOSED, OPEN, REPORT = "CLOSED", "OPEN", ""
AFFIRMED_OR_DENIED = {
    "yes", "no", "true", "false", "是", "否", "是的", "不是", "有", "没有", "无", "对", "不对",
    "包含", "不包含", "存在", "不存在", "正常", "不正常",
}  # fmt: skip
MOST_WORDS, MOST_CHARACTERS = 10, 25
EITHER = re.compile(r"\bor\b|还是")
CHINESE = re.compile(r"[\u4e00-\u9fff]")


def answer_type(question: str, answer: str) -> str:
    """Returns `CLOSED`, `OPEN`, or "" for a text that is longer than an answer."""
    plain = normalize(answer)
    if plain in AFFIRMED_OR_DENIED:
        return CLOSED
    asked = normalize(question)
    if plain and EITHER.search(asked) and contains(asked, plain):
        return CLOSED
    most = MOST_CHARACTERS if CHINESE.search(answer) else MOST_WORDS
    return OPEN if len(split_words(answer)) <= most else REPORT


def contains(question: str, answer: str) -> bool:
    """Returns whether a question has the words of an answer one after the other."""
    words, found = split_words(question), split_words(answer)
    return any(words[start : start + len(found)] == found for start in range(len(words) - len(found) + 1))
