"""Quantizes the frozen weights of the text decoder to 4 or 8 bits and checks that nothing else is quantized.

The linear layers of the text decoder are 82 percent of Llama 3.2 11B: 17.4 GB in bfloat16, 4.5 GB in NF4 with double
quantization (QLoRA, Dettmers et al., 2023, arXiv:2305.14314). Vision tower, projector and head stay in 16 bits: they
are small, and their results enter every layer. peft's `prepare_model_for_kbit_training` is not used: it casts
everything that is not quantized to float32, 3.5 GB for the vision tower instead of 1.7, and nothing else it does is
needed here: the norms already compute in float32, adapters are created in float32, and non-reentrant activation
checkpointing needs no gradient at its input.

bitsandbytes prints "Failed to load CPU gemm_4bit_forward from kernels-community" when it is imported. The message is
harmless: it concerns a faster inference kernel for some CPUs.
"""

from __future__ import annotations

import importlib.util
from typing import Any

import torch

from evaluation.loading import InputError

# Modules that are not quantized, by their full names: `vision_model` alone would match nothing. The list replaces the
# default one of transformers, so that it has to contain the head.
KEPT = ("model.vision_model", "model.multi_modal_projector", "lm_head")
QUANTIZED_LAYERS = "model.language_model.layers."
CLASSES = {"load_in_4bit": "Linear4bit", "load_in_8bit": "Linear8bitLt"}


def quantization_flag(arguments: Any) -> str | None:
    """Returns `load_in_4bit`, `load_in_8bit`, or None without quantization."""
    return next((flag for flag in CLASSES if getattr(arguments, flag)), None)


def quantization_settings(arguments: Any, dtype: torch.dtype) -> Any:
    """Returns the BitsAndBytesConfig for `--load_in_4bit` or `--load_in_8bit`; None without either.

    Args:
        dtype: the dtype in which the layers compute.

    Raises:
        InputError: bitsandbytes is not installed.
    """
    flag = quantization_flag(arguments)
    if flag is None:
        return None
    if importlib.util.find_spec("bitsandbytes") is None:
        raise InputError(f'--{flag} requires bitsandbytes: pip install "medpairs[quantization]"')
    from transformers import BitsAndBytesConfig

    settings: dict[str, Any] = {flag: True, "llm_int8_skip_modules": list(KEPT)}
    if flag == "load_in_4bit":
        settings |= {
            "bnb_4bit_quant_type": "nf4",
            "bnb_4bit_use_double_quant": True,
            "bnb_4bit_compute_dtype": dtype,
        }
    return BitsAndBytesConfig(**settings)


def is_quantized(module: torch.nn.Module) -> bool:
    """Returns whether a layer stores its weights in 4 or 8 bits."""
    return any(kind.__name__ in CLASSES.values() for kind in type(module).__mro__)


def keep_differentiable(model: torch.nn.Module) -> None:
    """Makes 4-bit layers on a CPU compute in evaluation as they do in training, in place.

    On a CPU with AVX512-BF16, bitsandbytes 0.50 repacks the weights at the first evaluation for a kernel without
    backward pass, and never restores them: continued training gets no gradient through the layer, with only a warning
    by torch.
    """
    for module in model.modules():
        if hasattr(module, "support_avx512bf16_for_cpu"):
            module.support_avx512bf16_for_cpu = False


def check_quantized(model: torch.nn.Module, arguments: Any, dtype: torch.dtype) -> None:
    """Raises InputError unless exactly the linear layers of the text decoder are quantized and all else has `dtype`."""
    flag = quantization_flag(arguments)
    if flag is None:
        return
    layers = {name: module for name, module in model.named_modules() if isinstance(module, torch.nn.Linear)}
    for name, module in layers.items():
        wanted = CLASSES[flag] if name.startswith(QUANTIZED_LAYERS) else "Linear"
        if type(module).__name__ != wanted:
            raise InputError(
                f"--{flag}: {name} became a {type(module).__name__}, not a {wanted}: this version of transformers "
                "names or selects layers differently. Install the version in constraints.txt"
            )
    quantized = {id(p) for module in layers.values() if is_quantized(module) for p in module.parameters()}
    for name, parameter in model.named_parameters():
        if id(parameter) not in quantized and parameter.dtype != dtype:
            raise InputError(f"--{flag}: {name} became {parameter.dtype}, not {dtype}")
