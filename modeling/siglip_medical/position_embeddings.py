"""Resizes the position embeddings of a SigLIP, so that a model for 224 pixels becomes one for, say, 448.

The embeddings are resized once and saved with the model, instead of being interpolated at every call.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn


def resize_positions(model: Any, image_size: int, processor: Any = None) -> None:
    """Resizes the position embeddings of a SigLIP in place and updates its configuration.

    The embeddings equal those of SiglipModel's `interpolate_pos_encoding=True` (bicubic, corners not aligned, no
    antialiasing) bit for bit, because the same code computes them. A checkpoint saved afterwards loads without flags.

    Args:
        model: a SiglipModel, SiglipMedicalModel or SiglipVisionModel.
        image_size: side length of the square images in pixels, a multiple of the patch size.
        processor: a processor or an image processor, which is set to the same size; None to skip it.

    Raises:
        ValueError: the size is not an integer or not a positive multiple of the patch size.
    """
    vision = getattr(model, "vision_model", model)
    embeddings = vision.embeddings
    patch_size = embeddings.patch_size
    if not isinstance(image_size, int) or isinstance(image_size, bool) or not isinstance(patch_size, int):
        raise ValueError(
            f"The image size is {image_size} and the patch size {patch_size}. Images and patches are square: give one "
            "integer, the side length in pixels."
        )
    current = embeddings.image_size
    # The current size is not checked, because some released checkpoints have no multiple: 384 with patches of 14.
    if image_size != current:
        check_multiple(image_size, patch_size)
        # interpolate_pos_encoding reads only the shape of its first argument, (1, patches, width).
        patches = embeddings.position_embedding.weight.new_empty(
            1, (image_size // patch_size) ** 2, embeddings.embed_dim
        )
        old = embeddings.position_embedding.weight
        with torch.no_grad():
            positions = embeddings.interpolate_pos_encoding(patches, image_size, image_size)[0]  # (positions, D)
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
    """Raises ValueError with the nearest valid sizes, unless the size is a positive multiple of the patch size."""
    if image_size < patch_size or image_size % patch_size:
        below = max(image_size // patch_size, 0) * patch_size
        nearest = [str(size) for size in (below, below + patch_size) if size >= patch_size]
        raise ValueError(
            f"The image size {image_size} is not a positive multiple of the patch size {patch_size}. Use "
            f"{' or '.join(nearest)}."
        )
