"""Checks the agreement of grades against the definition and hand-computed values, planted models, and the Space."""

from __future__ import annotations

import numpy as np
import pytest

from evaluation.metrics.ordinal_grading.grading import grading_scores, quadratic_kappa


@pytest.fixture(scope="module")
def metric():
    from evaluation.metrics.ordinal_grading.ordinal_grading import OrdinalGrading

    return OrdinalGrading(keep_in_memory=True)


def kappa_by_definition(predicted, correct, size) -> float:
    observed = expected = 0.0
    for i in range(size):
        for j in range(size):
            weight = (i - j) ** 2
            observed += weight * np.sum((correct == i) & (predicted == j))
            expected += weight * np.sum(correct == i) * np.sum(predicted == j) / len(correct)
    return 1 - observed / expected


@pytest.mark.parametrize("seed", range(5))
def test_kappa_against_its_definition(seed):
    random = np.random.default_rng(seed)
    correct = random.integers(0, 5, 60)
    predicted = np.clip(correct + random.integers(-1, 2, 60), 0, 4)
    found = grading_scores(predicted, correct, 5)
    assert found["quadratic_kappa"] == pytest.approx(kappa_by_definition(predicted, correct, 5), abs=1e-12)
    assert 0.5 < found["quadratic_kappa"] < 1
    assert found["within_one"] == 1
    from sklearn.metrics import balanced_accuracy_score

    assert found["balanced_accuracy"] == pytest.approx(balanced_accuracy_score(correct, predicted))


def test_values_computed_by_hand():
    # Observed: one off by 1, one off by 3, so 10. Expected: margins correct 1 1 0 1 2 and predicted 1 2 1 0 1.
    # Sum over i, j of (i - j)^2 n_i m_j / 5 = (22 + 11 + 19 + 76) / 5 = 25.6.
    found = grading_scores([0, 1, 2, 4, 1], [0, 1, 3, 4, 4], num_grades=5)
    assert found["quadratic_kappa"] == pytest.approx(1 - 10 / 25.6)
    assert found["accuracy"] == 0.6 and found["within_one"] == 0.8 and found["mean_absolute_error"] == 0.8
    assert found["balanced_accuracy"] == pytest.approx((1 + 1 + 0 + 0.5) / 4)
    assert found["macro_mean_absolute_error"] == pytest.approx((0 + 0 + 1 + 1.5) / 4)
    assert found["majority_accuracy"] == 0.4
    assert found["median_mean_absolute_error"] == pytest.approx((3 + 2 + 0 + 1 + 1) / 5)
    assert found["confusion"][4] == [0, 1, 0, 0, 1] and found["num_grades"] == 4


def test_grades_that_nobody_has_still_count_as_distance():
    """Of the grades 0, 3 and 4, the distance of 0 and 3 is three and not one."""
    predicted, correct = np.array([0, 3, 4, 3]), np.array([0, 0, 4, 3])
    assert quadratic_kappa(predicted, correct) == pytest.approx(kappa_by_definition(predicted, correct, 5))


def test_planted_models():
    correct = np.repeat(np.arange(5), [40, 10, 5, 3, 2])
    perfect = grading_scores(correct, correct)
    assert perfect["quadratic_kappa"] == perfect["balanced_accuracy"] == 1 and perfect["mean_absolute_error"] == 0
    for grade in range(5):
        constant = grading_scores(np.full(60, grade), correct, 5)
        assert constant["quadratic_kappa"] == pytest.approx(0, abs=1e-12)
        assert constant["balanced_accuracy"] == constant["chance_balanced_accuracy"] == pytest.approx(0.2)
        assert constant["accuracy"] <= constant["majority_accuracy"] == pytest.approx(40 / 60)
        assert constant["mean_absolute_error"] >= constant["median_mean_absolute_error"]
    random = np.random.default_rng(1)
    guesses = [grading_scores(random.permutation(correct), correct)["quadratic_kappa"] for _ in range(200)]
    assert np.mean(guesses) == pytest.approx(0, abs=0.03)


def test_one_grade_alone_has_no_kappa():
    found = grading_scores([2, 2], [2, 2])
    assert found["quadratic_kappa"] is None and found["accuracy"] == 1
    assert grading_scores([1], [2])["quadratic_kappa"] == 0  # one row


@pytest.mark.parametrize(
    ("predictions", "references", "more", "message"),
    [
        ([], [], {}, "There are no rows"),
        ([1], [1, 2], {}, "There are 1 predictions and 2 references"),
        ([1, 5], [1, 2], {"num_grades": 5}, "row 1 of predictions: grade 5 is out of range. Use 0 to 4"),
        ([1, 2], [-1, 2], {}, "row 0 of references: grade -1 is out of range"),
        ([1, float("nan")], [1, 2], {}, "row 1 of predictions: nan is not a grade"),
        ([1, 1.5], [1, 2], {}, "row 1 of predictions: 1.5 is not a grade"),
        ([1, 2], [1, None], {}, "row 1 of references: None is not a grade"),
        (["a"], [1], {}, "predictions are not integers"),
        ([[1]], [1], {}, "has the shape"),
    ],
)
def test_invalid_rows_are_refused(predictions, references, more, message):
    with pytest.raises(ValueError, match=message):
        grading_scores(predictions, references, **more)


def test_compute_equals_the_function(metric):
    predictions, references = [0, 1, 2, 4, 1], [0, 1, 3, 4, 4]
    assert metric.compute(predictions=predictions, references=references) == grading_scores(predictions, references)


@pytest.mark.slow
def test_the_folder_is_a_complete_space(check_space):
    assert check_space("ordinal_grading")["within_one"] == 1.0
