"""Trainer for the decoder."""

from __future__ import annotations

from trainers.decoder_checkpoints import DecoderCheckpoints


class DecoderTrainer(DecoderCheckpoints):
    """Fits an Mllama, or a PeftModel around one, on batches of a DecoderCollator."""

    def prediction_step(self, model, inputs, prediction_loss_only, ignore_keys=None):
        """Returns the loss alone: the logits of one row of 512 tokens take 263 MB at 128,256 words."""
        return super().prediction_step(model, inputs, True, ignore_keys)
