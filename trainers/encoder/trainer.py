"""Trains the encoder with one loss over a whole update and all processes, and evaluates on all pairs at once."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from accelerate.data_loader import DataLoaderShard
from accelerate.utils import DistributedType

from evaluation.loading import InputError
from evaluation.scoring.encoder import score_embeddings
from modeling.siglip_medical.matryoshka_loss import embedding_loss
from trainers.base.callbacks import PauseMeter
from trainers.base.distributed import (
    check_batches,
    check_fsdp2,
    gather_counts,
    one_device_per_process,
    processes,
    real_rows,
    rows_in_epoch,
)
from trainers.encoder.adapter_trainer import TunedTrainer
from trainers.encoder.gradient_cache import IDS, TOWERS, Batch, Contrast
from trainers.encoder.metrics import TrainingMeter
from trainers.encoder.tuning import set_frozen_parts_to_eval, trainable_towers
from trainers.images.encoder_pixels import normalize_pixels

LOGGED = ("recall_at_1", "recall_at_5", "recall_at_10", "num_images", "num_texts", "loss")


@dataclass
class Plan:
    """A contrast before its first step: its micro-batches, their rows that count, and its share of the update."""

    batches: list[Batch]
    real: list[int]
    share: float
    contrast: Contrast | None = None


class EncoderTrainer(TunedTrainer):
    """Fits a SiglipMedicalModel on batches of an EncoderCollator.

    The loss compares the pairs of all processes and of as many micro-batches as `--contrastive_batch_size` says, and
    its gradient is exact (`gradient_cache.py`, `global_batch.py`). An update is the mean over its images: where it has
    several contrasts, or one with fewer images at the end of an epoch, every image weighs the same.

    The evaluation embeds the whole split and scores it as one set: a contrastive loss averaged over batches depends
    on the batch size (3.4 at 4 and 20.2 at 64 for the same model), so it could not choose a checkpoint.

    Raises:
        InputError: for a way of running on several processes that would change the loss unseen.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        one_device_per_process(kwargs["args"])
        super().__init__(*args, compute_metrics=self.score, **kwargs)
        self.can_return_loss = True  # the collator gives no labels, and the model needs none
        check_processes(self)
        self.todo: deque[tuple[Plan, int]] = deque()
        self.rows_in_epoch: int | None = None
        self.order: torch.utils.data.Sampler | None = None  # of the rows; None: Trainer's own
        self.meter = TrainingMeter()
        self.add_callback(PauseMeter(self.meter))

    # --- training ---

    def _get_train_sampler(self, train_dataset: Any = None) -> Any:
        return self.order if self.order is not None else super()._get_train_sampler(train_dataset)

    def get_train_dataloader(self) -> Any:
        """As Trainer's, but the micro-batches of a long contrast wait in the host's memory for their turns."""
        loader = super().get_train_dataloader()
        if self.args.micro_batches_in_contrast > 1 and isinstance(loader, DataLoaderShard):
            loader.device = None
        self.rows_in_epoch = rows_in_epoch(loader)
        return loader

    def get_batch_samples(self, epoch_iterator: Iterator, num_batches: int, device: torch.device) -> tuple[list, None]:
        """The micro-batches of an update, as Trainer asks for them; plans what is compared with what."""
        self.meter.resume()
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
            loss = plan.contrast.compute().float() * plan.share * processes()
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

    # --- what a resumed run goes on with ---

    def progress(self) -> dict[str, Any]:
        return super().progress() | {"meter": self.meter.state()}

    def restore_progress(self, progress: dict[str, Any]) -> None:
        super().restore_progress(progress)
        self.meter.restore(progress["meter"], self.args.device)

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
        text_ids, image_ids = prediction.label_ids
        embeds = {"image_embeds": image_embeds, "text_embeds": text_embeds, "text_ids": text_ids}
        scale, bias = self.temperature_and_bias()
        scores = score_embeddings(embeds | {"image_ids": image_ids}, scale, bias)
        return {name: value for name, value in scores.items() if name.removeprefix("chance_") in LOGGED}

    # --- logs ---

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Adds to a line about the training what `TrainingMeter.take` gives, temperature and bias."""
        if "loss" in logs:
            self.meter.pause()
            scale, bias = self.temperature_and_bias()
            logs |= {"logit_scale": scale, "logit_bias": bias, "temperature": math.exp(scale)} | self.meter.take()
        super().log(logs, start_time)

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
        raise InputError("DeepSpeed is not supported: trainers/accelerate_configs/fsdp2.yaml splits the weights, too")
    check_fsdp2(trainer, "trainers/accelerate_configs/fsdp2.yaml")
