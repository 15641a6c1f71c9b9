"""What lies in memory at its fullest moment? Every tensor is noted, from its making to its end."""

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

# What memory is for, in the order of a table.
WEIGHTS, GRADIENTS, OPTIMIZER = "weights", "gradients", "optimizer"
VISION, TEXT, COPIES = "activations of the vision tower", "activations of the text tower", "weights in bfloat16"
PIXELS, LOSS, WORKSPACE = "pixels and tokens", "embeddings and loss", "workspace"
KINDS = (WEIGHTS, GRADIENTS, OPTIMIZER, VISION, TEXT, COPIES, PIXELS, LOSS, WORKSPACE)


@dataclass
class Held:
    kind: str
    size: int
    ended: Any = field(repr=False)  # a weak reference that tells when the storage goes


class Ledger(TorchDispatchMode):
    """Notes the memory of every tensor that is made while it is active, until the tensor is gone.

    Attributes:
        now: bytes in use, by kind.
        peak: the same at the moment when their sum was largest.
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
        # autocast makes a copy of each weight, and keeps it until the forward pass is over
        copied = func is torch.ops.aten._to_copy.default and isinstance(args[0], torch.nn.Parameter)
        for tensor in tree_leaves(result):
            if isinstance(tensor, torch.Tensor):
                self.note(tensor, COPIES if copied else self.kind)
        return result

    def note(self, tensor: torch.Tensor, kind: str | None = None) -> None:
        """Counts a tensor's memory, unless it is another's."""
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
        held = self.held.pop(key)
        self.now[held.kind] -= held.size
        self.total -= held.size

    def start_over(self) -> None:
        """Forgets how much there was: what is noted by now does not count, nor do its views."""
        for held in self.held.values():
            held.size = 0
        self.now.clear()
        self.peak.clear()
        self.total = self.most = 0

    def rename(self, tensor: torch.Tensor, kind: str) -> None:
        """Says anew what a tensor is for: a backward pass does not tell which result is a weight's gradient."""
        if (held := self.held.get(id(tensor.untyped_storage()))) is not None:
            self.now[held.kind] -= held.size
            self.now[kind] += held.size
            held.kind = kind

    def reserve(self, kind: str, size: int) -> torch.Tensor:
        """A tensor of so many bytes, which counts until it is dropped."""
        with self.tag(kind):
            return torch.empty(size, dtype=torch.uint8)

    @contextmanager
    def tag(self, kind: str) -> Iterator[None]:
        """Inside, what is made is for this."""
        before, self.kind = self.kind, kind
        try:
            yield
        finally:
            self.kind = before


@dataclass
class MemoryEstimate:
    """Bytes by what they are for, at the moment when most are in use; `peak` is their sum."""

    parts: dict[str, int]

    @property
    def peak(self) -> int:
        return sum(self.parts.values())


def tower_of(name: str) -> str | None:
    """What the encoder's module of this name computes: only towers and their layers are told apart."""
    parts = name.split(".")
    kind = VISION if "vision_model" in parts else TEXT if "text_model" in parts else None
    return kind if kind and (parts[-1] in ("vision_model", "text_model") or parts[-1].isdigit()) else None


@contextmanager
def tagged_modules(
    model: torch.nn.Module, ledger: Ledger, kind_of: Callable[[str], str | None] = tower_of
) -> Iterator[None]:
    """Inside, what the modules that `kind_of` names make is theirs, also when a layer is computed again."""
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


def without_content(model: torch.nn.Module) -> None:
    """Replaces weights and buffers by ones without content; to be called in a FakeTensorMode."""
    fakes: dict[int, torch.Tensor] = {}  # tied weights stay tied
    for module in model.modules():
        for place in (module._parameters, module._buffers):
            for name, tensor in place.items():
                if tensor is None:
                    continue
                if id(tensor) not in fakes:
                    fake = torch.empty(tensor.shape, dtype=tensor.dtype, device="cpu")
                    learns = tensor.requires_grad
                    is_parameter = isinstance(tensor, torch.nn.Parameter)
                    fakes[id(tensor)] = torch.nn.Parameter(fake, learns) if is_parameter else fake
                place[name] = fakes[id(tensor)]


def size_of(tensor: torch.Tensor) -> int:
    return tensor.numel() * tensor.element_size()
