"""Rows of the config `pairs` become the tensors of a batch."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from evaluation.scoring.encoder import content_id
from trainers.images.encoder_pixels import PixelReader, normalization_of, normalize_pixels

MOST_TEXTS = 500_000  # whose tokens are kept: about 0.4 GB


class EncoderCollator:
    """Puts rows together, tokenises each distinct text once, and marks equal texts and equal images.

    Args:
        processor: a SiglipMedicalProcessor.
        uint8: leaves the pixels as bytes, a quarter of the memory and of the way to the device. `normalize_pixels` is
            then the caller's to do, with what `normalization` holds.

    Attributes:
        normalization: arguments of `normalize_pixels` as the processor has them.

    Raises:
        InputError: the image processor is none of SigLIP's; a row of a stream holds an image that cannot be used.
    """

    def __init__(self, processor: Any, uint8: bool = False) -> None:
        self.processor, self.uint8 = processor, uint8
        self.reader = PixelReader.of(processor.image_processor)
        self.normalization = normalization_of(processor.image_processor)
        self.tokens: dict[str, dict[str, np.ndarray]] = {}

    def __call__(self, rows: list[dict]) -> dict[str, torch.Tensor]:
        """Returns `pixel_values` `[N, 3, H, W]`, `input_ids` `[N, 64]`, and `group_ids`, `image_ids` `[N]` int64.

        The ids are hashes of the text before it is tokenised (the tokenizer drops punctuation) and of the pixels.
        They are not called labels: Trainer takes a column of that name for a sign that the loss counts tokens.

        Args:
            rows: of EncoderRows; or with the columns `image`, decoded, and `text`, as a stream gives them.
        """
        rows = [row if "pixels" in row else self.decoded(row) for row in rows]
        pixels = torch.from_numpy(stacked([row["pixels"] for row in rows]))
        batch = {"pixel_values": pixels if self.uint8 else normalize_pixels(pixels, **self.normalization)}
        batch |= self.tokenized([row["text"] for row in rows])
        batch["group_ids"] = torch.tensor([row["group_id"] for row in rows])
        batch["image_ids"] = torch.tensor([row["image_id"] for row in rows])
        return batch

    def decoded(self, row: dict) -> dict:
        """A row whose image `datasets` has decoded, as EncoderRows would give it."""
        pixels, image_id = self.reader.of_image(row["image"], str(row.get("image_path") or "an image of the stream"))
        return {"pixels": pixels, "text": row["text"], "image_id": image_id, "group_id": content_id(row["text"])}

    def tokenized(self, texts: list[str]) -> dict[str, torch.Tensor]:
        """What the processor returns for the texts, `[N, 64]` each. A text seen before costs a look-up."""
        known = {text: self.tokens[text] for text in texts if text in self.tokens}
        if new := [text for text in dict.fromkeys(texts) if text not in known]:
            encoded = dict(self.processor(text=new, return_tensors="np"))
            for number, text in enumerate(new):
                known[text] = {name: values[number] for name, values in encoded.items()}
                if len(self.tokens) < MOST_TEXTS:
                    self.tokens[text] = known[text]
        names = known[texts[0]]
        return {name: torch.from_numpy(np.stack([known[text][name] for text in texts])) for name in names}


def stacked(images: list[np.ndarray]) -> np.ndarray:
    """`[N, 3, H, W]`: the images as one array; no copy where EncoderRows has put them into one, in this order."""
    whole = images[0].base
    if isinstance(whole, np.ndarray) and whole.shape == (len(images), *images[0].shape) and whole.flags.c_contiguous:
        first, step = whole.ctypes.data, whole.strides[0]
        if all(image.base is whole and image.ctypes.data == first + n * step for n, image in enumerate(images)):
            return whole
    return np.stack(images)
