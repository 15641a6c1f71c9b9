"""Fits a linear and an ordinal probe on frozen embeddings, with a strength of regularization that is chosen apart.

A probe shows how much of a class an encoder holds, without prompts. Both probes weight the classes equally, which is
the expectation of class-balanced sampling, and both are one linear layer in the end: the scaling of the features is
folded into it, so that the layer takes the encoder's raw output.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from evaluation.classification.proportional_odds import fit_proportional_odds

# Inverse strengths of the L2 penalty, the strongest first: scikit-learn's C for features of unit variance.
STRENGTHS = (1e-4, 1e-3, 1e-2, 1e-1, 1.0, 10.0)
MOST_STEPS = 1000
LINEAR, ORDINAL = "linear_probe", "ordinal_probe"


class NothingToFit(Exception):
    """The rows do not suffice for a probe; the message says why."""


@dataclass(frozen=True)
class Probe:
    """A linear layer on the features of an encoder.

    Attributes:
        kind: LINEAR or ORDINAL.
        weights: [K, D] float64.
        biases: [K] float64.
        classes: [K] the numbers of the classes that were seen.
        strength: the value of STRENGTHS that was chosen.
        log_loss: the class-balanced loss in nats on the rows that it was chosen on.
    """

    kind: str
    weights: np.ndarray
    biases: np.ndarray
    classes: np.ndarray
    strength: float
    log_loss: float = float("nan")

    def logits(self, features: np.ndarray) -> np.ndarray:
        """Returns [N, K] logits of the classes that were seen, for [N, D] features."""
        return np.asarray(features, dtype=np.float64) @ self.weights.T + self.biases

    def scores(self, features: np.ndarray, num_classes: int) -> np.ndarray:
        """Returns [N, C] log probabilities, which can be compared between rows, as an AUC does.

        A class that was never seen has the same score in each row, the lowest one.
        """
        from scipy.special import log_softmax

        found = log_softmax(self.logits(features), axis=1)
        scores = np.full((len(found), num_classes), found.min() - 1 if found.size else 0.0)
        scores[:, self.classes] = found
        return scores


def fit_probe(
    kind: str,
    features: np.ndarray,
    labels: np.ndarray,
    choice_features: np.ndarray,
    choice_labels: np.ndarray,
    strengths: Sequence[float] = STRENGTHS,
) -> Probe:
    """Fits one probe per strength, and returns that with the lowest class-balanced log loss on the other rows.

    Of equal ones, the most strongly regularized is returned.

    Args:
        kind: LINEAR, multinomial logistic regression (scikit-learn), or ORDINAL, proportional odds.
        features, labels: [N, D] and [N] int, of the train split.
        choice_features, choice_labels: [M, D] and [M] int, never of the rows that are evaluated. Rows of classes that
            do not occur in `labels` are passed over.
        strengths: the strengths to choose from.

    Raises:
        ValueError: a feature is NaN or infinite; the message names the row.
        NothingToFit: there is a single class, or no row to choose on.
    """
    for name, values in (("features", features), ("choice_features", choice_features)):
        bad = np.flatnonzero(~np.isfinite(np.asarray(values, dtype=np.float64)).all(axis=1))
        if bad.size:
            raise ValueError(f"{name} have NaN or infinity in {bad.size} row(s), first in row {bad[0]}")
    classes, numbers = np.unique(labels, return_inverse=True)
    if len(classes) < 2:
        raise NothingToFit("all rows to fit on are of one class")
    usable = np.isin(choice_labels, classes)
    if not usable.any():
        raise NothingToFit("no row of a known class to choose the strength on")
    held = np.searchsorted(classes, np.asarray(choice_labels)[usable])
    raw = np.asarray(features, dtype=np.float64)
    mean, spread = raw.mean(axis=0), raw.std(axis=0)
    # A feature that is constant but for rounding would otherwise be blown up.
    spread = np.where(spread > 1e-6 * np.maximum(1e-6, np.abs(mean)), spread, 1.0)
    scaled, other = (raw - mean) / spread, (np.asarray(choice_features, dtype=np.float64)[usable] - mean) / spread
    weights = class_weights(numbers)
    fit = _fit_linear if kind == LINEAR else _fit_ordinal
    best: tuple[float, float, np.ndarray, np.ndarray] | None = None
    for strength in strengths:
        layer, bias, log_probabilities = fit(scaled, numbers, weights, strength)
        loss = balanced_log_loss(log_probabilities(other), held)
        if best is None or loss < best[0] - 1e-9:
            best = loss, strength, layer, bias
    assert best is not None  # noqa: S101 (there is at least one strength)
    loss, strength, layer, bias = best
    folded = layer / spread
    return Probe(kind, folded, bias - folded @ mean, classes, strength, loss)


def class_weights(numbers: np.ndarray) -> np.ndarray:
    """Returns [N] weights that sum to N and give each class the same total."""
    counts = np.bincount(numbers)
    return len(numbers) / (len(counts) * counts[numbers])


def balanced_log_loss(log_probabilities: np.ndarray, numbers: np.ndarray) -> float:
    """Returns the mean over classes of the mean negative log probability of their rows, in nats."""
    losses = -log_probabilities[np.arange(len(numbers)), numbers]
    weights = 1 / np.bincount(numbers)[numbers]
    return float((losses * weights).sum() / weights.sum())


Fitted = tuple[np.ndarray, np.ndarray, Callable[[np.ndarray], np.ndarray]]


def _fit_linear(features: np.ndarray, numbers: np.ndarray, weights: np.ndarray, strength: float) -> Fitted:
    from scipy.special import log_softmax
    from sklearn.linear_model import LogisticRegression

    model = LogisticRegression(C=strength, max_iter=MOST_STEPS, tol=1e-6).fit(features, numbers, sample_weight=weights)
    layer, bias = model.coef_, model.intercept_
    if len(layer) == 1:  # of two classes, scikit-learn has one logit
        layer, bias = np.concatenate([0 * layer, layer]), np.concatenate([0 * bias, bias])
    return layer, bias, lambda others: log_softmax(others @ layer.T + bias, axis=1)


def _fit_ordinal(features: np.ndarray, numbers: np.ndarray, weights: np.ndarray, strength: float) -> Fitted:
    model = fit_proportional_odds(features, numbers, weights, penalty=1 / strength, max_steps=MOST_STEPS)
    # Grade k wins over k - 1 where the slope exceeds threshold k, so the highest logit is the median grade.
    steps = np.arange(len(model.thresholds) + 1)
    layer = np.outer(steps, model.slope)
    bias = -np.concatenate([[0.0], np.cumsum(model.thresholds)])
    return layer, bias, model.log_probabilities
