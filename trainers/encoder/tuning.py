"""Which weights of the encoder learn? All of them, or those that `--freeze` and `--lora_towers` leave.

A frozen tower keeps its weights, whole or but for its last layers. A tower with adapters keeps its weights and learns
a low-rank addition to each linear layer of its encoder (LoRA, Hu et al., 2021, arXiv:2106.09685). Temperature and bias
learn always.

The adapters go into the model in place and leave its class, its outputs and the names of all other weights as they
are. Checkpoints hold `model.safetensors` with the adapters added into the weights, so that each of them opens as any
SigLIP checkpoint does; subtracting them again would not give the same bits, therefore the adapters and the weights that
they stand beside lie in `lora.safetensors`, and a run that is resumed has exactly what it had.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from evaluation.loading import InputError
from trainers.encoder.parameter_groups import TOWERS

ADAPTERS = "lora.safetensors"
ADAPTER = "default"  # peft's name of the only one
# The linear layers of a tower's encoder. Not the pooling head of the vision tower: its nn.MultiheadAttention keeps
# query, key and value in one parameter that is no module, which an adapter cannot stand beside; nor the text tower's
# head, so that both towers are treated alike. The heads stay as they are: trained whole they would be more than twice
# as many weights as all adapters of a base model together, and it is few weights that adapters are chosen for.
LAYERS = r"encoder\.layers\.\d+\.(self_attn\.(q|k|v|out)_proj|mlp\.fc[12])"


def choose_learning(model: torch.nn.Module, arguments: Any) -> None:
    """Adds the adapters and decides which parameters learn, in place.

    Args:
        model: a SiglipMedicalModel without adapters.
        arguments: EncoderTuningArguments.

    Raises:
        InputError: `--unfreeze_last_layers` is more than a frozen tower has.
    """
    adapted, frozen = towers_of(arguments.lora_towers), towers_of(arguments.freeze)
    if adapted:
        add_adapters(model, adapted, arguments)
    for tower, module in TOWERS.items():
        for name, parameter in getattr(model, module).named_parameters():
            parameter.requires_grad = "lora_" in name or tower not in adapted + frozen
    for name in frozen:
        unfreeze_last_layers(getattr(model, TOWERS[name]), name, arguments.unfreeze_last_layers)
    model.logit_scale.requires_grad = model.logit_bias.requires_grad = True


def towers_of(flag: str) -> list[str]:
    """The towers that `none`, `vision`, `text` or `both` stand for."""
    return [tower for tower in TOWERS if flag in (tower, "both")]


def unfreeze_last_layers(tower: torch.nn.Module, name: str, number: int) -> None:
    """Lets the last layers of a frozen tower learn, with the norm and the pooling head that come after them.

    Raises:
        InputError: the tower has fewer layers.
    """
    layers = tower.encoder.layers
    if number > len(layers):
        raise InputError(
            f"--unfreeze_last_layers {number}: the {name} tower has {len(layers)} layers; give at most that many, or "
            f"leave it out of --freeze"
        )
    if number:
        after = (getattr(tower, part, None) for part in ("post_layernorm", "final_layer_norm", "head"))
        for part in (*layers[-number:], *after):
            if part is not None:
                part.requires_grad_(True)


def rest_frozen(model: torch.nn.Module) -> None:
    """Puts every part that has no weight that learns into evaluation mode, after `model.train()`: no dropout there."""
    learning = [parameter.requires_grad for parameter in model.parameters()]
    if learning and not any(learning):
        model.eval()
    elif not all(learning):
        for child in model.children():
            rest_frozen(child)


# --- adapters ---


def add_adapters(model: torch.nn.Module, towers: list[str], arguments: Any) -> None:
    """Puts adapters beside the linear layers of the encoders of some towers. All other parameters stop learning."""
    from peft import LoraConfig, inject_adapter_in_model

    names = "|".join(TOWERS[tower] for tower in towers)
    config = LoraConfig(
        r=arguments.lora_r,
        lora_alpha=arguments.lora_alpha,
        lora_dropout=arguments.lora_dropout,
        target_modules=rf"({names})\.{LAYERS}",
        base_model_name_or_path="" if arguments.tiny else arguments.model_name_or_path,
    )
    inject_adapter_in_model(config, model, ADAPTER)


def adapted_layers(model: torch.nn.Module) -> dict[str, torch.nn.Module]:
    """The layers with an adapter, by name."""
    return {name: module for name, module in model.named_modules() if hasattr(module, "lora_A")}


def merged_state(model: torch.nn.Module, state: dict[str, torch.Tensor] | None = None) -> dict[str, torch.Tensor]:
    """The weights with the adapters added into them, named as those of a model that never had any.

    Args:
        state: the weights as the model has them, where a sharded one has been gathered; None: asks the model.
    """
    merged = dict(model.state_dict() if state is None else state)
    for name, layer in adapted_layers(model).items():
        down, up = (merged.pop(f"{name}.lora_{side}.{ADAPTER}.weight") for side in "AB")  # [r, in], [out, r]
        weight = merged.pop(f"{name}.base_layer.weight")  # [out, in]
        merged[f"{name}.weight"] = weight + (up @ down) * layer.scaling[ADAPTER]
        merged[f"{name}.bias"] = merged.pop(f"{name}.base_layer.bias")
    return merged


def save_adapters(model: torch.nn.Module, folder: Path, state: dict[str, torch.Tensor] | None = None) -> None:
    """Writes what `model.safetensors` cannot give back to the bit: the adapters, and the weights beside them."""
    from safetensors.torch import save_file

    state = model.state_dict() if state is None else state
    parts = ("lora_A.default.weight", "lora_B.default.weight", "base_layer.weight")
    names = [f"{name}.{part}" for name in adapted_layers(model) for part in parts]
    save_file({name: state[name].contiguous() for name in names}, folder / ADAPTERS, metadata=settings_of(model))


def load_adapters(model: torch.nn.Module, folder: Path) -> None:
    """Loads a checkpoint into a model with adapters: exactly the weights that were there when it was saved.

    Raises:
        InputError: the checkpoint has no adapters, or those of other layers, of another rank or scale.
    """
    from safetensors import safe_open
    from safetensors.torch import load_file

    if not (folder / ADAPTERS).is_file():
        raise InputError(f"{folder} holds no {ADAPTERS}: it was trained without adapters; leave --lora_towers out")
    with safe_open(folder / ADAPTERS, "pt") as file:
        written = file.metadata() or {}
    for name, value in settings_of(model).items():
        if written.get(name) != value:
            raise InputError(
                f"{folder}: its adapters are not those of this run, {name} {written.get(name)} and not {value}; give "
                "the --lora_towers, --lora_r and --lora_alpha that it was trained with"
            )
    state, beside = load_file(folder / "model.safetensors"), load_file(folder / ADAPTERS)
    for name in adapted_layers(model):
        state.pop(f"{name}.weight", None)
        state[f"{name}.base_layer.bias"] = state.pop(f"{name}.bias")
    model.load_state_dict(state | beside)


def settings_of(model: torch.nn.Module) -> dict[str, str]:
    """What decides what adapters mean, beside their weights."""
    config = model.peft_config[ADAPTER]
    towers = [
        tower for tower, module in TOWERS.items() if any(name.startswith(module) for name in adapted_layers(model))
    ]
    return {"lora_towers": " and ".join(towers), "lora_r": str(config.r), "lora_alpha": str(config.lora_alpha)}


def export_adapter(model: torch.nn.Module, folder: Path, state: dict[str, torch.Tensor] | None = None) -> None:
    """Writes a folder that `PeftModel.from_pretrained(base_model, folder)` reads.

    Beside the adapters it holds whatever else has learned, temperature and bias above all: without those the
    probabilities would be the base model's.

    Args:
        state: see `merged_state`.
    """
    from safetensors.torch import save_file

    state = model.state_dict() if state is None else state
    learned = [name for name, parameter in model.named_parameters() if parameter.requires_grad]
    weights = {f"base_model.model.{name.replace(f'.{ADAPTER}.', '.')}": state[name].contiguous() for name in learned}
    folder.mkdir(parents=True, exist_ok=True)
    save_file(weights, folder / "adapter_model.safetensors", metadata={"format": "pt"})
    model.peft_config[ADAPTER].save_pretrained(folder)


def learning_towers(model: torch.nn.Module) -> set[str]:
    """The towers with a parameter that learns, adapters included."""
    learning = [name for name, parameter in model.named_parameters() if parameter.requires_grad]
    modules = {"image": "vision_model.", "text": "text_model."}
    return {tower for tower, module in modules.items() if any(module in name for name in learning)}
