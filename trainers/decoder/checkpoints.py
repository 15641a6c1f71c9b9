"""Saves and loads the checkpoints of a decoder, and verifies that a resumed run really has their weights.

A checkpoint holds the trainable weights, and all that generation needs beside them. Where all weights are trainable,
that is the model, as a folder that opens by itself. With adapters it is peft's own two files. Where a part of the model
is trainable, for example the head, it is `learned.safetensors` with that part alone: 2 GB each time instead of 21. The
name is not `model.safetensors` on purpose: a folder that opened with all other weights at random would be worse than
one that does not open. The frozen weights come from `--model_name_or_path`, as they do for adapters.

Names and shapes are compared before anything is loaded: a missing or unexpected weight is an error.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from transformers import PreTrainedModel

from evaluation.loading import InputError
from trainers.base.safetensors_headers import Shapes, check_shapes, shapes_in

if TYPE_CHECKING:
    from trainers.decoder.trainer import DecoderTrainer

LEARNED = "learned"  # .safetensors
ADAPTERS = "adapter_model"


def is_partly_trainable(trainer: DecoderTrainer) -> bool:
    """Whether some of the model's own weights are trainable and the others frozen. Sharded models are saved whole."""
    if not isinstance(trainer.model, PreTrainedModel) or trainer.is_fsdp_enabled or trainer.is_deepspeed_enabled:
        return False
    return any(not parameter.requires_grad for parameter in trainer.model.parameters())


def trainable_weights(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    """Returns the trainable weights by name."""
    return {name: parameter.detach() for name, parameter in model.named_parameters() if parameter.requires_grad}


# --- saving ---


def save_method(trainer: DecoderTrainer) -> Callable[..., None]:
    """Returns the `save_pretrained` that writes checkpoints, under the names that the model in memory has.

    The model's own renames Mllama's weights to those of the released checkpoint, but resuming and
    `load_best_model_at_end` read a file into the model without renaming it back: they would load nothing and only warn
    (transformers issues 43701 and 40187).
    """
    model = trainer.model
    if not isinstance(model, PreTrainedModel):
        # "auto" would ask the Hub for the vocabulary size of the base
        return partial(model.save_pretrained, save_embedding_layers=False)
    if is_partly_trainable(trainer):
        return partial(save_trainable, model)
    return partial(model.save_pretrained, save_original_format=False)


def save_trainable(model: PreTrainedModel, folder: str, is_main_process: bool = True, **kwargs: Any) -> None:
    """Writes the trainable weights, and the configuration."""
    from safetensors.torch import save_file

    if is_main_process:
        model.config.save_pretrained(folder)
        weights = {name: weight.contiguous() for name, weight in trainable_weights(model).items()}
        save_file(weights, Path(folder) / f"{LEARNED}.safetensors", metadata={"format": "pt"})


@contextmanager
def saved_by(model: torch.nn.Module, save: Callable[..., None]) -> Iterator[None]:
    """Replaces a model's `save_pretrained` by `save` for a moment."""
    model.save_pretrained = save
    try:
        yield
    finally:
        del model.save_pretrained  # the class's own again


# --- loading ---


def load_checked(trainer: DecoderTrainer, folder: Path) -> bool:
    """Compares a checkpoint with the model, and loads it where it is a part of one. True where that was all.

    Raises:
        InputError: it is of another `--train_scope`, or a weight is missing, unexpected or of another shape.
    """
    if trainer.is_fsdp_enabled or trainer.is_deepspeed_enabled:  # their own loading is strict
        return False
    model = trainer.model
    is_part = is_partly_trainable(trainer)
    stem = ADAPTERS if not isinstance(model, PreTrainedModel) else LEARNED if is_part else "model"
    check_scope(folder, stem)
    if stem == ADAPTERS:
        check_adapter(trainer, folder)
        return False
    weights = trainable_weights(model) if is_part else model.state_dict()
    check_shapes(shapes_in(folder, stem), shapes_of(weights), f"{folder} is not a checkpoint of this model")
    if is_part:
        from safetensors import safe_open

        with safe_open(folder / f"{LEARNED}.safetensors", "pt") as file, torch.no_grad():
            for name, weight in weights.items():
                weight.copy_(file.get_tensor(name))
    return is_part


def check_scope(folder: Path, stem: str) -> None:
    """Raises InputError where a checkpoint holds another kind of weights than the one that this run writes."""
    kinds = {ADAPTERS: "adapters", LEARNED: "a part of the model", "model": "the whole model"}
    there = [kind for kind in kinds if any(folder.glob(f"{kind}*.safetensors"))]
    if there and stem not in there:
        raise InputError(
            f"{folder} holds {kinds[there[0]]}, and this run trains {kinds[stem]}; give the --train_scope that it "
            "was trained with"
        )


def check_adapter(trainer: DecoderTrainer, folder: Path) -> None:
    """Raises InputError where an adapter's file differs from the model's adapter in the names or shapes of weights.

    peft's own loading does not look at the names.
    """
    from peft import get_peft_model_state_dict

    path = folder / f"{ADAPTERS}.safetensors"
    if not path.is_file():
        return
    wanted = get_peft_model_state_dict(trainer.accelerator.unwrap_model(trainer.model), save_embedding_layers=False)
    check_shapes(shapes_in(folder, ADAPTERS), shapes_of(wanted), f"{path} is not of this adapter")


def shapes_of(weights: dict[str, torch.Tensor]) -> Shapes:
    """Returns the shapes of tensors by name."""
    return {name: tuple(weight.shape) for name, weight in weights.items()}
