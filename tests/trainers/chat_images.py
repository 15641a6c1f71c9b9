"""Conversations with images of every kind, their tokens, and what the stock processor of Llama 3.2 Vision sees."""

from __future__ import annotations

import io
from itertools import accumulate

import numpy as np
from PIL import Image

from evaluation.scoring.decoder import to_conversation
from trainers.images.decoder_tiles import TileReader

TILE = 56
READER = TileReader(TILE, 4, Image.Resampling.BILINEAR)


class SmallChats:
    """Tokens of rows, as DecoderRows asks for them: row r has r % 7 + 3 of them, the last two of which are answered."""

    def __init__(self, rows: int) -> None:
        self.lengths = np.array([row % 7 + 3 for row in range(rows)])
        self.starts = np.array([0, *accumulate(self.lengths.tolist())])
        self.tokens = np.arange(self.starts[-1], dtype=np.int64)

    def input_ids(self, row: int) -> np.ndarray:
        return self.tokens[self.starts[row] : self.starts[row + 1]]

    def prompt_length(self, row: int) -> int:
        return int(self.lengths[row]) - 2

    def labels(self, row: int) -> np.ndarray:
        ids = self.input_ids(row)
        return np.where(np.arange(len(ids)) < self.prompt_length(row), -100, ids)


def chat_dataset(images: list[list[bytes]]):
    """Rows with the columns `images`, `messages` and `image_path`."""
    import datasets

    turn = {"role": datasets.Value("string"), "content": datasets.Value("string")}
    features = {
        "images": datasets.List(datasets.Image()),
        "messages": datasets.List(turn),
        "image_path": datasets.Value("string"),
    }
    talk = [{"role": "user", "content": "Where?"}, {"role": "assistant", "content": "Left."}]
    columns = {
        "images": [[{"bytes": data, "path": None} for data in row] for row in images],
        "messages": [talk] * len(images),
        "image_path": [f"images/{row}.png" for row in range(len(images))],
    }
    return datasets.Dataset.from_dict(columns, features=datasets.Features(features))


def image_processor(tile: int = TILE, tiles: int = 4, **settings):
    from transformers.models.mllama.image_processing_pil_mllama import MllamaImageProcessorPil

    from modeling.tiny_checkpoints import CLIP_MEAN, CLIP_STD

    settings = {"image_mean": CLIP_MEAN, "image_std": CLIP_STD} | settings
    return MllamaImageProcessorPil(size={"height": tile, "width": tile}, max_image_tiles=tiles, **settings)


def stock(processor, row: dict) -> dict[str, np.ndarray]:
    """What the stock processor makes of a row's images as `datasets` decodes them; each array is `[images, ...]`."""
    parts = to_conversation(row)[0]["content"]
    images = [part["image"] for part in parts if part["type"] == "image"]
    made = processor(images=[images], return_tensors="np")
    return {name: made[name][0] for name in ("pixel_values", "aspect_ratio_ids", "aspect_ratio_mask")}


def stock_of(processor, data: bytes) -> dict[str, np.ndarray]:
    """The same of one encoded image, each array without its first dimension."""
    return {name: value[0] for name, value in stock(processor, chat_dataset([[data]])[0]).items()}


def gray_values(width: int, height: int, mode: str) -> bytes:
    """A file of 12 bits a pixel, as X-ray detectors make them: a PNG file of mode I;16, a TIFF file of the others."""
    ramp = np.linspace(0, 4095, width * height).reshape(height, width)
    file = io.BytesIO()
    Image.fromarray(ramp.astype({"I;16": np.uint16, "I": np.int32, "F": np.float32}[mode])).save(
        file, "PNG" if mode == "I;16" else "TIFF"
    )
    return file.getvalue()
