"""SiglipProcessor that pads texts as SigLIP was trained, and reads numbers, signs and units of clinical text."""

from __future__ import annotations

from typing import Any

from transformers import SiglipProcessor

from .clinical_tokenizer import carries_rules, clinical_tokenizer

MAX_LENGTH = 64


class SiglipMedicalProcessor(SiglipProcessor):
    """Image processor and tokenizer of a SigLIP checkpoint.

    SigLIP saw every text padded to 64 tokens and attended to the padding; another padding gives other embeddings
    (the cause of most "poor retrieval" reports), so it is the default here. Any of it can still be overridden.

    Args:
        image_processor, tokenizer: the checkpoint's own.
        normalize_text: whether clinical text is written out before it is tokenised ("1.5 cm" becomes "1 point 5 cm"),
            see `text_normalizer.py`. The rules then stand in the tokenizer itself, and are saved with it: the plain
            `AutoProcessor` and the pipelines have them too. Saved as trained: a checkpoint brings its own answer, a
            base model without one is normalised.
        return_attention_mask: whether texts come with their mask by default, also from the stock processor of the saved
            checkpoint: for a model trained with `config.text_attention_mask`, and for no other.

    Raises:
        ValueError: `normalize_text=False` for a tokenizer that was trained with the rules and carries them, or a
            tokenizer that cannot take them.
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
            tokenizer = clinical_tokenizer(tokenizer)
        elif carries_rules(tokenizer):
            raise ValueError(
                "normalize_text=False: this checkpoint was trained with the normaliser, which its tokenizer carries; "
                "take the tokenizer of its base model to do without"
            )
        tokenizer.model_input_names = ["input_ids", "attention_mask"] if return_attention_mask else ["input_ids"]
        tokenizer.init_kwargs["model_input_names"] = tokenizer.model_input_names  # this is what is saved
        self.normalize_text, self.return_attention_mask = normalize_text, return_attention_mask
        super().__init__(image_processor, tokenizer, **kwargs)

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
