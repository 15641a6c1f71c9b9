"""Sets which weights of the decoder are trainable: all, the head, or low-rank adapters, as `--train_scope` says.

Adapters (LoRA, Hu et al., 2021, arXiv:2106.09685; DoRA, Liu et al., 2024, arXiv:2402.09353) are added to linear layers,
whose own weights stay frozen, as do norms, gates and embeddings. Modules that are trained in full beside a frozen model
in 16 bits are kept in float32: bfloat16 has 8 bits of precision, and late in a schedule an update is smaller than half
the last bit of a weight, so that it would have no effect.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import torch
from peft import PeftModel
from transformers import PreTrainedModel

from evaluation.loading import InputError
from trainers.decoder.arguments import ADAPTER, FULL, LM_HEAD, LORA, LORA_ALL

TEXT = r"language_model\.layers\.\d+\.(self_attn|cross_attn|mlp)\.(q|k|v|o|gate|up|down)_proj"
CROSS = r"language_model\.layers\.\d+\.cross_attn\.(q|k|v|o)_proj"
VISION = r"vision_model\.\w+\.layers\.\d+\.(self_attn\.(q|k|v|o)_proj|mlp\.fc[12])"
PROJECTOR = "multi_modal_projector"
# The linear layers that get adapters: peft has no default for Mllama, and a list of names (q_proj, v_proj) would also
# match the vision tower. `lora_all` means all linear layers except the head, as peft's "all-linear".
TARGETS = {
    ADAPTER: rf".*\.({CROSS}|{PROJECTOR})",
    LORA: rf".*\.{TEXT}",
    LORA_ALL: rf".*\.({TEXT}|{VISION}|{PROJECTOR})",
}
# The parts that `describe_trainable` counts, with the prefixes of their weights' names; the first match applies.
PARTS = {
    "vision tower": r"model\.vision_model\.",
    "projector": r"model\.multi_modal_projector\.",
    "cross-attention": r"model\.language_model\.layers\.\d+\.cross_attn",
    "self-attention": r"model\.language_model\.layers\.\d+\.self_attn\.",
    "feed-forward": r"model\.language_model\.layers\.\d+\.mlp\.",
    "embeddings": r"model\.language_model\.embed_tokens\.",
    "head": r"lm_head\.",
    "norms": r"model\.language_model\.",
}


def set_trainable(model: PreTrainedModel, arguments: Any) -> torch.nn.Module:
    """Sets which parameters are trainable, in place, and adds adapters if the scope has some.

    Args:
        model: an MllamaForConditionalGeneration, quantized or not, without adapters.
        arguments: DecoderArguments.

    Returns:
        a PeftModel around the model, or the model itself.

    Raises:
        InputError: `--modules_to_save` names a module that does not exist, has adapters or cannot be trained.
    """
    if arguments.train_scope == FULL:
        return model.requires_grad_(True)
    if arguments.train_scope == LM_HEAD:
        model.requires_grad_(False)
        train_in_float32(model.lm_head.requires_grad_(True), is_last=True)
        return model
    return add_adapters(model, arguments)


def add_adapters(model: PreTrainedModel, arguments: Any) -> PeftModel:
    """Adds low-rank adapters to the linear layers of the scope, and makes `--modules_to_save` trainable in full."""
    from peft import LoraConfig, get_peft_model

    full = fully_trained_modules(model, arguments)
    config = LoraConfig(
        r=arguments.lora_r,
        lora_alpha=arguments.lora_alpha,
        lora_dropout=arguments.lora_dropout,
        use_dora=arguments.use_dora,
        target_modules=TARGETS[arguments.train_scope],
        exclude_modules=[name for name in full if re.fullmatch(TARGETS[arguments.train_scope], name)] or None,
        modules_to_save=arguments.modules_to_save,
    )
    tuned = get_peft_model(model, config)
    for name, module in tuned.named_modules():
        if name.endswith(".modules_to_save.default"):
            train_in_float32(module, is_last=name.endswith("lm_head.modules_to_save.default"))
    return tuned


def fully_trained_modules(model: PreTrainedModel, arguments: Any) -> list[str]:
    """Returns the names of the modules of `--modules_to_save`: those whose name equals, or ends with, a given one.

    Raises:
        InputError: see `set_trainable`.
    """
    from trainers.decoder.quantization import is_quantized

    modules = {name: module for name, module in model.named_modules() if name}
    target = re.compile(TARGETS[arguments.train_scope])
    found = []
    for given in arguments.modules_to_save or ():
        flag = f"--modules_to_save {given}"
        names = [name for name in modules if name == given or name.endswith(f".{given}")]
        # peft compares the ends of the names, whether or not a part of the name starts there.
        loose = [name for name in modules if name.endswith(given)]
        if not names or loose != names:
            last = sorted({name.rsplit(".", 1)[-1] for name in modules if not name.rsplit(".", 1)[-1].isdigit()})
            reason = "there is no such module" if not names else f"other names end with it, too, for example {loose[0]}"
            raise InputError(
                f"{flag}: {reason}; the modules are {', '.join(last)}, with or without their parents' names"
            )
        for name in names:
            parts = list(modules[name].named_modules(prefix=name))
            if isinstance(modules[name], torch.nn.ModuleList) or not any(True for _ in modules[name].parameters()):
                raise InputError(f"{flag}: {name} has no weights of its own. Name the modules in it")
            if any(is_quantized(part) for _, part in parts):
                raise InputError(f"{flag}: quantized weights cannot be trained. Remove it, or --load_in_4bit/8bit")
            if twice := [part for part, _ in parts if target.fullmatch(part) and part != name]:
                raise InputError(
                    f"{flag}: it contains {twice[0]}, which has adapters with --train_scope {arguments.train_scope}. "
                    "Name a module without adapters, or a single layer"
                )
        found += names
    return found


# --- float32 beside 16 bits ---


def train_in_float32(module: torch.nn.Module, is_last: bool) -> None:
    """Converts the layers of a module to float32, in place; the dtype of its inputs and outputs does not change.

    Args:
        is_last: whether no layer follows, so that its output may stay in float32.
    """
    for layer in module.modules():
        # Only layers without children, with weights of their own in 16 bits.
        own = [parameter.dtype for parameter in layer.parameters(recurse=False)]
        if next(layer.children(), None) is not None or not own or own[0] not in (torch.bfloat16, torch.float16):
            continue
        layer.float()
        layer.register_forward_pre_hook(cast_to_float32)
        if not is_last:
            layer.register_forward_hook(CastBack(own[0]))


def cast_to_float32(module: torch.nn.Module, inputs: tuple) -> tuple:
    """Forward pre-hook: casts floating-point inputs to float32."""
    return tuple(
        value.float() if isinstance(value, torch.Tensor) and value.is_floating_point() else value for value in inputs
    )


class CastBack:
    """Forward hook: casts the output back to the model's dtype."""

    def __init__(self, dtype: torch.dtype) -> None:
        self.dtype = dtype

    def __call__(self, module: torch.nn.Module, inputs: tuple, output: torch.Tensor) -> torch.Tensor:
        return output.to(self.dtype)


# --- summary ---


def describe_trainable(model: torch.nn.Module) -> list[str]:
    """Returns a line per part with its numbers of trainable and of all weights, adapters included."""
    trainable, every = dict.fromkeys(PARTS, 0), dict.fromkeys(PARTS, 0)
    for name, parameter in base_named_parameters(model):
        part = next(part for part, start in PARTS.items() if re.match(start, name))
        every[part] += count_weights(parameter)
        trainable[part] += count_weights(parameter) if parameter.requires_grad else 0
    rows = [(part, trainable[part], every[part]) for part in PARTS if every[part]]
    rows.append(("all", sum(trainable.values()), sum(every.values())))
    return [
        f"{part:<16} {some:>15,} of {total:>15,} weights are trainable" + (f" ({some / total:.2%})" if some else "")
        for part, some, total in rows
    ]


def base_named_parameters(model: torch.nn.Module) -> Iterator[tuple[str, torch.nn.Parameter]]:
    """Yields the parameters with their names within the Mllama, without the prefixes of wrappers.

    The frozen original of a module in `--modules_to_save`, which peft keeps beside the trained copy, is left out.
    """
    for name, parameter in model.named_parameters():
        if ".original_module." not in name:
            yield name.removeprefix("module.").removeprefix("base_model.model."), parameter


def count_weights(parameter: torch.nn.Parameter) -> int:
    """Returns the number of weights in a parameter. In 4 bits, each byte holds two."""
    if type(parameter).__name__ != "Params4bit" or not getattr(parameter, "bnb_quantized", False):
        return parameter.numel()
    return parameter.quant_state.shape.numel()
