"""SiglipProcessor that pads texts as SigLIP was trained, without being told at every call."""

from __future__ import annotations

from typing import Any

from transformers import SiglipProcessor

MAX_LENGTH = 64


class SiglipMedicalProcessor(SiglipProcessor):
    """Image processor and tokenizer of a SigLIP checkpoint.

    SigLIP saw every text padded to 64 tokens and attended to the padding; another padding gives other embeddings
    (the cause of most "poor retrieval" reports), so it is the default here. Any of it can still be overridden.
    """

    def __call__(self, images=None, text=None, **kwargs):
        """Returns `pixel_values` `[N, 3, height, width]` for images and `input_ids` `[N, 64]` for texts."""
        if text is not None:
            kwargs = {"padding": "max_length", "truncation": True, "max_length": MAX_LENGTH} | kwargs
        return super().__call__(images=images, text=text, **kwargs)

    def to_dict(self) -> dict[str, Any]:
        """The content of `processor_config.json`.

        It names the stock class, so that `AutoProcessor` opens the checkpoint without `trust_remote_code`; with it,
        `auto_map` leads to this class.
        """
        return super().to_dict() | {"processor_class": "SiglipProcessor"}


SiglipMedicalProcessor.register_for_auto_class("AutoProcessor")
