"""Times actions that alternate, so that a machine that slows down slows all of them down, and summarizes the times."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence

import numpy as np

RESAMPLES = 1000


def alternating_times(actions: Mapping[str, Callable[[], object]], warmup: int, repeats: int) -> dict[str, list[float]]:
    """Returns the seconds of each repeat of each action.

    In each round every action runs once, in an order that turns from round to round. The GPU is waited for before and
    after an action, as its work is otherwise only queued.

    Args:
        actions: what is timed, by name.
        warmup: rounds that are not counted, in which kernels are chosen and memory is allocated.
        repeats: rounds that are counted, at least 1.
    """
    names, times = list(actions), {name: [] for name in actions}
    for number in range(warmup + repeats):
        turn = number % len(names)
        for name in names[turn:] + names[:turn]:
            wait_for_device()
            start = time.perf_counter()
            actions[name]()
            wait_for_device()
            if number >= warmup:
                times[name].append(time.perf_counter() - start)
    return times


def wait_for_device() -> None:
    """Waits until the GPU has done what is queued; does nothing without a GPU."""
    import torch

    if torch.cuda.is_available():
        torch.cuda.synchronize()


def summary(seconds: Sequence[float], items: float) -> dict[str, float]:
    """Returns `p50_ms` and `p95_ms` of one call, `per_second`, items per second at the median, and `repeats`.

    Args:
        seconds: of each call, at least one.
        items: images, texts or tokens per call.
    """
    p50, p95 = np.percentile(seconds, [50, 95])
    return {
        "p50_ms": 1000 * float(p50),
        "p95_ms": 1000 * float(p95),
        "per_second": items / float(p50),
        "repeats": len(seconds),
    }


def speedup(ours: Sequence[float], control: Sequence[float], same_rounds: bool, seed: int = 0) -> list[float]:
    """Returns how many times as fast as the control an action is, by their medians, and a 95 % bootstrap interval.

    Args:
        ours, control: [N] seconds.
        same_rounds: whether both were timed in the same rounds, which are then drawn with both of their times.
        seed: seed of the resamples.
    """
    pairs, random = np.array([ours, control]), np.random.default_rng(seed)
    draws = [random.integers(0, pairs.shape[1], size=(RESAMPLES, pairs.shape[1])) for _ in pairs]
    if same_rounds:
        draws[1] = draws[0]
    medians = np.median([times[drawn] for times, drawn in zip(pairs, draws, strict=True)], axis=2)  # (2, R)
    low, high = np.percentile(medians[1] / medians[0], [2.5, 97.5])
    return [float(np.median(pairs[1]) / np.median(pairs[0])), float(low), float(high)]
