"""Checks the proportional odds model: its gradient, its minimum against another optimizer, and planted data."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.optimize import check_grad

from evaluation.classification.proportional_odds import (
    ProportionalOdds,
    fit_proportional_odds,
    log_likelihood,
    objective,
    pack,
    unpack,
)


@pytest.fixture(scope="module")
def planted():
    random = np.random.default_rng(0)
    features = random.normal(size=(400, 6))
    slope, thresholds = np.array([2.0, -1.0, 0.5, 0, 0, 0]), np.array([-2.0, 0.0, 1.0, 3.0])
    noise = random.logistic(size=400)
    grades = ((features @ slope + noise)[:, None] > thresholds).sum(axis=1)
    return features, grades, random.random(400) + 0.5


def test_the_gradient_is_that_of_finite_differences(planted):
    features, grades, weights = planted
    random = np.random.default_rng(2)
    arguments = (features, grades, weights, 0.7)
    for _ in range(3):
        start = random.normal(size=10)
        wrong = check_grad(lambda p: objective(p, *arguments)[0], lambda p: objective(p, *arguments)[1], start)
        assert wrong < 1e-3 * np.linalg.norm(objective(start, *arguments)[1])


def test_the_minimum_is_that_of_autograd_in_torch(planted):
    """The same objective, written down plainly, minimized by torch."""
    features, grades, weights = planted
    found = fit_proportional_odds(features, grades, weights, penalty=3.0)
    x, y, w = torch.from_numpy(features), torch.from_numpy(grades), torch.from_numpy(weights)
    slope = torch.zeros(6, dtype=torch.float64, requires_grad=True)
    cuts = torch.tensor([-1.0, -0.3, 0.3, 1.0], dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS([slope, cuts], max_iter=500, tolerance_grad=1e-10, line_search_fn="strong_wolfe")

    def closure():
        optimizer.zero_grad()
        above = torch.sigmoid(cuts[None] - (x @ slope)[:, None])
        edges = torch.cat([torch.zeros(400, 1), above, torch.ones(400, 1)], dim=1)
        likelihood = (edges[:, 1:] - edges[:, :-1]).gather(1, y[:, None]).squeeze(1)
        loss = -(w * likelihood.log()).sum() + 1.5 * slope.square().sum()
        loss.backward()
        return loss

    optimizer.step(closure)
    np.testing.assert_allclose(found.slope, slope.detach().numpy(), atol=1e-4)
    np.testing.assert_allclose(found.thresholds, cuts.detach().numpy(), atol=1e-4)


def test_the_planted_parameters_are_found():
    random = np.random.default_rng(5)
    features = random.normal(size=(20_000, 2))
    grades = ((features @ [1.5, -1.0] + random.logistic(size=20_000))[:, None] > [-1.0, 2.0]).sum(axis=1)
    found = fit_proportional_odds(features, grades, np.ones(20_000), penalty=1e-6)
    np.testing.assert_allclose(found.slope, [1.5, -1.0], atol=0.06)
    np.testing.assert_allclose(found.thresholds, [-1.0, 2.0], atol=0.06)
    probabilities = np.exp(found.log_probabilities(features))
    np.testing.assert_allclose(probabilities.sum(axis=1), 1)
    np.testing.assert_allclose(probabilities.mean(axis=0), np.bincount(grades) / 20_000, atol=0.01)


def test_two_grades_are_logistic_regression():
    from sklearn.linear_model import LogisticRegression

    random = np.random.default_rng(6)
    features = random.normal(size=(200, 3))
    grades = (features[:, 0] + random.logistic(size=200) > 0.5).astype(int)
    found = fit_proportional_odds(features, grades, np.ones(200), penalty=0.5)
    other = LogisticRegression(C=2.0, tol=1e-10, max_iter=1000).fit(features, grades)
    np.testing.assert_allclose(found.slope, other.coef_[0], atol=1e-4)
    np.testing.assert_allclose(found.thresholds, -other.intercept_, atol=1e-4)


def test_far_rows_do_not_overflow():
    line, thresholds = np.array([-1e4, 0.0, 1e4]), np.array([-1.0, 1.0])
    with np.errstate(all="raise", over="ignore", divide="ignore", under="ignore"):
        values, upper, lower = log_likelihood(line, thresholds, np.array([2, 1, 0]))
    assert np.isfinite([*values, *upper, *lower]).all()
    assert values[0] == pytest.approx(-1e4 - 1) and values[2] == pytest.approx(-1e4 - 1)
    assert values[1] == pytest.approx(np.log(1 / (1 + np.exp(-1)) - 1 / (1 + np.exp(1))))


def test_the_median_grade():
    model = ProportionalOdds(np.array([1.0]), np.array([-1.0, 1.0]))
    assert model.grades(np.array([[-2.0], [0.0], [5.0]])).tolist() == [0, 1, 2]
    np.testing.assert_allclose(unpack(pack(model.thresholds)), model.thresholds)
