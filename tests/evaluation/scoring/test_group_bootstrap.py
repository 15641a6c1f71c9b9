"""Checks intervals of shares over groups."""

from __future__ import annotations

import numpy as np
import pytest

from evaluation.scoring.group_bootstrap import FEWEST_GROUPS, percentiles, ratio_interval, student_t


def test_it_is_as_wide_as_the_binomial_for_single_rows():
    random = np.random.default_rng(0)
    right = random.random(400) < 0.3
    low, high = ratio_interval(right, np.ones(400), [str(row) for row in range(400)])
    width = 2 * 1.96 * np.sqrt(right.mean() * (1 - right.mean()) / 400)
    assert high - low == pytest.approx(width, rel=0.1) and low < right.mean() < high


def test_equal_rows_of_a_patient_make_it_wider():
    right = np.repeat(np.random.default_rng(0).random(40) < 0.5, 10)
    groups = np.repeat(np.arange(40), 10).astype(str)
    alone = ratio_interval(right, np.ones(400), [str(row) for row in range(400)])
    together = ratio_interval(right, np.ones(400), groups)
    assert together[1] - together[0] > 2.5 * (alone[1] - alone[0])


def test_it_covers_the_truth_in_about_95_of_100():
    random, hits = np.random.default_rng(1), 0
    for seed in range(100):
        patients = random.beta(2, 2, 60)
        right = random.random((60, 5)) < patients[:, None]
        low, high = ratio_interval(right.ravel(), np.ones(300), np.repeat(np.arange(60), 5).astype(str), seed)
        hits += low <= 0.5 <= high
    assert 88 <= hits <= 99


@pytest.mark.parametrize("size", [10, 20, 60])
@pytest.mark.parametrize("rows", ["five per group", "one to twenty per group"])
def test_equal_models_are_seldom_called_different(size, rows):
    """The true difference is 0, so an interval without 0 is a false verdict; 5 of 100 are meant."""
    random, draws = np.random.default_rng(size), 2000
    counts = random.integers(1, 21, (size, draws)) if rows.startswith("one") else np.full((size, draws), 5)
    ours, theirs = (random.binomial(counts, random.beta(2, 2, (size, draws))) for _ in range(2))
    low, high = percentiles(ours - theirs, counts)
    assert np.all(low <= high)
    assert 0.02 <= np.mean((low > 0) | (high < 0)) <= 0.08


@pytest.mark.parametrize(("freedom", "quantile"), [(9, 2.2622), (19, 2.0930), (59, 2.0010), (10**6, 1.9600)])
def test_the_quantile_is_that_of_student(freedom, quantile):
    assert student_t(freedom) == pytest.approx(quantile, abs=1e-3)


@pytest.mark.parametrize(
    ("value", "least", "low", "high"),
    [(0, 0, 0, 0.161), (1, 0, 0.839, 1), (0, -1, -0.161, 0.161), (1, -1, 0.839, 1), (-1, -1, -1, -0.839)],
)
def test_what_is_equal_in_all_groups_has_a_bound_by_wilson(value, least, low, high):
    """Each resample is equal, too, which does not mean that the truth is known."""
    groups = [str(row // 2) for row in range(40)]
    found = ratio_interval([value] * 40, [1] * 40, groups, least=least)
    assert found == pytest.approx((low, high), abs=1e-3)
    fewer = ratio_interval([value] * 20, [1] * 20, groups[:20], least=least)
    assert fewer[1] - fewer[0] > found[1] - found[0]


def test_rows_that_are_not_counted_do_not_count():
    groups = [f"{row:02}" for row in range(20)]
    right, counted = [row % 2 for row in range(20)], [int(row < 12) for row in range(20)]
    assert ratio_interval(right, counted, groups) == ratio_interval(right[:12], [1] * 12, groups[:12]) != (0.5, 0.5)
    assert ratio_interval(right, [int(row < 9) for row in range(20)], groups) is None


@pytest.mark.parametrize("groups", [0, 1, 2, 9, 10])
def test_few_groups_have_no_interval(groups):
    rows, names = [0, 1, 1] * groups, [str(group) for group in range(groups) for _ in range(3)]
    assert (ratio_interval(rows, [1] * len(rows), names) is None) is (groups < 10)
    assert FEWEST_GROUPS == 10
