"""How is a model run through without content, where a few contents decide what it does? They are computed beside it.

Under PyTorch's FakeTensorMode a tensor has a shape and no content, so a model that looks at a mask (is there an image?
which labels count?) cannot go on. Masks, indices and labels are small and come from the batch, not from weights: this
mode keeps what they really hold, computes it along, and answers such questions from it.
"""

from __future__ import annotations

from typing import Any

import torch
from torch._subclasses.fake_tensor import (
    DataDependentOutputException,
    DynamicOutputShapeException,
    FakeTensorMode,
    unset_fake_temporarily,
)
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten, tree_map, tree_unflatten
from torch.utils.weak import WeakIdKeyDictionary

LIMIT = 2**23  # elements; what is larger is not followed
aten = torch.ops.aten
FACTORIES = {  # what needs no content to be known
    aten.arange.default, aten.arange.start, aten.arange.start_step, aten.zeros.default, aten.ones.default,
    aten.full.default, aten.scalar_tensor.default,
}  # fmt: skip
INDEXED = {aten.index.Tensor, aten.index_put.default, aten.index_put_.default}


class KnownValues(TorchDispatchMode):
    """Computes tensors whose content follows from the batch alone; to be entered inside a FakeTensorMode.

    Args:
        fake: that mode.
    """

    def __init__(self, fake: FakeTensorMode) -> None:
        super().__init__()
        self.fake = fake
        self.contents = WeakIdKeyDictionary()

    def add(self, content: torch.Tensor) -> torch.Tensor:
        """A fake tensor whose content is known: that of a real one, made outside of the modes."""
        tensor = self.fake.from_tensor(content)
        self.contents[tensor] = content
        return tensor

    def content(self, tensor: torch.Tensor) -> torch.Tensor | None:
        return self.contents.get(tensor)

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if func in INDEXED:
            args = (args[0], self.indices(args[1]), *args[2:])
        leaves, structure = tree_flatten((args, kwargs))
        given = [leaf for leaf in leaves if isinstance(leaf, torch.Tensor)]
        known = all(self.content(tensor) is not None for tensor in given) if given else func in FACTORIES
        if not known:
            if func._schema.is_mutable:
                self.forget(args[0])
            return func(*args, **kwargs)
        try:
            result = func(*args, **kwargs)
        except (DataDependentOutputException, DynamicOutputShapeException):
            result = None
        else:
            if any(isinstance(leaf, torch.Tensor) and leaf.numel() > LIMIT for leaf in tree_flatten(result)[0]):
                return result
        own = [self.content(leaf) if isinstance(leaf, torch.Tensor) else leaf for leaf in leaves]
        real_args, real_kwargs = tree_unflatten(own, structure)
        with unset_fake_temporarily(), torch.no_grad():
            real = func(*real_args, **real_kwargs)
        if result is None:
            return tree_map(lambda leaf: self.add(leaf) if isinstance(leaf, torch.Tensor) else leaf, real)
        for tensor, content in zip(tree_flatten(result)[0], tree_flatten(real)[0], strict=True):
            if isinstance(tensor, torch.Tensor):
                self.contents[tensor] = content
        return result

    def indices(self, given: Any) -> list:
        """Indices of which those that are masks have become numbers, so that the shape of what they choose is known."""
        numbers = []
        for index in given:
            content = None if index is None else self.content(index)
            if content is not None and content.dtype == torch.bool:
                with unset_fake_temporarily():
                    places = content.nonzero(as_tuple=True)
                numbers += [self.add(one) for one in places]
            else:
                numbers.append(index)
        return numbers

    def forget(self, tensor: Any) -> None:
        """A tensor that was written to with something unknown, and all views of the same memory."""
        if not isinstance(tensor, torch.Tensor):
            return
        storage = tensor.untyped_storage()
        for other in list(self.contents):
            if other.untyped_storage() is storage or other is tensor:
                del self.contents[other]
