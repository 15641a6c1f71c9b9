"""Computes SigLIP's pairwise sigmoid loss, and a variant with one softmax per image, for batches with duplicates.

With templated captions, many images have the same text, so a pair (i, j) of a batch can be as correct as (i, i). The
argument `positives` selects how the loss treats such pairs. A small batch is computed from one matrix of logits, a
large batch in chunks by `chunked_contrastive_loss.py`; the result is the same.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F

from .chunked_contrastive_loss import EPSILON, SOFTPLUS_LINEAR_FROM, ChunkedLoss, default_chunk_size, disable_autocast
from .positive_pairs import POSITIVES, WEIGHTS, PositivePairs, find_positive_pairs

KINDS = ("sigmoid", "sigmoid_logsumexp")
# Batches of up to this many pairs (4 MiB of float32 logits) are not worth chunking.
MAX_UNCHUNKED_PAIRS = 1 << 20


def contrastive_loss(
    image_embeds: torch.Tensor,
    text_embeds: torch.Tensor,
    logit_scale: torch.Tensor,
    logit_bias: torch.Tensor,
    *,
    kind: str = "sigmoid",
    positives: str = "group",
    group_ids: torch.Tensor | None = None,
    image_ids: torch.Tensor | None = None,
    text_group_ids: torch.Tensor | None = None,
    text_image_ids: torch.Tensor | None = None,
    offset: int = 0,
    weights: str = "none",
    chunk_size: int | None = None,
) -> torch.Tensor:
    """Computes the contrastive loss of N images and M texts.

    In one process, M equals N and image i belongs to text i. With several processes, each passes its own N images and
    the texts of all processes, gathered with gradients; image i belongs to text `offset + i`. The loss of the whole
    batch is the mean of the processes' losses, weighted by their numbers of images if these differ.

    Args:
        image_embeds: `[N, D]` outputs of the vision tower; they are normalized here. With N = 0 the loss is 0.
        text_embeds: `[M, D]` outputs of the text tower; they are normalized here.
        logit_scale: scalar, the logarithm of the temperature t.
        logit_bias: scalar, the bias b.
        kind: `sigmoid` is the pairwise loss of SigLIP (Zhai et al., 2023, arXiv:2303.15343), summed over all pairs
            and divided by the number of images: mean_i sum_j softplus(-z_ij (t x_i.y_j + b)), with z_ij = 1 for
            positives and -1 otherwise. `sigmoid_logsumexp` is mean_i -log sigmoid(s_ii - logsumexp_j s_ij), where s are
            the logits; only (i, i) is positive, and the bias cancels out.
        positives: `pair`: only (i, i) is positive. `group`: every pair with the same text or the same image is
            positive, too. `mask`: such pairs are left out of the loss.
        group_ids: `[N]` integers, equal for equal texts. None if all texts differ.
        image_ids: `[N]` integers, equal for equal images. None if all images differ.
        text_group_ids: `[M]`, the group ids of all M pairs. None if M equals N.
        text_image_ids: `[M]`, the image ids of all M pairs. None if M equals N.
        offset: the row of `text_embeds` that belongs to the first image.
        weights: `none`: every pair has the weight 1. `inverse`: a negative has the weight 1, a positive
            (1/k_i + 1/k_j) / 2, where k_i is the number of positives of image i among all M texts and k_j the number of
            positives of text j among all M images. A frequent text then counts as much as a rare one, and the positives
            of the whole batch have the total weight M. This is the soft weighting of SigLIP+ (siglip-kernel 0.1.2,
            `fused_siglip_plus.py`). It has an effect only with `positives="group"`.
        chunk_size: the number of images whose logits are computed at a time. None computes up to 2**20 pairs at once
            and more pairs in chunks of 16 MiB of logits on a CPU, 128 MiB on other devices. Memory use is that of
            `chunk_size * M` logits and 3 copies of the embeddings. The chunked loss has no second derivatives.

    Returns:
        a scalar in float32, or in the precision of the embeddings if that is higher; autocast does not change it.

    Raises:
        ValueError: `kind`, `positives` or `weights` is unknown, or shapes do not match.
    """
    check_arguments(image_embeds, text_embeds, logit_scale, logit_bias, kind, positives, weights, offset, chunk_size)
    pairs = find_positive_pairs(
        image_embeds,
        text_embeds,
        positives=positives,
        weights=weights,
        offset=offset,
        group_ids=group_ids,
        image_ids=image_ids,
        text_group_ids=text_group_ids,
        text_image_ids=text_image_ids,
    )
    images, texts = len(image_embeds), len(text_embeds)
    inputs = (image_embeds, text_embeds, logit_scale, logit_bias)
    with disable_autocast(image_embeds.device):
        if chunk_size is None and images * texts <= MAX_UNCHUNKED_PAIRS:
            total = compute_unchunked_loss(*inputs, kind, pairs)
        else:
            chunk_size = chunk_size or default_chunk_size(texts, image_embeds.device)
            total = ChunkedLoss.apply(*inputs, kind, pairs, chunk_size, torch.is_grad_enabled())
        return total / max(images, 1)


def compute_unchunked_loss(
    image_embeds: torch.Tensor,
    text_embeds: torch.Tensor,
    logit_scale: torch.Tensor,
    logit_bias: torch.Tensor,
    kind: str,
    pairs: PositivePairs,
) -> torch.Tensor:
    """Computes the loss summed over the images from one matrix of logits.

    This is the definition that `ChunkedLoss` is tested against.
    """
    precision = torch.promote_types(torch.promote_types(image_embeds.dtype, text_embeds.dtype), torch.float32)
    images, texts = normalize(image_embeds.to(precision)), normalize(text_embeds.to(precision))
    # (N, D) @ (D, M) -> (N, M)
    logits = images @ texts.T * logit_scale.to(precision).exp() + logit_bias.to(precision)
    if kind == "sigmoid_logsumexp":
        return softplus(logits.logsumexp(dim=1) - pairs.diagonal(logits, 0)).sum()

    own = torch.zeros_like(logits, dtype=torch.bool)
    pairs.diagonal(own, 0).fill_(True)
    matches = pairs.find_matches(0, pairs.images)
    if matches is None:
        matches = own
    losses = softplus(torch.where(own if pairs.positives == "mask" else matches, -logits, logits))
    if pairs.positives == "mask":
        losses = losses.masked_fill(matches & ~own, 0.0)
    weights = pairs.compute_weights(0, pairs.images, matches)
    return (losses if weights is None else losses * weights).sum()


def normalize(embeds: torch.Tensor) -> torch.Tensor:
    """Scales rows to unit length; a row of zeros stays zero, where the division in SiglipModel would return NaN."""
    return F.normalize(embeds, dim=-1, eps=EPSILON)


def softplus(values: torch.Tensor) -> torch.Tensor:
    """Computes log(1 + exp(x)) with the same threshold as the chunked loss."""
    return F.softplus(values, threshold=SOFTPLUS_LINEAR_FROM)


def check_arguments(
    image_embeds: torch.Tensor,
    text_embeds: torch.Tensor,
    logit_scale: torch.Tensor,
    logit_bias: torch.Tensor,
    kind: str,
    positives: str,
    weights: str,
    offset: int,
    chunk_size: int | None,
) -> None:
    """Raises ValueError for an argument of `contrastive_loss` that is unknown or has the wrong shape."""
    for name, value, choices in (
        ("kind", kind, KINDS),
        ("positives", positives, POSITIVES),
        ("weights", weights, WEIGHTS),
    ):
        if value not in choices:
            raise ValueError(f"{name} is {value!r}. Use {', '.join(choices[:-1])} or {choices[-1]}.")
    shapes = [list(embeds.shape) for embeds in (image_embeds, text_embeds)]
    if any(len(shape) != 2 for shape in shapes) or shapes[0][1] != shapes[1][1]:
        raise ValueError(
            f"image_embeds has the shape {shapes[0]} and text_embeds the shape {shapes[1]}. Give [N, D] and [M, D]."
        )
    images, texts = shapes[0][0], shapes[1][0]
    if offset < 0 or offset + images > texts:
        raise ValueError(
            f"There are {images} images and {texts} texts, and offset is {offset}. Image i belongs to text offset + i, "
            "so give at least offset + images texts and an offset from 0 on."
        )
    if logit_scale.numel() != 1 or logit_bias.numel() != 1:
        raise ValueError(
            f"logit_scale has the shape {list(logit_scale.shape)} and logit_bias {list(logit_bias.shape)}. "
            "Give scalars."
        )
    if chunk_size is not None and chunk_size < 1:
        raise ValueError(f"chunk_size is {chunk_size}. Give a number of images of at least 1, or None.")
