"""Embeds images and texts with any model of transformers that has `get_image_features` and `get_text_features`.

Each family pads and truncates its texts as it was trained: SigLIP reads all texts at one length and attends to the
padding; the others read a batch at the length of its longest text, with a mask.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch

from evaluation.loading import InputError
from evaluation.models.protocols import Encoder
from evaluation.models.vision_towers import to_model

# Beyond it, `model_max_length` of a tokenizer means that no length was given.
NO_LENGTH = 1_000_000


def dual_encoder(model: Any, processor: Any, name: str) -> Encoder:
    """Returns a model with an image and a text tower as an encoder.

    Args:
        model: a model of transformers with `get_image_features` and `get_text_features`.
        processor: its processor.
        name: the name of the model, for messages.
    """
    model.eval()
    padding = text_padding(model, processor)

    def embed(function: Callable, inputs: Any) -> np.ndarray:
        takes = inspect.signature(function).parameters
        tensors = {name: to_model(value, model) for name, value in inputs.items() if name in takes}
        with torch.inference_mode():
            found = function(**tensors)
        found = getattr(found, "pooler_output", found)
        if not torch.is_tensor(found) or found.dim() != 2:
            raise InputError(
                f"--model {name}: {function.__name__} of {type(model).__name__} gives no vector per input, so nothing "
                "can be compared. Give a dual encoder, for example openai/clip-vit-base-patch32."
            )
        return found.float().cpu().numpy()

    def embed_images(images: Sequence[Any]) -> np.ndarray:
        # Not by the processor, which has defaults of its own for SigLIP 2 that replace those of the checkpoint.
        return embed(model.get_image_features, processor.image_processor(list(images), return_tensors="pt"))

    def embed_texts(texts: Sequence[str]) -> np.ndarray:
        inputs = processor(text=list(texts), return_tensors="pt", **padding)
        return embed(model.get_text_features, inputs)

    return Encoder(embed_images, embed_texts, scale_and_bias(model))


def text_padding(model: Any, processor: Any) -> dict[str, Any]:
    """Returns how texts are padded and truncated."""
    length = text_length(model, processor.tokenizer)
    if model.config.model_type.startswith("siglip"):
        # Trained with all texts padded to the maximum length and without a mask; a processor does not always do so.
        masked = bool(getattr(model.config, "text_attention_mask", False))
        return {"padding": "max_length", "truncation": True, "max_length": length, "return_attention_mask": masked}
    return {"padding": True, "truncation": True, "max_length": length}


def text_length(model: Any, tokenizer: Any) -> int | None:
    """Returns the number of tokens that the text tower reads; None if neither configuration nor tokenizer limits it."""
    limits = []
    if positions := getattr(getattr(model.config, "text_config", None), "max_position_embeddings", None):
        # RoBERTa counts positions from the number of its padding token on, and has as many fewer for texts.
        tables = [
            module
            for place, module in model.named_modules()
            if place.endswith("position_embeddings")
            and "vision" not in place
            and isinstance(module, torch.nn.Embedding)
        ]
        used = {table.padding_idx + 1 for table in tables if table.padding_idx is not None}
        limits.append(positions - max(used, default=0))
    if tokenizer.model_max_length < NO_LENGTH and not model.config.model_type.startswith("siglip"):
        limits.append(tokenizer.model_max_length)
    return min(limits, default=None)


def scale_and_bias(model: Any) -> tuple[float, float] | None:
    """Returns logit scale and bias of a model that is trained with the sigmoid loss, which alone has a bias."""
    scale, bias = getattr(model, "logit_scale", None), getattr(model, "logit_bias", None)
    return None if scale is None or bias is None else (scale.item(), bias.item())
