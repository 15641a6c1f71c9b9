"""Defines the ranks of relevant candidates with their ties, and computes recall at k, median rank, mean average
precision and the chance level of each of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np


class Ranks(NamedTuple):
    """The position of the best relevant candidate of each query, and the candidates that are tied with it.

    Attributes:
        better: [Q] int64, number of irrelevant candidates that score higher than the best relevant one.
        tied_irrelevant: [Q] int64, number of irrelevant candidates with exactly its score.
        tied_relevant: [Q] int64, number of relevant candidates with exactly its score, itself included (at least 1).
    """

    better: np.ndarray
    tied_irrelevant: np.ndarray
    tied_relevant: np.ndarray

    @property
    def expected(self) -> np.ndarray:
        """[Q] float64, the 1-based rank of the first relevant candidate, averaged over all orders of tied candidates.

        In a random order, r tied relevant candidates divide the t tied irrelevant ones into r + 1 groups of equal
        expected size, the first of which precedes the first relevant candidate: 1 + better + t / (r + 1).
        """
        return 1 + self.better + self.tied_irrelevant / (self.tied_relevant + 1)


class Ranking(NamedTuple):
    """What one pass over all candidates says about each query.

    Attributes:
        ranks: of the best relevant candidate.
        average_precision: [Q] float64 in 0..1, see `average_precision`.
        num_relevant: [Q] int64, number of relevant candidates.
        num_candidates: size of the gallery.
    """

    ranks: Ranks
    average_precision: np.ndarray
    num_relevant: np.ndarray
    num_candidates: int


def hit_probability(ranks: Ranks, k: int) -> np.ndarray:
    """Returns the probability that a relevant candidate is among the first k if ties are broken at random.

    Without ties it is 0 or 1. With m = k - better places left for t irrelevant and r relevant tied candidates, all m
    are irrelevant in C(t, m) of C(t + r, m) cases. This is the product over i < m of 1 - r / (t + r - i), computed as a
    sum of logarithms so that a probability of one in a million keeps all its digits.

    Returns:
        [Q] float64 in 0..1.

    Raises:
        ValueError: k is less than 1.
    """
    if k < 1:
        raise ValueError(f"k is {k}. Use at least 1.")
    places = k - ranks.better
    log_miss = np.zeros(len(ranks.better))
    for i in range(min(k, int(ranks.tied_irrelevant.max()) + 1)):
        irrelevant = np.maximum(ranks.tied_irrelevant - i, 0)
        relevant_next = ranks.tied_relevant / (irrelevant + ranks.tied_relevant)  # 1 if none is left
        with np.errstate(divide="ignore"):  # log(0) = -inf is a certain hit
            log_miss += np.where(i < places, np.log1p(-relevant_next), 0.0)
    return 0.0 - np.expm1(log_miss)


def recall_at_k(ranks: Ranks, k: int) -> float:
    """Returns the share of queries, 0..1, with a relevant candidate among the first k (CLIP_benchmark's hit rate)."""
    return float(hit_probability(ranks, k).mean())


def median_rank(ranks: Ranks) -> float:
    """Returns the median over queries of the expected rank of the first relevant candidate; 1.0 is best."""
    return float(np.median(ranks.expected))


def average_precision(
    greater: np.ndarray, tied: np.ndarray, tied_relevant: np.ndarray, queries: np.ndarray, num_queries: int
) -> np.ndarray:
    """Returns the average precision of each query, averaged over all orders of tied candidates.

    Average precision is the mean, over the relevant candidates, of the share of relevant ones down to the place of
    each. A level is a set of tied candidates that contains a relevant one. If g candidates are before it, c of them
    relevant, and r of its n candidates are relevant, then its place i = 1..n holds a relevant one with probability
    r / n, with an expected number of relevant ones down to it of c + 1 + (i - 1) a, where a = (r - 1) / (n - 1)
    (McSherry and Najork, 2008, "Computing information retrieval performance measures efficiently in the presence of
    tied scores"). The sum over i of (c + 1 + (i - 1) a) / (g + i) is n a + (c + 1 - a - a g) (H(g + n) - H(g)) with the
    harmonic numbers H.

    Args:
        greater: [L] number of candidates above each level.
        tied: [L] number of candidates on it, n.
        tied_relevant: [L] number of relevant ones among them, r (at least 1).
        queries: [L] the query of each level, in increasing order; the levels of a query are from the best one down.
        num_queries: Q; each query has at least one level.
    """
    begins = np.searchsorted(queries, np.arange(num_queries))
    seen = np.cumsum(tied_relevant) - tied_relevant
    before = seen - seen[begins][queries]  # c, the relevant candidates of the same query on the levels above
    slope = np.where(tied > 1, (tied_relevant - 1) / np.maximum(tied - 1, 1), 0.0)
    harmonic = np.concatenate([[0.0], np.cumsum(1 / np.arange(1, int((greater + tied).max()) + 1))])
    # Without ties, the difference of two harmonic numbers is 1 / (g + 1), whose digits a difference would lose.
    reciprocals = np.where(tied > 1, harmonic[greater + tied] - harmonic[greater], 1 / (greater + 1))
    sums = tied * slope + (before + 1 - slope - slope * greater) * reciprocals
    relevant = np.add.reduceat(tied_relevant, begins)
    return np.add.reduceat(sums * tied_relevant / tied, begins) / relevant


def chance_recall_at_k(num_candidates: int, num_relevant: Sequence[int] | np.ndarray, k: int) -> float:
    """Returns `recall_at_k` of a random order: the mean of 1 - C(n - p, k) / C(n, k) with p relevant of n candidates.

    Args:
        num_candidates: n, the size of the gallery. For k >= n the result is 1.
        num_relevant: [Q], p of each query.
        k: the cut-off.

    Raises:
        ValueError: k is less than 1, or a query has no relevant candidate or more than n. The message names the query.
    """
    return recall_at_k(random_ranking(num_candidates, num_relevant).ranks, k)


def random_ranking(num_candidates: int, num_relevant: Sequence[int] | np.ndarray) -> Ranking:
    """Returns the ranking in which all candidates are tied, which has the chance level of each metric.

    Raises:
        ValueError: a query has no relevant candidate, or more than the gallery has. The message names the query.
    """
    counts = np.asarray(num_relevant, dtype=np.int64)
    wrong = np.flatnonzero((counts < 1) | (counts > num_candidates))
    if wrong.size:
        query = int(wrong[0])
        raise ValueError(
            f"query {query}: {counts[query]} relevant candidates, but the gallery has {num_candidates}. Give at "
            "least one, and not more than the gallery has."
        )
    none, queries = np.zeros_like(counts), np.arange(len(counts))
    precision = average_precision(none, np.full_like(counts, num_candidates), counts, queries, len(counts))
    return Ranking(Ranks(none, num_candidates - counts, counts), precision, counts, num_candidates)


def check_ks(ks: Sequence[int]) -> list[int]:
    """Returns the distinct cut-offs in increasing order. Raises ValueError unless they are positive integers."""
    values = sorted({int(k) for k in ks})
    if not values or values[0] < 1 or any(int(k) != k for k in ks):
        raise ValueError(f"ks is {list(ks)}. Give one or more positive integers.")
    return values
