"""Computes the contrastive loss of many thousands of pairs without a matrix of all logits.

All gradients are computed in the forward pass, one chunk of images at a time: the logits of a chunk are overwritten
with their own gradient, which is added to the gradients of both embeddings, and the next chunk reuses the buffer.
Nothing is computed twice, and the backward pass is one multiplication. In addition to the inputs, the memory holds the
normalized text embeddings, the two gradients and one chunk of logits.

Liger Kernel computes cross-entropy in the same way (Hsu et al., 2024, arXiv:2410.10989); this is plain PyTorch.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import NamedTuple

import torch
import torch.nn.functional as F

from .positive_pairs import PositivePairs

EPSILON = 1e-8  # lower bound of the norm that an embedding is divided by
# Above this value softplus(x) equals x even in float64, and exp(x) is still finite in float32.
SOFTPLUS_LINEAR_FROM = 40.0
# Logits per chunk: 4 Mi, or 16 MiB in float32, on a CPU. On a GPU a few large kernels matter more than memory: 32 Mi.
CHUNK_LOGITS = {"cpu": 1 << 22}
DEFAULT_CHUNK_LOGITS = 1 << 25
# On a CPU, elementwise operations run on this many logits at a time (1 MiB in float32), which stay in its cache.
CACHED_LOGITS = 1 << 18


class Gradients(NamedTuple):
    """Gradients of the loss summed over the images; None for an input that requires none."""

    images: torch.Tensor | None
    texts: torch.Tensor | None
    logit_scale: torch.Tensor | None
    logit_bias: torch.Tensor | None


def default_chunk_size(texts: int, device: torch.device) -> int:
    """Returns the number of images per chunk for this number of texts, at least 32."""
    return max(CHUNK_LOGITS.get(device.type, DEFAULT_CHUNK_LOGITS) // max(texts, 1), 32)


class ChunkedLoss(torch.autograd.Function):
    """Computes the loss `kind`, summed over the images; see `contrastive_loss` for the inputs."""

    @staticmethod
    def forward(ctx, images, texts, logit_scale, logit_bias, kind, pairs, chunk_size, with_gradients):
        ctx.settings = (kind, pairs, chunk_size)
        ctx.needed = ctx.needs_input_grad[:4] if with_gradients else (False,) * 4
        ctx.save_for_backward(images, texts, logit_scale, logit_bias)
        total, ctx.gradients = loss_and_gradients(
            images, texts, logit_scale, logit_bias, *ctx.settings, needed=ctx.needed
        )
        return total

    @staticmethod
    def backward(ctx, factor):
        # Gradients are enabled here with `create_graph=True`; the gradients below would be treated as constants.
        if torch.is_grad_enabled():
            raise RuntimeError(
                "The chunked contrastive loss has no second derivatives. Leave out create_graph=True, or compute the "
                "loss without chunk_size and with at most 2**20 pairs."
            )
        inputs = ctx.saved_tensors  # raises autograd's error if the graph has been freed
        # The buffers are scaled in place and returned without a copy. A second backward pass through the same graph
        # (`retain_graph=True`) therefore computes them again.
        gradients, ctx.gradients = ctx.gradients, None
        if gradients is None:
            with disable_autocast(inputs[0].device):
                _, gradients = loss_and_gradients(*inputs, *ctx.settings, needed=ctx.needed)
        scaled = [
            None if gradient is None else gradient.mul_(factor).to(tensor.dtype)
            for gradient, tensor in zip(gradients, inputs, strict=True)
        ]
        return *scaled, None, None, None, None


def loss_and_gradients(
    images: torch.Tensor,
    texts: torch.Tensor,
    logit_scale: torch.Tensor,
    logit_bias: torch.Tensor,
    kind: str,
    pairs: PositivePairs,
    chunk_size: int,
    *,
    needed: tuple[bool, bool, bool, bool],
) -> tuple[torch.Tensor, Gradients]:
    """Returns the loss summed over the images, and its gradients.

    Args:
        images: `[N, D]`.
        texts: `[M, D]`.
        chunk_size: n, the number of images per chunk.
        needed: which of the first four inputs require a gradient.
    """
    precision = torch.promote_types(torch.promote_types(images.dtype, texts.dtype), torch.float32)
    temperature = logit_scale.to(precision).exp().reshape(())
    bias = logit_bias.to(precision).reshape(())
    images_needed, texts_needed, scale_needed, bias_needed = needed
    # The gradient of logit_scale is the sum of x . dL/dx over the normalized embeddings x of either side, so it needs
    # no additional pass over all pairs.
    through_images = images_needed or (scale_needed and not texts_needed)

    unit_texts, text_norms = normalize_rows(texts, precision)  # (M, D), (M, 1)
    image_gradient = torch.empty_like(images, dtype=precision) if images_needed else None
    text_gradient = torch.zeros_like(unit_texts) if texts_needed else None
    scale_gradient, bias_gradient = temperature.new_zeros(()), temperature.new_zeros(())
    losses = unit_texts.new_empty(len(images))  # (N)
    has_others = pairs.find_rows_with_others() if kind == "sigmoid" else []
    buffer = unit_texts.new_empty(min(chunk_size, len(images)), len(texts))  # (n, M)

    for start in range(0, len(images), chunk_size):
        stop = min(start + chunk_size, len(images))
        unit_images, norms = normalize_rows(images[start:stop], precision)  # (n, D), (n, 1)
        scaled = unit_images * temperature
        # (n, D) @ (D, M) -> (n, M)
        logits = torch.addmm(bias, scaled, unit_texts.T, out=buffer[: stop - start])
        rows = max(CACHED_LOGITS // len(texts), 1) if logits.device.type == "cpu" else stop - start
        for first in range(start, stop, rows):
            last = min(first + rows, stop)
            part = logits[first - start : last - start]
            if kind == "sigmoid_logsumexp":
                losses[first:last] = compute_logsumexp_rows_(part, first, pairs)
            else:
                losses[first:last] = compute_sigmoid_rows_(part, first, pairs, any(has_others[first:last]))
        gradient = logits  # the loss functions above have overwritten each logit with its gradient
        if bias_needed:
            bias_gradient += gradient.sum()
        if texts_needed:
            text_gradient.addmm_(gradient.T, scaled)  # (M, n) @ (n, D) -> (M, D)
        if through_images:
            unit_gradient = (gradient @ unit_texts).mul_(temperature)  # (n, M) @ (M, D) -> (n, D)
            projections = backpropagate_normalization_(unit_gradient, unit_images, norms)
            scale_gradient += projections.sum()
            if images_needed:
                image_gradient[start:stop] = unit_gradient
    if texts_needed:
        # 1024 rows at a time, because a temporary copy of all rows would be as large as the gradient itself.
        for start in range(0, len(texts), 1024):
            rows = slice(start, start + 1024)
            projections = backpropagate_normalization_(text_gradient[rows], unit_texts[rows], text_norms[rows])
            if not through_images:
                scale_gradient += projections.sum()
    return losses.sum(), Gradients(
        image_gradient,
        text_gradient,
        scale_gradient.reshape(logit_scale.shape) if scale_needed else None,
        bias_gradient.reshape(logit_bias.shape) if bias_needed else None,
    )


def compute_sigmoid_rows_(logits: torch.Tensor, start: int, pairs: PositivePairs, has_others: bool) -> torch.Tensor:
    """Computes the pairwise sigmoid losses of n images and overwrites `logits` `[n, M]` with their gradient.

    The loss of a positive pair with logit l is softplus(-l), and its gradient is -sigmoid(-l). The sign of positive
    logits is flipped before and after, which keeps the small losses of well-matched positives exact.

    Args:
        start: the index of the first of these images.
        has_others: whether one of these images has a positive or masked text other than its own.

    Returns:
        `[n]`, the losses summed over all texts.
    """
    matches = pairs.find_matches(start, start + len(logits)) if has_others else None
    own = pairs.diagonal(logits, start)
    if matches is None or pairs.positives == "mask":
        if matches is not None:
            pairs.diagonal(matches, start).fill_(False)
            logits.masked_fill_(matches, -torch.inf)  # softplus and sigmoid are 0 there: no loss and no gradient
        own.neg_()
        losses = F.softplus(logits, threshold=SOFTPLUS_LINEAR_FROM).sum(dim=1)
        logits.sigmoid_()
        own.neg_()
        return losses
    signs = torch.where(matches, logits.new_tensor(-1.0), logits.new_tensor(1.0))
    weights = pairs.compute_weights(start, start + len(logits), matches)
    losses = F.softplus(logits.mul_(signs), threshold=SOFTPLUS_LINEAR_FROM)
    logits.sigmoid_().mul_(signs)
    if weights is not None:
        losses.mul_(weights)
        logits.mul_(weights)
    return losses.sum(dim=1)


def compute_logsumexp_rows_(logits: torch.Tensor, start: int, pairs: PositivePairs) -> torch.Tensor:
    """Computes the log-sum-exp losses of n images and overwrites `logits` `[n, M]` with their gradient.

    Returns:
        `[n]`, -log sigmoid(s_ii - logsumexp_j s_ij).
    """
    sums = logits.logsumexp(dim=1)  # (n)
    own = pairs.diagonal(logits, start)  # (n), a view of `logits`
    margins = sums - own
    losses = F.softplus(margins, threshold=SOFTPLUS_LINEAR_FROM)
    # d loss / d s_ij = sigmoid(margin_i) * (softmax_ij - [i = j])
    slopes = margins.sigmoid()
    logits.sub_(sums[:, None]).exp_().mul_(slopes[:, None])
    own.sub_(slopes)
    return losses


def normalize_rows(rows: torch.Tensor, precision: torch.dtype) -> tuple[torch.Tensor, torch.Tensor]:
    """Returns the rows scaled to unit length, as `normalize` does, and their norms `[n, 1]`."""
    norms = torch.linalg.vector_norm(rows, dim=-1, keepdim=True, dtype=precision)
    return rows.to(precision, copy=True).div_(norms.clamp_min(EPSILON)), norms


def backpropagate_normalization_(gradient: torch.Tensor, unit: torch.Tensor, norms: torch.Tensor) -> torch.Tensor:
    """Converts the gradient by normalized rows, in place, to the gradient by the rows themselves.

    The component along the row is removed and the rest is divided by the norm. A row with a norm below EPSILON was
    divided by the constant EPSILON, so its component is kept.

    Args:
        gradient: `[n, D]`, overwritten.
        unit: `[n, D]`, the normalized rows.
        norms: `[n, 1]`, the norms before normalization.

    Returns:
        `[n, 1]`, the component of the gradient along each row.
    """
    projections = (gradient * unit).sum(dim=-1, keepdim=True)
    gradient.sub_(unit * (projections * (norms >= EPSILON))).div_(norms.clamp_min(EPSILON))
    return projections


def disable_autocast(device: torch.device) -> AbstractContextManager:
    """Returns a context without autocast.

    Products in bfloat16 would change a logit by 0.5 and more at a temperature of 100.
    """
    if torch.amp.is_autocast_available(device.type):
        return torch.autocast(device.type, enabled=False)
    return nullcontext()
