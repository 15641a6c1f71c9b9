"""Saves and loads the checkpoints of an encoder with low-rank adapters, as `tuning.py` defines them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from evaluation.loading import InputError
from trainers.encoder.tuning import ADAPTERS, adapted_layers, export_adapter, load_adapters

if TYPE_CHECKING:
    from trainers.encoder.trainer import EncoderTrainer


def load_with_adapters(trainer: EncoderTrainer, folder: Path) -> bool:
    """Loads a checkpoint of a model with adapters. Returns False where Trainer's way is the right one.

    Raises:
        InputError: the checkpoint has adapters and the model has none, or the other way round.
    """
    has_adapters = bool(adapted_layers(trainer.model))
    if not has_adapters and (folder / ADAPTERS).is_file():
        raise InputError(f"{folder} was trained with adapters; give the --lora_towers and --lora_r of that run")
    # FSDP and DeepSpeed save the model as it is in memory.
    if not has_adapters or trainer.is_fsdp_enabled or trainer.is_deepspeed_enabled:
        return False
    load_adapters(trainer.model, folder)
    return True


def save_adapter(trainer: EncoderTrainer, folder: Path) -> None:
    """Writes the adapter by itself, see `export_adapter`. To be called by all processes."""
    state = trainer.accelerator.get_state_dict(trainer.model_wrapped)
    if trainer.args.should_save:
        export_adapter(trainer.model, folder, state)
