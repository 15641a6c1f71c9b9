"""Which weights of a decoder learn? Those that `--train_scope` names: all, the head, or low-rank adapters of a part.

Adapters (LoRA, Hu et al., 2021, arXiv:2106.09685; DoRA, Liu et al., 2024, arXiv:2402.09353) stand beside linear layers,
whose weights stay as they are, as do norms, gates and embeddings. What is trained whole beside a frozen model in 16
bits learns in float32: bfloat16 has 8 bits of mantissa, and late in a schedule an update is smaller than half of the
last one, so that it would change nothing.
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
# Of which linear layers: peft has no targets of its own for Mllama, and a plain list such as q_proj, v_proj would match
# the vision tower, too. `lora_all` are all linear layers but the head, which peft calls all-linear.
TARGETS = {
    ADAPTER: rf".*\.({CROSS}|{PROJECTOR})",
    LORA: rf".*\.{TEXT}",
    LORA_ALL: rf".*\.({TEXT}|{VISION}|{PROJECTOR})",
}
# The parts that `describe_learning` counts, and how the names of their weights begin; the first that fits.
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


def choose_learning(model: PreTrainedModel, arguments: Any) -> torch.nn.Module:
    """Decides which parameters learn, in place, and adds adapters where the scope has some.

    Args:
        model: an MllamaForConditionalGeneration, quantised or not, without adapters.
        arguments: DecoderTuningArguments.

    Returns:
        a PeftModel around the model, or the model itself.

    Raises:
        InputError: `--modules_to_save` names what is not there, what learns otherwise or what cannot learn.
    """
    if arguments.train_scope == FULL:
        return model.requires_grad_(True)
    if arguments.train_scope == LM_HEAD:
        model.requires_grad_(False)
        learn_in_float32(model.lm_head.requires_grad_(True), is_last=True)
        return model
    return add_adapters(model, arguments)


def add_adapters(model: PreTrainedModel, arguments: Any) -> PeftModel:
    """Low-rank adapters of the linear layers that the scope names, with `--modules_to_save` beside them."""
    from peft import LoraConfig, get_peft_model

    whole = whole_modules(model, arguments)
    config = LoraConfig(
        r=arguments.lora_r,
        lora_alpha=arguments.lora_alpha,
        lora_dropout=arguments.lora_dropout,
        use_dora=arguments.use_dora,
        target_modules=TARGETS[arguments.train_scope],
        exclude_modules=[name for name in whole if re.fullmatch(TARGETS[arguments.train_scope], name)] or None,
        modules_to_save=arguments.modules_to_save,
    )
    tuned = get_peft_model(model, config)
    for name, module in tuned.named_modules():
        if name.endswith(".modules_to_save.default"):
            learn_in_float32(module, is_last=name.endswith("lm_head.modules_to_save.default"))
    return tuned


def whole_modules(model: PreTrainedModel, arguments: Any) -> list[str]:
    """The names of the modules that `--modules_to_save` means: those whose name is, or ends with, one given.

    Raises:
        InputError: see `choose_learning`.
    """
    from trainers.decoder.quantization import is_quantised

    modules = {name: module for name, module in model.named_modules() if name}
    target = re.compile(TARGETS[arguments.train_scope])
    found = []
    for given in arguments.modules_to_save or ():
        flag = f"--modules_to_save {given}"
        names = [name for name in modules if name == given or name.endswith(f".{given}")]
        loose = [name for name in modules if name.endswith(given)]  # as peft looks
        if not names or loose != names:
            last = sorted({name.rsplit(".", 1)[-1] for name in modules if not name.rsplit(".", 1)[-1].isdigit()})
            reason = "there is no such module" if not names else f"it is the end of other names too, as {loose[0]}"
            raise InputError(f"{flag}: {reason}; the modules are {', '.join(last)}, each also with names before it")
        for name in names:
            parts = list(modules[name].named_modules(prefix=name))
            if isinstance(modules[name], torch.nn.ModuleList) or not any(True for _ in modules[name].parameters()):
                raise InputError(f"{flag}: {name} has no weights of its own; name the modules in it")
            if any(is_quantised(part) for _, part in parts):
                raise InputError(f"{flag}: weights of few bits do not learn; leave it, or --load_in_4bit/8bit, out")
            if twice := [part for part, _ in parts if target.fullmatch(part) and part != name]:
                raise InputError(
                    f"{flag}: {twice[0]} in it has adapters by --train_scope {arguments.train_scope}; name what has "
                    "none, or a single layer"
                )
        found += names
    return found


# --- float32 beside 16 bits ---


def learn_in_float32(module: torch.nn.Module, is_last: bool) -> None:
    """Keeps the layers of a module in float32, in place; what goes in and comes out stays as the model has it.

    Args:
        is_last: nothing comes after it: its output stays in float32.
    """
    for layer in module.modules():
        own = [parameter.dtype for parameter in layer.parameters(recurse=False)]
        if next(layer.children(), None) is not None or not own or own[0] not in (torch.bfloat16, torch.float16):
            continue
        layer.float()
        layer.register_forward_pre_hook(to_float32)
        if not is_last:
            layer.register_forward_hook(BackTo(own[0]))


def to_float32(module: torch.nn.Module, inputs: tuple) -> tuple:
    """Hook: the inputs in float32, whole numbers as they are."""
    return tuple(
        value.float() if isinstance(value, torch.Tensor) and value.is_floating_point() else value for value in inputs
    )


class BackTo:
    """Hook: the output in the model's own dtype."""

    def __init__(self, dtype: torch.dtype) -> None:
        self.dtype = dtype

    def __call__(self, module: torch.nn.Module, inputs: tuple, output: torch.Tensor) -> torch.Tensor:
        return output.to(self.dtype)


# --- what is said of it ---


def describe_learning(model: torch.nn.Module) -> list[str]:
    """Lines that say how many weights of each part learn, of how many; the adapters of a part are counted with it."""
    learning, every = dict.fromkeys(PARTS, 0), dict.fromkeys(PARTS, 0)
    for name, parameter in base_named_parameters(model):
        part = next(part for part, start in PARTS.items() if re.match(start, name))
        every[part] += weights_in(parameter)
        learning[part] += weights_in(parameter) if parameter.requires_grad else 0
    rows = [(part, learning[part], every[part]) for part in PARTS if every[part]]
    rows.append(("all", sum(learning.values()), sum(every.values())))
    return [
        f"{part:<16} {some:>15,} of {total:>15,} weights learn" + (f" ({some / total:.2%})" if some else "")
        for part, some, total in rows
    ]


def base_named_parameters(model: torch.nn.Module) -> Iterator[tuple[str, torch.nn.Parameter]]:
    """The parameters with their names below the Mllama, whatever is wrapped around that; a module's original that
    `--modules_to_save` keeps beside its copy is left out."""
    for name, parameter in model.named_parameters():
        if ".original_module." not in name:
            yield name.removeprefix("module.").removeprefix("base_model.model."), parameter


def weights_in(parameter: torch.nn.Parameter) -> int:
    """How many weights a parameter holds; one of 4 bits keeps two in each byte."""
    if type(parameter).__name__ != "Params4bit" or not getattr(parameter, "bnb_quantized", False):
        return parameter.numel()
    return parameter.quant_state.shape.numel()
