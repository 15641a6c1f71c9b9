"""Rows of DecoderRows become the tensors of a batch: tokens padded, tiles of each distinct image once.

What the stock MllamaProcessor gives for the same conversations, in numpy: only that pixels stay bytes, that tiles which
hold nothing are left out, and that an image which several rows share is there once, with `image_index` to find it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch

from evaluation.scoring.decoder import IGNORED

# Llama 3.2 Vision's chat format with `{% generation %}` around what the assistant says, so that labels need no search
# for headers in the tokens. It travels with the processor.
CHAT_TEMPLATE = (Path(__file__).parent / "chat_template.jinja").read_text(encoding="utf-8")


class DecoderCollator:
    """A batch for training: rows padded on the right, with labels.

    Args:
        processor: an MllamaProcessor.
    """

    padding_side = "right"

    def __init__(self, processor: Any) -> None:
        self.pad_token_id, self.image_token_id = processor.tokenizer.pad_token_id, processor.image_token_id
        self.max_tiles = processor.image_processor.max_image_tiles

    def __call__(self, items: list[dict]) -> dict[str, torch.Tensor]:
        """Returns `input_ids`, `attention_mask`, `labels` `[B, L]` int64, and where the batch has images those of
        `collate_images`.

        Args:
            items: rows of DecoderRows.
        """
        batch = self.collate_tokens([item["input_ids"] for item in items])
        labels = self.padded([item["labels"] for item in items], IGNORED)
        return batch | {"labels": torch.from_numpy(labels)} | self.collate_images(items, batch["input_ids"].numpy())

    def collate_tokens(self, rows: list[np.ndarray]) -> dict[str, torch.Tensor]:
        """`input_ids` and `attention_mask` `[B, L]` int64."""
        ids = self.padded(rows, self.pad_token_id)
        mask = self.padded([np.ones(len(row), np.int64) for row in rows], 0)
        return {"input_ids": torch.from_numpy(ids), "attention_mask": torch.from_numpy(mask)}

    def padded(self, rows: list[np.ndarray], value: int) -> np.ndarray:
        """`[B, L]` int64, `value` where a row has no token."""
        out = np.full((len(rows), max(len(row) for row in rows)), value, np.int64)
        for line, row in zip(out, rows, strict=True):
            if self.padding_side == "right":
                line[: len(row)] = row
            else:
                line[len(line) - len(row) :] = row
        return out

    def collate_images(self, items: list[dict], input_ids: np.ndarray) -> dict[str, torch.Tensor]:
        """Pixels and masks of a batch; nothing where no row has an image.

        Returns:
            `cross_attention_mask` `[B, L, M, T]` int64, 1 where a token sees a tile of image m of its row; `tiles`
            `[V, 3, H, W]` uint8, the tiles of the N distinct images one after the other; `aspect_ratio_ids` `[N]` and
            `aspect_ratio_mask` `[N, T]` int64; `image_index` `[B, M]` int64, which of the N image m of a row is, -1
            where the row has fewer.

        Raises:
            ValueError: a row has not as many image tokens as images.
        """
        most = max(len(item["images"]) for item in items)
        if not most:
            return {}
        places: dict[int, int] = {}  # of each distinct image, in the order of their first rows
        distinct: list[tuple[np.ndarray, int]] = []
        index = np.full((len(items), most), -1, np.int64)
        seen = np.zeros((*input_ids.shape, most, self.max_tiles), np.int64)
        for number, item in enumerate(items):
            ranges = visible_ranges(input_ids[number], self.image_token_id)
            if len(ranges) != len(item["images"]):
                counts = f"{len(ranges)} image tokens and {len(item['images'])} images"
                raise ValueError(f"row {item['row']}: {counts}")
            for image, ((key, tiles, ratio), (start, end)) in enumerate(zip(item["images"], ranges, strict=True)):
                if key not in places:
                    places[key] = len(distinct)
                    distinct.append((tiles, ratio))
                index[number, image] = places[key]
                seen[number, start:end, image, : len(tiles)] = 1
        mask = np.arange(self.max_tiles) < np.array([[len(tiles)] for tiles, _ in distinct])
        return {
            "cross_attention_mask": torch.from_numpy(seen),
            "tiles": torch.from_numpy(np.concatenate([tiles for tiles, _ in distinct])),
            "aspect_ratio_ids": torch.tensor([ratio for _, ratio in distinct], dtype=torch.int64),
            "aspect_ratio_mask": torch.from_numpy(mask.astype(np.int64)),
            "image_index": torch.from_numpy(index),
        }


class PromptCollator(DecoderCollator):
    """A batch to generate from: what stands before the last answer, padded on the left, without labels."""

    padding_side = "left"

    def __call__(self, items: list[dict]) -> dict[str, torch.Tensor]:
        """As DecoderCollator, of `input_ids[:prompt_length]`."""
        batch = self.collate_tokens([item["input_ids"][: item["prompt_length"]] for item in items])
        return batch | self.collate_images(items, batch["input_ids"].numpy())


def visible_ranges(ids: np.ndarray, image_token_id: int) -> list[tuple[int, int]]:
    """For each image token of a row, the first token that sees its image and the one after the last.

    An image is seen from its token to the next one, by all tokens after that where it is the last; images that stand
    together are seen together (`get_cross_attention_token_mask` of transformers' processing_mllama.py).
    """
    places = np.flatnonzero(ids == image_token_id)
    ends = np.append(places, len(ids))[1:]
    for number in range(len(places) - 2, -1, -1):
        if places[number] + 1 == places[number + 1]:
            ends[number] = ends[number + 1]
    return list(zip(places.tolist(), ends.tolist(), strict=True))
