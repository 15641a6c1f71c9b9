"""Collates DecoderRows into batches of tensors: padded tokens, and the tiles of each distinct image once.

The result equals that of the stock MllamaProcessor, with three differences: pixels stay uint8, empty tiles are left
out, and an image that several rows share is there once, with `image_index` to find it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch

from modeling.mllama.chunked_cross_entropy import IGNORE_INDEX

# Llama 3.2 Vision's chat format with `{% generation %}` around the assistant's turns, so that labels need no search
# for headers in the tokens. It is saved with the processor.
CHAT_TEMPLATE = (Path(__file__).parent / "chat_template.jinja").read_text(encoding="utf-8")


class DecoderCollator:
    """Collates rows for training: padded on the right, with labels.

    The letters of the shapes: B rows, L tokens of the longest row, M images of the row with the most, N distinct images
    of the batch, V tiles of these images, T slots for tiles per image (4 for Llama 3.2 Vision).

    Args:
        processor: an MllamaProcessor.
    """

    padding_side = "right"

    def __init__(self, processor: Any) -> None:
        self.pad_token_id, self.image_token_id = processor.tokenizer.pad_token_id, processor.image_token_id
        self.max_tiles = processor.image_processor.max_image_tiles

    def __call__(self, items: list[dict]) -> dict[str, torch.Tensor]:
        """Collates B rows.

        Args:
            items: rows of DecoderRows.

        Returns:
            `input_ids`, `attention_mask` and `labels` `[B, L]` int64, and the tensors of `collate_images`.
        """
        batch = self.collate_tokens([item["input_ids"] for item in items])
        labels = self.pad([item["labels"] for item in items], IGNORE_INDEX)
        return batch | {"labels": torch.from_numpy(labels)} | self.collate_images(items, batch["input_ids"].numpy())

    def collate_tokens(self, rows: list[np.ndarray]) -> dict[str, torch.Tensor]:
        """Returns `input_ids` and `attention_mask` `[B, L]` int64."""
        ids = self.pad(rows, self.pad_token_id)
        mask = self.pad([np.ones(len(row), np.int64) for row in rows], 0)
        return {"input_ids": torch.from_numpy(ids), "attention_mask": torch.from_numpy(mask)}

    def pad(self, rows: list[np.ndarray], value: int) -> np.ndarray:
        """Returns B rows of different lengths as `[B, L]` int64, filled with `value` on the padding side."""
        out = np.full((len(rows), max(len(row) for row in rows)), value, np.int64)
        for line, row in zip(out, rows, strict=True):
            if self.padding_side == "right":
                line[: len(row)] = row
            else:
                line[len(line) - len(row) :] = row
        return out

    def collate_images(self, items: list[dict], input_ids: np.ndarray) -> dict[str, torch.Tensor]:
        """Returns the tiles and masks of a batch, or an empty dict if no row has an image.

        Args:
            items: B rows of DecoderRows.
            input_ids: `[B, L]` int64, their tokens after padding.

        Returns:
            `cross_attention_mask` `[B, L, M, T]` int64, 1 where a token sees a tile of image m of its row; `tiles`
            `[V, 3, H, W]` uint8, the tiles of the N distinct images one after another; `aspect_ratio_ids` `[N]` and
            `aspect_ratio_mask` `[N, T]` int64, 1 at the tiles that exist; `image_index` `[B, M]` int64, the number of
            image m of a row among the N distinct images, -1 if the row has fewer.

        Raises:
            ValueError: the numbers of image tokens and images of a row differ.
        """
        most = max(len(item["images"]) for item in items)
        if not most:
            return {}
        # The number of each distinct image, in the order of first occurrence.
        numbers: dict[int, int] = {}
        distinct: list[tuple[np.ndarray, int]] = []
        image_index = np.full((len(items), most), -1, np.int64)  # [B, M]
        visible = np.zeros((*input_ids.shape, most, self.max_tiles), np.int64)  # [B, L, M, T]
        for row, item in enumerate(items):
            ranges = visible_ranges(input_ids[row], self.image_token_id)
            if len(ranges) != len(item["images"]):
                counts = f"{len(ranges)} image tokens but {len(item['images'])} images"
                raise ValueError(f"row {item['row']} has {counts}")
            for image, ((key, tiles, ratio), (start, end)) in enumerate(zip(item["images"], ranges, strict=True)):
                if key not in numbers:
                    numbers[key] = len(distinct)
                    distinct.append((tiles, ratio))
                image_index[row, image] = numbers[key]
                visible[row, start:end, image, : len(tiles)] = 1
        # [T] < [N, 1] -> [N, T]: an image of n tiles fills the first n slots.
        mask = np.arange(self.max_tiles) < np.array([[len(tiles)] for tiles, _ in distinct])
        return {
            "cross_attention_mask": torch.from_numpy(visible),
            "tiles": torch.from_numpy(np.concatenate([tiles for tiles, _ in distinct])),
            "aspect_ratio_ids": torch.tensor([ratio for _, ratio in distinct], dtype=torch.int64),
            "aspect_ratio_mask": torch.from_numpy(mask.astype(np.int64)),
            "image_index": torch.from_numpy(image_index),
        }


class PromptCollator(DecoderCollator):
    """Collates prompts for generation: all tokens before the last answer, padded on the left, without labels."""

    padding_side = "left"

    def __call__(self, items: list[dict]) -> dict[str, torch.Tensor]:
        """Returns the same as DecoderCollator for `input_ids[:prompt_length]`, without `labels`."""
        batch = self.collate_tokens([item["input_ids"][: item["prompt_length"]] for item in items])
        return batch | self.collate_images(items, batch["input_ids"].numpy())


def visible_ranges(ids: np.ndarray, image_token_id: int) -> list[tuple[int, int]]:
    """Returns the range of the tokens that see each image of a row, as (first, last + 1).

    An image is visible from its image token to the next image token, the last image to the end of the row; adjacent
    image tokens share one range (`get_cross_attention_token_mask` of transformers' processing_mllama.py).

    Args:
        ids: `[L]` int64.
    """
    starts = np.flatnonzero(ids == image_token_id)
    # Each range ends where the next one starts.
    ends = np.append(starts, len(ids))[1:]
    # From the back, so that a sequence of adjacent tokens inherits the end of its last one.
    for image in range(len(starts) - 2, -1, -1):
        if starts[image] + 1 == starts[image + 1]:
            ends[image] = ends[image + 1]
    return list(zip(starts.tolist(), ends.tolist(), strict=True))
