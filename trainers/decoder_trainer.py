"""Trainer for the decoder."""

from __future__ import annotations

from typing import Any

from trainers.decoder_processes import DecoderProcesses
from trainers.tiles import unpack_tiles


class DecoderTrainer(DecoderProcesses):
    """Fits an Mllama, or a PeftModel around one, on batches of a DecoderCollator."""

    def _prepare_inputs(self, inputs: dict[str, Any]) -> dict[str, Any]:
        return unpack_tiles(super()._prepare_inputs(inputs), self.processing_class.image_processor)

    def prediction_step(self, model, inputs, prediction_loss_only, ignore_keys=None):
        """Returns the loss alone: the logits of one row of 512 tokens take 263 MB at 128,256 words."""
        return super().prediction_step(model, inputs, True, ignore_keys)
