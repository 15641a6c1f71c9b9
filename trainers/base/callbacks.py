"""Tells datasets the epoch, evaluates and saves after each epoch, and measures the time of updates alone."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from transformers import TrainerCallback

from model_cards.model_card import SUMMARY
from trainers.base.output_folder import note_recipe


class EpochCallback(TrainerCallback):
    """Passes the epoch that begins to the rows, and to whatever else has `set_epoch`.

    accelerate passes it to the dataset only in a run of one process, and to a sampler not below every wrapper that it
    puts around one.
    """

    def __init__(self, *listeners: Any) -> None:
        self.listeners = listeners

    def on_epoch_begin(self, args, state, control, **kwargs):
        for listener in self.listeners:
            listener.set_epoch(int(state.epoch or 0))


class EpochEndCallback(TrainerCallback):
    """Evaluates and saves at the end of every epoch too: a small dataset never reaches 500 updates.

    It does so with the last update of the epoch, so that a checkpoint always comes after the evaluation of the same
    weights, and a run that is resumed from it has lost none. Where the number of updates is unknown, it does so when
    the epoch is over.
    """

    def __init__(self) -> None:
        self.evaluated = self.saved = 0  # the updates after which it was done last; never twice after the same

    def on_evaluate(self, args, state, control, **kwargs):
        self.evaluated = state.global_step

    def on_save(self, args, state, control, **kwargs):
        self.saved = state.global_step

    def on_step_end(self, args, state, control, **kwargs):
        if float(state.epoch).is_integer():
            control.should_evaluate |= args.eval_strategy != "no"
            control.should_save |= args.save_strategy != "no"
        return control

    def on_epoch_end(self, args, state, control, **kwargs):
        control.should_evaluate |= args.eval_strategy != "no" and self.evaluated < state.global_step
        control.should_save |= args.save_strategy != "no" and self.saved < state.global_step
        return control


class UnfinishedCallback(TrainerCallback):
    """Removes the summary of a finished training when another one begins in its folder, and writes the recipe.

    Not before: a training that is refused leaves a folder unchanged. The card stays, as a person may have edited it.

    Attributes:
        write_recipe: writes the flags of the run.
        earlier: the summary of the training that the card in the folder describes, None where it is unknown.
    """

    def __init__(self) -> None:
        self.write_recipe: Callable[[], None] = lambda: None
        self.earlier: dict | None = None

    def on_train_begin(self, args, state, control, **kwargs):
        if state.is_world_process_zero:
            (Path(args.output_dir) / SUMMARY).unlink(missing_ok=True)
            self.write_recipe()
            note_recipe(Path(args.output_dir))


class Stopwatch:
    """The seconds that updates took."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self.running_since: float | None = None

    def resume(self) -> None:
        """Starts the timer: an update begins."""
        self.running_since = time.perf_counter()

    def pause(self) -> None:
        """Pauses the timer during evaluation and checkpointing."""
        if self.running_since is not None:
            now = time.perf_counter()
            self.seconds += now - self.running_since
            self.running_since = now


class PauseMeter(TrainerCallback):
    """Pauses the timer when an update is done, before evaluations and checkpoints."""

    def __init__(self, meter: Stopwatch) -> None:
        self.meter = meter

    def on_step_end(self, args, state, control, **kwargs):
        self.meter.pause()
