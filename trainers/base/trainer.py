"""Trains, evaluates and saves for both families: exact resuming, complete checkpoints, errors for NaN losses."""

from __future__ import annotations

import contextlib
import itertools
import math
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from transformers import EarlyStoppingCallback, Trainer

from evaluation.loading import InputError
from model_cards.model_card import SUMMARY, read_summary
from model_cards.results import write_json
from trainers.base.arguments import BaseTrainingArguments
from trainers.base.callbacks import EpochEndCallback, PauseMeter, Stopwatch, UnfinishedCallback
from trainers.base.checkpoint_files import CHECKPOINT, damage, partial, remove_partial, rotate, seal
from trainers.base.distributed import one_device_per_process, rows_in_epoch
from trainers.base.output_folder import begin, is_emptied, note_writing
from trainers.base.resumption import Resumption, check_loaded, tensors_only
from trainers.base.training_run import create_repository

SHOWN_ROWS = 64


class BaseTrainer(Trainer):
    """Trainer whose runs resume exactly, and whose checkpoints are complete and hold no pickled arguments.

    A NaN or infinite loss or gradient ends the training with an InputError before it reaches a weight.

    Args:
        meter: collects what is logged beside the loss; with `take`, `state` and `restore`.

    Attributes:
        order: the sampler of the rows of an epoch; None leaves the order to Trainer.
        rows_in_epoch: the number of rows in an epoch of all processes; None before it is known.
        resumption: what is restored from the checkpoint that this run resumes from.
        beginning: writes the recipe when the training begins.
    """

    args: BaseTrainingArguments

    def __init__(self, *args: Any, meter: Stopwatch, **kwargs: Any) -> None:
        one_device_per_process(kwargs["args"])
        super().__init__(*args, **kwargs)
        self.can_return_loss = True  # the encoder's collator gives no labels, by which Trainer would know
        self.order: torch.utils.data.Sampler | None = None
        self.rows_in_epoch: int | None = None
        self.meter = meter
        self.resumption, self.beginning = Resumption(self), UnfinishedCallback()
        for callback in (self.resumption, EpochEndCallback(), self.beginning, PauseMeter(meter)):
            self.add_callback(callback)
        if self.args.patience is not None and self.args.eval_strategy != "no":
            self.add_callback(EarlyStoppingCallback(early_stopping_patience=self.args.patience))

    @property
    def folder(self) -> Path:
        return Path(self.args.output_dir)

    def record(self, arguments: Any) -> None:
        """Stores the flags beside `args`, a dataclass, that a resumed run must not change."""
        self.resumption.data_flags = asdict(arguments)

    # --- training ---

    def train_from_flags(self) -> None:
        """Trains as `--num_train_epochs` and `--resume_from_checkpoint` ask; with 0 epochs not at all."""
        if self.args.num_train_epochs == 0 and self.args.max_steps <= 0:
            print("--num_train_epochs 0: the model is saved as it is")
            self.accelerator.wait_for_everyone()
            if self.args.should_save:
                self.begin_output()
                self.beginning.write_recipe()
        else:
            self.train(resume_from_checkpoint=self.args.resume_from_checkpoint)
        if self.args.should_save:
            note_writing(self.folder)

    def train(self, resume_from_checkpoint: str | bool | None = None, **kwargs: Any) -> Any:
        """As Trainer's, but from a complete checkpoint of this very run.

        Args:
            resume_from_checkpoint: see `checkpoint_files.chosen_checkpoint`.

        Raises:
            InputError: as `Resumption.prepare`; or the checkpoint holds more than tensors and numbers.
        """
        self.resumption.prepare(resume_from_checkpoint)
        checkpoint = self.resumption.checkpoint
        return super().train(str(checkpoint) if checkpoint else None, **kwargs)

    def begin_output(self) -> None:
        """Makes the repository to push to, and marks the output folder as this training's.

        Called by one process when nothing refuses the training any more, before it writes to the output folder.
        """
        if self.args.push_to_hub and self.is_world_process_zero():
            create_repository(self.args)
        with contextlib.suppress(ValueError):
            self.beginning.earlier = read_summary(self.folder / SUMMARY)
        begin(self.folder, overwrite=self.resumption.checkpoint is None and is_emptied(self.args))

    def init_hf_repo(self, token: str | None = None, private: bool | None = None) -> None:
        """Makes no repository, as Trainer does before anything is checked: `begin_output` does."""
        self.push_in_progress = None

    def _init_training_state(self, max_steps: int, *args: Any, **kwargs: Any) -> tuple[int, int]:
        epochs, batches = super()._init_training_state(max_steps, *args, **kwargs)
        if self.resumption.checkpoint is not None:
            self.resumption.restore_state(max_steps)
        return epochs, batches

    def _run_epoch(self, *args: Any, **kwargs: Any) -> None:
        if not self.control.should_training_stop:  # the stock Trainer does one update of a run that is over
            super()._run_epoch(*args, **kwargs)

    def _finalize_training(self, trial: Any, num_train_samples: float, start_time: float) -> Any:
        """As Trainer's, but with `save_total_limit` 1 it deletes only checkpoints that a training wrote."""
        limit, self.args.save_total_limit = self.args.save_total_limit, None
        try:
            started = start_time - self.resumption.seconds_before
            output = super()._finalize_training(trial, num_train_samples, started)
        finally:
            self.args.save_total_limit = limit
        if self.args.should_save and limit == 1 and self.state.best_model_checkpoint is not None:
            self.resumption.keep_best_alone()
        return output

    # --- batches ---

    def _get_train_sampler(self, train_dataset: Any = None) -> Any:
        return self.order if self.order is not None else super()._get_train_sampler(train_dataset)

    def get_train_dataloader(self) -> Any:
        loader = super().get_train_dataloader()
        self.rows_in_epoch = rows_in_epoch(loader)
        return loader

    def get_batch_samples(self, epoch_iterator: Iterator, num_batches: int, device: torch.device) -> tuple[list, Any]:
        self.meter.resume()
        return super().get_batch_samples(epoch_iterator, num_batches, device)

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Adds the family's facts, and what the meter gives, to a line about the training."""
        if "loss" in logs:
            self.meter.pause()
            logs |= self.facts_to_log() | self.meter.take()
        super().log(logs, start_time)

    def facts_to_log(self) -> dict[str, float]:
        """Returns what a line about the training has beside the meter's figures. For subclasses."""
        return {}

    # --- NaN and infinite losses ---

    def _get_grad_norm(self, model: Any, grad_norm: Any = None) -> Any:
        """As Trainer's, which asks for it before every update; with the loss at hand, it checks both."""
        grad_norm = super()._get_grad_norm(model, grad_norm)
        found = {"loss": self._tr_loss}
        if self.accelerator.scaler is None:  # which finds, and leaves out, the updates that fp16 is too narrow for
            found["gradient's norm"] = grad_norm
        for name, value in found.items():
            number = value.item() if isinstance(value, torch.Tensor) else value
            if number is not None and not math.isfinite(number):
                raise InputError(
                    f"update {self.state.global_step + 1}: the {name} is {number}. Rows of this update: "
                    f"{self.rows_of_update()}. Check them, or lower --learning_rate; earlier checkpoints are complete"
                )
        return grad_norm

    def rows_of_update(self) -> str:
        """Returns the numbers of this process's rows in the present update, and their files where they have some."""
        loader, steps = self.callback_handler.train_dataloader, self.args.gradient_accumulation_steps
        try:
            per_epoch = math.ceil(len(loader) / steps)
            epoch, update = divmod(self.state.global_step, per_epoch)
            loader.set_epoch(epoch)
            batches = itertools.islice(loader.batch_sampler, update * steps, (update + 1) * steps)
            numbers = [row for batch in batches for row in batch]
        except (TypeError, AttributeError):  # a stream has no length and no sampler
            return "unknown, they came from a stream"
        rows = self.train_dataset
        while not hasattr(rows, "column_names") and hasattr(rows, "rows"):
            rows = rows.rows
        paths = {}
        if "image_path" in (getattr(rows, "column_names", None) or ()):
            shown = numbers[:SHOWN_ROWS]
            paths = dict(zip(shown, rows.select_columns(["image_path"])[shown]["image_path"], strict=True))
        words = [f"{row} ({paths[row]})" if row in paths else str(row) for row in numbers[:SHOWN_ROWS]]
        return ", ".join(words) + (f" and {len(numbers) - SHOWN_ROWS} more" if len(numbers) > SHOWN_ROWS else "")

    # --- saving ---

    def _save(self, output_dir: str | None = None, state_dict: dict | None = None) -> None:
        folder = Path(output_dir or self.args.output_dir)
        super()._save(str(folder), state_dict)
        if self.args.should_save:
            (folder / "training_args.bin").unlink(missing_ok=True)  # a pickle; to_dict() hides tokens
            write_json(folder / "training_args.json", self.args.to_dict())

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        """As Trainer's, but the checkpoint gets its name when it is complete, and older ones are removed after that."""
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
        self.resumption.write_progress(unfinished)
        self.resumption.note_best(folder)
        self.accelerator.wait_for_everyone()
        if self.args.should_save:
            self.resumption.write_state(unfinished)
            seal(folder)
            rotate(self.folder, self.args.save_total_limit, folder, self.state.best_model_checkpoint)
        self.accelerator.wait_for_everyone()

    def _determine_best_metric(self, metrics: dict[str, float], trial: Any) -> bool:
        """As Trainer's; the best so far is saved at once, or it could not be loaded at the end."""
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

    def load_weights(self, folder: Path) -> bool:
        """Checks the weights of a checkpoint, and loads those that Trainer cannot load. For subclasses.

        Returns:
            False where Trainer's own way of loading is the right one.
        """
        return False

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        if not self.load_weights(Path(resume_from_checkpoint)):
            super()._load_from_checkpoint(resume_from_checkpoint, model)

    def _load_best_model(self) -> None:
        best = Path(self.state.best_model_checkpoint)
        if self.args.should_save and (reason := damage(best)) is not None:
            raise InputError(f"--load_best_model_at_end: {best} is incomplete: {reason}")
        if not self.load_weights(best):
            super()._load_best_model()

    def _issue_warnings_after_load(self, load_result: Any) -> None:
        check_loaded(self.model, load_result)
        super()._issue_warnings_after_load(load_result)

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        with tensors_only(checkpoint):
            super()._load_optimizer_and_scheduler(checkpoint)

    def _load_rng_state(self, checkpoint: str | None) -> None:
        with tensors_only(checkpoint):
            super()._load_rng_state(checkpoint)

    def _load_scaler(self, checkpoint: str | None) -> None:
        with tensors_only(checkpoint):
            super()._load_scaler(checkpoint)
