"""The contrastive losses: SigLIP's pairwise sigmoid loss, and the variant of the project's specification.

With templated captions the same text stands beside many images, so a pair of a batch that is not (i, i) may be just
as true as one that is. `positives` says what happens to those. Few pairs are computed as the formulas are written,
many by `chunked_loss.py` in little memory; the result is the same.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F

from .chunked_loss import EPSILON, SOFTPLUS_LINEAR_FROM, ChunkedLoss, default_chunk_size, without_autocast
from .positive_pairs import POSITIVES, WEIGHTS, PositivePairs, positive_pairs

KINDS = ("sigmoid", "sigmoid_logsumexp")
CHUNKED_ABOVE = 1 << 20  # pairs: up to here all logits at once take no memory worth saving


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
    """The contrastive loss of N images and M texts.

    In one process M is N, and row i of one belongs to row i of the other. Of several processes each gives its own N
    images and the texts of all, gathered with their gradient: image i belongs to text `offset + i`. Where all processes
    have the same number of images, the mean of their losses is the loss of the whole batch; where they have not, each
    has to be weighted by its number.

    Args:
        image_embeds: `[N, D]`, as the tower gives them; they are normalised here. Without rows the loss is 0.
        text_embeds: `[M, D]`, likewise.
        logit_scale: logarithm of the temperature t, a scalar.
        logit_bias: b, a scalar.
        kind: `sigmoid` is the pairwise loss of SigLIP (Zhai et al., 2023, arXiv:2303.15343), summed over all pairs
            and divided by the number of images: mean_i sum_j softplus(-z_ij (t x_i.y_j + b)), with z_ij = 1 on
            positives and -1 elsewhere. `sigmoid_logsumexp` is mean_i -log sigmoid(s_ii - logsumexp_j s_ij); it knows
            no other positives than (i, i), and its bias cancels out.
        positives: `pair`: only (i, i) is positive. `group`: so is every pair with the same text or the same image.
            `mask`: those pairs are left out of the loss.
        group_ids: `[N]` integers, equal where the texts are the same. None: all texts differ.
        image_ids: `[N]` integers, equal where the images are the same. None: all images differ.
        text_group_ids, text_image_ids: `[M]`, the same of all M pairs. None: those of the N, where M is N.
        offset: the row of `text_embeds` that belongs to the first image.
        weights: `none`: every pair weighs 1. `inverse`: a positive weighs (1/k_i + 1/k_j) / 2, where k_i is the number
            of positives of image i among all M texts and k_j that of text j among all M images, and a negative 1. So
            a frequent text counts no more than a rare one, and all positives of the whole batch together weigh M. It
            is the soft weighting of SigLIP+ (siglip-kernel 0.1.2, `fused_siglip_plus.py`), and makes a difference to
            `positives="group"` alone.
        chunk_size: number of images whose logits are computed at a time. None: all of few pairs, and of more than
            2**20 as many as make 16 MiB of logits on a CPU, 128 MiB elsewhere. The memory is that of `chunk_size * M`
            logits and of 3 copies of the embeddings. In chunks there are no second derivatives.

    Returns:
        a scalar, in the embeddings' precision or float32, whichever is higher, under autocast too.

    Raises:
        ValueError: for an unknown `kind`, `positives` or `weights`, and for shapes that do not fit.
    """
    check(image_embeds, text_embeds, logit_scale, logit_bias, kind, positives, weights, offset, chunk_size)
    pairs = positive_pairs(
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
    with without_autocast(image_embeds.device):
        if chunk_size is None and images * texts <= CHUNKED_ABOVE:
            total = plain_loss(*inputs, kind, pairs)
        else:
            chunk_size = chunk_size or default_chunk_size(texts, image_embeds.device)
            total = ChunkedLoss.apply(*inputs, kind, pairs, chunk_size, torch.is_grad_enabled())
        return total / max(images, 1)


def plain_loss(
    image_embeds: torch.Tensor,
    text_embeds: torch.Tensor,
    logit_scale: torch.Tensor,
    logit_bias: torch.Tensor,
    kind: str,
    pairs: PositivePairs,
) -> torch.Tensor:
    """The loss summed over the images, all logits at once: the definition that `ChunkedLoss` is tested against."""
    precision = torch.promote_types(torch.promote_types(image_embeds.dtype, text_embeds.dtype), torch.float32)
    images, texts = normalize(image_embeds.to(precision)), normalize(text_embeds.to(precision))
    logits = images @ texts.T * logit_scale.to(precision).exp() + logit_bias.to(precision)  # [N, M]
    if kind == "sigmoid_logsumexp":
        return softplus(logits.logsumexp(dim=1) - pairs.diagonal(logits, 0)).sum()

    own = torch.zeros_like(logits, dtype=torch.bool)
    pairs.diagonal(own, 0).fill_(True)
    same = pairs.same(0, pairs.images)
    if same is None:
        same = own
    losses = softplus(torch.where(own if pairs.positives == "mask" else same, -logits, logits))
    if pairs.positives == "mask":
        losses = losses.masked_fill(same & ~own, 0.0)
    weights = pairs.weights(0, pairs.images, same)
    return (losses if weights is None else losses * weights).sum()


def normalize(embeds: torch.Tensor) -> torch.Tensor:
    """Rows of unit length; a row of zeros stays zero, where SiglipModel's own division would give NaN."""
    return F.normalize(embeds, dim=-1, eps=EPSILON)


def softplus(values: torch.Tensor) -> torch.Tensor:
    return F.softplus(values, threshold=SOFTPLUS_LINEAR_FROM)


def check(
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
    if kind not in KINDS or positives not in POSITIVES or weights not in WEIGHTS:
        raise ValueError(
            f"kind is one of {KINDS}, positives one of {POSITIVES} and weights one of {WEIGHTS}, "
            f"not {kind!r}, {positives!r} and {weights!r}"
        )
    shapes = [list(embeds.shape) for embeds in (image_embeds, text_embeds)]
    if any(len(shape) != 2 for shape in shapes) or shapes[0][1] != shapes[1][1]:
        raise ValueError(f"embeddings of the shapes {shapes[0]} and {shapes[1]}: give [N, D] and [M, D]")
    images, texts = shapes[0][0], shapes[1][0]
    if offset < 0 or offset + images > texts:
        raise ValueError(
            f"{images} images from row {offset} of {texts} texts: image i belongs to text offset + i, so all of them "
            "need a text of their own"
        )
    if logit_scale.numel() != 1 or logit_bias.numel() != 1:
        raise ValueError(
            f"logit_scale and logit_bias are scalars, not {list(logit_scale.shape)} and {list(logit_bias.shape)}"
        )
    if chunk_size is not None and chunk_size < 1:
        raise ValueError(f"chunk_size is a number of images from 1 on, or None, not {chunk_size}")
