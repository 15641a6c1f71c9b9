"""Scores short English and Chinese answers by a named rule, separately for open and closed questions.

Published accuracies on SLAKE or VQA-RAD follow different rules and are not comparable, so every result here contains
the name of its rule. The module uses only the standard library, so that a training loop can score answers without the
slow `import evaluate`.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Sequence

LANGUAGES = ("en", "zh")  # the first in the result
_CODE = re.compile("[a-z]{2,3}")  # of ISO 639; `und` is an undetermined language
OPEN, CLOSED = "open", "closed"

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
    or "no" in addition. A wrong yes or no counts as wrong here; LLaVA-Med's code does not count the question at all.
    """
    predicted, expected = (normalize(text, language) for text in (prediction, reference))
    return float(("yes" in predicted or "no" in predicted) and expected in predicted)


RULES: dict[str, Callable[[str, str, str], float]] = {
    "exact": exact,
    "token_recall": token_recall,
    "token_f1": token_f1,
    "contains_yes_no": contains_yes_no,
}
# Combinations of one rule for open and one for closed questions; this one is reported by LLaVA-Med.
PAIRS = {"llava_med": {OPEN: "token_recall", CLOSED: "contains_yes_no"}}


def vqa_scores(
    predictions: Sequence[str],
    references: Sequence[str],
    answer_types: Sequence[str | None] | None = None,
    languages: Sequence[str | None] | None = None,
    rule: str = "exact",
) -> dict[str, float | int | str]:
    """Computes the mean score of all answers, of those to open and to closed questions, and of each by language.

    Args:
        predictions: [N] answers; an empty one counts as wrong.
        references: [N] correct answers, not blank.
        answer_types: [N] of "OPEN" and "CLOSED", ignoring case; any other value counts only in the overall score.
        languages: [N] codes of ISO 639, for example "en" or "zh". None, or an entry of None or "", detects Chinese in
            the reference; all others count as English then.
        rule: a name in `RULES`, or `llava_med`: contains_yes_no for closed questions, token_recall for all others.

    Returns:
        `accuracy`, `accuracy_open` and `accuracy_closed` in 0..1, each also with `_en`, `_zh` and other languages, for
        the combinations that occur; `num_samples` with the same suffixes; and `rule`.

    Raises:
        ValueError: there are no samples, lengths differ, a prediction or reference is not a string, a reference is
            blank, a language is not a code, or the rule is unknown. The message names the sample.
    """
    if rule not in RULES and rule not in PAIRS:
        raise ValueError(f"The rule {rule!r} is unknown. Use one of {', '.join([*RULES, *PAIRS])}.")
    answer_types = answer_types if answer_types is not None else [None] * len(predictions)
    languages = languages if languages is not None else [None] * len(predictions)
    check_samples(predictions, references, answer_types, languages)

    groups: dict[str, list[float]] = {}
    columns = zip(predictions, references, answer_types, languages, strict=True)
    for prediction, reference, answer_type, language in columns:
        language, kind = language or detect_language(reference), (answer_type or "").strip().lower()
        name = PAIRS[rule].get(kind, PAIRS[rule][OPEN]) if rule in PAIRS else rule
        score = RULES[name](prediction, reference, language)
        for suffix in ("", f"_{kind}") if kind in (OPEN, CLOSED) else ("",):
            groups.setdefault(suffix, []).append(score)
            groups.setdefault(f"{suffix}_{language}", []).append(score)
    others = sorted({language for language in languages if language} - set(LANGUAGES))
    endings = ("", *(f"_{name}" for name in (*LANGUAGES, *others)))
    order = [f"{suffix}{ending}" for ending in endings for suffix in ("", "_open", "_closed")]
    found = [name for name in order if name in groups]
    means = {f"accuracy{name}": sum(groups[name]) / len(groups[name]) for name in found}
    return means | {f"num_samples{name}": len(groups[name]) for name in found} | {"rule": rule}


def check_samples(
    predictions: Sequence[str], references: Sequence[str], answer_types: Sequence, languages: Sequence
) -> None:
    """Raises ValueError for samples that cannot be scored; the message names the sample."""
    if not len(predictions):
        raise ValueError("There are no samples: predictions is empty. Give at least one prediction and its reference.")
    sizes = {"references": references, "answer_types": answer_types, "languages": languages}
    for name, values in sizes.items():
        if len(values) != len(predictions):
            raise ValueError(
                f"There are {len(predictions)} predictions, but {len(values)} {name}. Give one per prediction."
            )
    columns = zip(predictions, references, answer_types, languages, strict=True)
    for sample, (prediction, reference, answer_type, language) in enumerate(columns):
        if not isinstance(prediction, str):
            raise ValueError(f"sample {sample}: the prediction is {prediction!r}. Give a string.")
        if not isinstance(reference, str) or not reference.strip():
            raise ValueError(f"sample {sample}: the reference is {reference!r}. Give a text that is not blank.")
        if answer_type is not None and not isinstance(answer_type, str):
            raise ValueError(f"sample {sample}: the answer type is {answer_type!r}. Give OPEN, CLOSED or None.")
        if language and not (isinstance(language, str) and _CODE.fullmatch(language)):
            raise ValueError(f"sample {sample}: the language {language!r} is unknown. Use a code such as en or zh.")
