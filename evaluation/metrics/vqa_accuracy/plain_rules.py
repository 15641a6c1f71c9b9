"""Normalizes short answers and compares them by their words: the rules that other rules are variations of.

The module uses only the standard library, so that a training loop can score answers without the slow `import evaluate`.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter

# From the VQA evaluation (Antol et al. 2015; vqaEvaluation/vqaEval.py in GT-Vision-Lab/VQA): numbers up to ten are
# written as digits, "none" is 0, and articles are removed.
_NUMBER_WORDS = ["none", "zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"]
# "none" and "zero", at the indices 0 and 1, are both 0.
NUMBERS = {word: str(max(0, index - 1)) for index, word in enumerate(_NUMBER_WORDS)}
ARTICLES = frozenset(("a", "an", "the"))

_IDEOGRAPH = "\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
_CHINESE = re.compile(f"[{_IDEOGRAPH}]")
_WORDS = re.compile(rf"[{_IDEOGRAPH}]|[^\s{_IDEOGRAPH}]+")
_APOSTROPHES = re.compile(r"(?<=\w)['’](?=\w)")
# A minus before a number belongs to the number; the minus of -ve changes a finding.
_SIGN = re.compile(r"(?<![\w)\].])[-−–](?=[\d.]|ve\b)")
# Private-use characters represent these marks while punctuation is removed.
_KEPT = {"\ue000": ".", "\ue001": "-", "\ue002": "%"}


def detect_language(text: str) -> str:
    """Returns `zh` if the text contains a Chinese character, otherwise `en`; answers are short ("T2加权")."""
    return "zh" if _CHINESE.search(text) else "en"


def normalize(text: str, language: str | None = None) -> str:
    """Normalizes an answer for comparison: no case, width, punctuation or articles, and numbers as digits.

    The rules are those of the VQA evaluation, with exceptions for marks that change a finding: `>`, `<`, `=`, `+`, `%`,
    the minus of a number and the decimal point are kept, so "> 5 mm" differs from "< 5 mm" and "+ve" from "-ve". A
    thousands separator is removed (1,000), and an article is kept if it is the last word (hepatitis A). In Chinese
    text, spaces are removed as well.

    Args:
        text: the answer.
        language: a code of ISO 639, of which only "zh" has a rule of its own; None detects Chinese.
    """
    return ("" if (language or detect_language(text)) == "zh" else " ").join(_normalized_words(text))


def _normalized_words(text: str) -> list[str]:
    text = unicodedata.normalize("NFKC", text).lower()
    text = _APOSTROPHES.sub("", text)  # makes isn't equal to isnt
    text = re.sub(r"(?<=\d),(?=\d{3}(?!\d))", "", text)
    text = re.sub(r"(?<!\w)\.(?=\d)", "0.", text)
    text = re.sub(r"(?<=\d)\.(?=\d)", "\ue000", text)
    text = _SIGN.sub("\ue001", text).replace("%", "\ue002")
    text = "".join(" " if unicodedata.category(char)[0] in "PZC" and char not in _KEPT else char for char in text)
    for letter, char in _KEPT.items():
        text = text.replace(letter, char)
    words = [NUMBERS.get(word, word) for word in text.split()]
    return [word for index, word in enumerate(words) if word not in ARTICLES or index == len(words) - 1]


def split_words(text: str) -> list[str]:
    """Returns the normalized words of an answer; each Chinese character is a word."""
    return _WORDS.findall(" ".join(_normalized_words(text)))


# --- rules: functions of a prediction, a reference and their language that return a score in 0..1 ---


def exact(prediction: str, reference: str, language: str) -> float:
    """Returns 1 if both texts are equal after normalization; if nothing remains of either, the texts are compared."""
    pair = [normalize(text, language) for text in (prediction, reference)]
    if not any(pair):
        pair = ["".join(text.split()) for text in (prediction, reference)]
    return float(pair[0] == pair[1])


def token_recall(prediction: str, reference: str, language: str) -> float:
    """Returns the share of the reference's words in the prediction, as LLaVA-Med scores open questions.

    It is TP / (TP + FN) of `calculate_f1score` in llava/eval/eval_metrics/evaluate_metrics.py of microsoft/LLaVA-Med: a
    common word counts as often as it occurs in the prediction, a missing word as often as in the reference.
    """
    predicted, expected = (Counter(split_words(text)) for text in (prediction, reference))
    found = sum(count for word, count in predicted.items() if word in expected)
    missing = sum(count for word, count in expected.items() if word not in predicted)
    return found / (found + missing) if found else 0.0


def token_f1(prediction: str, reference: str, language: str) -> float:
    """Returns the harmonic mean of word precision and recall as in SQuAD; a word counts as often as both contain it."""
    predicted, expected = (Counter(split_words(text)) for text in (prediction, reference))
    both = (predicted & expected).total()
    return 2 * both / (predicted.total() + expected.total()) if both else 0.0


def contains_yes_no(prediction: str, reference: str, language: str) -> float:
    """Returns 1 if the prediction contains "yes" or "no" and the reference, as LLaVA-Med scores closed questions.

    The rule is that of llava/eval/run_eval.py in microsoft/LLaVA-Med. It compares substrings and not words: "normal"
    contains "no". If the reference is neither, for example "left lung" or Chinese, the prediction has to contain "yes"
    or "no" in addition. Both texts are normalized as for `exact`; `published_rules.py` has the rule as published.
    """
    predicted, expected = (normalize(text, language) for text in (prediction, reference))
    return float(("yes" in predicted or "no" in predicted) and expected in predicted)
