"""What a batch of embeddings is trained on: the contrastive loss, over the whole width or over several (Matryoshka).

The model's forward calls it on one batch; a trainer that gathers embeddings of several micro-batches or processes
calls it on all of them, and gets the same loss.
"""

from __future__ import annotations

from typing import Any

import torch

from .loss import contrastive_loss


def embedding_loss(
    config: Any,
    image_embeds: torch.Tensor,
    text_embeds: torch.Tensor,
    logit_scale: torch.Tensor,
    logit_bias: torch.Tensor,
    **ids: Any,
) -> torch.Tensor:
    """The loss of a batch as a configuration asks for it.

    With `matryoshka_dims` it is the mean over those widths, weighted by `matryoshka_weights`, of the contrastive loss
    of the embeddings cut to their leading dimensions (Kusupati et al., 2022, arXiv:2205.13147). The loss normalises
    what it is given, so every cut is of unit length again.

    Args:
        config: anything with `contrastive_loss` and `positives`, and if it has them `contrastive_weights`,
            `matryoshka_dims` and `matryoshka_weights`: a SiglipMedicalConfig, or a command's arguments.
        image_embeds: `[N, D]`.
        text_embeds: `[M, D]`.
        logit_scale, logit_bias: scalars, see `contrastive_loss`.
        ids: what else `contrastive_loss` is given: `group_ids`, `image_ids`, ... Those that are None are left out.

    Returns:
        a scalar.

    Raises:
        ValueError: for widths that do not fit the embeddings, see `matryoshka`.
    """
    ids = {name: value for name, value in ids.items() if value is not None}
    settings = {"kind": config.contrastive_loss, "positives": config.positives} | ids
    settings.setdefault("weights", getattr(config, "contrastive_weights", "none"))
    width = image_embeds.shape[-1]
    total: torch.Tensor | float = 0.0
    for dim, weight in matryoshka(config, width):
        images, texts = (image_embeds, text_embeds) if dim == width else (image_embeds[:, :dim], text_embeds[:, :dim])
        loss = contrastive_loss(images, texts, logit_scale, logit_bias, **settings)
        total = total + (loss if weight == 1 else weight * loss)
    return total


def matryoshka(config: Any, width: int) -> list[tuple[int, float]]:
    """The widths that are trained and their weights, which add up to 1; the whole width alone where none are set.

    Raises:
        ValueError: a width is not between 1 and `width` or is named twice, `width` itself is not among them (the
            dimensions beyond the largest would be left as noise), or the weights are not one positive number for each.
    """
    dims = getattr(config, "matryoshka_dims", None)
    weights = getattr(config, "matryoshka_weights", None)
    if not dims:
        if weights:
            raise ValueError(f"matryoshka_weights {weights} without matryoshka_dims: give the widths they belong to")
        return [(width, 1.0)]
    if len(set(dims)) != len(dims) or min(dims) < 1 or max(dims) != width:
        raise ValueError(
            f"matryoshka_dims {list(dims)}: give different widths between 1 and {width}, the width of the embeddings, "
            f"and {width} itself among them"
        )
    weights = [1.0] * len(dims) if weights is None else weights
    if len(weights) != len(dims) or min(weights) <= 0:
        raise ValueError(f"matryoshka_weights {list(weights)}: give one positive number for each of {list(dims)}")
    return [(dim, weight / sum(weights)) for dim, weight in zip(dims, weights, strict=True)]
