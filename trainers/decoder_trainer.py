"""Trainer for the decoder: pixels are made on the device, and the evaluation's loss is that of all its answers."""

from __future__ import annotations

import math
from typing import Any

import torch

from trainers.decoder_checkpoints import DecoderCheckpoints
from trainers.tiles import unpack_tiles


class DecoderTrainer(DecoderCheckpoints):
    """Fits an Mllama, or a PeftModel around one, on batches of a DecoderCollator.

    The model has to be prepared by `modeling.mllama.prepare_mllama`. The evaluation's loss is the mean over all tokens
    that are labels: a mean of batches' means would depend on which rows stand together.
    """

    def __init__(self, *args: Any, answers: Any = None, **kwargs: Any) -> None:
        super().__init__(*args, compute_metrics=self.score, **kwargs)
        self.answers = answers
        self.order: torch.utils.data.Sampler | None = None  # of the rows; None: Trainer's own

    def _get_train_sampler(self, train_dataset: Any = None) -> Any:
        return self.order if self.order is not None else super()._get_train_sampler(train_dataset)

    def _prepare_inputs(self, inputs: dict[str, Any]) -> dict[str, Any]:
        """Bytes travel to the device, and become floats there."""
        inputs = super()._prepare_inputs(inputs)
        return unpack_tiles(inputs, self.processing_class.image_processor) if "tiles" in inputs else inputs

    def prediction_step(self, model, inputs, prediction_loss_only, ignore_keys=None):
        """Returns sums of each row, no logits: those of 512 tokens take 263 MB at 128,256 words."""
        inputs = self._prepare_inputs(inputs)
        with torch.no_grad(), self.compute_loss_context_manager():
            losses = model(**inputs, per_row_loss=True).loss
        tokens = (inputs["labels"][:, 1:] != -100).sum(dim=1)
        return None, losses.double(), tokens

    def score(self, prediction: Any) -> dict[str, float]:
        """Loss in nats a token, and perplexity, over the whole split."""
        loss = float(prediction.predictions.sum() / max(1, prediction.label_ids.sum()))
        return {"loss": loss, "perplexity": math.exp(min(loss, 700.0))}
