"""Saves and loads the checkpoints of a decoder, and verifies that a resumed run really has their weights.

A checkpoint holds the trainable weights, and all that generation needs beside them. Where all weights are trainable,
that is the model, as a folder that opens by itself. With adapters it is peft's own two files. Where a part of the model
is trainable, for example the head, it is `learned.safetensors` with that part alone: 2 GB each time instead of 21. The
name is not `model.safetensors` on purpose: a folder that opened with all other weights at random would be worse than
one that does not open. The frozen weights come from `--model_name_or_path`, as they do for adapters.

Names and shapes are compared before anything is loaded: a missing or unexpected weight is an error.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedModel, TrainerCallback

from evaluation.loading import InputError
from trainers.base.safetensors_headers import Shapes, check_shapes, shapes_in
from trainers.base.trainer import BaseTrainer

LEARNED = "learned"  # .safetensors
ADAPTERS = "adapter_model"


class NoInputGradients(TrainerCallback):
    """Takes back the gradient at the embeddings that activation checkpointing asks for.

    Only the reentrant kind needs it. With it, the backward pass runs through frozen layers down to the first one: for
    a training of the head alone through the whole model.
    """

    def on_train_begin(self, args, state, control, model=None, **kwargs):
        getattr(model, "module", model).disable_input_require_grads()


class DecoderCheckpoints(BaseTrainer):
    """BaseTrainer for an Mllama, or a PeftModel around one."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.add_callback(NoInputGradients())

    @property
    def learns_partly(self) -> bool:
        """Whether some of the model's own weights learn, and the others are frozen. Sharded ones are saved whole."""
        if not isinstance(self.model, PreTrainedModel) or self.is_fsdp_enabled or self.is_deepspeed_enabled:
            return False
        return any(not parameter.requires_grad for parameter in self.model.parameters())

    # --- saving ---

    def _save(self, output_dir: str | None = None, state_dict: dict | None = None) -> None:
        """Saves what learns under the names that the model in memory has, with processor and generation settings.

        `save_pretrained` renames Mllama's weights to those of the released checkpoint, but resuming and
        `load_best_model_at_end` read a file into the model without renaming it back: they would load nothing and
        only warn (transformers issues 43701 and 40187).
        """
        with saved_by(self.model, self.save_settings()):
            super()._save(output_dir, state_dict)
        if self.args.should_save:
            folder = Path(output_dir or self.args.output_dir)
            self.inner_model.generation_config.save_pretrained(folder)
            if not isinstance(self.model, PreTrainedModel):
                (folder / "README.md").unlink(missing_ok=True)  # peft's, which asks for more information

    def save_settings(self) -> Any:
        """The `save_pretrained` that checkpoints are written by."""
        if not isinstance(self.model, PreTrainedModel):
            # "auto" would ask the Hub how many words the base has
            return partial(self.model.save_pretrained, save_embedding_layers=False)
        if self.learns_partly:
            return self.save_learned
        return partial(self.model.save_pretrained, save_original_format=False)

    @property
    def inner_model(self) -> PreTrainedModel:
        """The Mllama, whatever is wrapped around it."""
        model = self.accelerator.unwrap_model(self.model)
        return model if isinstance(model, PreTrainedModel) else model.get_base_model()

    def learned(self) -> dict[str, torch.Tensor]:
        """The weights that learn, by name."""
        return {
            name: parameter.detach() for name, parameter in self.model.named_parameters() if parameter.requires_grad
        }

    def save_learned(self, folder: str, is_main_process: bool = True, **kwargs: Any) -> None:
        """Writes the weights that learn, and the configuration."""
        from safetensors.torch import save_file

        if is_main_process:
            self.model.config.save_pretrained(folder)
            weights = {name: weight.contiguous() for name, weight in self.learned().items()}
            save_file(weights, Path(folder) / f"{LEARNED}.safetensors", metadata={"format": "pt"})

    # --- loading ---

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        if not self.load_checked(Path(resume_from_checkpoint)):
            super()._load_from_checkpoint(resume_from_checkpoint, model)

    def _load_best_model(self) -> None:
        self.check_best()
        if not self.load_checked(Path(self.state.best_model_checkpoint)):
            super()._load_best_model()

    def load_checked(self, folder: Path) -> bool:
        """Compares a checkpoint with the model, and loads it where it is a part of one. True where that was all.

        Raises:
            InputError: it is of another `--train_scope`, or a weight is missing, unexpected or of another shape.
        """
        if self.is_fsdp_enabled or self.is_deepspeed_enabled:  # their own loading is strict
            return False
        stem = ADAPTERS if not isinstance(self.model, PreTrainedModel) else LEARNED if self.learns_partly else "model"
        self.check_scope(folder, stem)
        if stem == ADAPTERS:
            self.check_adapter(folder)
            return False
        weights = self.learned() if stem == LEARNED else self.model.state_dict()
        check_shapes(shapes_in(folder, stem), shapes_of(weights), f"{folder} is no checkpoint of this model")
        if stem == LEARNED:
            from safetensors import safe_open

            with safe_open(folder / f"{LEARNED}.safetensors", "pt") as file, torch.no_grad():
                for name, weight in weights.items():
                    weight.copy_(file.get_tensor(name))
        return stem == LEARNED

    def check_scope(self, folder: Path, stem: str) -> None:
        """Raises InputError where a checkpoint holds another kind of weights than the one that this run writes."""
        kinds = {ADAPTERS: "adapters", LEARNED: "a part of the model", "model": "the whole model"}
        there = [kind for kind in kinds if any(folder.glob(f"{kind}*.safetensors"))]
        if there and stem not in there:
            raise InputError(
                f"{folder} holds {kinds[there[0]]}, and this run trains {kinds[stem]}; give the --train_scope that it "
                "was trained with"
            )

    def check_adapter(self, folder: Path) -> None:
        """Raises InputError where an adapter's file has not the weights of the model's adapter, in names and shapes:
        peft's own loading does not look at the names."""
        from peft import get_peft_model_state_dict

        if not (folder / f"{ADAPTERS}.safetensors").is_file():
            return
        model = self.accelerator.unwrap_model(self.model)
        wanted = get_peft_model_state_dict(model, save_embedding_layers=False)
        path = folder / f"{ADAPTERS}.safetensors"
        check_shapes(shapes_in(folder, ADAPTERS), shapes_of(wanted), f"{path} is not of this adapter")


def shapes_of(weights: dict[str, torch.Tensor]) -> Shapes:
    """The shapes of tensors, by name."""
    return {name: tuple(weight.shape) for name, weight in weights.items()}


@contextmanager
def saved_by(model: torch.nn.Module, save: Any) -> Iterator[None]:
    """Puts `save` in the place of a model's `save_pretrained` for a moment."""
    model.save_pretrained = save
    try:
        yield
    finally:
        del model.save_pretrained  # the class's own again
