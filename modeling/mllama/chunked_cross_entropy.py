"""Computes the cross-entropy of the labeled tokens only, in chunks, without the logits of the other tokens.

The head of a language model computes one logit per vocabulary entry at every position: for Llama 3.2, 128,256 logits,
or 263 MB in float32 for 512 tokens, and the usual loss holds several such tensors at once. Only positions with a label
contribute to the loss: one to six of 64 for a short answer. Here the head runs on those positions only, one chunk at a
time, and the logits of a chunk are freed before those of the next are computed:

1. Forward: compute the logits of a chunk, their log-sum-exp and the logit of each label. Only one loss per token is
   stored.
2. Backward: compute the logits of the chunk again. The softmax minus the one-hot label is their gradient; multiplied by
   the weights it gives the gradient of the hidden states, multiplied by the hidden states that of the weights. If the
   head is frozen, as it usually is with LoRA, step 2 runs during the forward pass while the logits exist, and nothing
   is computed twice.

The method is that of Liger's fused linear cross-entropy (arXiv:2410.10989) and of Cut Cross-Entropy (arXiv:2411.09009),
written in plain PyTorch.
"""

from __future__ import annotations

from collections.abc import Iterator
from types import MethodType

import torch
import torch.nn.functional as F
from torch import nn
from torch.autograd.function import once_differentiable
from torch.utils.checkpoint import checkpoint

IGNORE_INDEX = -100  # marks a position without a label, as in torch.nn.functional.cross_entropy
# Size of the float32 logits of a chunk: 130 positions at a vocabulary of 128,256.
CHUNK_BYTES = 2**26


def find_supervised_positions(labels: torch.Tensor, vocab_size: int, shifted: bool = False) -> tuple[torch.Tensor, ...]:
    """Finds the positions whose next token is a label.

    Args:
        labels: `[B, L]` int64 token ids, -100 where there is no label.
        vocab_size: V, the number of logits of the head.
        shifted: whether `labels` are already shifted one position to the left.

    Returns:
        positions: `[n]` indices into the flattened `[B * L]`, ascending.
        targets: `[n]` token ids to predict at those positions.

    Raises:
        ValueError: a label is outside the vocabulary, for example the image token, whose id is V.
    """
    if not shifted:
        # Position i predicts token i + 1; the last position predicts nothing.
        labels = F.pad(labels[:, 1:], (0, 1), value=IGNORE_INDEX)
    flat = labels.reshape(-1)
    positions = (flat != IGNORE_INDEX).nonzero().squeeze(1)
    targets = flat[positions]
    # This synchronizes with the device a second time, only microseconds after `nonzero` did.
    if bool(((targets < 0) | (targets >= vocab_size)).any()):
        wrong = sorted({int(target) for target in targets[(targets < 0) | (targets >= vocab_size)]})
        raise ValueError(
            f"labels contains the token ids {wrong[:5]}, which are outside the head's vocabulary of 0 to "
            f"{vocab_size - 1}. Set the labels of image tokens and padding to {IGNORE_INDEX}."
        )
    return positions, targets


def compute_token_losses(
    head: nn.Module, hidden: torch.Tensor, positions: torch.Tensor, targets: torch.Tensor, chunk: int | None = None
) -> torch.Tensor:
    """Returns the negative log-likelihood of each label.

    The module `head` itself is always called, so that the hooks of FSDP2 or DeepSpeed run.

    Args:
        head: maps `[n, D]` to `[n, V]`. A plain linear layer, frozen or not, takes the fast path; any other head (one
            with LoRA, a quantized one) is called once per chunk and again in the backward pass.
        hidden: `[B, L, D]` last hidden states.
        positions: `[n]`, see `find_supervised_positions`.
        targets: `[n]`, likewise.
        chunk: the number of positions per chunk; None for as many as fit into `CHUNK_BYTES`.

    Returns:
        `[n]` float32, or float64 for a float64 model.
    """
    head = unwrap_head(head)
    hidden = hidden.reshape(-1, hidden.shape[-1]).index_select(0, positions)  # (B, L, D) -> (n, D)
    chunk = chunk or max(1, CHUNK_BYTES // (4 * get_vocab_size(head)))
    if type(head).forward is nn.Linear.forward and "forward" not in vars(head):
        # Replacing the forward for this call keeps it at one call of the module for any number of chunks: with sharded
        # weights, every process must call the module equally often.
        head.forward = MethodType(chunked_linear_forward, head)
        try:
            return head(hidden, targets, chunk)
        finally:
            del head.forward
    if is_sharded(head):
        chunk = max(1, len(hidden))  # one call here too, because processes have different numbers of labels
    chunks = zip(hidden.split(chunk), targets.split(chunk), strict=True)
    # Checkpointing frees the logits of each chunk and computes them again in the backward pass.
    losses = [checkpoint(compute_losses, head, states, labels, use_reentrant=False) for states, labels in chunks]
    return torch.cat(losses)


def reduce_losses(losses: torch.Tensor, num_items_in_batch: torch.Tensor | int | None = None) -> torch.Tensor:
    """Returns the mean loss, or the sum divided by `num_items_in_batch`, as transformers' Trainer expects.

    Without any label the loss is 0, where the stock loss is NaN: a batch whose answers were all truncated changes no
    weight.

    Args:
        losses: `[n]`.
        num_items_in_batch: the number of labels of the whole update, over all accumulation steps and processes.
    """
    if num_items_in_batch is None:
        return losses.sum() / max(1, len(losses))
    if isinstance(num_items_in_batch, torch.Tensor):
        return losses.sum() / num_items_in_batch.to(losses.device).clamp(min=1)
    return losses.sum() / max(1, num_items_in_batch)


def sum_row_losses(losses: torch.Tensor, positions: torch.Tensor, rows: int, length: int) -> torch.Tensor:
    """Sums `[n]` losses per row to `[rows]`; `length` is L of `find_supervised_positions`."""
    # positions index the flattened (rows, length), so the quotient is the row.
    return losses.new_zeros(rows).index_add(0, positions // length, losses)


# --- the head ---


def unwrap_head(head: nn.Module) -> nn.Module:
    """Returns the layer that is active in peft's `modules_to_save` wrapper: the original or its trainable copy."""
    if type(head).__name__ != "ModulesToSaveWrapper":
        return head
    if getattr(head, "disable_adapters", False) or not head.active_adapters:
        return head.original_module
    return head.modules_to_save[head.active_adapters[0]]


def get_vocab_size(head: nn.Module) -> int:
    """Returns V, the number of logits of a head; LoRA layers forward `out_features` of the layer that they wrap."""
    size = getattr(head, "out_features", None)
    return size if size is not None else head.weight.shape[0]


def is_sharded(module: nn.Module) -> bool:
    """Returns whether FSDP2 or DeepSpeed's ZeRO-3 gathers weights whenever a layer of the module is called."""
    from torch.distributed.tensor import DTensor

    return any(isinstance(parameter, DTensor) or hasattr(parameter, "ds_id") for parameter in module.parameters())


def compute_losses(head: nn.Module, hidden: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Calls the head on `[n, D]` hidden states and returns the `[n]` losses."""
    logits = head(hidden)  # (n, V)
    return F.cross_entropy(logits.to(get_loss_dtype(logits.dtype)), targets, reduction="none")


def chunked_linear_forward(layer: nn.Linear, hidden: torch.Tensor, targets: torch.Tensor, chunk: int) -> torch.Tensor:
    """Replaces the forward of a linear layer: maps `[n, D]` hidden states and `[n]` targets to `[n]` losses."""
    device = hidden.device.type
    dtype = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else None
    if hidden.dtype == torch.float64:  # autocast does not convert float64
        dtype = None
    options = (dtype, chunk, torch.is_grad_enabled())
    return ChunkedLinearCrossEntropy.apply(hidden, layer.weight, layer.bias, targets, options)


def get_loss_dtype(dtype: torch.dtype) -> torch.dtype:
    """Returns the precision of the loss: float64 for float64 logits, float32 for all others."""
    return torch.float64 if dtype == torch.float64 else torch.float32


class ChunkedLinearCrossEntropy(torch.autograd.Function):
    """Computes `cross_entropy(linear(hidden, weight, bias), targets, reduction="none")`, one chunk of logits at a time.

    Shapes: hidden `[n, D]`, weight `[V, D]`, bias `[V]` or None, targets `[n]`; c is the size of a chunk.
    """

    @staticmethod
    def forward(ctx, hidden, weight, bias, targets, options):
        ctx.dtype, ctx.chunk, differentiable = options
        needs_hidden, *needs_head = ctx.needs_input_grad[:3]
        # With a frozen head the gradient of the hidden states is computed now, while the logits exist.
        ctx.gradient_in_forward = differentiable and needs_hidden and not any(needs_head)
        # If all logits and their gradient together fit into one chunk, they are stored instead of computed again.
        stores_logits = differentiable and any(needs_head) and 0 < 2 * len(hidden) <= ctx.chunk
        losses = hidden.new_empty(len(hidden), dtype=get_loss_dtype(hidden.dtype))
        gradient, stored = torch.empty_like(hidden) if ctx.gradient_in_forward else None, None
        layer = cast_layer(weight, bias, ctx.dtype)
        with torch.autocast(hidden.device.type, enabled=False):
            for part in split_into_chunks(hidden, ctx.chunk):
                states, logits = compute_logits(hidden[part], *layer, ctx.dtype)  # (c, D), (c, V)
                labels = targets[part, None]  # (c, 1)
                label_logits = logits.gather(1, labels)  # (c, 1)
                normalizer, total = exponentiate_(logits)
                losses[part] = (normalizer - label_logits).squeeze(1)
                if ctx.gradient_in_forward:
                    # (c, V) @ (V, D) -> (c, D)
                    gradient[part] = to_logit_gradients_(logits, total, labels).to(states.dtype) @ layer[0]
                elif stores_logits:
                    stored = to_logit_gradients_(logits, total, labels)
                del logits  # frees them before the next chunk is computed
        if ctx.gradient_in_forward:
            ctx.save_for_backward(gradient)
        elif differentiable:
            ctx.save_for_backward(hidden, weight, bias, targets, stored)
        return losses

    @staticmethod
    @once_differentiable
    def backward(ctx, upstream):
        if ctx.gradient_in_forward:
            (gradient,) = ctx.saved_tensors
            return (gradient * upstream[:, None]).to(gradient.dtype), None, None, None, None
        hidden, weight, bias, targets, stored = ctx.saved_tensors
        needs_hidden, needs_weight, needs_bias = ctx.needs_input_grad[:3]
        layer = cast_layer(weight, bias, ctx.dtype)
        grad_hidden = torch.empty_like(hidden) if needs_hidden else None
        grad_weight = torch.zeros_like(layer[0]) if needs_weight else None
        grad_bias = torch.zeros_like(layer[1]) if needs_bias else None
        for part in split_into_chunks(hidden, ctx.chunk):
            if stored is not None:
                # All positions are one chunk then.
                states, grad_logits = hidden.to(layer[0].dtype), stored * upstream[:, None]
            else:
                states, grad_logits = compute_logits(hidden[part], *layer, ctx.dtype)
                _, total = exponentiate_(grad_logits)
                to_logit_gradients_(grad_logits, total, targets[part, None]).mul_(upstream[part, None])
            grad_logits = grad_logits.to(states.dtype)
            if needs_hidden:
                grad_hidden[part] = grad_logits @ layer[0]  # (c, V) @ (V, D) -> (c, D)
            if needs_weight:
                grad_weight.addmm_(grad_logits.t(), states)  # (V, c) @ (c, D) -> (V, D)
            if needs_bias:
                grad_bias += grad_logits.sum(0)
            del grad_logits
        grad_weight = grad_weight.to(weight.dtype) if needs_weight else None
        return grad_hidden, grad_weight, grad_bias.to(bias.dtype) if needs_bias else None, None, None


def cast_layer(
    weight: torch.Tensor, bias: torch.Tensor | None, dtype: torch.dtype | None
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Returns the layer in the autocast precision `dtype`, copied once for all chunks; unchanged if `dtype` is None."""
    if dtype is None:
        return weight, bias
    return weight.to(dtype), None if bias is None else bias.to(dtype)


def split_into_chunks(hidden: torch.Tensor, chunk: int) -> Iterator[slice]:
    """Yields slices over the rows of `hidden`, `chunk` rows each."""
    return (slice(start, start + chunk) for start in range(0, len(hidden), chunk))


def compute_logits(
    hidden: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None, dtype: torch.dtype | None
) -> tuple[torch.Tensor, torch.Tensor]:
    """Returns the `[c, D]` hidden states in the layer's precision and `[c, V]` logits that may be overwritten."""
    hidden = hidden if dtype is None else hidden.to(dtype)
    logits = F.linear(hidden, weight, bias)
    return hidden, logits.to(get_loss_dtype(logits.dtype))


def exponentiate_(logits: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Overwrites `[c, V]` logits with `exp(logits - largest)`.

    Returns:
        the log-sum-exp of the logits `[c, 1]`, and the sums of the exponentials `[c, 1]`.
    """
    largest = logits.amax(1, keepdim=True)  # subtracted, because exp of a large logit would overflow
    total = logits.sub_(largest).exp_().sum(1, keepdim=True)
    return largest + total.log(), total


def to_logit_gradients_(exponentials: torch.Tensor, total: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Overwrites `[c, V]` exponentials with the gradient of the loss by the logits: softmax minus one at the label."""
    return exponentials.div_(total).scatter_add_(1, labels, exponentials.new_full(labels.shape, -1.0))
