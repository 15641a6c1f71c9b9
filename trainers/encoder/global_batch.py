"""Several processes, one loss: each compares its own images with the texts of all, and learns of its texts from all.

In DDP and FSDP a process sees its own rows only. A loss over those leaves out most negatives; one over texts that were
gathered without their gradient is right for the images and wrong for the texts, and nothing tells. Here the rows of
all processes make one batch: every process computes the loss of its own images against all texts, and the gradients
that the processes found for a text are added up and go back to the process that has it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.distributed as dist

from trainers.base.distributed import gather, gather_counts, rank, world_size


@dataclass
class Gradients:
    """What one process learns from `global_gradients`.

    Attributes:
        loss: this process's share of the loss, a scalar; the shares of all add up to the loss of the whole batch.
        image_embeds, text_embeds: `[N, D]`, gradients of the whole loss by this process's own rows.
        logit_scale, logit_bias: gradients of this process's share; those of all add up.
    """

    loss: torch.Tensor
    image_embeds: torch.Tensor
    text_embeds: torch.Tensor
    logit_scale: torch.Tensor
    logit_bias: torch.Tensor


@dataclass
class GlobalRows:
    """The rows of this process among those of all, without gradients.

    Attributes:
        image_embeds: `[N, D]`, this process's own.
        text_embeds: `[M, D]`, those of all processes, one after another.
        ids: `group_ids` and `image_ids` `[N]` of the own rows, `text_group_ids` and `text_image_ids` `[M]` of all,
            and `offset`, the row of `text_embeds` that belongs to the first image.
    """

    image_embeds: torch.Tensor
    text_embeds: torch.Tensor
    ids: dict[str, torch.Tensor | int]


def gather_rows(
    image_embeds: torch.Tensor, text_embeds: torch.Tensor, group_ids: torch.Tensor, image_ids: torch.Tensor
) -> GlobalRows:
    """Gathers texts and ids of all processes; each may have another number N of rows, and also none.

    Args:
        image_embeds, text_embeds: `[N, D]`, row i of one belonging to row i of the other.
        group_ids, image_ids: `[N]` int64, see `contrastive_loss`.
    """
    counts = gather_counts([len(image_embeds)], image_embeds.device)
    sizes = [size for (size,) in counts]
    ids = {
        "group_ids": group_ids,
        "image_ids": image_ids,
        "text_group_ids": gather(group_ids, sizes),
        "text_image_ids": gather(image_ids, sizes),
        "offset": sum(sizes[: rank()]),
    }
    return GlobalRows(image_embeds.detach(), gather(text_embeds.detach(), sizes), ids)


def global_gradients(
    rows: GlobalRows, logit_scale: torch.Tensor, logit_bias: torch.Tensor, loss_of: Callable[..., torch.Tensor]
) -> Gradients:
    """The loss over the rows of all processes, and its gradients by this process's rows.

    Args:
        logit_scale, logit_bias: scalars, the same in every process.
        loss_of: `loss_of(image_embeds, text_embeds, logit_scale, logit_bias, **ids)`, the mean over the given images,
            such as `contrastive_loss`.
    """
    leaves = [
        tensor.detach().requires_grad_() for tensor in (rows.image_embeds, rows.text_embeds, logit_scale, logit_bias)
    ]
    with torch.enable_grad():
        loss = loss_of(*leaves, **rows.ids) * (len(rows.image_embeds) / len(rows.text_embeds))
    images, texts, scale, bias = torch.autograd.grad(loss, leaves, materialize_grads=True)
    if world_size() > 1:
        dist.all_reduce(texts)
    own = texts[rows.ids["offset"] :][: len(images)]
    return Gradients(loss.detach(), images, own, scale, bias)
