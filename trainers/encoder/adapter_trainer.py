"""Adapts Trainer to weights in groups of which some are frozen: optimizer, checkpoints with adapters, cached towers.

The optimizer gets the groups of `parameter_groups.py`; checkpoints of a model with adapters are written and read as
`tuning.py` defines; and cached embeddings of a frozen tower are verified to be those of its present weights.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from evaluation.loading import InputError
from trainers.base.checkpoint_files import CHECKPOINT
from trainers.base.trainer import BaseTrainer
from trainers.encoder.parameter_groups import describe_groups, parameter_groups
from trainers.encoder.tuning import ADAPTERS, adapted_layers, export_adapter, load_adapters, merged_state, save_adapters

OWN_GROUPS = {"params", "model", "optimizer_dict"}  # what an optimizer that chooses its parameters is given by Trainer


class TunedTrainer(BaseTrainer):
    """BaseTrainer for a SiglipMedicalModel of which `set_trainable` has decided what learns.

    Attributes:
        cached_towers: for each tower whose embeddings were made before the training, the digest of its weights.

    Raises:
        InputError: some weights do not learn, and the reentrant kind of activation checkpointing is asked for.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.cached_towers: dict[str, str] = {}
        settings = self.args.activation_checkpointing_kwargs or {}
        frozen = any(not parameter.requires_grad for parameter in self.model.parameters())
        if frozen and settings.get("use_reentrant"):
            raise InputError(
                "--activation_checkpointing_kwargs: with use_reentrant, layers after frozen ones get no gradient, and "
                "nothing tells; leave it out"
            )

    def create_optimizer(self, model: torch.nn.Module | None = None) -> torch.optim.Optimizer:
        """As Trainer's, with the groups of `parameter_groups`.

        Raises:
            InputError: a rate for one tower is given to an optimizer that makes its own groups.
        """
        if self.optimizer is not None:
            return super().create_optimizer(model)
        model = self.model if model is None else model
        given = self.optimizer_cls_and_kwargs
        kind, settings = given or self.get_optimizer_cls_and_kwargs(self.args, model)
        if OWN_GROUPS & settings.keys() or not isinstance(kind, type) or not issubclass(kind, torch.optim.Optimizer):
            rates = [
                name for name in ("vision_lr", "text_lr", "temperature_lr") if getattr(self.args, name) is not None
            ]
            if rates:
                raise InputError(f"--{rates[0]}: --optim {self.args.optim} makes its own groups; use adamw_torch_fused")
            return super().create_optimizer(model)
        groups = parameter_groups(model, self.args)
        if self.is_world_process_zero():
            print("\n".join(["What learns:", *describe_groups(groups)]))
        self.optimizer_cls_and_kwargs = (kind, settings | {"params": groups})
        try:
            return super().create_optimizer(model)
        finally:
            self.optimizer_cls_and_kwargs = given

    # --- checkpoints ---

    def _save(self, output_dir: str | None = None, state_dict: dict | None = None) -> None:
        if not (self.args.should_save and adapted_layers(self.model)):
            return super()._save(output_dir, state_dict)
        folder = Path(output_dir or self.args.output_dir)
        super()._save(str(folder), merged_state(self.model, state_dict))
        if folder.name.startswith(CHECKPOINT):
            save_adapters(self.model, folder, state_dict)

    def save_adapter(self, folder: Path) -> None:
        """Writes the adapter by itself, see `export_adapter`. To be called by all processes."""
        state = self.accelerator.get_state_dict(self.model_wrapped)
        if self.args.should_save:
            export_adapter(self.model, folder, state)

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: torch.nn.Module | None = None) -> None:
        from trainers.encoder.frozen_tower_cache import check_frozen_towers

        if not self._load_adapters(resume_from_checkpoint):
            super()._load_from_checkpoint(resume_from_checkpoint, model)
        check_frozen_towers(self.model, self.cached_towers, resume_from_checkpoint)

    def _load_best_model(self) -> None:
        self.check_best()
        if not self._load_adapters(self.state.best_model_checkpoint):
            super()._load_best_model()

    def _load_adapters(self, checkpoint: str) -> bool:
        """Loads a checkpoint of a model with adapters. Returns False where Trainer's way is the right one.

        Raises:
            InputError: the checkpoint has adapters and the model has none, or the other way round.
        """
        has_adapters = bool(adapted_layers(self.model))
        if not has_adapters and (Path(checkpoint) / ADAPTERS).is_file():
            raise InputError(f"{checkpoint} was trained with adapters; give the --lora_towers and --lora_r of that run")
        if not has_adapters or self.is_fsdp_enabled or self.is_deepspeed_enabled:  # those save the model as it is
            return False
        load_adapters(self.model, Path(checkpoint))
        return True
