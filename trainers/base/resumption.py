"""Resumes an interrupted training exactly: same losses, same evaluations, same weights, same log.

The stock Trainer restores weights, optimizer, schedule, random state and the position in the data. This module keeps
what it forgets: the sum of the losses since the last line of the log, what the trainer has measured since then, how
long early stopping has waited, that a run had already ended, and where its best checkpoint is now. A missing or
unexpected weight, of which the stock Trainer only warns, is an error here.
"""

from __future__ import annotations

import json
import pickle
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from accelerate.utils import broadcast_object_list
from transformers import EarlyStoppingCallback, TrainerCallback

from evaluation.loading import InputError
from trainers.base.checkpoint_files import (
    CHECKPOINT,
    checkpoints,
    chosen_checkpoint,
    damage,
    in_the_way,
    may_be_removed,
    remove,
    remove_partial,
    step_of,
)
from trainers.base.run_fingerprint import RECORD, check_same, record_of

if TYPE_CHECKING:
    from trainers.base.trainer import BaseTrainer

STATE = "trainer_state.json"


class Resumption(TrainerCallback):
    """What a trainer restores from the checkpoint that it resumes from, and what its own checkpoints need for that.

    Attributes:
        data_flags: the flags beside the training's that decide the numbers, for example the model's name.
        checkpoint: the checkpoint that this run resumes from, None for a new run.
    """

    def __init__(self, trainer: BaseTrainer) -> None:
        self.trainer = trainer
        self.data_flags: dict[str, Any] = {}
        self.run_record: dict[str, Any] | None = None
        self.checkpoint: Path | None = None
        self.seconds_before, self.started = 0.0, time.time()

    # --- before the training ---

    def prepare(self, flag: str | bool | None) -> None:
        """Chooses and verifies the checkpoint, and makes the output folder ready for the run.

        Args:
            flag: see `checkpoint_files.chosen_checkpoint`.

        Raises:
            InputError: no such checkpoint, a damaged one, one of another run; or the output folder has checkpoints
                that this run does not come from.
        """
        trainer = self.trainer
        args = trainer.args
        self.checkpoint = self.agreed_checkpoint(flag)
        flags = args.to_dict() | self.data_flags
        self.run_record = record_of(flags, trainer.train_dataset, trainer.eval_dataset, args.world_size)
        if self.checkpoint is not None:
            check_same(self.checkpoint, self.run_record, args.allow_changed_flags)
        trainer.accelerator.wait_for_everyone()  # before anything changes in the folder, all have looked at it
        if args.should_save:
            others = self.checkpoints_in_the_way()
            trainer.begin_output()
            remove(others)
            remove_partial(trainer.folder)
        trainer.accelerator.wait_for_everyone()
        if self.checkpoint is not None and trainer.is_world_process_zero():
            print(f"Resuming from {self.checkpoint}", flush=True)

    def agreed_checkpoint(self, flag: str | bool | None) -> Path | None:
        """Returns the checkpoint to resume from. One process looks: it is hashed once, and errors are printed once."""
        found: list[str | None] = [None, None]
        if self.trainer.is_world_process_zero():
            try:
                checkpoint = chosen_checkpoint(flag, self.trainer.folder)
                found[0] = str(checkpoint) if checkpoint else None
            except InputError as error:
                found[1] = str(error)
        if self.trainer.args.world_size > 1:
            broadcast_object_list(found)
        if found[1] is not None:
            raise InputError(found[1])
        return Path(found[0]) if found[0] else None

    def checkpoints_in_the_way(self) -> list[Path]:
        """Returns the complete checkpoints of the output folder that this run does not come from and replaces.

        Raises:
            InputError: they are not given up with `--overwrite`, or hold files that no training wrote.
        """
        args, folder = self.trainer.args, self.trainer.folder
        others = in_the_way(folder, self.checkpoint) if args.resume_from_checkpoint or self.checkpoint else []
        others = [other for other in others if damage(other) is None]
        if others and not args.overwrite:
            names = ", ".join(other.name for other in others)
            raise InputError(
                f"--output_dir {folder} contains checkpoints {names}, which do not lead to {self.checkpoint}; add "
                "--overwrite to delete them, or name another folder"
            )
        if foreign := [other.name for other in others if not may_be_removed(other)]:
            raise InputError(
                f"--output_dir {folder}: {', '.join(foreign)} would be deleted, but holds files that no training "
                "wrote; move them to another place, or name another folder"
            )
        return others

    # --- at the beginning of the training ---

    def restore_state(self, max_steps: int) -> None:
        """Restores early stopping and the place of the best checkpoint, after Trainer has read its own state."""
        state = self.trainer.state
        state.compute_steps(self.trainer.args, max_steps)  # as the flags say now
        restored = state.stateful_callbacks
        for callback in self.early_stopping():
            for name, value in restored.get(type(callback).__name__, {}).get("attributes", {}).items():
                setattr(callback, name, value)
        self.note_callbacks()
        self.find_best()

    def early_stopping(self) -> list[EarlyStoppingCallback]:
        return [one for one in self.trainer.callback_handler.callbacks if isinstance(one, EarlyStoppingCallback)]

    def note_callbacks(self) -> None:
        """Writes the state of early stopping, and of the control flow, into the trainer's state."""
        stateful = (*self.early_stopping(), self.trainer.control)
        self.trainer.state.stateful_callbacks = {type(one).__name__: one.state() for one in stateful}

    def find_best(self) -> None:
        """Finds the best checkpoint beside the one that this run resumes from, wherever that was moved."""
        state = self.trainer.state
        state.best_model_checkpoint = None
        if not state.best_global_step or not self.trainer.args.load_best_model_at_end:
            return
        best = self.checkpoint.with_name(f"{CHECKPOINT}{state.best_global_step}")
        reason = "it is not there" if not best.is_dir() else damage(best)
        if reason is None:
            state.best_model_checkpoint = str(best)
            return
        print(f"The best checkpoint, {best}, is lost ({reason}); the best of the next ones is kept instead", flush=True)
        state.best_metric = state.best_global_step = None

    def on_train_begin(self, args, state, control, **kwargs):
        """Restores what was measured, after Trainer has set it to zero, and ends a run that was at its end."""
        self.started = time.time()
        if self.checkpoint is None:
            return
        path = self.checkpoint / self.progress_file
        if path.is_file():
            self.restore_progress(json.loads(path.read_text(encoding="utf-8")))
        if self.is_over():
            if self.trainer.is_world_process_zero():
                print(f"{step_of(self.checkpoint)} updates are done: nothing is left to train", flush=True)
            control.should_training_stop = True

    def is_over(self) -> bool:
        """Whether the run that is resumed had ended: all updates are done, or it had stopped early."""
        stopped = any(
            one.early_stopping_patience_counter >= one.early_stopping_patience for one in self.early_stopping()
        )
        return stopped or self.trainer.state.global_step >= self.trainer.state.max_steps

    # --- what was measured since the last line of the log ---

    @property
    def progress_file(self) -> str:
        return f"progress_{self.trainer.args.process_index}.json"

    def progress(self) -> dict[str, Any]:
        """Returns what this process has to remember beside the Trainer's state, for JSON."""
        return {
            "loss": self.trainer._tr_loss.item(),
            "total_loss": self.trainer._total_loss_scalar,
            "logged_at": self.trainer._globalstep_last_logged,
            "seconds": self.seconds_before + time.time() - self.started,
            "meter": self.trainer.meter.state(),
        }

    def restore_progress(self, progress: dict[str, Any]) -> None:
        """Restores what `progress` returned."""
        trainer = self.trainer
        trainer._tr_loss += progress["loss"]
        trainer._total_loss_scalar = progress["total_loss"]
        trainer._globalstep_last_logged = progress["logged_at"]
        trainer._initial_global_step, self.seconds_before = 0, progress["seconds"]
        trainer.meter.restore(progress["meter"], trainer.args.device)

    # --- in a checkpoint ---

    def write_progress(self, unfinished: Path) -> None:
        """Writes what this process has to remember. To be called by all processes."""
        unfinished.mkdir(parents=True, exist_ok=True)  # process 0 may be behind
        (unfinished / self.progress_file).write_text(json.dumps(self.progress()), encoding="utf-8")

    def write_state(self, unfinished: Path) -> None:
        """Writes the Trainer's state and the record of the run. To be called by one process."""
        self.note_callbacks()
        self.trainer.state.save_to_json(str(unfinished / STATE))
        (unfinished / RECORD).write_text(json.dumps(self.run_record, indent=2), encoding="utf-8")

    def note_best(self, folder: Path) -> None:
        """Enters the path of the best checkpoint into the state, where `folder` is it or it is beside `folder`."""
        state = self.trainer.state
        if state.best_global_step:
            best = folder.with_name(f"{CHECKPOINT}{state.best_global_step}")
            if best == folder or best.is_dir():
                state.best_model_checkpoint = str(best)

    def keep_best_alone(self) -> None:
        """Deletes all checkpoints but the best one, as `--save_total_limit 1` asks; foreign files are kept."""
        best = Path(self.trainer.state.best_model_checkpoint).resolve()
        others = [folder for folder in checkpoints(self.trainer.folder) if folder.resolve() != best]
        remove([folder for folder in others if may_be_removed(folder)])


def check_loaded(model: torch.nn.Module, load_result: Any) -> None:
    """Raises InputError for weights that a checkpoint lacks, or that the model has no place for."""
    known = set(getattr(model, "all_tied_weights_keys", None) or ())
    known |= set(getattr(model, "_keys_to_ignore_on_save", None) or ())
    missing, unexpected = set(load_result.missing_keys) - known, set(load_result.unexpected_keys)
    found = [f"{word} {some(keys)}" for word, keys in (("missing", missing), ("unexpected", unexpected)) if keys]
    if found:
        raise InputError(f"the checkpoint does not match this model: {', '.join(found)}")


@contextmanager
def tensors_only(checkpoint: str | None) -> Iterator[None]:
    """Names the checkpoint where a file holds more than tensors and numbers, which torch refuses to run."""
    try:
        yield
    except pickle.UnpicklingError:
        raise InputError(
            f"--resume_from_checkpoint {checkpoint}: a file holds more than tensors and numbers, and is not opened: a "
            "pickle can run any program"
        ) from None


def some(names: set[str]) -> str:
    """Returns the first few names."""
    shown = sorted(names)[:3]
    return ", ".join(shown) + (f" and {len(names) - 3} more" if len(names) > 3 else "") if names else "nothing"
