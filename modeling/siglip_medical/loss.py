"""The contrastive losses: SigLIP's pairwise sigmoid loss, and the variant of the project's specification.

With templated captions the same text stands beside many images, so a pair of a batch that is not (i, i) may be just
as true as one that is. `positives` says what happens to those.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F

KINDS = ("sigmoid", "sigmoid_logsumexp")
POSITIVES = ("pair", "group", "mask")


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
) -> torch.Tensor:
    """The contrastive loss of N images and N texts, row i of one belonging to row i of the other.

    Args:
        image_embeds, text_embeds: `[N, D]` as the towers give them; they are normalised here.
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

    Returns:
        a scalar, in the embeddings' precision or float32, whichever is higher.

    Raises:
        ValueError: for an unknown `kind` or `positives`.
    """
    if kind not in KINDS or positives not in POSITIVES:
        raise ValueError(f"kind is one of {KINDS} and positives one of {POSITIVES}, not {kind!r} and {positives!r}")
    precision = torch.promote_types(image_embeds.dtype, torch.float32)
    image_embeds = normalize(image_embeds.to(precision))
    text_embeds = normalize(text_embeds.to(precision))
    logits = image_embeds @ text_embeds.T * logit_scale.to(precision).exp() + logit_bias.to(precision)  # [N, N]
    if kind == "sigmoid_logsumexp":
        return -F.logsigmoid(logits.diagonal() - logits.logsumexp(dim=1)).mean()

    diagonal = torch.eye(len(logits), dtype=torch.bool, device=logits.device)
    same = diagonal | same_ids(group_ids, diagonal) | same_ids(image_ids, diagonal)  # [N, N]
    if positives == "pair":
        same = diagonal
    signs = torch.where(diagonal if positives == "mask" else same, 1.0, -1.0).to(precision)
    losses = F.softplus(-signs * logits)
    if positives == "mask":
        losses = losses.masked_fill(same & ~diagonal, 0.0)
    return losses.sum() / len(logits)


def normalize(embeds: torch.Tensor) -> torch.Tensor:
    """Rows of unit length; a row of zeros stays zero, where SiglipModel's own division would give NaN."""
    return F.normalize(embeds, dim=-1, eps=1e-8)


def same_ids(ids: torch.Tensor | None, diagonal: torch.Tensor) -> torch.Tensor:
    """`[N, N]`, true where two rows have the same id."""
    return diagonal if ids is None else ids[:, None] == ids[None, :]
