"""Scores classifiers on the same images: balanced accuracy, AUC, kappa, with intervals by a bootstrap over patients.

Rows whose highest score is shared by several classes count as a part for each, the expectation over random orders. All
values come from sums per group, so that a thousand resamples cost little more than one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from evaluation.scoring.group_bootstrap import FEWEST_GROUPS, draws, tails, wilson_reach

BALANCED, AUC, ACCURACY, KAPPA, WITHIN_ONE = (
    "balanced_accuracy", "macro_auc", "accuracy", "quadratic_kappa", "within_one",
)  # fmt: skip
MOST_DRAWN = 20_000_000  # numbers in memory while AUCs are resampled
FEWEST_DEFINED = 0.9  # of the resamples in which a value is defined; a rare class is missing in some

Value = list[float | None]  # the value and the bounds of its interval, which are None for few groups


@dataclass(frozen=True)
class Resampled:
    """The values of a classifier: on all rows first, then in each resample.

    Attributes:
        values: for each metric [1 + R] float64, NaN where it is not defined; [1] if there are too few groups.
        size: the number of groups.
    """

    values: dict[str, np.ndarray]
    size: int

    def summary(self) -> dict[str, Value]:
        """Returns each metric that is defined with its interval."""
        found = {name: values for name, values in self.values.items() if not np.isnan(values[0])}
        # A constant prediction has a kappa of 0 and 1 / C in every resample, which is so and no accident.
        return {
            name: with_bounds(values, self.size, values[0] == 1 or (values[0] == 0 and name != KAPPA))
            for name, values in found.items()
        }

    def minus(self, other: Resampled) -> dict[str, Value]:
        """Returns the differences to another classifier on the same rows, with their intervals."""
        found = {name: self.values[name] - other.values[name] for name in self.values if name in other.values}
        return {
            name: with_bounds(values, self.size, values[0] != 0, least=-1.0)
            for name, values in found.items()
            if not np.isnan(values[0])
        }


def with_bounds(values: np.ndarray, size: int, by_accident: bool, least: float = 0.0) -> Value:
    """Returns the first value and the interval of the others; no bounds if too few of these are defined.

    Args:
        values: [1 + R].
        size: the number of groups.
        by_accident: whether resamples that are all equal, for example all 1, would be others with more groups. The
            bounds are then those of Wilson for one observation per group, as in `ratio_interval`.
        least: the lowest usual value: -1 for the difference of two scores.
    """
    value, drawn = float(values[0]), values[1:][~np.isnan(values[1:])]
    if not len(drawn) or len(drawn) < FEWEST_DEFINED * (len(values) - 1):
        return [value, None, None]
    if np.ptp(drawn) < 1e-12:
        reach = wilson_reach(size) if by_accident else 0.0
        return [value, max(min(value, least), value - reach), min(max(value, 1.0), value + reach)]
    low, high = np.quantile(drawn, tails(size))
    return [value, float(low), float(high)]


def resample(
    scores: np.ndarray, labels: np.ndarray, groups: Sequence[str], is_ordered: bool, seed: int = 0
) -> Resampled:
    """Scores a classifier on all rows and in the resamples.

    Args:
        scores: [N, C], higher for a more probable class; without NaN.
        labels: [N] int, the correct classes.
        groups: [N] names of the groups that are drawn.
        is_ordered: whether the classes are grades, for which kappa and the share that is off by one at most are added.
        seed: seed of the draws, equal for classifiers that are compared.
    """
    size, number = scores.shape[1], np.unique(np.asarray(groups, dtype=object).astype(str), return_inverse=True)[1]
    count = int(number.max()) + 1
    drawn = np.ones((1, count), dtype=np.int64)
    if count >= FEWEST_GROUPS:
        drawn = np.concatenate([drawn, draws(count, seed)])  # (1 + R, G)
    cells = np.zeros((count, size, size))  # a line is a correct class, a column a predicted one
    np.add.at(cells, (number, labels), predicted_shares(scores))
    tables = (drawn @ cells.reshape(count, -1)).reshape(len(drawn), size, size)
    values = {
        BALANCED: balanced_accuracy(tables),
        AUC: macro_auc(scores, labels, number, drawn),
        ACCURACY: np.trace(tables, axis1=1, axis2=2) / tables.sum(axis=(1, 2)),
    }
    if is_ordered:
        distance = np.abs(np.arange(size)[:, None] - np.arange(size))
        values[KAPPA] = quadratic_kappas(tables)
        values[WITHIN_ONE] = (tables * (distance <= 1)).sum(axis=(1, 2)) / tables.sum(axis=(1, 2))
    return Resampled(values, count)


def predicted_shares(scores: np.ndarray) -> np.ndarray:
    """Returns [N, C] the probability of each class to be predicted, if ties are broken at random."""
    best = scores == scores.max(axis=1, keepdims=True)
    return best / best.sum(axis=1, keepdims=True)


def balanced_accuracy(tables: np.ndarray) -> np.ndarray:
    """Returns [R] means of the recalls of the classes that occur in each of the [R, C, C] confusion matrices."""
    totals, right = tables.sum(axis=2), np.diagonal(tables, axis1=1, axis2=2)
    recalls = np.divide(right, totals, out=np.full(totals.shape, np.nan), where=totals > 0)
    return np.nanmean(recalls, axis=1)


def quadratic_kappas(tables: np.ndarray) -> np.ndarray:
    """Returns [R] quadratic kappas of [R, C, C] confusion matrices; NaN where all rows are in one cell."""
    size = tables.shape[1]
    weights = (np.arange(size)[:, None] - np.arange(size)) ** 2
    expected = np.einsum("ri,rj->rij", tables.sum(axis=2), tables.sum(axis=1)) / tables.sum(axis=(1, 2))[:, None, None]
    observed, chance = ((weights * found).sum(axis=(1, 2)) for found in (tables, expected))
    kappas = 1 - np.divide(observed, chance, out=np.full(len(tables), np.nan), where=chance > 0)
    return np.where(np.abs(kappas) < 1e-12, 0.0, kappas)  # a constant prediction, whose parts of a row are rounded


def macro_auc(scores: np.ndarray, labels: np.ndarray, number: np.ndarray, drawn: np.ndarray) -> np.ndarray:
    """Returns [R] means over the classes of the AUC against all others; NaN where no class has one.

    Args:
        scores: [N, C].
        labels: [N] int.
        number: [N] int, the group of each row.
        drawn: [R, G] how often each group counts.
    """
    step = max(1, MOST_DRAWN // len(labels))
    found = np.full((len(drawn), scores.shape[1]), np.nan)
    for column in np.unique(labels):
        positive = labels == column
        for start in range(0, len(drawn), step):
            weights = drawn[start : start + step][:, number]  # (r, N)
            found[start : start + step, column] = weighted_aucs(scores[:, column], positive, weights)
    defined = ~np.isnan(found)
    return np.divide(
        np.where(defined, found, 0).sum(axis=1), defined.sum(axis=1), out=np.full(len(drawn), np.nan),
        where=defined.any(axis=1),
    )  # fmt: skip


def weighted_aucs(scores: np.ndarray, positive: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Returns [R] AUCs of the same scores with other weights; ties count one half; NaN without both kinds.

    Args:
        scores: [N].
        positive: [N] bool.
        weights: [R, N], not negative.
    """
    order = np.argsort(scores, kind="stable")
    ordered, is_hit = scores[order], positive[order]
    weights = weights[:, order].astype(np.float64)
    starts = np.flatnonzero(np.concatenate([[True], np.diff(ordered) != 0]))
    if len(starts) < len(order):  # rows that tie become one with the sum of their weights, each kind by itself
        hits, misses = (np.add.reduceat(weights * kind, starts, axis=1) for kind in (is_hit, ~is_hit))
        pairs = (hits * (np.cumsum(misses, axis=1) - misses / 2)).sum(axis=1)
        products = hits.sum(axis=1) * misses.sum(axis=1)
    else:
        below = np.cumsum(weights * ~is_hit, axis=1)
        hits = weights[:, is_hit]
        pairs = np.einsum("ru,ru->r", hits, below[:, is_hit])
        products = hits.sum(axis=1) * below[:, -1]
    return np.divide(pairs, products, out=np.full(len(weights), np.nan), where=products > 0)
