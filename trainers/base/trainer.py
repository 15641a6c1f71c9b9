"""Trains, evaluates and saves for both families: what a checkpoint holds, when to evaluate, how a training ends.

A training ends in one complete folder: weights as safetensors, processor, configuration, the training's summary, the
results measured on the evaluation split, and a card made from those two. Pushing uploads that folder.
"""

from __future__ import annotations

import contextlib
import itertools
import math
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
from transformers import EarlyStoppingCallback, TrainerCallback

from evaluation.loading import InputError, check_token
from model_cards.hub.commit import PushError, check_public, first_line, refusals
from model_cards.hub.model_repository import push_model
from model_cards.hub.weights import folder_weights
from model_cards.model_card import RESULTS, SUMMARY, find_license, read_summary, write_model_card
from model_cards.results import PACKAGES, EvaluationResult, write_json
from modeling import siglip_medical
from trainers.base.arguments import BaseTrainingArguments, DataArguments
from trainers.base.output_folder import (
    LAST_WRITTEN,
    begin,
    contents_of,
    is_emptied,
    note_complete,
    note_recipe,
    note_writing,
)
from trainers.base.resumable_trainer import ResumableTrainer
from trainers.base.run_fingerprint import finished

SHOWN_ROWS = 64

# What the summary and the card say of a run; everything else is in training_args.json.
HYPERPARAMETERS = (
    "learning_rate",
    "per_device_train_batch_size",
    "gradient_accumulation_steps",
    "num_train_epochs",
    "max_steps",
    "weight_decay",
    "adam_beta1",
    "adam_beta2",
    "max_grad_norm",
    "lr_scheduler_type",
    "warmup_steps",
    "bf16",
    "seed",
)


class EpochEndCallback(TrainerCallback):
    """Evaluates and saves at the end of every epoch too: a small dataset never reaches 500 updates.

    With the last update of the epoch, so that a checkpoint always comes after the evaluation of the same weights: a
    run that is resumed from it has lost none. Where the number of updates is not known, when the epoch is over.
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
    """Takes away what says that a folder holds a finished training, as one begins in it, and writes its recipe.

    Not before: a training that is refused leaves a folder as it is. The card stays, for a person may have edited it.

    Attributes:
        earlier: the summary of the training that the card in the folder is of, None where it is not known.
    """

    def __init__(self) -> None:
        self.write_recipe: Callable[[], None] = lambda: None
        self.earlier: dict | None = None

    def on_train_begin(self, args, state, control, **kwargs):
        if state.is_world_process_zero:
            (Path(args.output_dir) / SUMMARY).unlink(missing_ok=True)
            self.write_recipe()
            note_recipe(Path(args.output_dir))


class BaseTrainer(ResumableTrainer):
    """Trainer whose checkpoints carry `training_args.json`, the processor, and no pickled arguments.

    A loss or a gradient that is no number ends the training with an InputError before it reaches a weight.
    """

    args: BaseTrainingArguments

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.add_callback(EpochEndCallback())
        self.beginning = UnfinishedCallback()
        self.add_callback(self.beginning)
        if self.args.patience is not None and self.args.eval_strategy != "no":
            self.add_callback(EarlyStoppingCallback(early_stopping_patience=self.args.patience))

    def _save(self, output_dir: str | None = None, state_dict: dict | None = None) -> None:
        folder = Path(output_dir or self.args.output_dir)
        super()._save(str(folder), state_dict)
        if self.args.should_save:
            (folder / "training_args.bin").unlink(missing_ok=True)  # a pickle; to_dict() hides tokens
            write_json(folder / "training_args.json", self.args.to_dict())

    def train_from_flags(self) -> None:
        """Trains as `--num_train_epochs` and `--resume_from_checkpoint` say; with 0 epochs not at all."""
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

    def init_hf_repo(self, token: str | None = None, private: bool | None = None) -> None:
        """Makes no repository, as Trainer does before anything is checked: `begin_output` does."""
        self.push_in_progress = None

    def begin_output(self) -> None:
        """Makes the repository to push to, and the output folder this training's own."""
        if self.args.push_to_hub and self.is_world_process_zero():
            create_repository(self.args)
        with contextlib.suppress(ValueError):
            self.beginning.earlier = read_summary(self.folder / SUMMARY)
        begin(self.folder, overwrite=self.resumed is None and is_emptied(self.args))

    # --- a loss that is no number ---

    def _get_grad_norm(self, model: Any, grad_norm: Any = None) -> Any:
        """As Trainer's, which asks for it before every update; with the loss at hand, it looks at both."""
        grad_norm = super()._get_grad_norm(model, grad_norm)
        found = {"loss": self._tr_loss}
        if self.accelerator.scaler is None:  # which finds, and leaves out, the updates that fp16 is too narrow for
            found["gradient's norm"] = grad_norm
        for name, value in found.items():
            number = value.item() if isinstance(value, torch.Tensor) else value
            if number is not None and not math.isfinite(number):
                raise InputError(
                    f"update {self.state.global_step + 1}: the {name} is {number}. Rows of this update: "
                    f"{self.rows_of_update()}. Look at those, or lower --learning_rate; what was saved before is whole"
                )
        return grad_norm

    def rows_of_update(self) -> str:
        """The rows of this process in the update that is being done: their numbers, and files where they have some."""
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

    def summary(self, **facts: Any) -> dict:
        """What is written to `training_summary.json`: how the model came about, and the whole course of its loss."""
        model = self.accelerator.unwrap_model(self.model)
        arguments = self.args.to_dict()
        return facts | {
            "hyperparameters": {name: arguments[name] for name in HYPERPARAMETERS},
            "parameters": sum(parameter.numel() for parameter in model.parameters()),
            "trainable_parameters": sum(p.numel() for p in model.parameters() if p.requires_grad),
            "updates": self.state.global_step,
            "best_metric": self.state.best_metric,
            "best_step": self.state.best_global_step,
            "history": list(self.state.log_history),  # a copy: the evaluation of the final model is no part of it
            "device": str(self.args.device),
            "versions": versions(),
        }


def nothing_to_do(training: BaseTrainingArguments, arguments: DataArguments) -> bool:
    """Whether this run is asked to go on and has come to its end in `--output_dir`; says so. Loads nothing."""
    if not training.resume_from_checkpoint or training.push_to_hub or training.overwrite:
        return False
    flags, folder = training.to_dict() | asdict(arguments), Path(training.output_dir)
    if not finished(folder, flags, ("num_train_epochs", "max_steps", "patience"), LAST_WRITTEN):
        return False
    if training.process_index == 0:
        print(f"{folder} holds the end of this run: nothing to do. A larger --num_train_epochs goes on from there")
    return True


def versions() -> dict[str, str]:
    """The versions of the packages that decide the numbers."""
    from importlib.metadata import version

    return {name: version(name) for name in (*PACKAGES, "accelerate", "peft")}


def without_evaluation(args: BaseTrainingArguments, split: str) -> None:
    """Turns the evaluation during training off, because its split does not exist, and says so."""
    print(f"There is no split {split!r}: nothing is evaluated while training, and the last checkpoint is kept")
    args.eval_strategy, args.load_best_model_at_end = "no", False


def evaluation_result(
    trainer: BaseTrainer, name: str, task: str, config: str, data: DataArguments, revision: str
) -> EvaluationResult | None:
    """Evaluates the final model on the evaluation split, if there is one."""
    if trainer.eval_dataset is None:
        return None
    measured = trainer.evaluate()
    left_out = {"runtime", "samples_per_second", "steps_per_second", "model_preparation_time"}
    left_out |= getattr(trainer, "measured_on_part", frozenset())  # not of the split that the result names
    metrics = {key.removeprefix("eval_"): value for key, value in measured.items() if key.startswith("eval_")}
    return EvaluationResult(
        model=name,
        task=task,
        dataset=data.dataset,
        dataset_config=config,
        dataset_split=data.eval_split,
        dataset_revision=revision,
        samples=len(trainer.eval_dataset),
        metrics={key: value for key, value in metrics.items() if key not in left_out},
    )


def finish(trainer: BaseTrainer, name: str, summary: dict, result: EvaluationResult | None) -> None:
    """Writes result, card and summary beside the weights, and pushes the folder if it was asked for.

    Of several processes only the first does anything. The summary is written last: it says that all is there.
    """
    if not trainer.is_world_process_zero():
        return
    args, folder = trainer.args, Path(trainer.args.output_dir)
    summary |= {"weights": folder_weights(folder), "base_license": find_license(summary["base_model"], args.hub_token)}
    if result is not None:
        replace(result, weights=summary["weights"]).save(folder / RESULTS)
    try:
        notes = write_model_card(folder, name, summary, trainer.beginning.earlier)
    except ValueError as error:  # a card or a result that was there is damaged
        raise InputError(f"--output_dir {folder}: {error}; then add --resume_from_checkpoint last") from None
    for note in notes:
        print(f"{folder}: {note}")
    write_json(folder / SUMMARY, summary)
    note_complete(folder)
    print(f"Written to {folder}")
    if args.push_to_hub:
        print(f"Pushed to {push_folder(folder, name, private=not args.public, token=args.hub_token)}")


def repository_name(args: BaseTrainingArguments) -> str:
    """The name of the model; where it is pushed, that of its repository. Changes nothing on the Hub.

    Raises:
        InputError: it is pushed, and the name cannot be a repository's, or there is no token that may write.
    """
    if not args.push_to_hub:
        return args.hub_model_id or Path(args.output_dir).name
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils import validate_repo_id

    name = args.hub_model_id or Path(args.output_dir).absolute().name
    try:
        validate_repo_id(name)
    except HFValidationError as error:
        raise InputError(f"--hub_model_id {name}: {first_line(error)}; name the repository as ORG/NAME") from None
    if args.process_index:  # one process asks
        return name
    user = check_token(args.hub_token)
    return name if "/" in name else f"{user}/{name}"


def create_repository(args: BaseTrainingArguments) -> None:
    """Makes the repository to push to, private unless `--public` is given, where it does not exist.

    Raises:
        InputError: the Hub refuses.
    """
    from huggingface_hub import HfApi

    name = args.hub_model_id or Path(args.output_dir).absolute().name
    try:
        with refusals():
            HfApi(token=args.hub_token).create_repo(name, private=not args.public, exist_ok=True)
    except PushError as error:
        raise InputError(f"--push_to_hub {name}: {error}") from None


def check_repository(args: BaseTrainingArguments, name: str) -> None:
    """Raises InputError, before the training, for a repository that a push would be refused at: see `push_folder`."""
    if args.push_to_hub:
        try:
            check_public(name, "model", args.public, args.hub_token)
        except PushError as error:
            raise InputError(f"--push_to_hub {name}: {error}") from None


def push_folder(folder: Path, repo_id: str, private: bool, token: str | None) -> str:
    """Uploads a finished model folder in one commit, checkpoints left out. Returns the address of the repository.

    What an earlier training left there in another form is removed, and so are results of other weights: see
    `model_repository.py`.

    Files that no training wrote stay here.

    Raises InputError where the Hub refuses, or the repository is public and `private` is asked for.
    """
    code = [path.name for path in Path(siglip_medical.__file__).parent.glob("*.py")]
    try:
        names = contents_of(folder).own
        return push_model(folder, repo_id, names, public=not private, token=token, code=code).repository
    except (PushError, ValueError) as error:
        raise InputError(f"--push_to_hub {repo_id}: {error}; the model itself is in {folder}") from None
