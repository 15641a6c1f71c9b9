"""Computes one contrastive loss, with exact gradients, over the rows of all processes.

In DDP and FSDP a process sees only its own rows. A loss over those misses most negatives. A loss over texts that were
gathered without their gradient is right for the images and wrong for the texts, without any error. Here the rows of all
processes form one batch: each process computes the loss of its own images against all texts, and the gradients of a
text are summed over the processes and returned to the process that owns it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.distributed as dist

from trainers.base.distributed import gather, gather_counts, rank, world_size


@dataclass
class Gradients:
    """The result of `global_gradients` in one process.

    Attributes:
        loss: scalar, this process's share of the loss; the sum over the processes is the loss of the global batch.
        image_embeds, text_embeds: `[N, D]`, gradients of the global loss with respect to this process's own rows.
        logit_scale, logit_bias: scalars, gradients of this process's share; the sum over the processes is the gradient
            of the global loss.
    """

    loss: torch.Tensor
    image_embeds: torch.Tensor
    text_embeds: torch.Tensor
    logit_scale: torch.Tensor
    logit_bias: torch.Tensor


@dataclass
class GlobalRows:
    """This process's images and the texts of all processes, without gradients.

    N is the number of this process's rows, M that of all processes.

    Attributes:
        image_embeds: `[N, D]`, this process's own.
        text_embeds: `[M, D]`, those of all processes, in the order of their ranks.
        ids: `group_ids` and `image_ids` `[N]` int64 of the own rows, `text_group_ids` and `text_image_ids` `[M]` int64
            of all rows, and `offset`: text `offset + i` belongs to image i.
    """

    image_embeds: torch.Tensor
    text_embeds: torch.Tensor
    ids: dict[str, torch.Tensor | int]


def gather_rows(
    image_embeds: torch.Tensor, text_embeds: torch.Tensor, group_ids: torch.Tensor, image_ids: torch.Tensor
) -> GlobalRows:
    """Gathers texts and ids of all processes. The number of rows N may differ between processes, and may be 0.

    Args:
        image_embeds, text_embeds: `[N, D]`; row i of one belongs to row i of the other.
        group_ids, image_ids: `[N]` int64, see `contrastive_loss`.
    """
    counts = gather_counts([len(image_embeds)], image_embeds.device)
    sizes = [size for (size,) in counts]
    ids = {
        "group_ids": group_ids,
        "image_ids": image_ids,
        "text_group_ids": gather(group_ids, sizes),
        "text_image_ids": gather(image_ids, sizes),
        # The rows of all lower ranks come first.
        "offset": sum(sizes[: rank()]),
    }
    return GlobalRows(image_embeds.detach(), gather(text_embeds.detach(), sizes), ids)


def global_gradients(
    rows: GlobalRows, logit_scale: torch.Tensor, logit_bias: torch.Tensor, loss_of: Callable[..., torch.Tensor]
) -> Gradients:
    """Computes the loss over the rows of all processes and its gradients with respect to this process's rows.

    Args:
        rows: from `gather_rows`.
        logit_scale, logit_bias: scalars, the same in every process.
        loss_of: `loss_of(image_embeds, text_embeds, logit_scale, logit_bias, **ids)`, a mean over the given images, for
            example `contrastive_loss`.
    """
    leaves = [
        tensor.detach().requires_grad_() for tensor in (rows.image_embeds, rows.text_embeds, logit_scale, logit_bias)
    ]
    with torch.enable_grad():
        # A mean over N images times N / M: the shares of all processes add up to the mean over all M images.
        loss = loss_of(*leaves, **rows.ids) * (len(rows.image_embeds) / len(rows.text_embeds))
    images, texts, scale, bias = torch.autograd.grad(loss, leaves, materialize_grads=True)
    # [M, D]: each process has found a part of the gradient of every text; the sum of all parts is the gradient.
    if world_size() > 1:
        dist.all_reduce(texts)
    # [M, D] -> [N, D]
    own = texts[rows.ids["offset"] :][: len(images)]
    return Gradients(loss.detach(), images, own, scale, bias)
