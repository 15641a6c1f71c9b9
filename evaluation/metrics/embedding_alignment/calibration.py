"""Computes how far probabilities can be believed: expected calibration error, Brier score and the reliability curve.

Guo et al., 2017, "On Calibration of Modern Neural Networks", define the calibration error over bins of equal width.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np


def calibration_scores(
    probabilities: Sequence[float],
    outcomes: Sequence[bool],
    weights: Sequence[float] | None = None,
    num_bins: int = 10,
) -> dict[str, Any]:
    """Compares probabilities with outcomes.

    Args:
        probabilities: [N] in 0..1.
        outcomes: [N], whether it is so.
        weights: [N], positive; what a row stands for (default: 1).
        num_bins: number of bins of equal width.

    Returns:
        ece: 0..1, the mean over the bins, weighted by their rows, of the distance between the mean probability and the
            share of the outcomes.
        brier: 0..1, the mean squared distance between probability and outcome.
        base_rate: 0..1, the share of the outcomes.
        base_rate_brier: the Brier score of always giving the base rate. Its calibration error is 0, so a small `ece`
            alone says nothing: compare `brier` with this.
        reliability: a list of bins that are not empty, each with `low`, `high`, `probability` (mean), `outcome` (share)
            and `weight` (share of all rows).

    Raises:
        ValueError: there are no rows, the lengths differ, a probability is outside of 0..1, or a weight is not
            positive. The message names the row.
    """
    values, happened = np.asarray(probabilities, dtype=np.float64), np.asarray(outcomes, dtype=np.float64)
    shares = np.ones(len(values)) if weights is None else np.asarray(weights, dtype=np.float64)
    if not len(values) or not values.shape == happened.shape == shares.shape or values.ndim != 1:
        raise ValueError("Give one probability, one outcome and, if at all, one weight for each of at least one row.")
    for name, wrong in (
        ("probability", ~((values >= 0) & (values <= 1))),  # NaN is wrong as well
        ("outcome", (happened != 0) & (happened != 1)),
        ("weight", ~(np.isfinite(shares) & (shares > 0))),
    ):
        if wrong.any():
            raise ValueError(f"row {np.flatnonzero(wrong)[0]}: the {name} is not valid.")
    if num_bins < 1:
        raise ValueError(f"num_bins is {num_bins}. Use at least 1.")
    shares = shares / shares.sum()
    # As in scikit-learn's `calibration_curve`: a probability on an edge belongs to the lower bin.
    edges = np.linspace(0, 1, num_bins + 1)
    numbers = np.searchsorted(edges[1:-1], values)
    mass, probability, outcome = (
        np.bincount(numbers, shares * column, minlength=num_bins) for column in (np.ones(len(values)), values, happened)
    )
    filled = np.flatnonzero(mass > 0)
    base_rate = float(shares @ happened)
    return {
        "ece": float(np.abs(probability - outcome).sum()),
        "brier": float(shares @ (values - happened) ** 2),
        "base_rate": base_rate,
        "base_rate_brier": base_rate * (1 - base_rate),
        "reliability": [
            {
                "low": float(edges[number]),
                "high": float(edges[number + 1]),
                "probability": float(probability[number] / mass[number]),
                "outcome": float(outcome[number] / mass[number]),
                "weight": float(mass[number]),
            }
            for number in filled
        ],
    }
