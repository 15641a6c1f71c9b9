"""Fits the proportional odds model for ordered grades: log odds of a grade above k are x w - threshold_k.

One direction in the features orders all rows, and thresholds cut it into grades (McCullagh, 1980, "Regression Models
for Ordinal Data"). It is fitted by L-BFGS in float64.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class ProportionalOdds:
    """A fitted model.

    Attributes:
        slope: [D] float64, w.
        thresholds: [K - 1] float64, increasing.
    """

    slope: np.ndarray
    thresholds: np.ndarray

    def log_probabilities(self, features: np.ndarray) -> np.ndarray:
        """Returns [N, K] log probabilities of the grades for [N, D] features."""
        line = features @ self.slope
        grades = np.arange(len(self.thresholds) + 1)
        return np.stack(
            [log_likelihood(line, self.thresholds, np.full(len(line), grade))[0] for grade in grades], axis=1
        )

    def grades(self, features: np.ndarray) -> np.ndarray:
        """Returns the median grade of each row: the number of thresholds that it exceeds."""
        return (np.asarray(features @ self.slope)[:, None] > self.thresholds).sum(axis=1)


def fit_proportional_odds(
    features: np.ndarray, grades: np.ndarray, weights: np.ndarray, penalty: float, max_steps: int = 1000
) -> ProportionalOdds:
    """Minimizes the weighted negative log likelihood plus `penalty / 2` times the squared length of the slope.

    Args:
        features: [N, D] float64.
        grades: [N] int from 0 to K - 1, each of which occurs; K is at least 2.
        weights: [N] positive.
        penalty: not negative. With 0, separable rows have no finite solution.
        max_steps: the largest number of L-BFGS steps.
    """
    from scipy.optimize import minimize

    cuts = len(np.unique(grades)) - 1
    # Start from the thresholds of a model without features.
    shares = np.cumsum(np.bincount(grades, weights))[:-1] / weights.sum()
    thresholds = np.log(shares / (1 - shares))
    start = np.concatenate([np.zeros(features.shape[1]), pack(thresholds)])
    found = minimize(
        objective,
        start,
        args=(features, grades, weights, penalty),
        jac=True,
        method="L-BFGS-B",
        options={"maxiter": max_steps, "maxfun": 2 * max_steps, "gtol": 1e-8, "ftol": 1e-14},
    )
    return ProportionalOdds(found.x[:-cuts], unpack(found.x[-cuts:]))


def objective(
    parameters: np.ndarray, features: np.ndarray, grades: np.ndarray, weights: np.ndarray, penalty: float
) -> tuple[float, np.ndarray]:
    """Returns the value that is minimized and its gradient by the parameters.

    The parameters are the slope, the first threshold and the logarithms of the steps between thresholds, which keeps
    these in order.
    """
    cuts = len(parameters) - features.shape[1]
    slope, packed = parameters[:-cuts], parameters[-cuts:]
    thresholds = unpack(packed)
    values, upper, lower = log_likelihood(features @ slope, thresholds, grades)
    by_upper, by_lower = weights * upper, weights * lower
    by_threshold = np.bincount(grades, by_upper, minlength=cuts + 1)[:-1]
    by_threshold += np.bincount(grades, by_lower, minlength=cuts + 1)[1:]
    # Threshold j depends on the first one and on the steps 1..j.
    by_packed = np.cumsum(by_threshold[::-1])[::-1].copy()
    by_packed[1:] *= np.exp(packed[1:])
    by_slope = -features.T @ (by_upper + by_lower)
    value = -float(weights @ values) + penalty / 2 * float(slope @ slope)
    return value, np.concatenate([-by_slope + penalty * slope, -by_packed])


def log_likelihood(line: np.ndarray, thresholds: np.ndarray, grades: np.ndarray) -> tuple[np.ndarray, ...]:
    """Returns the log probability of each row's grade, and its derivatives by the threshold above and below, each [N].

    With a = upper - line and b = lower - line, the probability is sigmoid(a) - sigmoid(b), which equals
    sigmoid(a) sigmoid(-b) (1 - exp(b - a)) and does not cancel in this form. The lowest grade has no threshold below,
    and the highest none above.
    """
    from scipy.special import expit, log_expit

    edges = np.concatenate([[-np.inf], thresholds, [np.inf]])
    above, below = edges[grades + 1] - line, edges[grades] - line
    width = above - below
    with np.errstate(over="ignore", divide="ignore"):
        rest = 1 / np.expm1(width)  # 0 at an end
        values = log_expit(above) + log_expit(-below) + np.log(-np.expm1(-width))
    upper = np.where(np.isinf(above), 0.0, expit(-above) + rest)
    lower = np.where(np.isinf(below), 0.0, -expit(below) - rest)
    return values, upper, lower


def pack(thresholds: np.ndarray) -> np.ndarray:
    """Returns the first threshold and the logarithms of the steps."""
    return np.concatenate([thresholds[:1], np.log(np.diff(thresholds))])


def unpack(packed: np.ndarray) -> np.ndarray:
    return np.cumsum(np.concatenate([packed[:1], np.exp(packed[1:])]))
