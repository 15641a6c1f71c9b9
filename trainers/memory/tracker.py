"""Records every tensor from allocation to release, to find what occupies memory at the peak."""

from __future__ import annotations

import weakref
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

# The kinds of memory, in the order of the printed table.
WEIGHTS, GRADIENTS, OPTIMIZER = "weights", "gradients", "optimizer"
VISION, TEXT, COPIES = "activations of the vision tower", "activations of the text tower", "weights in bfloat16"
PIXELS, LOSS, WORKSPACE = "pixels and tokens", "embeddings and loss", "workspace"
KINDS = (WEIGHTS, GRADIENTS, OPTIMIZER, VISION, TEXT, COPIES, PIXELS, LOSS, WORKSPACE)


@dataclass
class Held:
    """One live allocation.

    Attributes:
        kind: what it is for, one of KINDS.
        size: in bytes.
        ended: a weak reference to the storage, whose callback runs when the storage is freed.
    """

    kind: str
    size: int
    ended: Any = field(repr=False)


class Ledger(TorchDispatchMode):
    """Tracks the memory of every tensor that is created while it is active, until the tensor is freed.

    Attributes:
        now: bytes in use, by kind.
        peak: bytes in use by kind at the moment when their sum was largest.
        total, most: the sums of `now` and `peak`.
        kind: what new tensors are counted as, see `tag`.
        held: the live allocations, by the id of their storage.
    """

    def __init__(self) -> None:
        super().__init__()
        self.now: Counter[str] = Counter()
        self.peak: Counter[str] = Counter()
        self.total = self.most = 0
        self.kind = WORKSPACE
        self.held: dict[int, Held] = {}

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        # Autocast copies each weight to bfloat16 and caches the copy until the forward pass ends.
        copied = func is torch.ops.aten._to_copy.default and isinstance(args[0], torch.nn.Parameter)
        for tensor in tree_leaves(result):
            if isinstance(tensor, torch.Tensor):
                self.note(tensor, COPIES if copied else self.kind)
        return result

    def note(self, tensor: torch.Tensor, kind: str | None = None) -> None:
        """Counts the memory of a tensor, unless it is a view of memory that is already counted."""
        storage = tensor.untyped_storage()
        key, kind = id(storage), kind or self.kind
        if key in self.held:
            return
        size = storage.nbytes()
        self.held[key] = Held(kind, size, weakref.ref(storage, lambda _: self.release(key)))
        self.now[kind] += size
        self.total += size
        if self.total > self.most:
            self.most, self.peak = self.total, self.now.copy()

    def release(self, key: int) -> None:
        """Removes a freed allocation from the sums."""
        held = self.held.pop(key)
        self.now[held.kind] -= held.size
        self.total -= held.size

    def start_over(self) -> None:
        """Sets all sums to 0; neither the present allocations nor their views are counted from now on."""
        for held in self.held.values():
            held.size = 0
        self.now.clear()
        self.peak.clear()
        self.total = self.most = 0

    def rename(self, tensor: torch.Tensor, kind: str) -> None:
        """Moves a tensor to another kind: that it is the gradient of a weight is known only after it was created."""
        if (held := self.held.get(id(tensor.untyped_storage()))) is not None:
            self.now[held.kind] -= held.size
            self.now[kind] += held.size
            held.kind = kind

    def reserve(self, kind: str, size: int) -> torch.Tensor:
        """Returns a tensor of `size` bytes, which is counted as `kind` until it is freed."""
        with self.tag(kind):
            return torch.empty(size, dtype=torch.uint8)

    @contextmanager
    def tag(self, kind: str) -> Iterator[None]:
        """Inside the context, new tensors are counted as `kind`."""
        before, self.kind = self.kind, kind
        try:
            yield
        finally:
            self.kind = before


@dataclass
class MemoryEstimate:
    """Bytes in use at the peak.

    Attributes:
        parts: bytes by kind.
    """

    parts: dict[str, int]

    @property
    def peak(self) -> int:
        """The sum of all parts, in bytes."""
        return sum(self.parts.values())


def tower_of(name: str) -> str | None:
    """Returns the kind of the activations of an encoder module, by its name; None unless it is a tower or a layer."""
    parts = name.split(".")
    kind = VISION if "vision_model" in parts else TEXT if "text_model" in parts else None
    return kind if kind and (parts[-1] in ("vision_model", "text_model") or parts[-1].isdigit()) else None


@contextmanager
def tagged_modules(
    model: torch.nn.Module, ledger: Ledger, kind_of: Callable[[str], str | None] = tower_of
) -> Iterator[None]:
    """Inside the context, tensors created by a module are counted as the kind that `kind_of` returns for its name.

    This includes the recomputation of a layer by activation checkpointing, which calls the module again.
    """
    # `before` is a stack: modules are nested, and each restores the kind of the module around it.
    handles, before = [], []

    def enter(kind: str) -> Any:
        def hook(module, args):
            before.append(ledger.kind)
            ledger.kind = kind

        return hook

    def leave(module, args, output):
        ledger.kind = before.pop()

    for name, module in model.named_modules():
        if kind := kind_of(name):
            handles.append(module.register_forward_pre_hook(enter(kind)))
            handles.append(module.register_forward_hook(leave, always_call=True))
    for parameter in model.parameters():
        if parameter.requires_grad:
            handles.append(parameter.register_post_accumulate_grad_hook(lambda one: ledger.rename(one.grad, GRADIENTS)))
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def drop_contents(model: torch.nn.Module) -> None:
    """Replaces weights and buffers with fake ones, in place. Call it inside a FakeTensorMode."""
    # By the id of the original tensor, so that tied weights stay tied.
    fakes: dict[int, torch.Tensor] = {}
    for module in model.modules():
        for tensors in (module._parameters, module._buffers):
            for name, tensor in tensors.items():
                if tensor is None:
                    continue
                if id(tensor) not in fakes:
                    fake = torch.empty(tensor.shape, dtype=tensor.dtype, device="cpu")
                    is_parameter = isinstance(tensor, torch.nn.Parameter)
                    fakes[id(tensor)] = torch.nn.Parameter(fake, tensor.requires_grad) if is_parameter else fake
                tensors[name] = fakes[id(tensor)]


def size_of(tensor: torch.Tensor) -> int:
    """Returns the size of a tensor in bytes."""
    return tensor.numel() * tensor.element_size()
