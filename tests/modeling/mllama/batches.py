"""Builds batches for a tiny Mllama: rows with no image, one, two, or one late in the text; shared or repeated."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import torch
from transformers import MllamaForConditionalGeneration

TILES, SIZE = 4, 64
ASPECT_IDS = {1: 1, 2: 2, 4: 4}  # from the number of tiles to an aspect ratio id with that number
IMAGE_TILES = [1, 2, 4]  # the number of tiles of each of the three images


@dataclass
class Row:
    """A row of text.

    Attributes:
        length: number of tokens.
        images: indices of its images.
        at: positions of the image tokens.
        labeled: how many of its last tokens have a label.
    """

    length: int
    images: list[int] = field(default_factory=list)
    at: list[int] = field(default_factory=list)
    labeled: int = 3


ROWS = [
    Row(9, [0], [1]),
    Row(12, [1], [4], labeled=1),  # four tokens before the image
    Row(7),  # text only
    Row(10, [0], [1], labeled=5),
    Row(6, [1], [1], labeled=0),
]
TWO_IMAGES = [*ROWS, Row(11, [2, 0], [1, 4])]


def load(folder: Path, implementation: str = "sdpa", dtype: torch.dtype = torch.float64):
    model = MllamaForConditionalGeneration.from_pretrained(folder, dtype=dtype, attn_implementation=implementation)
    return model.eval()


def make_images(dtype: torch.dtype = torch.float64) -> torch.Tensor:
    """Returns three images `[3, T, 3, H, W]`; their padding tiles are 0."""
    generator = torch.Generator().manual_seed(3)
    pixels = torch.randn(len(IMAGE_TILES), TILES, 3, SIZE, SIZE, generator=generator, dtype=torch.float64)
    for image, used in zip(pixels, IMAGE_TILES, strict=True):
        image[used:] = 0
    return pixels.to(dtype)


def batch(model, rows: list[Row], *, shared: bool, left: bool = False, labels: bool = True, seed: int = 5) -> dict:
    """Collates rows: with `shared`, each image once plus `image_index`; otherwise in the stock model's layout."""
    config, length, several = model.config, max(row.length for row in rows), max(len(row.images) for row in rows)
    ids = torch.full((len(rows), length), config.text_config.pad_token_id)
    attention, label_ids = torch.zeros_like(ids), torch.full_like(ids, -100)
    mask = torch.zeros(len(rows), length, several, TILES, dtype=torch.long)
    index = torch.full((len(rows), several), -1)
    for number, row in enumerate(rows):
        # The seed depends on the row only, so that a row has the same tokens in every batch.
        generator = torch.Generator().manual_seed(seed + 100 * row.length + 10 * len(row.images) + row.labeled)
        tokens = torch.randint(10, config.text_config.vocab_size, (row.length,), generator=generator)
        tokens[row.at] = config.image_token_index
        start = length - row.length if left else 0
        ids[number, start : start + row.length], attention[number, start : start + row.length] = tokens, 1
        if row.labeled:
            label_ids[number, start + row.length - row.labeled : start + row.length] = tokens[-row.labeled :]
        for m, (image, at) in enumerate(zip(row.images, row.at, strict=True)):
            index[number, m] = image
            mask[number, start + at : start + row.length, m, : IMAGE_TILES[image]] = 1
    inputs = {"input_ids": ids, "attention_mask": attention}
    if labels:
        inputs["labels"] = label_ids
    if several:
        pixels, ratios, tile_mask = make_images(model.dtype), torch.tensor([ASPECT_IDS[n] for n in IMAGE_TILES]), None
        tile_mask = torch.tensor([[int(t < n) for t in range(TILES)] for n in IMAGE_TILES])
        if not shared:  # index -1 selects the last image: all zeros, its first tile valid, as the processor pads
            pixels = torch.cat([pixels, torch.zeros_like(pixels[:1])])[index]
            ratios = torch.cat([ratios, torch.zeros_like(ratios[:1])])[index]
            tile_mask = torch.cat([tile_mask, torch.tensor([[1, 0, 0, 0]])])[index]
        inputs |= {"pixel_values": pixels, "aspect_ratio_ids": ratios, "aspect_ratio_mask": tile_mask}
        inputs |= {"cross_attention_mask": mask} | ({"image_index": index} if shared else {})
    return inputs


def gradients(model, inputs: dict) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    model.zero_grad()
    loss = model(**inputs).loss
    loss.backward()
    return loss.detach(), {name: one.grad.clone() for name, one in model.named_parameters() if one.grad is not None}


def largest_difference(one: dict[str, torch.Tensor], two: dict[str, torch.Tensor]) -> float:
    assert one.keys() == two.keys()
    return max(float((one[name] - two[name]).abs().max()) for name in one)
