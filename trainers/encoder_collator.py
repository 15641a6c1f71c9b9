"""Rows of the config `pairs` become the tensors of a batch."""

from __future__ import annotations

from typing import Any

import torch

from evaluation.encoder_scoring import content_id


class EncoderCollator:
    """Calls the processor on a batch of rows, and marks equal texts and equal images.

    Args:
        processor: a SiglipMedicalProcessor.
    """

    def __init__(self, processor: Any) -> None:
        self.processor = processor

    def __call__(self, rows: list[dict]) -> dict[str, torch.Tensor]:
        """Returns `pixel_values` `[N, 3, H, W]`, `input_ids` `[N, 64]`, and `group_ids`, `image_ids` `[N]` int64.

        The ids are hashes of the text before it is tokenised (the tokenizer drops punctuation) and of the pixels.
        They are not called labels: Trainer takes a column of that name for a sign that the loss counts tokens.
        """
        images = [row["image"].convert("RGB") for row in rows]
        texts = [row["text"] for row in rows]
        batch = dict(self.processor(images=images, text=texts, return_tensors="pt"))
        batch["group_ids"] = torch.tensor([content_id(text) for text in texts])
        batch["image_ids"] = torch.tensor([content_id(image.tobytes()) for image in images])
        return batch
