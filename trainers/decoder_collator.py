"""Rows of the config `chat` become the tensors of a batch; only the assistant's words are trained on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from evaluation.decoder_scoring import IGNORED, to_conversation

# Llama 3.2 Vision's chat format with `{% generation %}` around what the assistant says, so that labels need no search
# for headers in the tokens. It travels with the processor.
CHAT_TEMPLATE = (Path(__file__).parent / "chat_template.jinja").read_text(encoding="utf-8")


class DecoderCollator:
    """Renders conversations with the processor's chat template and masks everything but the answers.

    Args:
        processor: an MllamaProcessor whose chat template has generation marks.
        max_length: longest row in tokens. A longer one loses the end of its last answer, never its image or question.
    """

    def __init__(self, processor: Any, max_length: int) -> None:
        self.processor, self.max_length = processor, max_length
        self.image_token_id = processor.tokenizer.convert_tokens_to_ids(processor.image_token)

    def __call__(self, rows: list[dict]) -> dict[str, torch.Tensor]:
        """Returns `pixel_values` `[B, images, tiles, 3, H, W]`, `aspect_ratio_ids` `[B, images]`,
        `aspect_ratio_mask` `[B, images, tiles]`, `cross_attention_mask` `[B, L, images, tiles]`, and `input_ids`,
        `attention_mask`, `labels` `[B, L]`.

        Labels are -100 except on the assistant's tokens. The image token is always -100: its id lies beyond the
        vocabulary of the language model's head, so the loss could not even be computed there.
        """
        batch = self.encode([self.shortened(to_conversation(row)) for row in rows])
        spoken = batch.pop("assistant_masks").bool() & (batch["input_ids"] != self.image_token_id)
        batch["labels"] = batch["input_ids"].masked_fill(~spoken, IGNORED)
        return dict(batch)

    def encode(self, conversations: list[list[dict]]) -> Any:
        """One step from conversations to tokens: in two steps the begin-of-text token would stand there twice."""
        return self.processor.apply_chat_template(
            conversations,
            tokenize=True,
            return_dict=True,
            return_tensors="pt",
            return_assistant_tokens_mask=True,
            processor_kwargs={"padding": True, "padding_side": "right"},
        )

    def shortened(self, conversation: list[dict]) -> list[dict]:
        """The conversation with its last answer cut so that it fits.

        Raises:
            ValueError: the row does not fit even without an answer.
        """
        tokenizer = self.processor.tokenizer
        text = self.processor.apply_chat_template(conversation, tokenize=False)
        excess = len(tokenizer(text, add_special_tokens=False)["input_ids"]) - self.max_length
        if excess <= 0:
            return conversation
        answer = conversation[-1]["content"][0]["text"].strip()  # as the template has it
        tokens = tokenizer(answer, add_special_tokens=False)["input_ids"]
        if excess >= len(tokens):
            over = excess - len(tokens) + 1
            raise ValueError(f"--max_seq_length {self.max_length}: {over} tokens too few for the row {text[:200]!r}")
        kept = tokenizer.decode(tokens[: len(tokens) - excess], skip_special_tokens=True)
        # once more: cut in the middle of a word, a text may need other tokens than before
        return self.shortened([*conversation[:-1], {"role": "assistant", "content": [{"type": "text", "text": kept}]}])
