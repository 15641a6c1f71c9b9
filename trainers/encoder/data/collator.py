"""Collates rows of the config `pairs` into batches of tensors."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from evaluation.scoring.encoder import content_id
from trainers.images.encoder_pixels import PixelReader, normalization_of, normalize_pixels

# Distinct texts whose tokens are cached, about 0.4 GB.
MAX_CACHED_TEXTS = 500_000


class EncoderCollator:
    """Collates rows into batches, tokenizes each distinct text once, and gives equal texts and images equal ids.

    Args:
        processor: a SiglipMedicalProcessor.
        uint8: keeps the pixels as uint8, a quarter of the memory and of the transfer to the device. The caller then
            calls `normalize_pixels` with the arguments in `normalization`.

    Attributes:
        normalization: the processor's arguments of `normalize_pixels`.

    Raises:
        InputError: the image processor is not SigLIP's, or a row of a stream has an unusable image.
    """

    def __init__(self, processor: Any, uint8: bool = False) -> None:
        self.processor, self.uint8 = processor, uint8
        self.reader = PixelReader.of(processor.image_processor)
        self.normalization = normalization_of(processor.image_processor)
        self.tokens: dict[str, dict[str, np.ndarray]] = {}

    def __call__(self, rows: list[dict]) -> dict[str, torch.Tensor]:
        """Collates N rows.

        Args:
            rows: rows of EncoderRows, or of a stream with the columns `image` (decoded) and `text`.

        Returns:
            `pixel_values` `[N, 3, H, W]` float32, or uint8 if asked for; `input_ids` `[N, 64]` int64; `group_ids` and
            `image_ids` `[N]` int64, hashes of the text before tokenization (the tokenizer drops punctuation) and of
            the pixels. Neither is called `labels`: Trainer would conclude that the loss counts tokens.
        """
        rows = [row if "pixels" in row else self.decoded(row) for row in rows]
        pixels = torch.from_numpy(stack_images([row["pixels"] for row in rows]))
        batch = {"pixel_values": pixels if self.uint8 else normalize_pixels(pixels, **self.normalization)}
        batch |= self.tokenized([row["text"] for row in rows])
        batch["group_ids"] = torch.tensor([row["group_id"] for row in rows])
        batch["image_ids"] = torch.tensor([row["image_id"] for row in rows])
        return batch

    def decoded(self, row: dict) -> dict:
        """Converts a row whose image `datasets` has decoded to a row of EncoderRows."""
        pixels, image_id = self.reader.of_image(row["image"], str(row.get("image_path") or "an image of the stream"))
        return {"pixels": pixels, "text": row["text"], "image_id": image_id, "group_id": content_id(row["text"])}

    def tokenized(self, texts: list[str]) -> dict[str, torch.Tensor]:
        """Returns the processor's output for N texts, `[N, 64]` each, from a cache where possible."""
        known = {text: self.tokens[text] for text in texts if text in self.tokens}
        if new := [text for text in dict.fromkeys(texts) if text not in known]:
            encoded = dict(self.processor(text=new, return_tensors="np"))
            for position, text in enumerate(new):
                # values: [number of new texts, 64]
                known[text] = {name: values[position] for name, values in encoded.items()}
                if len(self.tokens) < MAX_CACHED_TEXTS:
                    self.tokens[text] = known[text]
        names = known[texts[0]]
        return {name: torch.from_numpy(np.stack([known[text][name] for text in texts])) for name in names}


def stack_images(images: list[np.ndarray]) -> np.ndarray:
    """Returns N images `[3, H, W]` as one array `[N, 3, H, W]`, without a copy if they are already stored as one.

    EncoderRows reads the rows of a batch into one array and returns views of it.
    """
    whole = images[0].base
    if isinstance(whole, np.ndarray) and whole.shape == (len(images), *images[0].shape) and whole.flags.c_contiguous:
        # The images are the array itself if image n starts n strides after its first byte.
        first, step = whole.ctypes.data, whole.strides[0]
        if all(image.base is whole and image.ctypes.data == first + n * step for n, image in enumerate(images)):
            return whole
    return np.stack(images)
