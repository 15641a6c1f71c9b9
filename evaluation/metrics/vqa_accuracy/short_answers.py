"""Scores short English and Chinese answers by a named rule, separately for open and closed questions.

Published accuracies on SLAKE or VQA-RAD follow different rules and are not comparable, so every result here contains
the name of its rule, the number of answers that were counted, and how many the rule left out. The module uses only the
standard library, so that a training loop can score answers without the slow `import evaluate`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from .clinical_rule import clinical
from .plain_rules import contains_yes_no, detect_language, exact, normalize, split_words, token_f1, token_recall
from .published_rules import (
    llava_med_closed_2023_08,
    llava_med_closed_2023_12,
    llava_med_open,
    lmms_eval,
    medevalkit_closed,
    medevalkit_open,
    medvlmbench_closed,
    medvlmbench_open,
)

__all__ = [
    "CLOSED", "DEFAULT_RULE", "LANGUAGES", "OPEN", "RULES", "Rule", "check_samples", "contains_yes_no",
    "detect_language", "exact", "normalize", "score_answer", "split_words", "token_f1", "token_recall", "vqa_scores",
]  # fmt: skip

LANGUAGES = ("en", "zh")  # the first in the result
_CODE = re.compile("[a-z]{2,3}")  # of ISO 639; `und` is an undetermined language
OPEN, CLOSED = "open", "closed"
DEFAULT_RULE = "exact"

# Takes a prediction, its reference and their language; returns 0..1, or None if the answer is left out of the count.
Scorer = Callable[[str, str, str], float | None]


@dataclass(frozen=True)
class Rule:
    """A rule by which answers are scored.

    Attributes:
        open: scores the answers to open questions, and to those whose type is unknown.
        closed: scores the answers to closed questions.
        source: where the rule was published, with the commit that was read, or who defines it.
        left_out: which answers the rule leaves out of the count; "" if it counts all of them.
    """

    open: Scorer
    closed: Scorer
    source: str
    left_out: str = ""


_LLAVA_MED = "llava/eval/run_eval.py of microsoft/LLaVA-Med"
RULES: dict[str, Rule] = {
    "exact": Rule(exact, exact, "this project"),
    "token_recall": Rule(token_recall, token_recall, "this project, after LLaVA-Med"),
    "token_f1": Rule(token_f1, token_f1, "this project, after SQuAD"),
    "contains_yes_no": Rule(contains_yes_no, contains_yes_no, "this project, after LLaVA-Med"),
    "llava_med": Rule(token_recall, contains_yes_no, "this project, after LLaVA-Med"),
    "lmms_eval": Rule(lmms_eval, lmms_eval, "lmms_eval/tasks/slake/utils.py of EvolvingLMMs-Lab/lmms-eval, 65ef07d"),
    "llava_med_2023_08": Rule(
        llava_med_open,
        llava_med_closed_2023_08,
        f"{_LLAVA_MED}, ad758b6",
        'closed questions whose answer contains "yes" or "no", and not the reference',
    ),
    "llava_med_2023_12": Rule(llava_med_open, llava_med_closed_2023_12, f"{_LLAVA_MED}, b9a98a7"),
    "medvlmbench": Rule(medvlmbench_open, medvlmbench_closed, "eval/vqa.py of ubc-tea/MedVLMBench, 07a6e4d"),
    "medevalkit_rules": Rule(
        medevalkit_open, medevalkit_closed, "utils/SLAKE/SLAKE.py of alibaba-damo-academy/MedEvalKit, 9b12e3b"
    ),
    "medgemma": Rule(token_f1, exact, "MedGemma technical report, arXiv 2507.05201, without published code"),
    "clinical": Rule(clinical, clinical, "this project"),
}


def score_answer(
    prediction: str, reference: str, answer_type: str | None = None, language: str | None = None, rule: str = "exact"
) -> float | None:
    """Returns the score of one answer in 0..1, or None if the rule leaves it out of the count.

    Args:
        prediction, reference: the answer and the correct one.
        answer_type: "OPEN" or "CLOSED", ignoring case; any other value is scored like an open question.
        language: a code of ISO 639; None detects Chinese in the reference.
        rule: a name in `RULES`.

    Raises:
        ValueError: the rule is unknown.
    """
    found = _find_rule(rule)
    scorer = found.closed if _kind(answer_type) == CLOSED else found.open
    return scorer(prediction, reference, language or detect_language(reference))


def vqa_scores(
    predictions: Sequence[str],
    references: Sequence[str],
    answer_types: Sequence[str | None] | None = None,
    languages: Sequence[str | None] | None = None,
    rule: str = DEFAULT_RULE,
) -> dict[str, float | int | str | None]:
    """Computes the mean score of all answers, of those to open and to closed questions, and of each by language.

    Args:
        predictions: [N] answers; an empty one counts as wrong.
        references: [N] correct answers, not blank.
        answer_types: [N] of "OPEN" and "CLOSED", ignoring case; any other value counts only in the overall score.
        languages: [N] codes of ISO 639, for example "en" or "zh". None, or an entry of None or "", detects Chinese in
            the reference; all others count as English then.
        rule: a name in `RULES`.

    Returns:
        `accuracy`, `accuracy_open` and `accuracy_closed` in 0..1, each also with `_en`, `_zh` and other languages, for
        the combinations that occur; None where the rule left out every answer.
        `num_samples` with the same suffixes: the number of counted answers, which is the denominator.
        `num_left_out`: the number of answers that the rule left out; with the same suffixes where it is not 0.
        `left_out`: which answers these are, if there are any; and `rule`.

    Raises:
        ValueError: there are no samples, lengths differ, a prediction or reference is not a string, a reference is
            blank, a language is not a code, or the rule is unknown. The message names the sample.
    """
    _find_rule(rule)
    answer_types = answer_types if answer_types is not None else [None] * len(predictions)
    languages = languages if languages is not None else [None] * len(predictions)
    check_samples(predictions, references, answer_types, languages)

    groups: dict[str, list[float | None]] = {}
    columns = zip(predictions, references, answer_types, languages, strict=True)
    for prediction, reference, answer_type, language in columns:
        language, kind = language or detect_language(reference), _kind(answer_type)
        score = score_answer(prediction, reference, kind, language, rule)
        for suffix in ("", f"_{kind}") if kind in (OPEN, CLOSED) else ("",):
            groups.setdefault(suffix, []).append(score)
            groups.setdefault(f"{suffix}_{language}", []).append(score)
    others = sorted({language for language in languages if language} - set(LANGUAGES))
    endings = ("", *(f"_{name}" for name in (*LANGUAGES, *others)))
    order = [f"{suffix}{ending}" for ending in endings for suffix in ("", "_open", "_closed")]
    counted = {name: [score for score in groups[name] if score is not None] for name in order if name in groups}
    means = {f"accuracy{name}": sum(kept) / len(kept) if kept else None for name, kept in counted.items()}
    sizes = {f"num_samples{name}": len(kept) for name, kept in counted.items()}
    missing = {f"num_left_out{name}": len(groups[name]) - len(kept) for name, kept in counted.items()}
    missing = {name: number for name, number in missing.items() if number or name == "num_left_out"}
    reason = {"left_out": RULES[rule].left_out} if missing["num_left_out"] else {}
    return means | sizes | missing | reason | {"rule": rule}


def _kind(answer_type: str | None) -> str:
    return (answer_type or "").strip().lower()


def _find_rule(name: str) -> Rule:
    if name not in RULES:
        raise ValueError(f"The rule {name!r} is unknown. Use one of {', '.join(RULES)}.")
    return RULES[name]


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
