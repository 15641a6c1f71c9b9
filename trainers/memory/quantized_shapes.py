"""What memory do layers of 4 and 8 bits take? Layers that hold as many bytes as bitsandbytes' own, and no content.

bitsandbytes' layers cannot be made on the meta device, and their kernels do not run without content. These take the
same memory at the same time: packed weights and their scales for good, the weights in 16 bits while a product is
computed, in both directions, and of the input what the backward pass asks for (bitsandbytes/autograd/_functions.py).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

BLOCK, OUTER_BLOCK = 64, 256  # weights that share a scale, and scales that share one (double quantisation)


class FewBits(torch.autograd.Function):
    """A product with weights that are unpacked for it."""

    @staticmethod
    def forward(ctx: Any, inputs: torch.Tensor, layer: FewBitLayer) -> torch.Tensor:
        ctx.layer = layer
        ctx.inputs = inputs if layer.keeps_input else None
        return nn.functional.linear(inputs, layer.unpacked(inputs))

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor, None]:
        return gradient @ ctx.layer.unpacked(gradient), None


class FewBitLayer(nn.Linear):
    """A linear layer without bias whose weight is packed bytes.

    Args:
        weight: `[out, in]`, whose shape alone is looked at; on the meta device.
    """

    keeps_input = False

    def __init__(self, weight: torch.Tensor) -> None:
        nn.Module.__init__(self)
        self.out_features, self.in_features = weight.shape
        self.bias, self.dtype = None, weight.dtype
        self.weight = nn.Parameter(
            torch.empty(self.packed(weight.numel()), dtype=torch.uint8, device=weight.device), requires_grad=False
        )

    @staticmethod
    def packed(numbers: int) -> tuple[int, ...]:
        raise NotImplementedError

    def unpacked(self, like: torch.Tensor) -> torch.Tensor:
        return like.new_empty(self.out_features, self.in_features)

    @property
    def W_q(self) -> torch.Tensor:
        """By this attribute of HQQ's layers peft knows one whose weights it has to ask for, as DoRA does."""
        return self.weight

    def dequantize(self) -> torch.Tensor:
        return torch.empty(self.out_features, self.in_features, dtype=self.dtype, device=self.weight.device)

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        return FewBits.apply(inputs, self)


class Linear4bit(FewBitLayer):
    """NF4 with double quantisation: a scale of 8 bits for 64 weights, one of 32 bits for 256 of those."""

    def __init__(self, weight: torch.Tensor) -> None:
        super().__init__(weight)
        scales = weight.numel() // BLOCK
        self.register_buffer("absmax", torch.empty(scales, dtype=torch.uint8, device=weight.device))
        outer = torch.empty(-(-scales // OUTER_BLOCK), device=weight.device)
        self.register_buffer("absmax_of_absmax", outer)

    @staticmethod
    def packed(numbers: int) -> tuple[int, ...]:
        return (numbers // 2, 1)


class Linear8bitLt(FewBitLayer):
    """LLM.int8: a byte a weight, and a scale for each row. Its backward pass holds on to the input."""

    keeps_input = True

    def __init__(self, weight: torch.Tensor) -> None:
        super().__init__(weight)
        self.register_buffer("SCB", torch.empty(self.out_features, device=weight.device))

    @staticmethod
    def packed(numbers: int) -> tuple[int, ...]:
        return (numbers,)


def quantise_shapes(model: nn.Module, bits: str | None, below: str) -> None:
    """Puts such layers in the place of linear ones, in place.

    Args:
        bits: `load_in_4bit`, `load_in_8bit`, or None.
        below: how the names of the layers begin.
    """
    if bits is None:
        return
    kind = {"load_in_4bit": Linear4bit, "load_in_8bit": Linear8bitLt}[bits]
    for name, module in list(model.named_modules()):
        if name.startswith(below) and type(module) is nn.Linear:
            parent, _, own = name.rpartition(".")
            setattr(model.get_submodule(parent), own, kind(module.weight))
