"""How is the contrastive loss of many thousands of pairs computed in little memory?

All gradients are computed in the forward pass, a few rows of images at a time: their logits become their own gradient
in place, go into the gradients of both embeddings and are overwritten by the next rows'. So no matrix of all pairs is
ever held, nothing is computed twice, and the backward pass is one multiplication. The memory above the inputs is the
texts at unit length, the two gradients, and one chunk of rows.

Liger Kernel does the same for cross-entropy (Hsu et al., 2024, arXiv:2410.10989); here it is plain PyTorch.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import NamedTuple

import torch
import torch.nn.functional as F

from .positive_pairs import PositivePairs

EPSILON = 1e-8  # the least length that an embedding is divided by
SOFTPLUS_LINEAR_FROM = 40.0  # beyond it softplus(x) is x in float64, too; exp of it is finite in float32
# Elements of a chunk of logits: 16 MiB on a CPU. On a GPU few large kernels are worth more than little memory.
CHUNK = {"cpu": 1 << 22}
CHUNK_ELSEWHERE = 1 << 25
# On a CPU what is done to each logit is done for so many at a time that they stay in its cache (1 MiB).
IN_CACHE = 1 << 18


class Gradients(NamedTuple):
    """Of the sum over the images, by input; None where it was not asked for."""

    images: torch.Tensor | None
    texts: torch.Tensor | None
    logit_scale: torch.Tensor | None
    logit_bias: torch.Tensor | None


def default_chunk_size(texts: int, device: torch.device) -> int:
    """How many images are computed at a time with so many texts."""
    return max(CHUNK.get(device.type, CHUNK_ELSEWHERE) // max(texts, 1), 32)


class ChunkedLoss(torch.autograd.Function):
    """The loss `kind` summed over the images; see `contrastive_loss` for the inputs."""

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
        if torch.is_grad_enabled():  # `create_graph`: what this returns would look like constants
            raise RuntimeError(
                "the contrastive loss in chunks has no second derivatives: it has them without chunk_size and with at "
                "most 2**20 pairs"
            )
        inputs = ctx.saved_tensors  # raises autograd's own error where the graph is freed
        # The buffers are given away, so that they are not copied; who goes backward a second time (`retain_graph`)
        # pays with a second computation.
        gradients, ctx.gradients = ctx.gradients, None
        if gradients is None:
            with without_autocast(inputs[0].device):
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
    """The loss summed over the images, and its gradients by those inputs that are `needed`."""
    precision = torch.promote_types(torch.promote_types(images.dtype, texts.dtype), torch.float32)
    temperature = logit_scale.to(precision).exp().reshape(())
    bias = logit_bias.to(precision).reshape(())
    of_images, of_texts, of_scale, of_bias = needed
    # The temperature's gradient is the sum of x . dL/dx over either side: it costs no look at all the pairs.
    through_images = of_images or (of_scale and not of_texts)

    unit_texts, text_lengths = unit_rows(texts, precision)  # [M, D], [M, 1]
    image_gradient = torch.empty_like(images, dtype=precision) if of_images else None
    text_gradient = torch.zeros_like(unit_texts) if of_texts else None
    scale_gradient, bias_gradient = temperature.new_zeros(()), temperature.new_zeros(())
    losses = unit_texts.new_empty(len(images))  # [N]
    others = pairs.rows_with_others() if kind == "sigmoid" else []
    buffer = unit_texts.new_empty(min(chunk_size, len(images)), len(texts))

    for start in range(0, len(images), chunk_size):
        stop = min(start + chunk_size, len(images))
        unit, lengths = unit_rows(images[start:stop], precision)  # [n, D], [n, 1]
        scaled = unit * temperature
        logits = torch.addmm(bias, scaled, unit_texts.T, out=buffer[: stop - start])  # (n, D) . (D, M) -> (n, M)
        rows = max(IN_CACHE // len(texts), 1) if logits.device.type == "cpu" else stop - start
        for first in range(start, stop, rows):
            last = min(first + rows, stop)
            part = logits[first - start : last - start]
            if kind == "sigmoid_logsumexp":
                losses[first:last] = logsumexp_rows_(part, first, pairs)
            else:
                losses[first:last] = sigmoid_rows_(part, first, pairs, any(others[first:last]))
        gradient = logits  # each logit is now the loss's gradient by it
        if of_bias:
            bias_gradient += gradient.sum()
        if of_texts:
            text_gradient.addmm_(gradient.T, scaled)  # (M, n) . (n, D) -> (M, D)
        if through_images:
            by_unit = (gradient @ unit_texts).mul_(temperature)  # (n, M) . (M, D) -> (n, D)
            along = through_unit_length_(by_unit, unit, lengths)
            scale_gradient += along.sum()
            if of_images:
                image_gradient[start:stop] = by_unit
    if of_texts:
        for start in range(0, len(texts), 1024):  # a copy of all rows would be as large as the gradient
            rows = slice(start, start + 1024)
            along = through_unit_length_(text_gradient[rows], unit_texts[rows], text_lengths[rows])
            if not through_images:
                scale_gradient += along.sum()
    return losses.sum(), Gradients(
        image_gradient,
        text_gradient,
        scale_gradient.reshape(logit_scale.shape) if of_scale else None,
        bias_gradient.reshape(logit_bias.shape) if of_bias else None,
    )


def sigmoid_rows_(logits: torch.Tensor, start: int, pairs: PositivePairs, others: bool) -> torch.Tensor:
    """`[n]`, the pairwise losses of n images summed over all texts; `logits` `[n, M]` become their gradient.

    The loss of a positive is softplus(-l), of which the gradient is -sigmoid(-l): the sign of positives is turned
    before and after, which keeps the small losses of good positives exact.

    Args:
        start: the number of the first of these images.
        others: one of them belongs together with another text than its own.
    """
    same = pairs.same(start, start + len(logits)) if others else None
    own = pairs.diagonal(logits, start)
    if same is None or pairs.positives == "mask":
        if same is not None:
            pairs.diagonal(same, start).fill_(False)
            logits.masked_fill_(same, -torch.inf)  # neither loss nor gradient
        own.neg_()
        losses = F.softplus(logits, threshold=SOFTPLUS_LINEAR_FROM).sum(dim=1)
        logits.sigmoid_()
        own.neg_()
        return losses
    signs = torch.where(same, logits.new_tensor(-1.0), logits.new_tensor(1.0))
    weights = pairs.weights(start, start + len(logits), same)
    losses = F.softplus(logits.mul_(signs), threshold=SOFTPLUS_LINEAR_FROM)
    logits.sigmoid_().mul_(signs)
    if weights is not None:
        losses.mul_(weights)
        logits.mul_(weights)
    return losses.sum(dim=1)


def logsumexp_rows_(logits: torch.Tensor, start: int, pairs: PositivePairs) -> torch.Tensor:
    """`[n]`, -log sigmoid(s_ii - logsumexp_j s_ij) of n images; `logits` `[n, M]` become their gradient."""
    sums = logits.logsumexp(dim=1)
    own = pairs.diagonal(logits, start)
    short = sums - own
    losses = F.softplus(short, threshold=SOFTPLUS_LINEAR_FROM)
    slopes = short.sigmoid()
    logits.sub_(sums[:, None]).exp_().mul_(slopes[:, None])
    own.sub_(slopes)
    return losses


def unit_rows(rows: torch.Tensor, precision: torch.dtype) -> tuple[torch.Tensor, torch.Tensor]:
    """The rows at unit length, as `normalize` gives them, and their lengths `[n, 1]`."""
    lengths = torch.linalg.vector_norm(rows, dim=-1, keepdim=True, dtype=precision)
    return rows.to(precision, copy=True).div_(lengths.clamp_min(EPSILON)), lengths


def through_unit_length_(gradient: torch.Tensor, unit: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
    """Turns the gradient by unit rows into that by the rows themselves, in place.

    A row shorter than EPSILON was divided by that number: nothing of its gradient is taken away.

    Returns:
        `[n, 1]`, how much of the gradient lay along each row.
    """
    along = (gradient * unit).sum(dim=-1, keepdim=True)
    gradient.sub_(unit * (along * (lengths >= EPSILON))).div_(lengths.clamp_min(EPSILON))
    return along


def without_autocast(device: torch.device) -> AbstractContextManager:
    """Autocast would multiply in bfloat16: at a temperature of 100 a logit would be off by half and more."""
    if torch.amp.is_autocast_available(device.type):
        return torch.autocast(device.type, enabled=False)
    return nullcontext()
