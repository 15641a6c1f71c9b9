"""How good are generated answers? BLEU, exact match, and for questions with a known kind of answer their accuracy.

The one place that training, `run_evaluation.py` and whoever else scores answers share, so that a number means the same
wherever it stands.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence

from evaluation.metrics.medical_bleu.bilingual import bleu_scores
from evaluation.metrics.vqa_accuracy.short_answers import CLOSED, OPEN, vqa_scores


def score_answers(
    predictions: Sequence[str],
    references: Sequence[str],
    languages: Sequence[str] | None = None,
    answer_types: Sequence[str | None] | None = None,
    rule: str = "exact",
) -> tuple[dict[str, float], dict[str, str]]:
    """All scores of answers, and what to quote with them.

    Args:
        predictions, references: [N] texts.
        languages: [N] of "en" and "zh"; looked at unless given.
        answer_types: [N] of "OPEN", "CLOSED" and others. Rows of neither, such as reports, are no part of the
            accuracies; without any of the two there are none.
        rule: of the accuracies, see `vqa_accuracy`.

    Returns:
        scores: what `medical_bleu` gives, `exact_match`, and `accuracy`, `accuracy_open`, `accuracy_closed_zh`, ...
            with the number of their answers, `num_samples_open`, ...
        signatures: sacrebleu's for each language, and `accuracy`: the rule, such as `rule:exact`.

    Raises:
        ValueError: as `medical_bleu` and `vqa_accuracy` do.
    """
    scores = bleu_scores(predictions, references, languages)
    signatures = dict(scores.pop("signature"))
    scores["exact_match"] = exact_match(predictions, references)
    kinds = [(kind or "").strip().lower() for kind in answer_types or ()]
    asked = [row for row, kind in enumerate(kinds) if kind in (OPEN, CLOSED)]
    if asked:
        columns = (predictions, references, kinds, languages)
        found = vqa_scores(*(column and [column[row] for row in asked] for column in columns), rule=rule)
        signatures["accuracy"] = f"rule:{found.pop('rule')}"
        scores |= {name: value for name, value in found.items() if name not in scores}  # counts of the BLEU stay
    return scores, signatures


def exact_match(predictions: Sequence[str], references: Sequence[str]) -> float:
    """Share of answers equal to their reference, case, white space and punctuation aside."""
    pairs = zip(predictions, references, strict=True)
    return sum(plain(prediction) == plain(reference) for prediction, reference in pairs) / len(references)


def plain(text: str) -> str:
    """Lower case, no punctuation of any script, single spaces. Symbols stay: "> 5 mm" is not "< 5 mm"."""
    kept = "".join(" " if unicodedata.category(char)[0] == "P" else char for char in text.lower())
    return " ".join(kept.split())
