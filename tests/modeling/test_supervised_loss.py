"""The chunked loss against `cross_entropy` of all logits: values, gradients, heads of every kind, memory."""

from __future__ import annotations

import copy
import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from modeling.supervised_loss import IGNORED, reduced_loss, row_losses, supervised_positions, token_losses

B, L, D, V = 3, 11, 16, 50
SAME = {"rtol": 1e-12, "atol": 1e-12}


@pytest.fixture
def labels() -> torch.Tensor:
    labels = torch.randint(0, V, (B, L), generator=torch.Generator().manual_seed(1))
    labels[0, :6] = labels[1, 3:9] = IGNORED
    labels[2] = IGNORED
    return labels


@pytest.fixture
def hidden() -> torch.Tensor:
    return torch.randn(B, L, D, generator=torch.Generator().manual_seed(2), dtype=torch.float64).requires_grad_()


def linear(bias: bool = False, learns: bool = True, dtype: torch.dtype = torch.float64) -> nn.Linear:
    torch.manual_seed(0)
    return nn.Linear(D, V, bias=bias, dtype=dtype).requires_grad_(learns)


class Wrapped(nn.Module):
    """A head that is no plain linear layer, as LoRA's and quantised ones are not."""

    def __init__(self, layer: nn.Linear) -> None:
        super().__init__()
        self.layer, self.out_features = layer, layer.out_features

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        return self.layer(hidden)


def saved_by_peft(layer: nn.Linear) -> nn.Module:
    from peft.utils import ModulesToSaveWrapper

    return ModulesToSaveWrapper(layer, "default")


def ours(head, hidden, labels, chunk=None, scale=None, **options) -> list[torch.Tensor | None]:
    """Loss and gradients, the loss weighted by row with `scale`."""
    positions, targets = supervised_positions(labels, V)
    losses = token_losses(head, hidden, positions, targets, chunk)
    loss = reduced_loss(losses, **options) if scale is None else (row_losses(losses, positions, B, L) * scale).sum()
    return with_gradients(loss, head, hidden)


def stock(head, hidden, labels, scale=None, num_items_in_batch=None) -> list[torch.Tensor | None]:
    logits, targets = head(hidden)[:, :-1], labels[:, 1:]
    losses = F.cross_entropy(logits.transpose(1, 2).to(hidden.dtype), targets, reduction="none")
    if scale is not None:
        return with_gradients((losses.sum(1) * scale).sum(), head, hidden)
    return with_gradients(losses.sum() / (num_items_in_batch or (targets != IGNORED).sum()), head, hidden)


def with_gradients(loss, head, hidden) -> list[torch.Tensor | None]:
    learned = [one for one in (hidden, *head.parameters()) if one.requires_grad]
    return [loss.detach(), *torch.autograd.grad(loss, learned)]


@pytest.mark.parametrize("wrap", [lambda one: one, Wrapped, saved_by_peft], ids=["plain", "wrapped", "saved"])
@pytest.mark.parametrize("chunk", [1, 4, 20, 100, None])  # the last two keep the logits of a learning head
@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("learns", [False, True])
def test_loss_and_gradients(hidden, labels, wrap, chunk, bias, learns):
    head = wrap(linear(bias, learns))
    scale = torch.tensor([2.0, -0.5, 3.0], dtype=torch.float64)
    for options in ({}, {"num_items_in_batch": 7}, {"scale": scale}):
        found, expected = ours(head, hidden, labels, chunk, **options), stock(head, hidden, labels, **options)
        assert len(found) == len(expected)
        for one, two in zip(found, expected, strict=True):
            torch.testing.assert_close(one, two, **SAME)


def test_gradients_by_finite_differences(hidden, labels):
    positions, targets = supervised_positions(labels, V)
    head = linear(bias=True)

    def losses(hidden, weight, bias):
        # the layer's own parameters cannot be swapped for the checker's; a copy without them takes these
        layer = copy.deepcopy(head)
        del layer.weight, layer.bias
        layer.weight, layer.bias = weight, bias
        return token_losses(layer, hidden, positions, targets, 3)

    assert torch.autograd.gradcheck(losses, (hidden, head.weight, head.bias), nondet_tol=1e-10)


def test_only_the_head_learns(hidden, labels):
    """As with --train_scope lm_head: nothing below asks for a gradient."""
    head = linear()
    for one, two in zip(ours(head, hidden.detach(), labels, 4), stock(head, hidden.detach(), labels), strict=True):
        torch.testing.assert_close(one, two, **SAME)


def test_nothing_to_learn(hidden):
    for head in (linear(bias=True), linear(learns=False), Wrapped(linear())):
        for options in ({}, {"num_items_in_batch": torch.tensor(0)}, {"num_items_in_batch": 0}):
            loss, *found = ours(head, hidden, torch.full((B, L), IGNORED), **options)
            assert loss == 0
            assert found
            assert all(not one.any() for one in found)


def test_rows(hidden, labels):
    positions, targets = supervised_positions(labels, V)
    losses = token_losses(linear(), hidden, positions, targets)
    rows = row_losses(losses, positions, B, L)
    counts = (labels[:, 1:] != IGNORED).sum(1)
    logits = linear()(hidden)
    for row in range(B):
        expected = F.cross_entropy(logits[row, :-1], labels[row, 1:], reduction="sum") if counts[row] else 0.0
        torch.testing.assert_close(rows[row], torch.as_tensor(expected, dtype=torch.float64), **SAME)


def test_the_first_word_of_a_row_is_nobodys_target():
    """The last word of the row before must not be asked for it."""
    labels = torch.tensor([[IGNORED, IGNORED, 3], [7, IGNORED, IGNORED]])
    positions, targets = supervised_positions(labels, V)
    assert (positions.tolist(), targets.tolist()) == ([1], [3])


@pytest.mark.parametrize("wrong", [V, V + 7, -1, -101])
def test_a_label_that_is_no_word(labels, wrong):
    labels[0, 8] = wrong
    with pytest.raises(ValueError, match=rf"token ids \[{wrong}\], but the head knows 0 to {V - 1}"):
        supervised_positions(labels, V)


@pytest.mark.parametrize("learns", [False, True])
def test_half_precision_heads(hidden, labels, learns):
    """The loss is float32; the gradients are as near to the exact ones as the stock path's are."""
    head, half = linear(learns=learns, dtype=torch.bfloat16), hidden.detach().bfloat16().requires_grad_()
    exact = stock(copy.deepcopy(head).double(), half.detach().double().requires_grad_(), labels)
    found, usual = ours(head, half, labels, 4), stock(head, half, labels)
    assert found[0].dtype == torch.float32
    for one, other, true in zip(found[1:], usual[1:], exact[1:], strict=True):
        assert one.dtype == torch.bfloat16
        error, usual_error = (float((some - true).norm() / true.norm()) for some in (one, other))
        assert error < max(1.5 * usual_error, 0.01)


@pytest.mark.parametrize("learns", [False, True])
def test_autocast(hidden, labels, learns):
    head, single = linear(learns=learns, dtype=torch.float32), hidden.detach().float().requires_grad_()
    exact = stock(head, single, labels)
    with torch.autocast("cpu", torch.bfloat16):
        found = ours(head, single, labels, 4)
    assert found[0].dtype == torch.float32
    assert found[0] != exact[0]  # the head did run in bfloat16
    for one, true in zip(found, exact, strict=True):
        assert one.dtype == torch.float32
        assert float((one - true).norm() / true.norm()) < 0.02


def test_the_module_is_called_once_with_its_hooks(hidden, labels):
    """FSDP2 and DeepSpeed gather weights in hooks; where they do, every process has to call a module equally often."""
    head, calls = linear(), []
    head.register_forward_pre_hook(lambda module, args: calls.append(module))
    ours(head, hidden, labels, chunk=2)
    assert calls == [head]
    assert "forward" not in vars(head)  # it is the plain layer again
    torch.testing.assert_close(head(hidden), F.linear(hidden, head.weight))


def test_a_head_with_a_forward_of_its_own_is_called(hidden, labels):
    """As accelerate's hooks make one, for weights that are elsewhere."""
    head, calls = linear(), []
    plain = head.forward

    def forward(hidden):
        calls.append(len(hidden))
        return plain(hidden)

    head.forward = forward
    loss, *_ = ours(head, hidden, labels, chunk=4)
    torch.testing.assert_close(loss, stock(linear(), hidden, labels)[0], **SAME)
    assert sum(calls) >= int((labels[:, 1:] != IGNORED).sum())
    assert max(calls) == 4


def test_peft_without_its_adapters_uses_the_original_head(hidden, labels):
    head = saved_by_peft(linear(learns=False))
    with torch.no_grad():
        head.modules_to_save["default"].weight.mul_(3)
        positions, targets = supervised_positions(labels, V)
        learned = token_losses(head, hidden, positions, targets)
        head.enable_adapters(False)
        original = token_losses(head, hidden, positions, targets)
    torch.testing.assert_close(original, token_losses(linear(), hidden, positions, targets), **SAME)
    assert not torch.allclose(original, learned)


class Largest(TorchDispatchMode):
    """The number of elements of the largest tensor that is made."""

    def __init__(self) -> None:
        super().__init__()
        self.size = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        self.size = max(self.size, *(one.numel() for one in tree_leaves(result) if isinstance(one, torch.Tensor)), 0)
        return result


@pytest.mark.parametrize("wrap", [lambda one: one, Wrapped], ids=["plain", "wrapped"])
def test_no_more_than_a_chunk_of_logits(labels, wrap):
    words, chunk = 20_000, 3
    head = wrap(nn.Linear(2, words, bias=False).requires_grad_(False))
    hidden = torch.randn(B, L, 2, requires_grad=True)
    with Largest() as largest:
        positions, targets = supervised_positions(labels, words)
        token_losses(head, hidden, positions, targets, chunk).sum().backward()
    assert len(positions) > 2 * chunk
    assert largest.size == max(chunk * words, 2 * words)
    assert math.isfinite(float(hidden.grad.sum()))
