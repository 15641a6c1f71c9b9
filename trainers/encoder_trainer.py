"""Trainer for the encoder: logs temperature and bias, and evaluates over all pairs at once."""

from __future__ import annotations

from typing import Any

import torch

from evaluation.encoder_scoring import score_embeddings
from trainers.medical_trainer import MedicalTrainer

IDS = ("group_ids", "image_ids")
LOGGED = ("recall_at_1", "recall_at_5", "recall_at_10", "num_images", "num_texts", "loss")


class EncoderTrainer(MedicalTrainer):
    """Fits a SiglipMedicalModel on batches of an EncoderCollator.

    The evaluation embeds the whole split and scores it as one set: a contrastive loss averaged over batches depends
    on the batch size (3.4 at 4 and 20.2 at 64 for the same model), so it could not choose a checkpoint.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, compute_metrics=self.score, **kwargs)
        self.can_return_loss = True  # the collator gives no labels, and the model needs none

    def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
        outputs = model(**inputs, return_loss=True)
        return (outputs.loss, outputs) if return_outputs else outputs.loss

    def prediction_step(self, model, inputs, prediction_loss_only, ignore_keys=None):
        """Returns embeddings and ids only: gathering every batch's logits would cost N x N for nothing."""
        inputs = self._prepare_inputs(inputs)
        with torch.no_grad(), self.compute_loss_context_manager():
            outputs = model(pixel_values=inputs["pixel_values"], input_ids=inputs["input_ids"])
        embeds = (outputs.image_embeds.float(), outputs.text_embeds.float())
        return None, embeds, tuple(inputs[name] for name in IDS)

    def score(self, prediction: Any) -> dict[str, float]:
        """Loss and recalls over the whole split."""
        image_embeds, text_embeds = prediction.predictions
        text_ids, image_ids = prediction.label_ids
        embeds = {"image_embeds": image_embeds, "text_embeds": text_embeds, "text_ids": text_ids}
        scale, bias = self.temperature_and_bias()
        scores = score_embeddings(embeds | {"image_ids": image_ids}, scale, bias)
        return {name: value for name, value in scores.items() if name.removeprefix("chance_") in LOGGED}

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        if "loss" in logs:
            scale, bias = self.temperature_and_bias()
            logs |= {"logit_scale": scale, "logit_bias": bias}
        super().log(logs, start_time)

    def temperature_and_bias(self) -> tuple[float, float]:
        """The logarithm of the temperature, and the bias."""
        model = self.accelerator.unwrap_model(self.model)
        return model.logit_scale.item(), model.logit_bias.item()
