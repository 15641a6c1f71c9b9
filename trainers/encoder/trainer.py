"""Trains the encoder with one loss over a whole update and all processes, and evaluates on all pairs at once."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate.data_loader import DataLoaderShard
from accelerate.utils import DistributedType

from evaluation.loading import InputError
from evaluation.scoring.encoder import score_embeddings
from modeling.siglip_medical.matryoshka_loss import embedding_loss
from trainers.base.checkpoint_files import CHECKPOINT
from trainers.base.distributed import check_batches, check_fsdp2, gather_counts, real_rows, world_size
from trainers.base.trainer import BaseTrainer
from trainers.encoder.checkpoints import load_with_adapters
from trainers.encoder.gradient_cache import IDS, TOWERS, Batch, Contrast
from trainers.encoder.metrics import TrainingMeter
from trainers.encoder.parameter_groups import describe_groups, parameter_groups
from trainers.encoder.tuning import (
    adapted_layers,
    merged_state,
    save_adapters,
    set_frozen_parts_to_eval,
    trainable_towers,
)
from trainers.images.encoder_pixels import normalize_pixels

OWN_GROUPS = {"params", "model", "optimizer_dict"}  # what Trainer passes to an optimizer that chooses its parameters
LOGGED = ("recall_at_1", "recall_at_5", "recall_at_10", "map", "num_images", "num_texts", "loss")


@dataclass
class Plan:
    """A contrast before its first step: its micro-batches, their rows that count, and its share of the update."""

    batches: list[Batch]
    real: list[int]
    share: float
    contrast: Contrast | None = None


class EncoderTrainer(BaseTrainer):
    """Trains a SiglipMedicalModel, whose trainable weights `tuning.py` chose, on batches of an EncoderCollator.

    The loss compares the pairs of all processes and of as many micro-batches as `--contrastive_batch_size` says, and
    its gradient is exact (`gradient_cache.py`, `global_batch.py`). An update is the mean over its images: where it has
    several contrasts, or one with fewer images at the end of an epoch, every image weighs the same.

    The evaluation embeds the whole split and scores it as one set: a contrastive loss averaged over batches depends
    on the batch size (3.4 at 4 and 20.2 at 64 for the same model), so it could not choose a checkpoint.

    Attributes:
        cached_towers: for each tower whose embeddings were made before the training, the digest of its weights.
        evaluated_ids: the ids of the texts and the images of the last evaluation, each [rows] int64.

    Raises:
        InputError: a way of running on several processes, or of activation checkpointing, would silently change the
            gradient.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, meter=TrainingMeter(), compute_metrics=self.score, **kwargs)
        check_processes(self)
        check_activation_checkpointing(self)
        self.cached_towers: dict[str, str] = {}
        self.evaluated_ids: tuple[np.ndarray, np.ndarray] | None = None
        self.todo: deque[tuple[Plan, int]] = deque()

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
                raise InputError(
                    f"--{rates[0]} cannot be combined with --optim {self.args.optim}, which makes its own groups; use "
                    "adamw_torch_fused"
                )
            return super().create_optimizer(model)
        groups = parameter_groups(model, self.args)
        if self.is_world_process_zero():
            print("\n".join(["Trainable weights:", *describe_groups(groups)]))
        self.optimizer_cls_and_kwargs = (kind, settings | {"params": groups})
        try:
            return super().create_optimizer(model)
        finally:
            self.optimizer_cls_and_kwargs = given

    # --- training ---

    def get_train_dataloader(self) -> Any:
        """As Trainer's, but the micro-batches of a long contrast wait in the host's memory for their turns."""
        loader = super().get_train_dataloader()
        if self.args.micro_batches_in_contrast > 1 and isinstance(loader, DataLoaderShard):
            loader.device = None
        return loader

    def get_batch_samples(self, epoch_iterator: Iterator, num_batches: int, device: torch.device) -> tuple[list, None]:
        """Returns the micro-batches of an update, and plans which of them are compared with each other."""
        batches, _ = super().get_batch_samples(epoch_iterator, num_batches, device)
        self.todo = self.plan(batches)
        return batches, None  # the number of items, which a loss over tokens would be divided by

    def plan(self, batches: list[Batch]) -> deque[tuple[Plan, int]]:
        """A contrast and a step in it for each micro-batch of an update."""
        real = self.real_rows(batches)
        length = self.args.micro_batches_in_contrast
        spans = [slice(start, start + length) for start in range(0, len(batches), length)]
        shares = [1.0] * len(spans)
        if len(spans) > 1:
            counts = gather_counts([sum(real[span]) for span in spans], self.args.device)  # of each process
            images = [sum(column) for column in zip(*counts, strict=True)]
            shares = [count / sum(images) for count in images]
        plans = [Plan(batches[span], real[span], share) for span, share in zip(spans, shares, strict=True)]
        return deque((plan, step) for plan in plans for step in range(len(plan.batches)))

    def real_rows(self, batches: list[Batch]) -> list[int]:
        """How many of the first rows of each micro-batch count; the others fill the epoch up."""
        return real_rows(self, [len(batch["image_ids"]) for batch in batches], self.rows_in_epoch)

    def training_step(self, model: Any, inputs: Batch, num_items_in_batch: Any = None) -> torch.Tensor:
        """Propagates what one micro-batch contributes to the gradient of its contrast.

        Returns:
            the loss of the whole contrast at its first micro-batch and 0 at the others, as Trainer adds them up; in
            this process's share, multiplied by the number of processes, as Trainer takes their mean.
        """
        model.train()
        set_frozen_parts_to_eval(model)
        if callable(getattr(self.optimizer, "train", None)):  # of schedule-free optimizers
            self.optimizer.train()
        plan, step = self.todo.popleft() if self.todo else (Plan([inputs], self.real_rows([inputs]), 1.0), 0)
        loss = torch.zeros((), device=self.args.device)
        if step == 0:
            plan.contrast = self.contrast(model, plan)
            loss = plan.contrast.compute().float() * plan.share * world_size()
            self.meter.add(plan.contrast.rows)
            plan.contrast.rows = None  # all texts of all processes: the next steps need none of them
        if not plan.contrast.idle(step):
            self.accelerator.backward(plan.contrast.surrogate(step) * plan.share)
        return loss

    def contrast(self, model: Any, plan: Plan) -> Contrast:
        config = self.accelerator.unwrap_model(model).config
        return Contrast(
            plan.batches,
            lambda inputs: self.embed(model, inputs),
            lambda *embeds, **ids: embedding_loss(config, *embeds, **ids),
            trainable=trainable_towers(model),
            device=self.args.device,
            real=plan.real,
            fixed_shapes=self.args.torch_compile,
        )

    # --- what the model is given, in training and in evaluation ---

    def embed(self, model: Any, inputs: Batch) -> Any:
        """The model's output for images, texts or both, wherever they lie; with the embeddings that are given."""
        given = {name: values for name, values in inputs.items() if name.endswith("_embeds")}
        inputs = {name: values for name, values in inputs.items() if name not in given}
        if not inputs:  # temperature and bias still come out of a forward pass, for DDP and FSDP look for them there
            inputs = {"input_ids": torch.zeros((1, 1), dtype=torch.int64)}
        outputs = model(**self.prepare_pixels(self._prepare_inputs(inputs)), return_logits=False)
        for name, values in given.items():
            outputs[name] = values.to(self.args.device)
        return outputs

    def prepare_pixels(self, inputs: Batch) -> Batch:
        """Bytes of an `EncoderCollator(..., uint8=True)` become what the model takes, on the device.

        The place for whatever else is to be done with pixels before a pass of the model. Random numbers that are drawn
        here are drawn again when a micro-batch is embedded again.
        """
        pixels = inputs.get("pixel_values")
        if pixels is None or pixels.dtype != torch.uint8:
            return inputs
        return inputs | {"pixel_values": normalize_pixels(pixels, **self.data_collator.normalization)}

    # --- evaluation ---

    def prediction_step(self, model, inputs, prediction_loss_only, ignore_keys=None):
        """Returns embeddings and ids only: gathering every batch's logits would cost N x N for nothing."""
        with torch.no_grad(), self.compute_loss_context_manager():
            given = {name: inputs[name] for names in TOWERS.values() for name in names if name in inputs}
            outputs = self.embed(model, given)
        embeds = (outputs.image_embeds.float(), outputs.text_embeds.float())
        return None, embeds, tuple(inputs[name].to(self.args.device) for name in IDS)

    def score(self, prediction: Any) -> dict[str, float]:
        """Loss and recalls over the whole split."""
        image_embeds, text_embeds = prediction.predictions
        text_ids, image_ids = self.evaluated_ids = prediction.label_ids
        embeds = {"image_embeds": image_embeds, "text_embeds": text_embeds, "text_ids": text_ids}
        scale, bias = self.temperature_and_bias()
        scores = score_embeddings(embeds | {"image_ids": image_ids}, scale, bias)
        return {name: value for name, value in scores.items() if name.removeprefix("chance_") in LOGGED}

    # --- checkpoints ---

    def _save(self, output_dir: str | None = None, state_dict: dict | None = None) -> None:
        if not (self.args.should_save and adapted_layers(self.model)):
            return super()._save(output_dir, state_dict)
        folder = Path(output_dir or self.args.output_dir)
        super()._save(str(folder), merged_state(self.model, state_dict))
        if folder.name.startswith(CHECKPOINT):
            save_adapters(self.model, folder, state_dict)

    def load_weights(self, folder: Path) -> bool:
        return load_with_adapters(self, folder)

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: torch.nn.Module | None = None) -> None:
        from trainers.encoder.frozen_tower_cache import check_frozen_towers

        super()._load_from_checkpoint(resume_from_checkpoint, model)
        check_frozen_towers(self.model, self.cached_towers, resume_from_checkpoint)

    # --- logs ---

    def facts_to_log(self) -> dict[str, float]:
        scale, bias = self.temperature_and_bias()
        return {"logit_scale": scale, "logit_bias": bias, "temperature": math.exp(scale)}

    def temperature_and_bias(self) -> tuple[float, float]:
        """The logarithm of the temperature, and the bias. To be called by all processes: FSDP splits even these."""
        model = self.accelerator.unwrap_model(self.model)
        return scalar(model.logit_scale), scalar(model.logit_bias)


def scalar(parameter: torch.Tensor) -> float:
    """The value of a parameter with one element, also where FSDP has given it to one of the processes."""
    return (parameter.full_tensor() if hasattr(parameter, "full_tensor") else parameter).item()


def check_processes(trainer: EncoderTrainer) -> None:
    """Raises InputError for a way of running on several processes that would change the loss unseen, or hang."""
    check_batches(trainer)
    if trainer.accelerator.distributed_type == DistributedType.DEEPSPEED:
        raise InputError(
            "DeepSpeed is not supported for the encoder. "
            "Use trainers/accelerate_configs/fsdp2.yaml to shard the weights."
        )
    check_fsdp2(trainer, "trainers/accelerate_configs/fsdp2.yaml")


def check_activation_checkpointing(trainer: EncoderTrainer) -> None:
    """Raises InputError where activation checkpointing would leave trainable layers without a gradient."""
    settings = trainer.args.activation_checkpointing_kwargs or {}
    frozen = any(not parameter.requires_grad for parameter in trainer.model.parameters())
    if frozen and settings.get("use_reentrant"):
        raise InputError(
            "--activation_checkpointing_kwargs: with use_reentrant, layers after frozen ones silently get no gradient; "
            "leave it out"
        )
