"""Checks intervals of shares over groups."""

from __future__ import annotations

import numpy as np
import pytest

from evaluation.scoring.group_bootstrap import ratio_interval


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


def test_rows_that_are_not_counted_do_not_count():
    right, counted, groups = [1, 0, 1, 0, 0, 0], [1, 1, 1, 0, 0, 1], list("abcdef")
    assert ratio_interval(right, counted, groups) == ratio_interval([1, 0, 1, 0], [1] * 4, list("abcf"))


@pytest.mark.parametrize(("rows", "groups"), [([], []), ([1, 0], ["a", "a"])])
def test_one_group_has_no_interval(rows, groups):
    assert ratio_interval(rows, [1] * len(rows), groups) is None
