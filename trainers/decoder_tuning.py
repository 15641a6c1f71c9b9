"""Which weights of a decoder learn, and how are they put back into the model that is written?"""

from __future__ import annotations

from typing import Any

import torch
from peft import PeftModel
from transformers import PreTrainedModel


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
