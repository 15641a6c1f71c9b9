"""Computes features of images with the vision tower of a decoder, and averages patches to a small grid.

An image is what the tower gives at its prefix tokens, and its patches averaged to a grid of 4 x 4.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from evaluation.models.protocols import EncodeImages

GRID = 4  # patches are averaged to GRID x GRID
SIDE = 448  # pixels of the square that an image is padded to for towers that take any size


def pooled(states: torch.Tensor) -> np.ndarray:
    """Averages patches to GRID x GRID, or to fewer if there are fewer.

    Args:
        states: `[N, P, D]`; patches are the largest square number of tokens at the end, what is before it is a prefix,
            for example a class token.

    Returns:
        `[N, D * (prefix tokens + GRID * GRID)]` float32.
    """
    if states.dim() != 3:
        raise ValueError(f"a tower returned {list(states.shape)} and not [images, patches, dimensions]")
    side = math.isqrt(states.shape[1])
    prefix, patches = states.float().split([states.shape[1] - side**2, side**2], dim=1)
    grid = patches.transpose(1, 2).unflatten(2, (side, side))  # (N, D, side, side)
    grid = torch.nn.functional.adaptive_avg_pool2d(grid, min(GRID, side))
    return torch.cat([prefix.flatten(1), grid.flatten(1)], dim=1).cpu().numpy()


def mllama_tower(model: Any, processor: Any) -> EncodeImages:
    """Returns the function that encodes images with the vision tower of an Mllama, or of a wrapper around one."""
    from PIL import ImageOps

    from modeling.mllama.patch import find_decoder

    tower, images = find_decoder(model).model.vision_model, processor.image_processor
    side = (images.size["height"], images.size["width"])

    def encode(pictures: Sequence[Any]) -> np.ndarray:
        # An image of the size of a tile has one tile, so that its features are those of the complete image.
        tiles = [[ImageOps.pad(picture, side[::-1])] for picture in pictures]
        inputs = images(tiles, return_tensors="pt")
        names = ("pixel_values", "aspect_ratio_ids", "aspect_ratio_mask")
        parameter = next(tower.parameters())
        tensors = {key: torch.as_tensor(inputs[key]).to(parameter.device) for key in names}
        tensors["pixel_values"] = tensors["pixel_values"].to(parameter.dtype)
        with torch.no_grad():
            states = tower(**tensors).last_hidden_state  # (N, 1, T, P, D)
        return pooled(states[:, 0, 0])

    return encode


def chat_model_tower(model: Any, processor: Any) -> EncodeImages | None:
    """Returns the function that encodes images by `get_image_features` of a decoder; None if it cannot be called.

    Images are padded to a square of one size, so that each has the same number of tokens. Towers whose tokens of such
    an image are not a square number of patches, for example because they read several crops, are averaged to GRID *
    GRID consecutive parts.
    """
    from PIL import Image, ImageOps

    features = getattr(model, "get_image_features", None)
    images = getattr(processor, "image_processor", None)
    if features is None or images is None:
        return None
    takes = inspect.signature(features).parameters

    def encode_one(picture: Any) -> np.ndarray:
        inputs = images([ImageOps.pad(picture, (SIDE, SIDE))], return_tensors="pt")
        tensors = {name: value for name, value in inputs.items() if name in takes and torch.is_tensor(value)}
        tensors = {name: to_model(value, model) for name, value in tensors.items()}
        with torch.no_grad():
            found = features(**tensors)
        found = getattr(found, "pooler_output", found)
        parts = list(found) if isinstance(found, (list, tuple)) else [found]
        states = torch.cat([part.flatten(0, -2) for part in parts]).float()  # (P, D)
        if math.isqrt(len(states)) ** 2 == len(states):
            return pooled(states[None])[0]
        averaged = torch.nn.functional.adaptive_avg_pool1d(states.T, min(GRID * GRID, len(states)))
        return averaged.flatten().cpu().numpy()

    try:
        shapes = {encode_one(Image.new("RGB", size)).shape for size in ((64, 64), (90, 40))}
    except Exception:  # each family has its own reason: other arguments, another form of the result
        return None
    return (lambda pictures: np.stack([encode_one(picture) for picture in pictures])) if len(shapes) == 1 else None


def to_model(tensor: torch.Tensor, model: Any) -> torch.Tensor:
    """Moves a tensor to the device of the model; numbers with a fraction also to its precision."""
    dtype = model.dtype if tensor.is_floating_point() else tensor.dtype
    return tensor.to(model.device, dtype)
