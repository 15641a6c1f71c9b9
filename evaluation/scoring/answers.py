"""Scores generated answers: short answers and reports by themselves, and all of them together.

Answers of open and closed questions are short answers, all others are reports. Four in five short answers have fewer
than four words, so a BLEU over both rests on the reports and on the few long answers.

Training and `run_evaluation.py` both use this module, so that a metric of one name has one meaning everywhere.
"""

from __future__ import annotations

import re
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
        scores: those of `medical_bleu` over all answers, `exact_match`; with answer types also `short_f1` (F1 of words)
            and `short_bleu_1` of short answers, `report_bleu`, `report_rouge_l`, `report_chrf` and the same per
            language of reports, `num_short_answers` and `num_report_texts`; `accuracy`, `accuracy_open`,
            `accuracy_closed_zh`, ... with the number of their answers, `num_samples_open`, ..., and `num_left_out`, of
            which the rule counts none; and those of `report_scores`: `clinical_f1`, ..., `num_reports`.
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
    if answer_types is not None:
        scores |= part_scores(predictions, references, languages, kinds)
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


def part_scores(
    predictions: Sequence[str], references: Sequence[str], languages: Sequence[str] | None, kinds: Sequence[str]
) -> dict[str, float]:
    """Returns the scores of short answers and of reports, each over its own rows; see `score_answers`."""
    scores: dict[str, float] = {}
    for is_short in (True, False):
        rows = [row for row, kind in enumerate(kinds) if is_report(kind) is not is_short]
        scores["num_short_answers" if is_short else "num_report_texts"] = len(rows)
        if not rows:
            continue
        columns = [column and [column[row] for row in rows] for column in (predictions, references, languages)]
        found = bleu_scores(*columns)
        if is_short:
            short = vqa_scores(*columns[:2], [kinds[row] for row in rows], columns[2], rule="token_f1")
            scores |= {"short_f1": short["accuracy"], "short_bleu_1": found["bleu_1"]}
        else:
            named = {name: value for name, value in found.items() if re.match("(bleu|chrf|rouge_l)", name)}
            scores |= {f"report_{name}": value for name, value in named.items()}
    return scores


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
