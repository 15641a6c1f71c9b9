"""Scores generated reports by their findings: the headline numbers of `clinical_consistency`.

Reports are the answers whose type is neither open nor closed. Those whose reference has no known finding are not
counted, so a split without reports has none of these scores.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from evaluation.metrics.clinical_consistency.agreement import (
    detect_language,
    pair_counts,
    rules_signature,
    shares_of,
)
from evaluation.metrics.vqa_accuracy.short_answers import CLOSED, OPEN

# Name in a record: name in `clinical_consistency`.
SHARES = {
    "clinical_f1": "f1",
    "clinical_f1_detailed": "f1_detailed",
    "clinical_laterality": "laterality_agreement",
    "clinical_severity": "severity_agreement",
    "clinical_measurement": "measurement_agreement",
}
COUNTS = {
    "num_reports": "num_samples",
    "num_reports_left_out": "num_left_out",
    "num_status_contradictions": "status_contradictions",
    "num_side_contradictions": "side_contradictions",
}
PER_LANGUAGE = ("clinical_f1", "clinical_f1_detailed")
FEWEST_OF_A_LANGUAGE = 30  # counted reports; fewer are too few for a score of their own


def is_report(kind: str) -> bool:
    """Returns whether an answer of this type, in lower case, is a report and not that of a short question."""
    return kind not in (OPEN, CLOSED)


def report_scores(
    predictions: Sequence[str], references: Sequence[str], languages: Sequence[str] | None = None
) -> tuple[dict[str, float], str]:
    """Computes the scores of reports, and the signature to report with them.

    Args:
        predictions, references: [N] texts.
        languages: [N] codes of ISO 639 (default: detected from the references).

    Returns:
        scores: those of `SHARES` in 0..1, without those that nothing can be said of, and `COUNTS`; `clinical_f1_en`,
            `num_reports_en`, ... for each of several languages with at least FEWEST_OF_A_LANGUAGE counted reports.
            Empty if no reference has a known finding.
        signature: the rules, and how many reports they count; "" if there are no scores.
    """
    rows = [pair_counts(*texts) for texts in zip(predictions, references, strict=True)]
    total = shares_of(total_of(rows))
    if not total["num_samples"]:
        return {}, ""
    scores = {name: total[key] for name, key in (SHARES | COUNTS).items() if total[key] is not None}
    if languages is None:
        languages = [detect_language(text) for text in references]
    if len({*languages}) > 1:
        for language in sorted({*languages}):
            part = shares_of(total_of([row for row, code in zip(rows, languages, strict=True) if code == language]))
            if part["num_samples"] >= FEWEST_OF_A_LANGUAGE:
                scores |= {f"{name}_{language}": part[SHARES[name]] for name in PER_LANGUAGE}
                scores[f"num_reports_{language}"] = part["num_samples"]
    counted, all_rows = total["num_samples"], total["num_samples"] + total["num_left_out"]
    return scores, f"{rules_signature()}, {counted} of {all_rows} reports with a known finding"


def total_of(rows: Sequence[Counter[str]]) -> Counter[str]:
    total: Counter[str] = Counter()
    for row in rows:
        total.update(row)
    return total


def claim_sums(
    predictions: Sequence[str], references: Sequence[str], kinds: Sequence[str]
) -> list[tuple[int, int, int] | None]:
    """Returns for each answer what `clinical_f1` and `clinical_f1_detailed` are ratios of.

    Args:
        predictions, references: [N] texts.
        kinds: [N] answer types in lower case.

    Returns:
        [N] (twice the matching claims, twice those with the same details, the claims of both texts); None for an answer
        that is not counted: it is not a report, or its reference has no known finding.
    """
    found: list[tuple[int, int, int] | None] = []
    for prediction, reference, kind in zip(predictions, references, kinds, strict=True):
        counts = pair_counts(prediction, reference) if is_report(kind) else Counter()
        claims = counts["predicted_claims"] + counts["reference_claims"]
        found.append((2 * counts["matched"], 2 * counts["detailed"], claims) if counts["samples"] else None)
    return found
