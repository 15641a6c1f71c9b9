"""Extends SiglipProcessor: pads texts as in SigLIP's training, and writes out numbers and signs of clinical text."""

from __future__ import annotations

from typing import Any

from transformers import SiglipProcessor

from .clinical_tokenizer import add_clinical_rules, has_clinical_rules

MAX_LENGTH = 64


class SiglipMedicalProcessor(SiglipProcessor):
    """Combines the image processor and the tokenizer of a SigLIP checkpoint.

    SigLIP was trained on texts padded to 64 tokens and attends to the padding. Any other padding changes the embeddings
    (the cause of most "poor retrieval" reports), so padding to 64 tokens is the default here; a call can override it.

    Args:
        image_processor: the image processor of the checkpoint.
        tokenizer: the tokenizer of the checkpoint.
        normalize_text: whether clinical text is written out before tokenization ("1.5 cm" becomes "1 point 5 cm"), see
            `text_normalizer.py`. The rules become part of the tokenizer and are saved with it, so the plain
            `AutoProcessor` and pipelines apply them, too. The setting is saved with the checkpoint; for a base model
            without the setting it is True.
        return_attention_mask: whether the processor returns a mask for texts by default, and the stock processor of the
            saved checkpoint, too. Only a model trained with `config.text_attention_mask` needs it.

    Raises:
        ValueError: `normalize_text=False` for a tokenizer that contains the rules, or True for a tokenizer that they
            cannot be added to.
    """

    def __init__(
        self,
        image_processor=None,
        tokenizer=None,
        normalize_text: bool = True,
        return_attention_mask: bool = False,
        **kwargs: Any,
    ) -> None:
        if normalize_text:
            tokenizer = add_clinical_rules(tokenizer)
        elif has_clinical_rules(tokenizer):
            raise ValueError(
                "normalize_text is False, but this checkpoint was trained with the text normalizer, which is part of "
                "its tokenizer. Use normalize_text=True, or the tokenizer of the base model."
            )
        tokenizer.model_input_names = ["input_ids", "attention_mask"] if return_attention_mask else ["input_ids"]
        tokenizer.init_kwargs["model_input_names"] = tokenizer.model_input_names  # save_pretrained writes init_kwargs
        self.normalize_text, self.return_attention_mask = normalize_text, return_attention_mask
        super().__init__(image_processor, tokenizer, **kwargs)

    def __call__(self, images=None, text=None, **kwargs):
        """Returns `pixel_values` `[N, 3, height, width]` for images and `input_ids` `[N, 64]` for texts."""
        if text is not None:
            kwargs = {"padding": "max_length", "truncation": True, "max_length": MAX_LENGTH} | kwargs
        return super().__call__(images=images, text=text, **kwargs)

    def to_dict(self) -> dict[str, Any]:
        """Returns the content of `processor_config.json`.

        It names the stock class, so that `AutoProcessor` loads the checkpoint without `trust_remote_code`. With it,
        `auto_map` selects this class.
        """
        return super().to_dict() | {"processor_class": "SiglipProcessor"}


SiglipMedicalProcessor.register_for_auto_class("AutoProcessor")
