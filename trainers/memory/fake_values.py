"""Computes the few tensors whose values decide which operations a model runs, while all others have shapes only.

Under PyTorch's FakeTensorMode a tensor has a shape but no content. A model that reads a mask (to see whether there is
an image, or which labels count) fails there. Masks, indices and labels are small and depend on the batch, not on the
weights. This mode keeps their real values beside the fake tensors and runs each operation on both.
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

# Values of larger results (in elements) are not tracked: masks of a batch stay below this, activations do not.
LIMIT = 2**23
aten = torch.ops.aten
# Operations without tensor inputs whose result is always known.
FACTORIES = {
    aten.arange.default, aten.arange.start, aten.arange.start_step, aten.zeros.default, aten.ones.default,
    aten.full.default, aten.scalar_tensor.default,
}  # fmt: skip
INDEXED = {aten.index.Tensor, aten.index_put.default, aten.index_put_.default}


class KnownValues(TorchDispatchMode):
    """Keeps the real values of fake tensors that depend on the batch alone. Enter it inside a FakeTensorMode.

    Args:
        fake: the FakeTensorMode around it.

    Attributes:
        contents: the real tensor of each fake tensor whose values are known.
    """

    def __init__(self, fake: FakeTensorMode) -> None:
        super().__init__()
        self.fake = fake
        self.contents = WeakIdKeyDictionary()

    def add(self, content: torch.Tensor) -> torch.Tensor:
        """Returns a fake tensor with the values of a real one, which was created outside of both modes."""
        tensor = self.fake.from_tensor(content)
        self.contents[tensor] = content
        return tensor

    def content(self, tensor: torch.Tensor) -> torch.Tensor | None:
        """Returns the real tensor behind a fake one, None if its values are not known."""
        return self.contents.get(tensor)

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if func in INDEXED:
            # A boolean index makes the shape of the result depend on its values; integers give a fixed shape.
            args = (args[0], self.integer_indices(args[1]), *args[2:])
        leaves, structure = tree_flatten((args, kwargs))
        inputs = [leaf for leaf in leaves if isinstance(leaf, torch.Tensor)]
        known = all(self.content(tensor) is not None for tensor in inputs) if inputs else func in FACTORIES
        if not known:
            if func._schema.is_mutable:
                self.forget(args[0])
            return func(*args, **kwargs)
        try:
            result = func(*args, **kwargs)
        except (DataDependentOutputException, DynamicOutputShapeException):
            # The shape or a Python value depends on the content: only the run on real values can tell.
            result = None
        else:
            if any(isinstance(leaf, torch.Tensor) and leaf.numel() > LIMIT for leaf in tree_flatten(result)[0]):
                return result
        real_leaves = [self.content(leaf) if isinstance(leaf, torch.Tensor) else leaf for leaf in leaves]
        real_args, real_kwargs = tree_unflatten(real_leaves, structure)
        with unset_fake_temporarily(), torch.no_grad():
            real = func(*real_args, **real_kwargs)
        if result is None:
            return tree_map(lambda leaf: self.add(leaf) if isinstance(leaf, torch.Tensor) else leaf, real)
        for tensor, content in zip(tree_flatten(result)[0], tree_flatten(real)[0], strict=True):
            if isinstance(tensor, torch.Tensor):
                self.contents[tensor] = content
        return result

    def integer_indices(self, indices: Any) -> list:
        """Returns the indices with each known boolean mask replaced by one integer index per dimension of the mask."""
        converted = []
        for index in indices:
            content = None if index is None else self.content(index)
            if content is not None and content.dtype == torch.bool:
                with unset_fake_temporarily():
                    positions = content.nonzero(as_tuple=True)
                converted += [self.add(position) for position in positions]
            else:
                converted.append(index)
        return converted

    def forget(self, tensor: Any) -> None:
        """Drops the values of a tensor that was overwritten with unknown ones, and of all views of its memory."""
        if not isinstance(tensor, torch.Tensor):
            return
        storage = tensor.untyped_storage()
        for other in list(self.contents):
            if other.untyped_storage() is storage or other is tensor:
                del self.contents[other]
