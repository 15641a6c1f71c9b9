"""What is the loss of the words a decoder must learn, without the logits of the words it need not?

A language model's head turns every position into one number for each word: 128,256 of them for Llama 3.2, 263 MB in
float32 for 512 tokens, and the loss holds several such tensors at a time. Only positions with a label are needed: one
to six of a short answer's sixty-four. Here the head runs on those alone, some at a time, and a chunk's logits are gone
before the next one's are made:

1. forward: logits of a chunk, its log-sum-exp and the logit of its label; kept is one loss for each token.
2. backward: the chunk's logits once more, minus the labels, times the weights: the gradient of the hidden states; times
   the hidden states: that of the weights. With a frozen head, as LoRA leaves it, step 2 is done in the forward pass
   while the logits are there, and nothing is computed twice.

The idea is that of Liger's fused linear cross-entropy (arXiv 2410.10989) and of Cut Cross-Entropy (arXiv 2411.09009),
in plain torch.
"""

from __future__ import annotations

from collections.abc import Iterator
from types import MethodType

import torch
import torch.nn.functional as F
from torch import nn
from torch.autograd.function import once_differentiable
from torch.utils.checkpoint import checkpoint

IGNORED = -100  # a label that is none
CHUNK_BYTES = 2**26  # of a chunk's logits in float32: 130 positions at 128,256 words


def supervised_positions(labels: torch.Tensor, vocab_size: int, shifted: bool = False) -> tuple[torch.Tensor, ...]:
    """Finds the positions whose next word is a label.

    Args:
        labels: `[B, L]` int64, the words themselves, -100 where there is nothing to learn.
        vocab_size: how many words the head knows.
        shifted: `labels` already stand one position to the left.

    Returns:
        positions: `[n]` in the flattened `[B * L]`, ascending.
        targets: `[n]` the words to predict there.

    Raises:
        ValueError: a label is not a word of the head, as the image token, which is the first id beyond them.
    """
    if not shifted:
        labels = F.pad(labels[:, 1:], (0, 1), value=IGNORED)
    flat = labels.reshape(-1)
    positions = (flat != IGNORED).nonzero().squeeze(1)
    targets = flat[positions]
    if bool(
        ((targets < 0) | (targets >= vocab_size)).any()
    ):  # a second wait for the device, microseconds after the first
        wrong = sorted({int(one) for one in targets[(targets < 0) | (targets >= vocab_size)]})
        raise ValueError(
            f"labels hold the token ids {wrong[:5]}, but the head knows 0 to {vocab_size - 1}: set labels of image "
            f"tokens and padding to {IGNORED}"
        )
    return positions, targets


def token_losses(
    head: nn.Module, hidden: torch.Tensor, positions: torch.Tensor, targets: torch.Tensor, chunk: int | None = None
) -> torch.Tensor:
    """Negative log-likelihood of each label.

    Args:
        head: from `[n, D]` to `[n, V]`. A plain linear layer, frozen or not, takes the fast path; anything else (LoRA
            on the head, a quantised one) is called chunk by chunk and called again in the backward pass. Either way
            the module itself is called, so that what FSDP2 or DeepSpeed hooked to it happens.
        hidden: `[B, L, D]` the last hidden states.
        positions: `[n]`, targets `[n]`: see `supervised_positions`.
        chunk: positions at a time; without it, as many as fit `CHUNK_BYTES`.

    Returns:
        `[n]` float32, or float64 if the model is.
    """
    head = chosen_head(head)
    hidden = hidden.reshape(-1, hidden.shape[-1]).index_select(0, positions)
    chunk = chunk or max(1, CHUNK_BYTES // (4 * words_of(head)))
    if type(head).forward is nn.Linear.forward and "forward" not in vars(head):
        # In place of the layer's own forward for this one call: one call of the module whatever the number of chunks,
        # because where weights are sharded every process must call it equally often.
        head.forward = MethodType(chunked_linear_losses, head)
        try:
            return head(hidden, targets, chunk)
        finally:
            del head.forward
    if is_sharded(head):
        chunk = max(1, len(hidden))  # likewise: processes have different numbers of labels
    pieces = zip(hidden.split(chunk), targets.split(chunk), strict=True)
    # Not the fast path's: a graph for each chunk, whose logits are dropped and computed again.
    losses = [checkpoint(called_losses, head, some, words, use_reentrant=False) for some, words in pieces]
    return torch.cat(losses)


def reduced_loss(losses: torch.Tensor, num_items_in_batch: torch.Tensor | int | None = None) -> torch.Tensor:
    """The mean, or the sum over the number of labels of the whole update, as transformers' Trainer wants it.

    Without any label it is 0, not the stock loss's NaN: a batch whose answers were all cut off teaches nothing.
    """
    if num_items_in_batch is None:
        return losses.sum() / max(1, len(losses))
    if isinstance(num_items_in_batch, torch.Tensor):
        return losses.sum() / num_items_in_batch.to(losses.device).clamp(min=1)
    return losses.sum() / max(1, num_items_in_batch)


def row_losses(losses: torch.Tensor, positions: torch.Tensor, rows: int, length: int) -> torch.Tensor:
    """`[rows]` sums of the losses of each row's labels; `length` is L of `supervised_positions`."""
    return losses.new_zeros(rows).index_add(0, positions // length, losses)


# --- the head ---


def chosen_head(head: nn.Module) -> nn.Module:
    """The layer that computes: peft keeps the original and a learning copy in a wrapper (`modules_to_save`)."""
    if type(head).__name__ != "ModulesToSaveWrapper":
        return head
    if getattr(head, "disable_adapters", False) or not head.active_adapters:
        return head.original_module
    return head.modules_to_save[head.active_adapters[0]]


def words_of(head: nn.Module) -> int:
    """How many words a head knows; LoRA and its kin hand on the attribute of the layer within."""
    size = getattr(head, "out_features", None)
    return size if size is not None else head.weight.shape[0]


def is_sharded(module: nn.Module) -> bool:
    """Whether FSDP2 or DeepSpeed's ZeRO-3 gathers weights when layers within are called."""
    from torch.distributed.tensor import DTensor

    return any(isinstance(one, DTensor) or hasattr(one, "ds_id") for one in module.parameters())


def called_losses(head: nn.Module, hidden: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    logits = head(hidden)
    return F.cross_entropy(logits.to(loss_dtype(logits.dtype)), targets, reduction="none")


def chunked_linear_losses(layer: nn.Linear, hidden: torch.Tensor, targets: torch.Tensor, chunk: int) -> torch.Tensor:
    """In place of a linear layer's forward: `[n, D]` and `[n]` to `[n]` losses."""
    device = hidden.device.type
    dtype = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else None
    if hidden.dtype == torch.float64:  # which autocast leaves alone
        dtype = None
    options = (dtype, chunk, torch.is_grad_enabled())
    return ChunkedLinearCrossEntropy.apply(hidden, layer.weight, layer.bias, targets, options)


def loss_dtype(dtype: torch.dtype) -> torch.dtype:
    return torch.float64 if dtype == torch.float64 else torch.float32


class ChunkedLinearCrossEntropy(torch.autograd.Function):
    """`cross_entropy(linear(hidden, weight, bias), targets, reduction="none")` with one chunk of logits at a time."""

    @staticmethod
    def forward(ctx, hidden, weight, bias, targets, options):
        ctx.dtype, ctx.chunk, differentiable = options
        needs_hidden, *needs_head = ctx.needs_input_grad[:3]
        ctx.at_once = differentiable and needs_hidden and not any(needs_head)
        # So few that they and their gradient are one chunk together are not worth computing again.
        keeps = differentiable and any(needs_head) and 0 < 2 * len(hidden) <= ctx.chunk
        losses = hidden.new_empty(len(hidden), dtype=loss_dtype(hidden.dtype))
        gradient, kept = torch.empty_like(hidden) if ctx.at_once else None, None
        layer = computing_copies(weight, bias, ctx.dtype)
        with torch.autocast(hidden.device.type, enabled=False):
            for part in parts_of(hidden, ctx.chunk):
                some, logits = logits_of(hidden[part], *layer, ctx.dtype)
                words = targets[part, None]
                at_label = logits.gather(1, words)
                normalizer, total = exponentials_(logits)
                losses[part] = (normalizer - at_label).squeeze(1)
                if ctx.at_once:
                    gradient[part] = minus_labels_(logits, total, words).to(some.dtype) @ layer[0]
                elif keeps:
                    kept = minus_labels_(logits, total, words)
                del logits  # before the next chunk's are made
        if ctx.at_once:
            ctx.save_for_backward(gradient)
        elif differentiable:
            ctx.save_for_backward(hidden, weight, bias, targets, kept)
        return losses

    @staticmethod
    @once_differentiable
    def backward(ctx, upstream):
        if ctx.at_once:
            (gradient,) = ctx.saved_tensors
            return (gradient * upstream[:, None]).to(gradient.dtype), None, None, None, None
        hidden, weight, bias, targets, kept = ctx.saved_tensors
        needs_hidden, needs_weight, needs_bias = ctx.needs_input_grad[:3]
        layer = computing_copies(weight, bias, ctx.dtype)
        of_hidden = torch.empty_like(hidden) if needs_hidden else None
        of_weight = torch.zeros_like(layer[0]) if needs_weight else None
        of_bias = torch.zeros_like(layer[1]) if needs_bias else None
        for part in parts_of(hidden, ctx.chunk):
            if kept is not None:
                some, steep = hidden.to(layer[0].dtype), kept * upstream[:, None]
            else:
                some, steep = logits_of(hidden[part], *layer, ctx.dtype)
                _, total = exponentials_(steep)
                minus_labels_(steep, total, targets[part, None]).mul_(upstream[part, None])
            steep = steep.to(some.dtype)
            if needs_hidden:
                of_hidden[part] = steep @ layer[0]
            if needs_weight:
                of_weight.addmm_(steep.t(), some)
            if needs_bias:
                of_bias += steep.sum(0)
            del steep
        of_weight = of_weight.to(weight.dtype) if needs_weight else None
        return of_hidden, of_weight, of_bias.to(bias.dtype) if needs_bias else None, None, None


def computing_copies(
    weight: torch.Tensor, bias: torch.Tensor | None, dtype: torch.dtype | None
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """The layer in the precision in which it computes; under autocast copies, one for all chunks."""
    if dtype is None:
        return weight, bias
    return weight.to(dtype), None if bias is None else bias.to(dtype)


def parts_of(hidden: torch.Tensor, chunk: int) -> Iterator[slice]:
    return (slice(start, start + chunk) for start in range(0, len(hidden), chunk))


def logits_of(
    hidden: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None, dtype: torch.dtype | None
) -> tuple[torch.Tensor, torch.Tensor]:
    """The hidden states as the layer takes them, and logits that may be overwritten."""
    hidden = hidden if dtype is None else hidden.to(dtype)
    logits = F.linear(hidden, weight, bias)
    return hidden, logits.to(loss_dtype(logits.dtype))


def exponentials_(logits: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Overwrites `[c, V]` logits by `exp(logits - largest)`. Returns `[c, 1]` log-sum-exp, `[c, 1]` sums of these."""
    largest = logits.amax(1, keepdim=True)
    total = logits.sub_(largest).exp_().sum(1, keepdim=True)
    return largest + total.log(), total


def minus_labels_(exponentials: torch.Tensor, total: torch.Tensor, words: torch.Tensor) -> torch.Tensor:
    """Overwrites them by probabilities minus one at the label: the gradient of the loss with respect to the logits."""
    return exponentials.div_(total).scatter_add_(1, words, exponentials.new_full(words.shape, -1.0))
