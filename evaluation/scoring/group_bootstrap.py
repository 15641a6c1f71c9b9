"""Computes intervals of shares by a bootstrap over groups: all rows of a patient are drawn together.

Rows of one patient resemble each other, so an interval over single rows would be too narrow.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

RESAMPLES, LEVEL = 1000, 0.95
FEWEST_GROUPS = 2  # with one group, every resample is the same


def ratio_interval(
    numerators: Sequence[float], denominators: Sequence[float], groups: Sequence[str], seed: int = 0
) -> tuple[float, float] | None:
    """Returns the interval of `sum(numerators) / sum(denominators)`, or None if it cannot be computed.

    Args:
        numerators, denominators: [N] numbers per row; for a share, 1 or 0 and 1, or 0 and 0 for a row that is not
            counted. For the difference of two shares, the numerators are differences.
        groups: [N] names of the groups that are drawn, for example patients.
        seed: seed of the resamples.

    Returns:
        the 2.5th and 97.5th percentile over RESAMPLES draws of as many groups as there are.
    """
    counted = np.asarray(denominators, dtype=np.float64) > 0
    _, numbers = np.unique(np.asarray(groups, dtype=object)[counted].astype(str), return_inverse=True)
    size = int(numbers.max()) + 1 if len(numbers) else 0
    if size < FEWEST_GROUPS:
        return None
    sums = [
        np.bincount(numbers, np.asarray(values, dtype=np.float64)[counted], minlength=size)
        for values in (numerators, denominators)
    ]  # each [G]
    # (R, G): how often each group is drawn. G draws of G groups, as in a bootstrap over rows.
    drawn = np.random.default_rng(seed).multinomial(size, np.full(size, 1 / size), size=RESAMPLES)
    tops, bottoms = (drawn @ values for values in sums)  # (R, G) . (G) -> (R)
    low, high = np.quantile(tops / bottoms, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])  # every group has a counted row
    return float(low), float(high)
