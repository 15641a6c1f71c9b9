"""Is a short answer right, by a rule that is named? For English and Chinese, open and closed questions apart.

Published accuracies on SLAKE or VQA-RAD follow different rules and are not comparable; here every score carries the
name of its own. Plain Python, so that a training loop can score answers without paying for `import evaluate`.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Sequence

LANGUAGES = ("en", "zh")
OPEN, CLOSED = "open", "closed"

# Of the VQA evaluation (Antol et al. 2015; vqaEvaluation/vqaEval.py in GT-Vision-Lab/VQA): numbers up to ten are
# written as digits, "none" is 0, and articles are left out.
_DIGITS = ["none", "zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"]
NUMBERS = {word: str(max(0, place - 1)) for place, word in enumerate(_DIGITS)}
ARTICLES = frozenset(("a", "an", "the"))

_IDEOGRAPH = "\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
_CHINESE = re.compile(f"[{_IDEOGRAPH}]")
_WORDS = re.compile(rf"[{_IDEOGRAPH}]|[^\s{_IDEOGRAPH}]+")
_APOSTROPHES = re.compile(r"(?<=\w)['’](?=\w)")
# A point between digits belongs to a number, and so does a minus before one; +ve and -ve are findings.
_SIGN = re.compile(r"(?<![\w)\].])[-−–](?=[\d.]|ve\b)")
_KEPT = {"\ue000": ".", "\ue001": "-", "\ue002": "%"}  # private letters stand for them while punctuation is taken out


def detect_language(text: str) -> str:
    """`zh` if there is a Chinese character in the text, else `en`: answers are short ("T2加权")."""
    return "zh" if _CHINESE.search(text) else "en"


def normalize(text: str, language: str | None = None) -> str:
    """An answer as it is compared: no case, width, punctuation or article, numbers as digits.

    As in the VQA evaluation, but for what changes a finding there: `>`, `<`, `=`, `+`, `%`, the minus of a number, and
    the point of a decimal stay, so that "> 5 mm" is not "< 5 mm" and "+ve" is not "-ve"; a comma between digits is left
    out (1,000); an article stays where it is the last word (hepatitis A). In a Chinese text there are no spaces either.

    Args:
        language: "en" or "zh"; looked at unless given.
    """
    return ("" if (language or detect_language(text)) == "zh" else " ").join(_normalized_words(text))


def _normalized_words(text: str) -> list[str]:
    text = unicodedata.normalize("NFKC", text).lower()
    text = _APOSTROPHES.sub("", text)  # isn't and isnt
    text = re.sub(r"(?<=\d),(?=\d{3}(?!\d))", "", text)
    text = re.sub(r"(?<!\w)\.(?=\d)", "0.", text)
    text = re.sub(r"(?<=\d)\.(?=\d)", "\ue000", text)
    text = _SIGN.sub("\ue001", text).replace("%", "\ue002")
    text = "".join(" " if unicodedata.category(char)[0] in "PZC" and char not in _KEPT else char for char in text)
    for letter, char in _KEPT.items():
        text = text.replace(letter, char)
    words = [NUMBERS.get(word, word) for word in text.split()]
    return [word for place, word in enumerate(words) if word not in ARTICLES or place == len(words) - 1]


def words_of(text: str) -> list[str]:
    """The words of an answer, normalised; every Chinese character is one."""
    return _WORDS.findall(" ".join(_normalized_words(text)))


# --- rules: a prediction, a reference and their language give a score in 0..1 ---


def exact(prediction: str, reference: str, language: str) -> float:
    """1 where both are the same once normalised; without a letter or digit in them, where they are the same text."""
    pair = [normalize(text, language) for text in (prediction, reference)]
    if not any(pair):
        pair = ["".join(text.split()) for text in (prediction, reference)]
    return float(pair[0] == pair[1])


def token_recall(prediction: str, reference: str, language: str) -> float:
    """Share of the reference's words in the prediction, as LLaVA-Med scores open questions.

    `calculate_f1score` in llava/eval/eval_metrics/evaluate_metrics.py of microsoft/LLaVA-Med: TP / (TP + FN), where a
    word that both have counts as often as in the prediction, and one that is missing as often as in the reference.
    """
    predicted, wanted = (Counter(words_of(text)) for text in (prediction, reference))
    found = sum(count for word, count in predicted.items() if word in wanted)
    missing = sum(count for word, count in wanted.items() if word not in predicted)
    return found / (found + missing) if found else 0.0


def token_f1(prediction: str, reference: str, language: str) -> float:
    """Harmonic mean of precision and recall of words, as in SQuAD: a word counts as often as both have it."""
    predicted, wanted = (Counter(words_of(text)) for text in (prediction, reference))
    both = (predicted & wanted).total()
    return 2 * both / (predicted.total() + wanted.total()) if both else 0.0


def contains_yes_no(prediction: str, reference: str, language: str) -> float:
    """1 where "yes" or "no" stands somewhere in the prediction, and the reference too, as LLaVA-Med scores closed ones.

    llava/eval/run_eval.py there. Letters are compared, not words: "no" stands in "normal". A reference such as "left
    lung" or a Chinese one is right only beside a yes or no. A wrong yes or no counts as wrong here; LLaVA-Med's code
    leaves it out of the count.
    """
    predicted, wanted = (normalize(text, language) for text in (prediction, reference))
    return float(("yes" in predicted or "no" in predicted) and wanted in predicted)


RULES: dict[str, Callable[[str, str, str], float]] = {
    "exact": exact,
    "token_recall": token_recall,
    "token_f1": token_f1,
    "contains_yes_no": contains_yes_no,
}
# A rule for each kind of question: the pair that LLaVA-Med reports.
PAIRS = {"llava_med": {OPEN: "token_recall", CLOSED: "contains_yes_no"}}


def vqa_scores(
    predictions: Sequence[str],
    references: Sequence[str],
    answer_types: Sequence[str | None] | None = None,
    languages: Sequence[str | None] | None = None,
    rule: str = "exact",
) -> dict[str, float | int | str]:
    """Mean score over all answers, over those to open and to closed questions, and each of these by language.

    Args:
        predictions: [N] answers; an empty one is wrong, not an error.
        references: [N] right answers, none of them blank.
        answer_types: [N] of "OPEN" and "CLOSED", in any case; anything else is neither, and counts in the whole only.
        languages: [N] of "en" and "zh". Without it, or where it is None or "", the reference is looked at.
        rule: a name in `RULES`, or `llava_med`: token_recall for open questions and those that are neither,
            contains_yes_no for closed ones.

    Returns:
        `accuracy`, `accuracy_open`, `accuracy_closed`, each also with `_en` and `_zh`, in 0..1, for those that occur;
        `num_samples` with the same endings; and `rule`.

    Raises:
        ValueError: there are no samples, lengths differ, a text is none or blank, or a language or the rule is not
            known. The message names the sample.
    """
    if rule not in RULES and rule not in PAIRS:
        raise ValueError(f"rule {rule!r} is not one of {', '.join([*RULES, *PAIRS])}")
    answer_types = answer_types if answer_types is not None else [None] * len(predictions)
    languages = languages if languages is not None else [None] * len(predictions)
    check(predictions, references, answer_types, languages)

    groups: dict[str, list[float]] = {}
    columns = zip(predictions, references, answer_types, languages, strict=True)
    for prediction, reference, answer_type, language in columns:
        language, kind = language or detect_language(reference), (answer_type or "").strip().lower()
        name = PAIRS[rule].get(kind, PAIRS[rule][OPEN]) if rule in PAIRS else rule
        score = RULES[name](prediction, reference, language)
        for part in ("", f"_{kind}") if kind in (OPEN, CLOSED) else ("",):
            groups.setdefault(part, []).append(score)
            groups.setdefault(f"{part}_{language}", []).append(score)
    order = [f"{part}{end}" for end in ("", *(f"_{name}" for name in LANGUAGES)) for part in ("", "_open", "_closed")]
    found = [name for name in order if name in groups]
    means = {f"accuracy{name}": sum(groups[name]) / len(groups[name]) for name in found}
    return means | {f"num_samples{name}": len(groups[name]) for name in found} | {"rule": rule}


def check(predictions: Sequence[str], references: Sequence[str], answer_types: Sequence, languages: Sequence) -> None:
    """Raises ValueError, naming the sample, for what cannot be scored."""
    if not len(predictions):
        raise ValueError("no samples: predictions and references are empty")
    sizes = {"references": references, "answer_types": answer_types, "languages": languages}
    for name, values in sizes.items():
        if len(values) != len(predictions):
            raise ValueError(f"{len(predictions)} predictions, but {len(values)} {name}")
    columns = zip(predictions, references, answer_types, languages, strict=True)
    for sample, (prediction, reference, answer_type, language) in enumerate(columns):
        if not isinstance(prediction, str):
            raise ValueError(f"sample {sample}: the prediction is {prediction!r}, not a text")
        if not isinstance(reference, str) or not reference.strip():
            raise ValueError(f"sample {sample}: the reference is {reference!r}, not a text with words")
        if answer_type is not None and not isinstance(answer_type, str):
            raise ValueError(f"sample {sample}: the answer type is {answer_type!r}, not a text")
        if language and language not in LANGUAGES:
            raise ValueError(f"sample {sample}: language {language!r} is not one of {', '.join(LANGUAGES)}")
