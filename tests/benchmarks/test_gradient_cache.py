"""Checks the benchmark of exact gradients, and that its record meets the targets of the project."""

from __future__ import annotations

import json

import numpy as np
import pytest

from tests.benchmarks.encoder.gradient_cache import RESULT, TEXTS, WAYS, measure

pytestmark = pytest.mark.slow

SMALL = {"width": 32, "layers": 1, "image_size": 32}


@pytest.fixture(scope="module")
def measured() -> dict[str, dict]:
    return {way: measure(way, "five captions", SMALL, updates=2) for way in WAYS}


def test_every_way_is_timed(measured):
    assert all(run["seconds"] > 0 for run in measured.values())


def test_the_cached_gradient_is_that_of_the_whole_batch_and_the_others_are_not(measured):
    whole = measured["one batch"]["gradient"]
    errors = {way: np.linalg.norm(run["gradient"] - whole) / np.linalg.norm(whole) for way, run in measured.items()}
    assert errors["GradCache"] < 1e-5
    assert min(errors["stock"], errors["plain accumulation"]) > 0.1


def test_the_recorded_result_meets_what_the_project_promises():
    runs = json.loads(RESULT.read_text(encoding="utf-8"))["runs"]
    assert {(run["texts"], run["way"]) for run in runs} == {(texts, way) for texts in TEXTS for way in WAYS}
    for texts in TEXTS:
        ways = {run["way"]: run for run in runs if run["texts"] == texts}
        cached = ways["GradCache"]
        assert cached["times_plain_accumulation"] <= 1.4
        assert cached["times_stock"] <= 1.4
        assert cached["gradient_error"] <= 1e-6
        assert cached["peak_mb"] <= 1.1 * ways["plain accumulation"]["peak_mb"]
        assert cached["peak_mb"] < 0.5 * ways["one batch"]["peak_mb"]
