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
from dataclasses import asdict
from pathlib import Path
from typing import Any

from accelerate.utils import broadcast_object_list
from transformers import EarlyStoppingCallback, Trainer, TrainerCallback

from evaluation.loading import InputError
from trainers.base.checkpoint_files import (
    CHECKPOINT,
    checkpoints,
    chosen_checkpoint,
    damage,
    in_the_way,
    may_be_removed,
    partial,
    remove,
    remove_partial,
    rotate,
    seal,
    step_of,
)
from trainers.base.run_fingerprint import RECORD, check_same, record_of

STATE = "trainer_state.json"


class ResumableTrainer(Trainer):
    """Trainer with whole checkpoints and exact resuming.

    Attributes:
        data_flags: the flags beside `args` that decide the numbers, such as the model's name; see `record`.
        resumed: the checkpoint that this run goes on from.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.data_flags: dict[str, Any] = {}
        self.run_record: dict[str, Any] | None = None
        self.resumed: Path | None = None
        self.seconds_before, self.started = 0.0, time.time()
        self.add_callback(Restore(self))

    @property
    def folder(self) -> Path:
        return Path(self.args.output_dir)

    def record(self, arguments: Any) -> None:
        """Names the flags beside `args`, a dataclass, that a resumed run must have as they were."""
        self.data_flags = asdict(arguments)

    # --- resuming ---

    def train(self, resume_from_checkpoint: str | bool | None = None, **kwargs: Any) -> Any:
        """As Trainer's, but from a whole checkpoint of this very run.

        Args:
            resume_from_checkpoint: see `checkpoints.chosen_checkpoint`.

        Raises:
            InputError: no such checkpoint, a damaged one, one of another run, one that holds more than tensors and
                numbers; or the output folder has checkpoints that this run does not come from.
        """
        self.resumed = self.agreed_checkpoint(resume_from_checkpoint)
        self.run_record = record_of(
            self.args.to_dict() | self.data_flags, self.train_dataset, self.eval_dataset, self.args.world_size
        )
        if self.resumed is not None:
            check_same(self.resumed, self.run_record, self.args.allow_changed_flags)
        self.accelerator.wait_for_everyone()  # before anything changes in the folder, all have looked at it
        if self.args.should_save:
            others = self.checkpoints_in_the_way()
            self.begin_output()
            remove(others)
            remove_partial(self.folder)
        self.accelerator.wait_for_everyone()
        if self.resumed is not None and self.is_world_process_zero():
            print(f"Going on from {self.resumed}", flush=True)
        return super().train(str(self.resumed) if self.resumed else None, **kwargs)

    def agreed_checkpoint(self, flag: str | bool | None) -> Path | None:
        """The checkpoint to go on from: one process looks, so that its hashes are read, and its words said, once."""
        found: list[str | None] = [None, None]
        if self.is_world_process_zero():
            try:
                checkpoint = chosen_checkpoint(flag, self.folder)
                found[0] = str(checkpoint) if checkpoint else None
            except InputError as error:
                found[1] = str(error)
        if self.args.world_size > 1:
            broadcast_object_list(found)
        if found[1] is not None:
            raise InputError(found[1])
        return Path(found[0]) if found[0] else None

    def checkpoints_in_the_way(self) -> list[Path]:
        """The whole checkpoints of the output folder that this run does not come from, and takes the place of.

        Raises:
            InputError: they are not given up with `--overwrite`, or hold what no training wrote.
        """
        flag = self.args.resume_from_checkpoint
        others = in_the_way(self.folder, self.resumed) if flag or self.resumed else []
        others = [folder for folder in others if damage(folder) is None]
        if others and not self.args.overwrite:
            names = ", ".join(folder.name for folder in others)
            raise InputError(
                f"--output_dir {self.folder} holds {names}, which {self.resumed} does not come from: add --overwrite "
                "to delete them, or name another folder"
            )
        if foreign := [folder.name for folder in others if not may_be_removed(folder)]:
            raise InputError(
                f"--output_dir {self.folder}: {', '.join(foreign)} would be deleted, but holds files that no training "
                "wrote; move them to another place, or name another folder"
            )
        return others

    def begin_output(self) -> None:
        """Called by one process when nothing refuses the training any more, before it writes to the output folder."""

    def _init_training_state(self, max_steps: int, *args: Any, **kwargs: Any) -> tuple[int, int]:
        epochs, batches = super()._init_training_state(max_steps, *args, **kwargs)
        if self.resumed is None:
            return epochs, batches
        self.state.compute_steps(self.args, max_steps)  # as the flags say now
        restored = self.state.stateful_callbacks
        stateful = [c for c in self.callback_handler.callbacks if isinstance(c, EarlyStoppingCallback)]
        for callback in stateful:
            for name, value in restored.get(type(callback).__name__, {}).get("attributes", {}).items():
                setattr(callback, name, value)
        self.state.stateful_callbacks = {type(c).__name__: c.state() for c in (*stateful, self.control)}
        self.find_best()
        return epochs, batches

    def find_best(self) -> None:
        """Where the best checkpoint lies now: beside the one that this run goes on from, wherever that was moved."""
        self.state.best_model_checkpoint = None
        if not self.state.best_global_step or not self.args.load_best_model_at_end:
            return
        best = self.resumed.with_name(f"{CHECKPOINT}{self.state.best_global_step}")
        reason = "it is not there" if not best.is_dir() else damage(best)
        if reason is None:
            self.state.best_model_checkpoint = str(best)
            return
        print(f"The best checkpoint, {best}, is lost ({reason}); the best of those to come is kept", flush=True)
        self.state.best_metric = self.state.best_global_step = None

    def is_over(self) -> bool:
        """Whether the run that is gone on with had come to its end: it has its updates, or had stopped early."""
        stopped = any(
            callback.early_stopping_patience_counter >= callback.early_stopping_patience
            for callback in self.callback_handler.callbacks
            if isinstance(callback, EarlyStoppingCallback)
        )
        return stopped or self.state.global_step >= self.state.max_steps

    def _run_epoch(self, *args: Any, **kwargs: Any) -> None:
        if not self.control.should_training_stop:  # the stock Trainer does one update of a run that is over
            super()._run_epoch(*args, **kwargs)

    def _finalize_training(self, trial: Any, num_train_samples: float, start_time: float) -> Any:
        """As Trainer's, but with `save_total_limit` 1 it deletes only checkpoints that a training wrote."""
        limit, self.args.save_total_limit = self.args.save_total_limit, None
        try:
            output = super()._finalize_training(trial, num_train_samples, start_time - self.seconds_before)
        finally:
            self.args.save_total_limit = limit
        if self.args.should_save and limit == 1 and self.state.best_model_checkpoint is not None:
            best = Path(self.state.best_model_checkpoint).resolve()
            others = [folder for folder in checkpoints(self.folder) if folder.resolve() != best]
            remove([folder for folder in others if may_be_removed(folder)])
        return output

    # --- what was measured since the last line of the log ---

    def progress(self) -> dict[str, Any]:
        """What this process has to remember beside the Trainer's state, for JSON."""
        return {
            "loss": self._tr_loss.item(),
            "total_loss": self._total_loss_scalar,
            "logged_at": self._globalstep_last_logged,
            "seconds": self.seconds_before + time.time() - self.started,
        }

    def restore_progress(self, progress: dict[str, Any]) -> None:
        """Goes on with what `progress` gave."""
        self._tr_loss += progress["loss"]
        self._total_loss_scalar = progress["total_loss"]
        self._globalstep_last_logged = progress["logged_at"]
        self._initial_global_step, self.seconds_before = 0, progress["seconds"]

    @property
    def progress_file(self) -> str:
        return f"progress_{self.args.process_index}.json"

    # --- saving ---

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        """As Trainer's, but the checkpoint gets its name when it is whole, and older ones go after that."""
        folder = self.folder / f"{CHECKPOINT}{self.state.global_step}"
        unfinished = partial(folder)
        self.store_flos()
        if self.args.should_save:
            remove_partial(self.folder)
        self.accelerator.wait_for_everyone()
        self.save_model(str(unfinished), _internal_call=True)
        if not self.args.save_only_model:
            self._save_optimizer_and_scheduler(str(unfinished))
            self._save_scaler(str(unfinished))
            self._save_rng_state(str(unfinished))
        unfinished.mkdir(parents=True, exist_ok=True)  # process 0 may be behind
        (unfinished / self.progress_file).write_text(json.dumps(self.progress()), encoding="utf-8")
        if self.state.best_global_step:
            best = folder.with_name(f"{CHECKPOINT}{self.state.best_global_step}")
            if best == folder or best.is_dir():
                self.state.best_model_checkpoint = str(best)
        self.accelerator.wait_for_everyone()
        if self.args.should_save:
            stateful = [c for c in self.callback_handler.callbacks if isinstance(c, EarlyStoppingCallback)]
            self.state.stateful_callbacks = {type(c).__name__: c.state() for c in (*stateful, self.control)}
            self.state.save_to_json(str(unfinished / STATE))
            (unfinished / RECORD).write_text(json.dumps(self.run_record, indent=2), encoding="utf-8")
            seal(folder)
            rotate(self.folder, self.args.save_total_limit, folder, self.state.best_model_checkpoint)
        self.accelerator.wait_for_everyone()

    def _determine_best_metric(self, metrics: dict[str, float], trial: Any) -> bool:
        """As Trainer's; what is the best so far is saved at once, or it could not be loaded at the end."""
        try:
            better = super()._determine_best_metric(metrics, trial)
        except KeyError:
            names = ", ".join(sorted(metrics))
            raise InputError(
                f"--metric_for_best_model {self.args.metric_for_best_model}: the evaluation gives {names}"
            ) from None
        self.control.should_save |= better and self.args.load_best_model_at_end
        return better

    # --- loading ---

    def _issue_warnings_after_load(self, load_result: Any) -> None:
        """Raises InputError for weights that a checkpoint lacks, or that the model has no place for."""
        known = set(getattr(self.model, "all_tied_weights_keys", None) or ())
        known |= set(getattr(self.model, "_keys_to_ignore_on_save", None) or ())
        missing, unexpected = set(load_result.missing_keys) - known, set(load_result.unexpected_keys)
        said = [f"{word} {some(keys)}" for word, keys in (("missing", missing), ("unexpected", unexpected)) if keys]
        if said:
            raise InputError(f"a checkpoint is not one of this model: {', '.join(said)}")
        super()._issue_warnings_after_load(load_result)

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        self.check_adapter(Path(resume_from_checkpoint))
        super()._load_from_checkpoint(resume_from_checkpoint, model)

    def _load_best_model(self) -> None:
        self.check_best()
        super()._load_best_model()

    def check_best(self) -> None:
        """Raises InputError where the best checkpoint is damaged, or its adapter another one's."""
        best = Path(self.state.best_model_checkpoint)
        if self.args.should_save and (reason := damage(best)) is not None:
            raise InputError(f"--load_best_model_at_end: {best} is not whole: {reason}")
        self.check_adapter(best)

    def check_adapter(self, folder: Path) -> None:
        """Raises InputError where an adapter's file has not the weights of the model's adapter: peft does not look."""
        path = folder / "adapter_model.safetensors"
        if not path.is_file():
            return
        from peft import get_peft_model_state_dict
        from safetensors import safe_open

        with safe_open(path, "pt") as file:
            found = set(file.keys())
        wanted = set(get_peft_model_state_dict(self.accelerator.unwrap_model(self.model)))
        if found != wanted:
            raise InputError(
                f"{path} is not of this adapter: missing {some(wanted - found)}, unexpected {some(found - wanted)}"
            )

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        with tensors_only(checkpoint):
            super()._load_optimizer_and_scheduler(checkpoint)

    def _load_rng_state(self, checkpoint: str | None) -> None:
        with tensors_only(checkpoint):
            super()._load_rng_state(checkpoint)

    def _load_scaler(self, checkpoint: str | None) -> None:
        with tensors_only(checkpoint):
            super()._load_scaler(checkpoint)


class Restore(TrainerCallback):
    """Hands a trainer what it had measured, when the Trainer has set that to zero; ends a run that is at its end."""

    def __init__(self, trainer: ResumableTrainer) -> None:
        self.trainer = trainer

    def on_train_begin(self, args, state, control, **kwargs):
        trainer = self.trainer
        trainer.started = time.time()
        if trainer.resumed is None:
            return
        path = trainer.resumed / trainer.progress_file
        if path.is_file():
            trainer.restore_progress(json.loads(path.read_text(encoding="utf-8")))
        if trainer.is_over():
            if trainer.is_world_process_zero():
                print(f"{step_of(trainer.resumed)} updates are done: nothing is left to train", flush=True)
            control.should_training_stop = True


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
    """The first few names."""
    shown = sorted(names)[:3]
    return ", ".join(shown) + (f" and {len(names) - 3} more" if len(names) > 3 else "") if names else "nothing"
