"""Runs a training command from checked flags to a complete model folder, and pushes it.

A training ends in one folder: weights as safetensors, processor, configuration, the training's summary, the results
measured on the evaluation split, and a card made from those two. Pushing uploads that folder.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from evaluation.loading import InputError, check_token
from model_cards.hub.commit import PushError, check_public, first_line, refusals
from model_cards.hub.model_repository import push_model
from model_cards.hub.weights import folder_weights
from model_cards.model_card import RESULTS, SUMMARY, find_license, write_model_card
from model_cards.results import PACKAGES, EvaluationResult, write_json
from modeling import siglip_medical
from trainers.base.arguments import BaseTrainingArguments, DataArguments
from trainers.base.inputs import Inputs, published_as
from trainers.base.output_folder import (
    LAST_WRITTEN,
    RECIPE,
    check_contents,
    check_output_dir,
    contents_of,
    note_complete,
    says_how_to_resume,
)
from trainers.base.recipe_file import write_recipe
from trainers.base.run_fingerprint import finished

if TYPE_CHECKING:
    from trainers.base.trainer import BaseTrainer

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


Command = Callable[[Any, Any], None]


def run(train: Command, dry_run: Command, arguments: DataArguments, training: BaseTrainingArguments) -> int:
    """Runs `train(arguments, training)`, or with `--dry_run` the other one.

    Returns:
        the exit status 0. What ends a training has a note on how to resume it.

    Raises:
        InputError: the input or a flag is wrong.
    """
    check_output_dir(training)
    if arguments.dry_run:
        dry_run(arguments, training)
    else:
        with says_how_to_resume(Path(training.output_dir)):
            train(arguments, training)
    return 0


# --- before the training ---


def checked_name(arguments: DataArguments, training: BaseTrainingArguments, image_cache: Path | None) -> str | None:
    """Checks output folder and repository before anything is loaded. Changes nothing.

    Args:
        image_cache: the folder of the image caches; None where there is none.

    Returns:
        the name of the model; None where the folder holds the end of this run, so that nothing is left to do.

    Raises:
        InputError: the training would delete foreign files, or could not be pushed.
    """
    if nothing_to_do(training, arguments):
        return None
    check_contents(training, arguments, image_cache)
    name = repository_name(training)
    if training.push_to_hub:
        try:
            check_public(name, "model", training.public, training.hub_token)
        except PushError as error:
            raise InputError(f"--push_to_hub {name}: {error}") from None
    return name


def nothing_to_do(training: BaseTrainingArguments, arguments: DataArguments) -> bool:
    """Whether this run is to be resumed and has ended in `--output_dir`, which is printed. Loads nothing."""
    if not training.resume_from_checkpoint or training.push_to_hub or training.overwrite:
        return False
    flags, folder = training.to_dict() | asdict(arguments), Path(training.output_dir)
    if not finished(folder, flags, ("num_train_epochs", "max_steps", "patience"), LAST_WRITTEN):
        return False
    if training.process_index == 0:
        print(f"{folder} holds the end of this run: nothing to do. A larger --num_train_epochs continues it")
    return True


def repository_name(args: BaseTrainingArguments) -> str:
    """Returns the name of the model; where it is pushed, that of its repository. Changes nothing on the Hub.

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


# --- the training ---


def train_recorded(trainer: BaseTrainer, arguments: DataArguments) -> None:
    """Trains as the flags ask, with a recipe of them in the output folder."""
    training = trainer.args
    trainer.record(arguments)
    trainer.beginning.write_recipe = lambda: write_recipe(trainer.folder / RECIPE, arguments, training)
    trainer.train_from_flags()


# --- after the training ---


def summary_of(trainer: BaseTrainer, inputs: Inputs, arguments: DataArguments, **facts: Any) -> dict[str, Any]:
    """Returns what is written to `training_summary.json`: data, hyperparameters and the whole history of the loss.

    Args:
        facts: of the family, for example the loss; they replace what is here under the same name.
    """
    model = trainer.accelerator.unwrap_model(trainer.model)
    dataset, revision = published_as(arguments.dataset, inputs.revision)
    flags, state = trainer.args.to_dict(), trainer.state
    summary = {
        "base_model": "" if arguments.tiny else arguments.model_name_or_path,
        "dataset": dataset,
        "dataset_revision": revision,
        "rows": {split: len(rows) for split, rows in inputs.splits.items()},
        "hyperparameters": {name: flags[name] for name in HYPERPARAMETERS},
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "trainable_parameters": sum(p.numel() for p in model.parameters() if p.requires_grad),
        "updates": state.global_step,
        "best_metric": state.best_metric,
        "best_step": state.best_global_step,
        "history": list(state.log_history),  # a copy: the evaluation of the final model is not part of it
        "device": str(trainer.args.device),
        "versions": versions(),
    }
    return summary | facts


def versions() -> dict[str, str]:
    """Returns the versions of the packages that decide the numbers."""
    from importlib.metadata import version

    return {name: version(name) for name in (*PACKAGES, "accelerate", "peft")}


def evaluation_result(
    trainer: BaseTrainer, name: str, task: str, config: str, data: DataArguments, revision: str
) -> EvaluationResult | None:
    """Evaluates the final model on the evaluation split, if there is one."""
    if trainer.eval_dataset is None:
        return None
    dataset, revision = published_as(data.dataset, revision)
    measured = trainer.evaluate()
    left_out = {"runtime", "samples_per_second", "steps_per_second", "model_preparation_time"}
    left_out |= getattr(trainer, "measured_on_part", frozenset())  # not of the split that the result names
    metrics = {key.removeprefix("eval_"): value for key, value in measured.items() if key.startswith("eval_")}
    return EvaluationResult(
        model=name,
        task=task,
        dataset=dataset,
        dataset_config=config,
        dataset_split=data.eval_split,
        dataset_revision=revision,
        samples=len(trainer.eval_dataset),
        metrics={key: value for key, value in metrics.items() if key not in left_out},
    )


def finish(trainer: BaseTrainer, name: str, summary: dict, result: EvaluationResult | None) -> None:
    """Writes result, card and summary beside the weights, and pushes the folder if it was asked for.

    Of several processes only the first does anything. The summary is written last: it marks the folder as complete.
    """
    if not trainer.is_world_process_zero():
        return
    args, folder = trainer.args, trainer.folder
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


def push_folder(folder: Path, repo_id: str, private: bool, token: str | None) -> str:
    """Uploads a finished model folder in one commit, checkpoints left out. Returns the address of the repository.

    What an earlier training left there in another form is removed, and so are results of other weights: see
    `model_repository.py`. Files that no training wrote are not pushed.

    Raises InputError where the Hub refuses, or the repository is public and `private` is asked for.
    """
    code = [path.name for path in Path(siglip_medical.__file__).parent.glob("*.py")]
    try:
        names = contents_of(folder).own
        return push_model(folder, repo_id, names, public=not private, token=token, code=code).repository
    except (PushError, ValueError) as error:
        raise InputError(f"--push_to_hub {repo_id}: {error}; the model itself is in {folder}") from None
