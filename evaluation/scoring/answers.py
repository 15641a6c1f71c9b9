"""Scores generated answers: BLEU, exact match, accuracy for questions of a known type, and the findings of reports.

Training and `run_evaluation.py` both use this module, so that a metric of one name has one meaning everywhere.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence

from evaluation.metrics.medical_bleu.bilingual import bleu_scores
from evaluation.metrics.vqa_accuracy.short_answers import DEFAULT_RULE, vqa_scores
from evaluation.scoring.report_scores import is_report, report_scores


def score_answers(
    predictions: Sequence[str],
    references: Sequence[str],
    languages: Sequence[str] | None = None,
    answer_types: Sequence[str | None] | None = None,
    rule: str = DEFAULT_RULE,
) -> tuple[dict[str, float], dict[str, str]]:
    """Computes all scores of answers, and the signatures to report with them.

    Args:
        predictions, references: [N] texts.
        languages: [N] codes of ISO 639 (default: English or Chinese, detected from the references).
        answer_types: [N] of "OPEN", "CLOSED" or any other text. Accuracies count only open and closed answers, the
            scores of findings only the others, which are reports; there are no scores of what a split lacks.
        rule: the rule of the accuracies, see `vqa_accuracy`.

    Returns:
        scores: those of `medical_bleu`, `exact_match`, and `accuracy`, `accuracy_open`, `accuracy_closed_zh`, ... with
            the number of their answers, `num_samples_open`, ..., and `num_left_out`, of which the rule counts none;
            those of `report_scores`: `clinical_f1`, `clinical_f1_detailed`, ..., `num_reports`.
        signatures: that of sacrebleu per language; `accuracy` with the rule, for example `rule:exact`; `left_out`,
            which answers the rule left out, if there are any; and `clinical`, the rules that read the reports.

    Raises:
        ValueError: the inputs are invalid for `medical_bleu` or `vqa_accuracy`.
    """
    scores = bleu_scores(predictions, references, languages)
    signatures = dict(scores.pop("signature"))
    scores["exact_match"] = exact_match(predictions, references)
    kinds = [(kind or "").strip().lower() for kind in answer_types or [""] * len(references)]
    asked, reports = ([row for row, kind in enumerate(kinds) if is_report(kind) is wanted] for wanted in (False, True))
    if asked:
        columns = (predictions, references, kinds, languages)
        found = vqa_scores(*(column and [column[row] for row in asked] for column in columns), rule=rule)
        signatures["accuracy"] = f"rule:{found.pop('rule')}"
        if "left_out" in found:
            signatures["left_out"] = found.pop("left_out")
        # Both metrics count samples per language; the counts of BLEU, over all answers, are kept.
        scores |= {name: value for name, value in found.items() if name not in scores}
    columns = (predictions, references, languages)
    found, signature = report_scores(*(column and [column[row] for row in reports] for column in columns))
    if found:
        scores |= found
        signatures["clinical"] = signature
    return scores, signatures


def exact_match(predictions: Sequence[str], references: Sequence[str]) -> float:
    """Returns the share of answers equal to their reference, ignoring case, white space and punctuation."""
    pairs = zip(predictions, references, strict=True)
    return sum(simplify(prediction) == simplify(reference) for prediction, reference in pairs) / len(references)


def simplify(text: str) -> str:
    """Returns a text in lower case, without punctuation of any script and with single spaces.

    Symbols are kept, because "> 5 mm" must not equal "< 5 mm".
    """
    # All Unicode categories of punctuation begin with P (Po, Pd, Ps, ...), those of symbols with S.
    kept = "".join(" " if unicodedata.category(char)[0] == "P" else char for char in text.lower())
    return " ".join(kept.split())
