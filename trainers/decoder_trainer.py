"""Trainer for the decoder."""

from __future__ import annotations

import math
from typing import Any

import torch

from evaluation.decoder_scoring import IGNORED
from evaluation.loading import InputError
from trainers.decoder_processes import DecoderProcesses
from trainers.tiles import unpack_tiles

LARGEST_LOSS = 700.0  # in nats a token; beyond it the perplexity is no float


class DecoderTrainer(DecoderProcesses):
    """Fits an Mllama that `prepare_mllama` has changed, or a PeftModel around one, on batches of a DecoderCollator."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, compute_metrics=self.score, **kwargs)
        self.can_return_loss = True

    def _prepare_inputs(self, inputs: dict[str, Any]) -> dict[str, Any]:
        return unpack_tiles(super()._prepare_inputs(inputs), self.processing_class.image_processor)

    def prediction_step(self, model, inputs, prediction_loss_only, ignore_keys=None):
        """Returns two numbers for each row, the sum of its losses and how many tokens they are of: the logits of one
        row of 512 tokens take 263 MB at 128,256 words."""
        inputs = self._prepare_inputs(inputs)
        with torch.no_grad(), self.compute_loss_context_manager():
            sums = model(**inputs, per_row_loss=True, use_cache=False).loss
        return None, sums.detach().float(), (inputs["labels"][:, 1:] != IGNORED).sum(dim=1)

    def score(self, prediction: Any) -> dict[str, float]:
        """Loss and perplexity over the whole split.

        Raises:
            InputError: it has no token to predict.
        """
        sums, counts = (values.astype("float64").sum() for values in (prediction.predictions, prediction.label_ids))
        if not counts:
            raise InputError("--eval_split: no row has an answer to predict")
        loss = float(sums / counts)
        return {"loss": loss, "perplexity": math.exp(min(loss, LARGEST_LOSS))}
