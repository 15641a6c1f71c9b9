"""Compares the chunked loss with `cross_entropy` of all logits: values, gradients, kinds of heads, memory."""

from __future__ import annotations

import copy
import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from modeling.mllama.chunked_cross_entropy import (
    IGNORE_INDEX,
    compute_token_losses,
    find_supervised_positions,
    reduce_losses,
    sum_row_losses,
)

B, L, D, V = 3, 11, 16, 50
SAME = {"rtol": 1e-12, "atol": 1e-12}


@pytest.fixture
def labels() -> torch.Tensor:
    labels = torch.randint(0, V, (B, L), generator=torch.Generator().manual_seed(1))
    labels[0, :6] = labels[1, 3:9] = IGNORE_INDEX
    labels[2] = IGNORE_INDEX
    return labels


@pytest.fixture
def hidden() -> torch.Tensor:
    return torch.randn(B, L, D, generator=torch.Generator().manual_seed(2), dtype=torch.float64).requires_grad_()


def make_linear(bias: bool = False, trainable: bool = True, dtype: torch.dtype = torch.float64) -> nn.Linear:
    torch.manual_seed(0)
    return nn.Linear(D, V, bias=bias, dtype=dtype).requires_grad_(trainable)


class Wrapped(nn.Module):
    """A head that is not a plain linear layer, like a head with LoRA or a quantized one."""

    def __init__(self, layer: nn.Linear) -> None:
        super().__init__()
        self.layer, self.out_features = layer, layer.out_features

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        return self.layer(hidden)


def wrap_with_peft(layer: nn.Linear) -> nn.Module:
    from peft.utils import ModulesToSaveWrapper

    return ModulesToSaveWrapper(layer, "default")


def run_chunked(head, hidden, labels, chunk=None, scale=None, **options) -> list[torch.Tensor | None]:
    """Returns the loss, weighted by row with `scale`, and the gradients."""
    positions, targets = find_supervised_positions(labels, V)
    losses = compute_token_losses(head, hidden, positions, targets, chunk)
    loss = (
        reduce_losses(losses, **options) if scale is None else (sum_row_losses(losses, positions, B, L) * scale).sum()
    )
    return with_gradients(loss, head, hidden)


def run_stock(head, hidden, labels, scale=None, num_items_in_batch=None) -> list[torch.Tensor | None]:
    """Returns the loss of all logits, computed by `cross_entropy`, and the gradients."""
    logits, targets = head(hidden)[:, :-1], labels[:, 1:]
    losses = F.cross_entropy(logits.transpose(1, 2).to(hidden.dtype), targets, reduction="none")
    if scale is not None:
        return with_gradients((losses.sum(1) * scale).sum(), head, hidden)
    return with_gradients(losses.sum() / (num_items_in_batch or (targets != IGNORE_INDEX).sum()), head, hidden)


def with_gradients(loss, head, hidden) -> list[torch.Tensor | None]:
    trainable = [one for one in (hidden, *head.parameters()) if one.requires_grad]
    return [loss.detach(), *torch.autograd.grad(loss, trainable)]


@pytest.mark.parametrize("wrap", [lambda one: one, Wrapped, wrap_with_peft], ids=["plain", "wrapped", "peft"])
@pytest.mark.parametrize("chunk", [1, 4, 20, 100, None])  # with the last two, a trainable head stores its logits
@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("trainable", [False, True])
def test_loss_and_gradients_equal_the_stock_ones(hidden, labels, wrap, chunk, bias, trainable):
    head = wrap(make_linear(bias, trainable))
    scale = torch.tensor([2.0, -0.5, 3.0], dtype=torch.float64)
    for options in ({}, {"num_items_in_batch": 7}, {"scale": scale}):
        found = run_chunked(head, hidden, labels, chunk, **options)
        expected = run_stock(head, hidden, labels, **options)
        assert len(found) == len(expected)
        for one, two in zip(found, expected, strict=True):
            torch.testing.assert_close(one, two, **SAME)


def test_gradients_match_finite_differences(hidden, labels):
    positions, targets = find_supervised_positions(labels, V)
    head = make_linear(bias=True)

    def losses(hidden, weight, bias):
        # gradcheck passes plain tensors, which cannot replace parameters; a copy without parameters accepts them.
        layer = copy.deepcopy(head)
        del layer.weight, layer.bias
        layer.weight, layer.bias = weight, bias
        return compute_token_losses(layer, hidden, positions, targets, 3)

    assert torch.autograd.gradcheck(losses, (hidden, head.weight, head.bias), nondet_tol=1e-10)


def test_only_the_head_is_trainable(hidden, labels):
    """With --train_scope lm_head, the hidden states require no gradient."""
    head = make_linear()
    found, expected = run_chunked(head, hidden.detach(), labels, 4), run_stock(head, hidden.detach(), labels)
    for one, two in zip(found, expected, strict=True):
        torch.testing.assert_close(one, two, **SAME)


def test_a_batch_without_labels_has_a_loss_and_gradients_of_zero(hidden):
    for head in (make_linear(bias=True), make_linear(trainable=False), Wrapped(make_linear())):
        for options in ({}, {"num_items_in_batch": torch.tensor(0)}, {"num_items_in_batch": 0}):
            loss, *found = run_chunked(head, hidden, torch.full((B, L), IGNORE_INDEX), **options)
            assert loss == 0
            assert found
            assert all(not one.any() for one in found)


def test_losses_are_summed_per_row(hidden, labels):
    positions, targets = find_supervised_positions(labels, V)
    losses = compute_token_losses(make_linear(), hidden, positions, targets)
    rows = sum_row_losses(losses, positions, B, L)
    counts = (labels[:, 1:] != IGNORE_INDEX).sum(1)
    logits = make_linear()(hidden)
    for row in range(B):
        expected = F.cross_entropy(logits[row, :-1], labels[row, 1:], reduction="sum") if counts[row] else 0.0
        torch.testing.assert_close(rows[row], torch.as_tensor(expected, dtype=torch.float64), **SAME)


def test_the_first_token_of_a_row_is_not_a_target():
    """In the flattened batch, the last position of a row must not predict the first token of the next row."""
    labels = torch.tensor([[IGNORE_INDEX, IGNORE_INDEX, 3], [7, IGNORE_INDEX, IGNORE_INDEX]])
    positions, targets = find_supervised_positions(labels, V)
    assert (positions.tolist(), targets.tolist()) == ([1], [3])


@pytest.mark.parametrize("wrong", [V, V + 7, -1, -101])
def test_a_label_outside_the_vocabulary_is_an_error(labels, wrong):
    labels[0, 8] = wrong
    with pytest.raises(ValueError, match=rf"token ids \[{wrong}\], which are outside .* 0 to {V - 1}"):
        find_supervised_positions(labels, V)


@pytest.mark.parametrize("trainable", [False, True])
def test_half_precision_heads(hidden, labels, trainable):
    """The loss is float32; the gradients are as close to the exact ones as those of the stock path."""
    head, half = make_linear(trainable=trainable, dtype=torch.bfloat16), hidden.detach().bfloat16().requires_grad_()
    exact = run_stock(copy.deepcopy(head).double(), half.detach().double().requires_grad_(), labels)
    found, usual = run_chunked(head, half, labels, 4), run_stock(head, half, labels)
    assert found[0].dtype == torch.float32
    for one, other, true in zip(found[1:], usual[1:], exact[1:], strict=True):
        assert one.dtype == torch.bfloat16
        error, usual_error = (float((some - true).norm() / true.norm()) for some in (one, other))
        assert error < max(1.5 * usual_error, 0.01)


@pytest.mark.parametrize("trainable", [False, True])
def test_autocast(hidden, labels, trainable):
    head, single = make_linear(trainable=trainable, dtype=torch.float32), hidden.detach().float().requires_grad_()
    exact = run_stock(head, single, labels)
    with torch.autocast("cpu", torch.bfloat16):
        found = run_chunked(head, single, labels, 4)
    assert found[0].dtype == torch.float32
    assert found[0] != exact[0]  # shows that the head ran in bfloat16
    for one, true in zip(found, exact, strict=True):
        assert one.dtype == torch.float32
        assert float((one - true).norm() / true.norm()) < 0.02


def test_the_module_is_called_once_with_its_hooks(hidden, labels):
    """FSDP2 and DeepSpeed gather weights in hooks, so every process has to call a module equally often."""
    head, calls = make_linear(), []
    head.register_forward_pre_hook(lambda module, args: calls.append(module))
    run_chunked(head, hidden, labels, chunk=2)
    assert calls == [head]
    assert "forward" not in vars(head)  # the replacement is undone
    torch.testing.assert_close(head(hidden), F.linear(hidden, head.weight))


def test_a_head_whose_forward_is_replaced_is_called(hidden, labels):
    """accelerate's hooks replace `forward` for weights that are offloaded."""
    head, calls = make_linear(), []
    plain = head.forward

    def forward(hidden):
        calls.append(len(hidden))
        return plain(hidden)

    head.forward = forward
    loss, *_ = run_chunked(head, hidden, labels, chunk=4)
    torch.testing.assert_close(loss, run_stock(make_linear(), hidden, labels)[0], **SAME)
    assert sum(calls) >= int((labels[:, 1:] != IGNORE_INDEX).sum())
    assert max(calls) == 4


def test_disabling_adapters_uses_the_original_head(hidden, labels):
    head = wrap_with_peft(make_linear(trainable=False))
    with torch.no_grad():
        head.modules_to_save["default"].weight.mul_(3)
        positions, targets = find_supervised_positions(labels, V)
        trained = compute_token_losses(head, hidden, positions, targets)
        head.enable_adapters(False)
        original = compute_token_losses(head, hidden, positions, targets)
    torch.testing.assert_close(original, compute_token_losses(make_linear(), hidden, positions, targets), **SAME)
    assert not torch.allclose(original, trained)


class Largest(TorchDispatchMode):
    """Records the number of elements of the largest tensor that is created."""

    def __init__(self) -> None:
        super().__init__()
        self.size = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        self.size = max(self.size, *(one.numel() for one in tree_leaves(result) if isinstance(one, torch.Tensor)), 0)
        return result


@pytest.mark.parametrize("wrap", [lambda one: one, Wrapped], ids=["plain", "wrapped"])
def test_no_tensor_is_larger_than_a_chunk_of_logits(labels, wrap):
    vocab_size, chunk = 20_000, 3
    head = wrap(nn.Linear(2, vocab_size, bias=False).requires_grad_(False))
    hidden = torch.randn(B, L, 2, requires_grad=True)
    with Largest() as largest:
        positions, targets = find_supervised_positions(labels, vocab_size)
        compute_token_losses(head, hidden, positions, targets, chunk).sum().backward()
    assert len(positions) > 2 * chunk
    assert largest.size == max(chunk * vocab_size, 2 * vocab_size)
    assert math.isfinite(float(hidden.grad.sum()))
