"""How are the text decoder's frozen weights kept in 4 or 8 bits, and the rest as it is?

The linear layers of the text decoder are 82 percent of Llama 3.2 11B: 17.4 GB in bfloat16, 4.5 GB in NF4 with double
quantisation (QLoRA, Dettmers et al., 2023, arXiv:2305.14314). Vision tower, projector and head stay in 16 bits: they
are small, and what they compute goes into every layer. peft's `prepare_model_for_kbit_training` is not used: it casts
whatever is not quantised to float32, 3.5 GB for the vision tower instead of 1.7. Nothing of what it does is needed: the
norms compute in float32 as they are, adapters are made in float32, and activation checkpointing without reentrance
needs no gradient at its input.

"Failed to load CPU gemm_4bit_forward from kernels-community", which bitsandbytes says when it is imported, is about a
faster kernel for answering on some processors, and harmless.
"""

from __future__ import annotations

import importlib.util
from typing import Any

import torch

from evaluation.loading import InputError

# Modules by their full names: `vision_model` alone matches nothing. To give a list replaces the usual one, therefore
# the head is in it.
KEPT = ("model.vision_model", "model.multi_modal_projector", "lm_head")
QUANTISED = "model.language_model.layers."
CLASSES = {"load_in_4bit": "Linear4bit", "load_in_8bit": "Linear8bitLt"}


def chosen_bits(arguments: Any) -> str | None:
    """`load_in_4bit`, `load_in_8bit`, or None."""
    return next((flag for flag in CLASSES if getattr(arguments, flag)), None)


def quantization_settings(arguments: Any, dtype: torch.dtype) -> Any:
    """The BitsAndBytesConfig that `--load_in_4bit` or `--load_in_8bit` mean; None without one of them.

    Args:
        dtype: what layers compute in.

    Raises:
        InputError: bitsandbytes is not installed.
    """
    flag = chosen_bits(arguments)
    if flag is None:
        return None
    if importlib.util.find_spec("bitsandbytes") is None:
        raise InputError(f'--{flag} needs bitsandbytes: pip install "medpairs[quantization]"')
    from transformers import BitsAndBytesConfig

    settings: dict[str, Any] = {flag: True, "llm_int8_skip_modules": list(KEPT)}
    if flag == "load_in_4bit":
        settings |= {
            "bnb_4bit_quant_type": "nf4",
            "bnb_4bit_use_double_quant": True,
            "bnb_4bit_compute_dtype": dtype,
        }
    return BitsAndBytesConfig(**settings)


def is_quantised(module: torch.nn.Module) -> bool:
    """Whether a layer keeps its weights in few bits."""
    return any(kind.__name__ in CLASSES.values() for kind in type(module).__mro__)


def keep_differentiable(model: torch.nn.Module) -> None:
    """Has 4-bit layers on a processor compute in evaluation as they do in training, in place.

    Where a processor knows AVX512-BF16, bitsandbytes 0.50 packs the weights at the first evaluation for a kernel that
    has no backward pass, and never unpacks them: a training that goes on after that gets no gradient through the
    layer, and only torch warns.
    """
    for module in model.modules():
        if hasattr(module, "support_avx512bf16_for_cpu"):
            module.support_avx512bf16_for_cpu = False


def check_quantised(model: torch.nn.Module, arguments: Any, dtype: torch.dtype) -> None:
    """Raises InputError unless exactly the linear layers of the text decoder are quantised, and the rest is `dtype`."""
    flag = chosen_bits(arguments)
    if flag is None:
        return
    layers = {name: module for name, module in model.named_modules() if isinstance(module, torch.nn.Linear)}
    for name, module in layers.items():
        wanted = CLASSES[flag] if name.startswith(QUANTISED) else "Linear"
        if type(module).__name__ != wanted:
            raise InputError(
                f"--{flag}: {name} became a {type(module).__name__}, not a {wanted}: this release of transformers "
                "names, or chooses, layers differently; use the one in constraints.txt"
            )
    inside = {id(p) for module in layers.values() if is_quantised(module) for p in module.parameters()}
    for name, parameter in model.named_parameters():
        if id(parameter) not in inside and parameter.dtype != dtype:
            raise InputError(f"--{flag}: {name} became {parameter.dtype}, not {dtype}")
