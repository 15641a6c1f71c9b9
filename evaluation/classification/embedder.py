"""Embeds the images and prompts of a classification with an encoder, in batches."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from evaluation.scoring.rgb_images import to_rgb

POOLED, PATCHES = "pooled", "patches"
Embed = Callable[[Sequence[Any]], np.ndarray]


@dataclass(frozen=True)
class Embedder:
    """What embeds images and texts into one space.

    Attributes:
        embed_images: takes [N] PIL images in RGB and returns [N, D] float32, not normalized.
        embed_texts: takes [N] texts and returns [N, D] float32, not normalized.
        batch_size: images or texts per batch.
        embed_patches: takes [N] PIL images in RGB and returns [N, H] float32, what the layer of an image classifier
            takes; None if no classifier is asked for.
    """

    embed_images: Embed
    embed_texts: Embed
    batch_size: int
    embed_patches: Embed | None = None

    def images(self, rows: Any, places: Sequence[int], features: str = POOLED, progress: Callable = iter) -> np.ndarray:
        """Returns the embeddings of the images in the column `image` of some rows, [N, D] float32.

        Args:
            rows: a `datasets.Dataset`.
            places: the numbers of the rows, at least one.
            features: POOLED, which is compared with texts, or PATCHES.
            progress: a function that wraps the loop over the batches.
        """
        embed = self.embed_patches if features == PATCHES else self.embed_images
        if embed is None:
            raise ValueError("there is no image classifier for this family of encoders")
        parts = []
        for start in progress(range(0, len(places), self.batch_size)):
            batch = rows[list(places[start : start + self.batch_size])]
            names = (f"row {place}" for place in places[start : start + self.batch_size])
            parts.append(embed([to_rgb(image, name) for image, name in zip(batch["image"], names, strict=True)]))
        return np.concatenate(parts)

    def texts(self, texts: Sequence[str]) -> np.ndarray:
        """Returns the embeddings of texts, [N, D] float32."""
        starts = range(0, len(texts), self.batch_size)
        return np.concatenate([self.embed_texts(texts[start : start + self.batch_size]) for start in starts])


def siglip_patches(model: Any, processor: Any) -> Embed:
    """Returns what computes the mean of the last states of a SigLIP's image tower.

    `SiglipForImageClassification` has its layer on that mean, and not on the output that is compared with texts.
    """
    model.eval()

    def embed(images: Sequence[Any]) -> np.ndarray:
        pixels = processor.image_processor(list(images), return_tensors="pt")["pixel_values"]
        with torch.inference_mode():
            found = model.get_image_features(pixel_values=pixels.to(model.device, model.dtype))
        return found.last_hidden_state.mean(dim=1).float().cpu().numpy()

    return embed
