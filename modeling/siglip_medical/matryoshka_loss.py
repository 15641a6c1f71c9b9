"""Computes the training loss of a batch of embeddings: the contrastive loss at one width or several (Matryoshka).

The model's `forward` calls it for one batch. A trainer that gathers the embeddings of several micro-batches or
processes calls it for all of them at once, with the same result.
"""

from __future__ import annotations

from typing import Any

import torch

from .contrastive_loss import contrastive_loss


def embedding_loss(
    config: Any,
    image_embeds: torch.Tensor,
    text_embeds: torch.Tensor,
    logit_scale: torch.Tensor,
    logit_bias: torch.Tensor,
    **ids: Any,
) -> torch.Tensor:
    """Computes the loss of a batch with the settings of a configuration.

    With `matryoshka_dims`, the loss is the mean of the contrastive losses of the embeddings truncated to each of those
    widths, weighted by `matryoshka_weights` (Kusupati et al., 2022, arXiv:2205.13147). The contrastive loss normalizes
    its inputs, so truncated embeddings have unit length, too.

    Args:
        config: a SiglipMedicalConfig, or an object with `contrastive_loss` and `positives` and optionally
            `contrastive_weights`, `matryoshka_dims` and `matryoshka_weights`, for example a command's arguments.
        image_embeds: `[N, D]`.
        text_embeds: `[M, D]`.
        logit_scale: scalar, see `contrastive_loss`.
        logit_bias: scalar, see `contrastive_loss`.
        ids: further arguments of `contrastive_loss`, for example `group_ids` and `image_ids`; None means not given.

    Returns:
        a scalar.

    Raises:
        ValueError: the widths do not fit the embeddings, see `resolve_matryoshka_dims`.
    """
    ids = {name: value for name, value in ids.items() if value is not None}
    settings = {"kind": config.contrastive_loss, "positives": config.positives} | ids
    settings.setdefault("weights", getattr(config, "contrastive_weights", "none"))
    width = image_embeds.shape[-1]
    total: torch.Tensor | float = 0.0
    for dim, weight in resolve_matryoshka_dims(config, width):
        images, texts = (image_embeds, text_embeds) if dim == width else (image_embeds[:, :dim], text_embeds[:, :dim])
        loss = contrastive_loss(images, texts, logit_scale, logit_bias, **settings)
        total = total + (loss if weight == 1 else weight * loss)
    return total


def resolve_matryoshka_dims(config: Any, width: int) -> list[tuple[int, float]]:
    """Returns the widths to train and their weights, which add up to 1; only the full width if none are configured.

    Args:
        config: see `embedding_loss`.
        width: D, the full width of the embeddings.

    Raises:
        ValueError: a width is not between 1 and `width` or is repeated, `width` itself is missing (the dimensions above
            the largest width would stay untrained), or there is not one positive weight per width.
    """
    dims = getattr(config, "matryoshka_dims", None)
    weights = getattr(config, "matryoshka_weights", None)
    if not dims:
        if weights:
            raise ValueError(
                f"matryoshka_weights is {weights}, but matryoshka_dims is not set. Give one width per weight."
            )
        return [(width, 1.0)]
    if len(set(dims)) != len(dims) or min(dims) < 1 or max(dims) != width:
        raise ValueError(
            f"matryoshka_dims is {list(dims)}. Give different widths between 1 and {width}, the width of the "
            f"embeddings, and include {width} itself."
        )
    weights = [1.0] * len(dims) if weights is None else weights
    if len(weights) != len(dims) or min(weights) <= 0:
        raise ValueError(
            f"matryoshka_weights is {list(weights)}. Give one positive number for each of the widths {list(dims)}."
        )
    return [(dim, weight / sum(weights)) for dim, weight in zip(dims, weights, strict=True)]
