"""Checks the scores of classifiers and their resamples against scikit-learn on repeated rows."""

from __future__ import annotations

import numpy as np
import pytest

from evaluation.classification.class_scores import (
    ACCURACY,
    AUC,
    BALANCED,
    KAPPA,
    WITHIN_ONE,
    balanced_accuracy,
    quadratic_kappas,
    resample,
    weighted_aucs,
    with_bounds,
)
from evaluation.metrics.ordinal_grading.grading import grading_scores
from evaluation.metrics.zero_shot_classification.classification import classification_scores
from evaluation.scoring.group_bootstrap import FEWEST_GROUPS, draws


@pytest.fixture(scope="module")
def planted():
    random = np.random.default_rng(3)
    labels = random.integers(0, 4, 90)
    scores = (random.normal(size=(90, 4)) + 1.5 * np.eye(4)[labels]).round(1)  # with ties
    groups = [f"patient {number}" for number in random.integers(0, 25, 90)]
    return scores, labels, groups


def test_all_rows_are_scored_as_by_the_metrics(planted):
    scores, labels, groups = planted
    found = resample(scores, labels, groups, is_ordered=True).summary()
    expected = classification_scores(scores, labels)
    for name in (BALANCED, AUC, ACCURACY):
        assert found[name][0] == pytest.approx(expected[name], abs=1e-12)
    certain = scores + np.arange(4) * 1e-6  # without ties
    graded = grading_scores(certain.argmax(1), labels, 4)
    found = resample(certain, labels, groups, is_ordered=True).summary()
    assert found[KAPPA][0] == pytest.approx(graded["quadratic_kappa"]) and 0.2 < found[KAPPA][0] < 0.95
    assert found[WITHIN_ONE][0] == pytest.approx(graded["within_one"])
    for value, low, high in found.values():
        assert low < value < high


def test_resamples_are_those_of_repeated_rows(planted):
    """Row by row of the drawn patients, against scikit-learn."""
    from sklearn.metrics import balanced_accuracy_score, roc_auc_score

    scores, labels, groups = planted
    scores = scores + np.arange(4) * 1e-6
    resampled = resample(scores, labels, groups, is_ordered=True)
    _, number = np.unique(np.array(groups), return_inverse=True)
    drawn = draws(resampled.size)
    for sample in (0, 7, 400):
        rows = np.repeat(np.arange(90), drawn[sample][number])
        own, predicted = labels[rows], scores[rows].argmax(1)
        assert resampled.values[BALANCED][1 + sample] == pytest.approx(balanced_accuracy_score(own, predicted))
        kappa = grading_scores(predicted, own, 4)["quadratic_kappa"]
        assert resampled.values[KAPPA][1 + sample] == pytest.approx(kappa)
        aucs = [roc_auc_score(own == column, scores[rows, column]) for column in range(4)]
        assert resampled.values[AUC][1 + sample] == pytest.approx(np.mean(aucs))


def test_weighted_aucs_against_scikit_learn():
    from sklearn.metrics import roc_auc_score

    random = np.random.default_rng(1)
    scores, positive, weights = random.normal(size=60).round(1), random.random(60) < 0.4, random.integers(0, 4, (5, 60))
    expected = [roc_auc_score(positive, scores, sample_weight=row) for row in weights]
    np.testing.assert_allclose(weighted_aucs(scores, positive, weights), expected)
    assert np.isnan(weighted_aucs(scores, np.ones(60, bool), weights)).all()


def test_differences_use_the_same_resamples(planted):
    scores, labels, groups = planted
    one = resample(scores, labels, groups, is_ordered=False)
    value, low, high = one.minus(one)[BALANCED]
    assert value == low == high == 0
    # What is equal in all resamples has bounds on both sides, whatever its sign.
    bounds = with_bounds(np.full(100, -0.5), 20, by_accident=True, least=-1.0)
    other = with_bounds(np.full(100, 0.5), 20, by_accident=True, least=-1.0)
    assert bounds == [-other[0], -other[2], -other[1]] and bounds[1] < -0.5 < bounds[2]
    worse = resample(np.where(np.arange(4) == 0, 9.0, scores), labels, groups, is_ordered=False)  # always the first
    value, low, high = one.minus(worse)[BALANCED]
    assert value == pytest.approx(one.values[BALANCED][0] - 0.25) and 0 < low < value < high


def test_planted_classifiers():
    labels = np.repeat(np.arange(5), 12)
    groups = [str(row) for row in range(60)]
    constant = resample(np.zeros((60, 5)), labels, groups, is_ordered=True).summary()
    assert constant[BALANCED][0] == pytest.approx(0.2) and constant[AUC] == [0.5, 0.5, 0.5]
    assert constant[KAPPA] == pytest.approx([0, 0, 0], abs=1e-9)
    perfect = resample(np.eye(5)[labels], labels, groups, is_ordered=True).summary()
    for name in (BALANCED, AUC, KAPPA, ACCURACY):  # all resamples are 1: the bounds are those of Wilson
        value, low, high = perfect[name]
        assert (value, high) == (1, 1) and low == pytest.approx(1 - 3.8415 / 63.8415, abs=1e-4)
    guess = resample(np.random.default_rng(0).normal(size=(60, 5)), labels, groups, is_ordered=True).summary()
    assert guess[KAPPA][1] < 0 < guess[KAPPA][2] and guess[AUC][1] < 0.5 < guess[AUC][2]


def test_few_patients_have_no_interval():
    labels = np.array([0, 1] * 20)
    groups = [f"patient {row % (FEWEST_GROUPS - 1)}" for row in range(40)]
    found = resample(np.eye(2)[labels], labels, groups, is_ordered=False)
    assert found.summary()[BALANCED] == [1, None, None] and found.minus(found)[BALANCED] == [0, None, None]


def test_values_that_are_not_defined_are_left_out():
    one_class = resample(np.eye(3)[[1] * 12], np.ones(12, int), list("abcdefghijkl"), is_ordered=True)
    found = one_class.summary()
    assert AUC not in found and KAPPA not in found and found[BALANCED][0] == 1
    assert np.isnan(quadratic_kappas(np.array([[[3.0, 0], [0, 0]]])))[0]
    assert balanced_accuracy(np.array([[[3.0, 1], [0, 0]]])).tolist() == [0.75]
