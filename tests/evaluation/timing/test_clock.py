"""Checks the summary of times against hand-computed values, and the measurement of memory on planted arrays."""

from __future__ import annotations

import sys
import time

import numpy as np
import pytest

from evaluation.timing.clock import alternating_times, speedup, summary
from evaluation.timing.memory import peak_memory
from evaluation.timing.workloads import parts_of_generation


def test_actions_alternate_and_the_warm_up_is_not_counted():
    calls: list[str] = []
    times = alternating_times({name: lambda name=name: calls.append(name) for name in "ab"}, warmup=1, repeats=3)
    assert "".join(calls) == "ab" + "ba" + "ab" + "ba"
    assert {name: len(found) for name, found in times.items()} == {
        "a": 3,
        "b": 3,
    }


def test_times_are_those_that_passed():
    times = alternating_times({"sleep": lambda: time.sleep(0.02), "nothing": lambda: None}, warmup=1, repeats=5)
    assert 0.02 <= np.median(times["sleep"]) < 0.2 and np.median(times["nothing"]) < 0.01


def test_a_summary_by_hand():
    assert summary([0.1, 0.2, 0.3, 0.4, 0.5], 6) == pytest.approx(
        {"p50_ms": 300, "p95_ms": 480, "per_second": 20, "repeats": 5}
    )


def test_a_speedup_has_an_interval():
    random = np.random.default_rng(0)
    noise = random.normal(1, 0.02, size=(2, 50))
    ratio, low, high = speedup(noise[0], 2 * noise[1], same_rounds=False)
    assert low < ratio < high and 1.9 < low < 2 < high < 2.1
    drift = np.linspace(1, 3, 50)  # a machine that slows down: the same rounds tell, others do not
    together, apart = (speedup(drift, 2 * drift, same_rounds=found) for found in (True, False))
    assert together == pytest.approx([2, 2, 2]) and apart[2] - apart[1] > 0.5


def test_seconds_per_further_token():
    assert parts_of_generation([1.0, 1.0], [3.0, 0.5], 5) == pytest.approx([0.5, 0.25e-9])


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux forgets the peak of a process")
def test_the_peak_is_that_of_the_action():
    small, large = (peak_memory(lambda size=size: np.ones(size).sum()) for size in (1, 30_000_000))
    again = peak_memory(lambda: None)
    assert {found["of"] for found in (small, large, again)} <= {"process", "gpu"}
    if large["of"] == "process":
        assert large["bytes"] - small["bytes"] > 200e6  # 30 million floats of 8 bytes
        assert again["bytes"] < large["bytes"] - 100e6
