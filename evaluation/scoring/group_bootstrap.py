"""Computes intervals of shares by a bootstrap over groups: all rows of a patient are drawn together.

Rows of one patient resemble each other, so an interval over single rows would be too narrow. The plain percentiles of a
bootstrap are too narrow as well if there are few groups: of two equal models they call one better in 12 of 100 cases
with 6 groups and in 8 with 10, where 5 are meant. They are therefore taken further out, by as much as Student's t is
wider than the normal distribution (Hesterberg, 2015, "What Teachers Should Know About the Bootstrap", arXiv:1411.5279,
"expanded percentile interval").
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import NormalDist

import numpy as np

RESAMPLES, LEVEL = 1000, 0.95
FEWEST_GROUPS = 10  # fewer patients are too few to say anything
Z = NormalDist().inv_cdf((1 + LEVEL) / 2)


def ratio_interval(
    numerators: Sequence[float],
    denominators: Sequence[float],
    groups: Sequence[str],
    seed: int = 0,
    least: float = 0.0,
) -> tuple[float, float] | None:
    """Returns the interval of `sum(numerators) / sum(denominators)`; None if there are fewer than FEWEST_GROUPS groups.

    Where all groups have the same share, for example 1, each resample has it, too. The bounds are then those of Wilson
    for one observation per group.

    Args:
        numerators, denominators: [N] numbers per row; for a share, 1 or 0 and 1, or 0 and 0 for a row that is not
            counted. For the difference of two shares, the numerators are differences.
        groups: [N] names of the groups that are drawn, for example patients.
        seed: seed of the resamples.
        least: the lowest possible value: 0 for a share, -1 for the difference of two shares.

    Returns:
        two percentiles over RESAMPLES draws of as many groups as there are: the 2.5th and 97.5th for many groups, lower
        and higher ones for few.
    """
    counted = np.asarray(denominators, dtype=np.float64) > 0
    _, numbers = np.unique(np.asarray(groups, dtype=object)[counted].astype(str), return_inverse=True)
    size = int(numbers.max()) + 1 if len(numbers) else 0
    if size < FEWEST_GROUPS:
        return None
    tops, bottoms = (
        np.bincount(numbers, np.asarray(values, dtype=np.float64)[counted], minlength=size)
        for values in (numerators, denominators)
    )  # each [G]
    if np.ptp(tops / bottoms) == 0:
        value, reach = tops[0] / bottoms[0], wilson_reach(size)
        return float(max(least, value - reach)), float(min(1.0, value + reach))
    low, high = percentiles(tops, bottoms, seed)
    return float(low), float(high)


def wilson_reach(size: int) -> float:
    """Returns how far the bound of Wilson is from a share of 0 or 1 that `size` groups have without exception."""
    return Z**2 / (size + Z**2)


def percentiles(tops: np.ndarray, bottoms: np.ndarray, seed: int = 0) -> np.ndarray:
    """Returns the bounds of the interval of `tops.sum(0) / bottoms.sum(0)`, `[2]` or `[2, D]`.

    Args:
        tops, bottoms: `[G]` or `[G, D]` sums per group; every bottom is above 0.
        seed: seed of the resamples.
    """
    size = len(tops)
    drawn = draws(size, seed)
    return np.quantile((drawn @ tops) / (drawn @ bottoms), tails(size), axis=0)  # (R, G) . (G, D) -> (R, D)


def draws(size: int, seed: int = 0) -> np.ndarray:
    """Returns how often each of `size` groups is drawn, `[RESAMPLES, size]`: `size` draws with replacement each."""
    return np.random.default_rng(seed).multinomial(size, np.full(size, 1 / size), size=RESAMPLES)


def tails(size: int) -> list[float]:
    """Returns the two shares of resamples between which the interval is, for a number of groups."""
    # The spread of resamples is that of a variance divided by G; an unbiased one is divided by G - 1.
    tail = NormalDist().cdf(-math.sqrt(size / (size - 1)) * student_t(size - 1))
    return [tail, 1 - tail]


def student_t(freedom: int) -> float:
    """Returns the quantile of Student's t for LEVEL, by the series of Abramowitz and Stegun, 26.7.5.

    The error is below 0.001 from 9 degrees of freedom on.
    """
    first = (Z**3 + Z) / 4
    second = (5 * Z**5 + 16 * Z**3 + 3 * Z) / 96
    third = (3 * Z**7 + 19 * Z**5 + 17 * Z**3 - 15 * Z) / 384
    return Z + first / freedom + second / freedom**2 + third / freedom**3
