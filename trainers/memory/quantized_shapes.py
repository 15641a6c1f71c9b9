"""Stands in for 4-bit and 8-bit layers in a memory estimate: layers with as many bytes as those of bitsandbytes.

The layers of bitsandbytes cannot be created on the meta device, and their kernels do not run without content. The
layers here allocate the same memory at the same time: the packed weights and their scales permanently, the weights in
16 bits during each matrix product in both directions, and the inputs that the backward pass needs
(bitsandbytes/autograd/_functions.py).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

# Weights per scale, and scales per outer scale (double quantization): the block sizes of bitsandbytes.
BLOCK, OUTER_BLOCK = 64, 256


class PackedMatmul(torch.autograd.Function):
    """Multiplies with weights that are unpacked for the product only.

    `[..., in] @ [in, out] -> [..., out]` forward, `[..., out] @ [out, in] -> [..., in]` backward.
    """

    @staticmethod
    def forward(ctx: Any, inputs: torch.Tensor, layer: PackedLinear) -> torch.Tensor:
        ctx.layer = layer
        ctx.inputs = inputs if layer.keeps_input else None
        return nn.functional.linear(inputs, layer.unpacked(inputs))

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor, None]:
        return gradient @ ctx.layer.unpacked(gradient), None


class PackedLinear(nn.Linear):
    """A linear layer without bias whose weight is stored as packed bytes.

    Args:
        weight: `[out, in]`, on the meta device; only its shape is used.
    """

    # Whether the backward pass needs the layer's input.
    keeps_input = False

    def __init__(self, weight: torch.Tensor) -> None:
        nn.Module.__init__(self)
        self.out_features, self.in_features = weight.shape
        self.bias, self.dtype = None, weight.dtype
        self.weight = nn.Parameter(
            torch.empty(self.packed_shape(weight.numel()), dtype=torch.uint8, device=weight.device), requires_grad=False
        )

    @staticmethod
    def packed_shape(weights: int) -> tuple[int, ...]:
        """Returns the shape of the uint8 tensor that stores this many weights."""
        raise NotImplementedError

    def unpacked(self, like: torch.Tensor) -> torch.Tensor:
        """Returns the weights `[out, in]` in the dtype of `like`."""
        return like.new_empty(self.out_features, self.in_features)

    @property
    def W_q(self) -> torch.Tensor:
        """The attribute by which peft recognizes HQQ layers, whose weights it dequantizes where DoRA needs them."""
        return self.weight

    def dequantize(self) -> torch.Tensor:
        """Returns the weights `[out, in]` in the dtype that they had before quantization."""
        return torch.empty(self.out_features, self.in_features, dtype=self.dtype, device=self.weight.device)

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        return PackedMatmul.apply(inputs, self)


class Linear4bit(PackedLinear):
    """NF4 with double quantization: an 8-bit scale per 64 weights, a 32-bit scale per 256 of those scales."""

    def __init__(self, weight: torch.Tensor) -> None:
        super().__init__(weight)
        scales = weight.numel() // BLOCK
        self.register_buffer("absmax", torch.empty(scales, dtype=torch.uint8, device=weight.device))
        # -(-a // b) rounds up: the last block may have fewer scales.
        outer = torch.empty(-(-scales // OUTER_BLOCK), device=weight.device)
        self.register_buffer("absmax_of_absmax", outer)

    @staticmethod
    def packed_shape(weights: int) -> tuple[int, ...]:
        # Two weights of 4 bits per byte, in a column, as bitsandbytes stores them.
        return (weights // 2, 1)


class Linear8bitLt(PackedLinear):
    """LLM.int8: one byte per weight and one scale per row. Its backward pass keeps the input."""

    keeps_input = True

    def __init__(self, weight: torch.Tensor) -> None:
        super().__init__(weight)
        self.register_buffer("SCB", torch.empty(self.out_features, device=weight.device))

    @staticmethod
    def packed_shape(weights: int) -> tuple[int, ...]:
        return (weights,)


def quantize_shapes(model: nn.Module, bits: str | None, below: str) -> None:
    """Replaces linear layers with quantized stand-ins, in place.

    Args:
        bits: `load_in_4bit`, `load_in_8bit`, or None to change nothing.
        below: prefix of the names of the layers to replace.
    """
    if bits is None:
        return
    kind = {"load_in_4bit": Linear4bit, "load_in_8bit": Linear8bitLt}[bits]
    for name, module in list(model.named_modules()):
        if name.startswith(below) and type(module) is nn.Linear:
            parent, _, own = name.rpartition(".")
            setattr(model.get_submodule(parent), own, kind(module.weight))
