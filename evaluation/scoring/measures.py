"""Makes intervals of the scores of answers, and of the difference between two models, by drawing patients.

A measure is the sums per row from which a score is computed: for an accuracy the points and the number of counted rows,
for BLEU the matched and all n-grams with the lengths. The score of a resample is that of the drawn patients' sums, so
BLEU is handled as exactly as an accuracy.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from evaluation.metrics.medical_bleu.rouge import rouge_l
from evaluation.metrics.vqa_accuracy.short_answers import CLOSED, DEFAULT_RULE, OPEN, detect_language, score_answer
from evaluation.scoring.answers import simplify
from evaluation.scoring.group_bootstrap import FEWEST_GROUPS, draws, ratio_interval, tails, wilson_reach
from evaluation.scoring.report_scores import FEWEST_OF_A_LANGUAGE, PER_LANGUAGE, claim_sums, is_report

ORDER = 4  # the longest n-grams of BLEU
SAME = 1e-9  # scores that differ less are equal but for rounding


@dataclass(frozen=True)
class Measure:
    """The rows of a split as sums.

    Attributes:
        sums: `[N, S]` float64 per row.
        score: takes `[R, S]` sums over rows and returns `[R]` scores.
        counted: `[N]` whether the row is part of the score.
        is_share: whether the score is a share in 0..1 of `sums[:, 0]` in `sums[:, 1]`.
        largest: the largest possible score, of which the smallest is 0; None for a loss, which has none.
    """

    sums: np.ndarray
    score: Callable[[np.ndarray], np.ndarray]
    counted: np.ndarray
    is_share: bool = False
    largest: float | None = None


def ratio(sums: np.ndarray) -> np.ndarray:
    """Returns the first sum divided by the second, `[R]`."""
    return sums[:, 0] / sums[:, 1]


def measures(rows: Sequence[Mapping[str, Any]], rule: str = DEFAULT_RULE) -> dict[str, Measure]:
    """Returns the measures of predictions by the name of the metric.

    Args:
        rows: [N] with `generated`, `reference`, `language` and `answer_type`; with `loss` and `tokens`, if the loss of
            the reference was measured.
        rule: the rule of the accuracies.

    Returns:
        `accuracy_open`, `accuracy_closed`, `exact_match`, `bleu`, `bleu_1`, `short_f1`, `short_bleu_1`, `report_bleu`,
        `report_rouge_l`, `clinical_f1`, `clinical_f1_detailed` and `loss`, those that have a counted row.
    """
    rows = [{**row, "language": row.get("language") or detect_language(row["reference"])} for row in rows]
    kinds = [(row.get("answer_type") or "").strip().lower() for row in rows]
    points = [
        score_answer(row["generated"], row["reference"], kind, row["language"], rule)
        if kind in (OPEN, CLOSED)
        else None
        for row, kind in zip(rows, kinds, strict=True)
    ]
    found = {}
    for name in (OPEN, CLOSED):
        found[f"accuracy_{name}"] = shares([p if kind == name else None for p, kind in zip(points, kinds, strict=True)])
    found["exact_match"] = shares([float(simplify(row["generated"]) == simplify(row["reference"])) for row in rows])
    sums = bleu_sums(rows)
    everything = np.ones(len(rows), dtype=bool)
    found["bleu"] = Measure(sums, lambda total: bleu(total, ORDER), everything, largest=100.0)
    found["bleu_1"] = Measure(sums, lambda total: bleu(total, 1), everything, largest=100.0)
    found |= part_measures(rows, kinds, sums)
    texts = ([row[name] for row in rows] for name in ("generated", "reference"))
    found |= finding_measures(*texts, kinds, [row["language"] for row in rows])
    if all(row.get("loss") is not None and row.get("tokens") is not None for row in rows):
        losses = np.array([[row["loss"], row["tokens"]] for row in rows], dtype=np.float64).reshape(-1, 2)
        found["loss"] = Measure(losses, ratio, losses[:, 1] > 0)
    return {name: measure for name, measure in found.items() if measure.counted.any()}


def part_measures(rows: Sequence[Mapping[str, Any]], kinds: Sequence[str], sums: np.ndarray) -> dict[str, Measure]:
    """Returns the measures of short answers and of reports, see `answers.part_scores`; all but chrF."""
    is_short = np.array([kind in (OPEN, CLOSED) for kind in kinds], dtype=bool)
    points = [
        score_answer(row["generated"], row["reference"], kind, row["language"], "token_f1") if short else None
        for row, kind, short in zip(rows, kinds, is_short, strict=True)
    ]
    longest = [
        0.0 if short else rouge_l(row["generated"], [row["reference"]])
        for row, short in zip(rows, is_short, strict=True)
    ]
    reports = np.stack([longest, (~is_short).astype(np.float64)], axis=1)
    return {
        "short_f1": shares(points),
        "short_bleu_1": Measure(sums * is_short[:, None], lambda total: bleu(total, 1), is_short, largest=100.0),
        "report_bleu": Measure(sums * ~is_short[:, None], lambda total: bleu(total, ORDER), ~is_short, largest=100.0),
        "report_rouge_l": Measure(reports, ratio, ~is_short, largest=100.0),
    }


def shares(points: Sequence[float | None]) -> Measure:
    """Returns the measure of a share from the points of each row, 0..1; None for a row that is not counted."""
    counted = np.array([point is not None for point in points], dtype=bool)
    tops = np.array([point or 0.0 for point in points], dtype=np.float64)
    return Measure(np.stack([tops, counted.astype(np.float64)], axis=1), ratio, counted, is_share=True, largest=1.0)


def finding_measures(
    predictions: Sequence[str], references: Sequence[str], kinds: Sequence[str], languages: Sequence[str] = ()
) -> dict[str, Measure]:
    """Returns the measures of the findings of reports, see `report_scores.py`.

    Args:
        predictions, references: [N] texts.
        kinds: [N] answer types in lower case.
        languages: [N] codes of ISO 639; without them, there are no measures of a language.
    """
    claims = claim_sums(predictions, references, kinds)
    counted = np.array([row is not None for row in claims], dtype=bool)
    sums = np.array([row or (0, 0, 0) for row in claims], dtype=np.float64).reshape(-1, 3)
    parts = {"": counted}
    spoken = {language for language, kind in zip(languages, kinds, strict=False) if is_report(kind)}
    for language in sorted(spoken) if len(spoken) > 1 else ():
        own = counted & (np.array(languages) == language)
        if own.sum() >= FEWEST_OF_A_LANGUAGE:
            parts[f"_{language}"] = own
    return {
        f"{name}{part}": Measure(sums[:, [column, 2]] * own[:, None], ratio, own, largest=1.0)
        for part, own in parts.items()
        for column, name in enumerate(PER_LANGUAGE)
    }


def bleu_sums(rows: Sequence[Mapping[str, Any]]) -> np.ndarray:
    """Returns for each row the matched n-grams, all n-grams, and the lengths of answer and reference.

    Returns:
        `[N, 2 * ORDER + 2]` float64.
    """
    from sacrebleu.metrics import BLEU

    from evaluation.metrics.medical_bleu.bilingual import OTHER_LANGUAGES, TOKENIZERS

    names = {TOKENIZERS.get(row["language"], OTHER_LANGUAGES) for row in rows}
    metrics = {name: BLEU(tokenize=name, effective_order=True) for name in names}
    found = []
    for row in rows:
        metric = metrics[TOKENIZERS.get(row["language"], OTHER_LANGUAGES)]
        score = metric.sentence_score(row["generated"], [row["reference"]])
        found.append([*score.counts, *score.totals, score.sys_len, score.ref_len])
    return np.array(found, dtype=np.float64).reshape(len(rows), 2 * ORDER + 2)


def bleu(sums: np.ndarray, order: int) -> np.ndarray:
    """Returns the corpus BLEU of sums `[R, 2 * ORDER + 2]`, `[R]` in 0..100, as sacrebleu computes it."""
    from sacrebleu.metrics import BLEU

    return np.array(
        [
            min(
                100.0,
                BLEU.compute_bleu(
                    [int(value) for value in total[:order]],
                    [int(value) for value in total[ORDER : ORDER + order]],
                    int(total[-2]),
                    int(total[-1]),
                    smooth_method="exp",
                    max_ngram_order=order,
                ).score,
            )
            for total in sums
        ]
    )


def intervals(found: Mapping[str, Measure], groups: Sequence[str]) -> dict[str, list[float]]:
    """Returns the 95 % interval of each measure, `[low, high]`; none where there are too few groups.

    Args:
        found: measures of [N] rows.
        groups: [N] names of the groups that are drawn, for example patients.
    """
    bounds = {}
    for name, measure in found.items():
        if measure.is_share:
            interval = ratio_interval(*measure.sums.T, groups)
        else:
            interval = resampled(measure.sums, measure.score, measure.counted, groups, 0.0, measure.largest)
        # A loss can be NaN, which no record holds.
        if interval is not None and all(map(math.isfinite, interval)):
            bounds[name] = list(interval)
    return bounds


def difference(ours: Measure, theirs: Measure, groups: Sequence[str]) -> tuple[float, float] | None:
    """Returns the 95 % interval of our score minus theirs, on the same rows; None if there are too few groups.

    Both are drawn together, so what is difficult for both cancels. Rows that one of the two does not count are left
    out.
    """
    both = ours.counted & theirs.counted
    if not both.any():
        return None
    if ours.is_share:
        gains = (ours.sums[:, 0] - theirs.sums[:, 0]) * both
        return ratio_interval(gains, both.astype(float), groups, least=-1.0)
    width = ours.sums.shape[1]

    def gain(sums: np.ndarray) -> np.ndarray:
        return ours.score(sums[:, :width]) - theirs.score(sums[:, width:])

    sums, largest = np.concatenate([ours.sums, theirs.sums], axis=1), ours.largest
    return resampled(sums, gain, both, groups, None if largest is None else -largest, largest, is_difference=True)


def resampled(
    sums: np.ndarray,
    score: Callable[[np.ndarray], np.ndarray],
    counted: np.ndarray,
    groups: Sequence[str],
    smallest: float | None,
    largest: float | None,
    is_difference: bool = False,
) -> tuple[float, float] | None:
    """Returns the interval of a score by drawing groups; None if there are fewer than FEWEST_GROUPS.

    Where all resamples have the same score, for example 0, more patients could have another one. The bounds are then
    those of `ratio_interval`, on the scale of the score. Without a largest value, a score has none, and a difference
    has no width.
    """
    names, numbers = np.unique(np.asarray(groups, dtype=object)[counted].astype(str), return_inverse=True)
    if len(names) < FEWEST_GROUPS:
        return None
    totals = np.zeros((len(names), sums.shape[1]))
    np.add.at(totals, numbers, sums[counted])  # (G, S)
    scores = score(draws(len(names)) @ totals)
    if np.ptp(scores) < SAME:
        if smallest is None or largest is None:
            # A gain of every patient is one; that a loss is the same for all of them says nothing about others.
            return (float(scores[0]), float(scores[0])) if is_difference else None
        reach = wilson_reach(len(names)) * largest
        return float(max(smallest, scores[0] - reach)), float(min(largest, scores[0] + reach))
    low, high = np.quantile(scores, tails(len(names)))
    return float(low), float(high)
