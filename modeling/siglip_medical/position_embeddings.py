"""A SigLIP for 224 pixels becomes one for 448: its position embeddings are resized once, and saved so."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn


def resize_positions(model: Any, image_size: int, processor: Any = None) -> None:
    """Resizes the position embeddings of a SigLIP in place, and makes its configuration say so.

    They come out as SiglipModel computes them at every call with `interpolate_pos_encoding=True` (bicubic, corners not
    aligned, no antialiasing), to the bit: the same code makes them. A checkpoint saved afterwards opens without flags.

    Args:
        model: a SiglipModel or SiglipMedicalModel, or a SiglipVisionModel.
        image_size: side of the square images in pixels, a multiple of the patch size.
        processor: a processor or an image processor, whose images become of that size too.

    Raises:
        ValueError: the size is no positive multiple of the patch size, or not a single number.
    """
    vision = getattr(model, "vision_model", model)
    embeddings = vision.embeddings
    patch_size = embeddings.patch_size
    if not isinstance(image_size, int) or isinstance(image_size, bool) or not isinstance(patch_size, int):
        raise ValueError(
            f"image size {image_size}, patches of {patch_size}: images and patches are square, give one side"
        )
    current = embeddings.image_size
    if image_size != current:  # some checkpoints are released at no multiple: 384 with patches of 14
        check_multiple(image_size, patch_size)
        # only its width and the number of its patches are looked at
        patches = embeddings.position_embedding.weight.new_empty(
            1, (image_size // patch_size) ** 2, embeddings.embed_dim
        )
        old = embeddings.position_embedding.weight
        with torch.no_grad():
            positions = embeddings.interpolate_pos_encoding(patches, image_size, image_size)[0]  # [positions, width]
            embeddings.position_embedding = nn.Embedding(
                *positions.shape, device=old.device, dtype=old.dtype, _weight=positions.contiguous().clone()
            ).requires_grad_(old.requires_grad)
        embeddings.num_patches = embeddings.num_positions = len(positions)
        embeddings.image_size = image_size
        embeddings.position_ids = torch.arange(len(positions), device=old.device).expand((1, -1))
        for config in (embeddings.config, vision.config, getattr(model.config, "vision_config", None)):
            if config is not None:
                config.image_size = image_size
    if processor is not None:
        getattr(processor, "image_processor", processor).size = {"height": image_size, "width": image_size}


def check_multiple(image_size: int, patch_size: int) -> None:
    """Raises ValueError, naming the sizes beside it, unless the size is a positive multiple of the patch size."""
    if image_size < patch_size or image_size % patch_size:
        below = max(image_size // patch_size, 0) * patch_size
        nearest = [str(size) for size in (below, below + patch_size) if size >= patch_size]
        raise ValueError(
            f"image size {image_size}: not a multiple of the patch size {patch_size}; give {' or '.join(nearest)}"
        )
