"""Passes the epoch on to the rows, and measures the time of updates without evaluations and checkpoints."""

from __future__ import annotations

import time
from typing import Any

from transformers import TrainerCallback


class EpochCallback(TrainerCallback):
    """Tells the rows, and whatever else has `set_epoch`, which epoch begins.

    accelerate tells the dataset only in a run of one process, and a sampler not below every wrapper that it puts
    around one.
    """

    def __init__(self, *listeners: Any) -> None:
        self.listeners = listeners

    def on_epoch_begin(self, args, state, control, **kwargs):
        for listener in self.listeners:
            listener.set_epoch(int(state.epoch or 0))


class Stopwatch:
    """The seconds that updates took."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self.running_since: float | None = None

    def resume(self) -> None:
        """The clock runs: an update begins."""
        self.running_since = time.perf_counter()

    def pause(self) -> None:
        """The clock stands still: what comes now, an evaluation or a checkpoint, is no training."""
        if self.running_since is not None:
            now = time.perf_counter()
            self.seconds += now - self.running_since
            self.running_since = now


class PauseMeter(TrainerCallback):
    """Stops the clock when an update is done, before evaluations and checkpoints."""

    def __init__(self, meter: Stopwatch) -> None:
        self.meter = meter

    def on_step_end(self, args, state, control, **kwargs):
        self.meter.pause()
