"""Trainer for the decoder: saves checkpoints that it can really resume from."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from peft import PeftModel
from transformers import PreTrainedModel

from trainers.medical_trainer import MedicalTrainer


class DecoderTrainer(MedicalTrainer):
    """Fits an Mllama, or a PeftModel around one, on batches of a DecoderCollator."""

    def _save(self, output_dir: str | None = None, state_dict: dict | None = None) -> None:
        """Saves a checkpoint with the weights under the names that the model in memory has.

        `save_pretrained` renames Mllama's weights to those of the released checkpoint, but resuming and
        `load_best_model_at_end` read a file into the model without renaming it back: they would load nothing and
        only warn (transformers issues 43701 and 40187). An adapter's names are not touched.
        """
        if not isinstance(self.model, PreTrainedModel):
            return super()._save(output_dir, state_dict)
        self.model.save_pretrained = partial(self.model.save_pretrained, save_original_format=False)
        try:
            super()._save(output_dir, state_dict)
        finally:
            del self.model.save_pretrained  # the class's own again

    def prediction_step(self, model, inputs, prediction_loss_only, ignore_keys=None):
        """Returns the loss alone: the logits of one row of 512 tokens take 263 MB at 128,256 words."""
        return super().prediction_step(model, inputs, True, ignore_keys)


def add_adapters(model: PreTrainedModel, arguments: Any) -> PeftModel:
    """Low-rank adapters on the attention and feed-forward layers of the text decoder, cross-attention included.

    The vision tower is left as it is: the target names are matched below `language_model` only.
    """
    from peft import LoraConfig, get_peft_model

    config = LoraConfig(
        r=arguments.lora_r,
        lora_alpha=arguments.lora_alpha,
        lora_dropout=arguments.lora_dropout,
        target_modules=(r".*language_model\.layers\.\d+\.(self_attn|cross_attn|mlp)\.(q|k|v|o|gate|up|down)_proj"),
        modules_to_save=arguments.modules_to_save,
        task_type="CAUSAL_LM",
    )
    return get_peft_model(model, config)


def merged(model: torch.nn.Module) -> PreTrainedModel:
    """The model with its adapters added into its weights."""
    return model.merge_and_unload() if isinstance(model, PeftModel) else model
