"""Sets which weights of the encoder are trainable: all, or those that `--freeze` and `--lora_towers` leave.

A frozen tower keeps all its weights, or all but those of its last layers. A tower with adapters keeps its weights and
trains a low-rank addition to each linear layer of its encoder (LoRA, Hu et al., 2021, arXiv:2106.09685). Temperature
and bias are always trainable.

The adapters are added to the model in place; its class, its outputs and the names of all other weights do not change.
A checkpoint holds `model.safetensors` with the adapters merged into the weights, so that it opens like any SigLIP
checkpoint. Subtracting the adapters would not restore the same bits. Therefore `lora.safetensors` holds the adapters
and the weights below them, and a resumed run has exactly the state it had.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from evaluation.loading import InputError
from trainers.encoder.parameter_groups import TOWERS

ADAPTERS = "lora.safetensors"
ADAPTER = "default"  # peft's name of the only adapter
# The linear layers of a tower's encoder. The pooling head of the vision tower is left out: its nn.MultiheadAttention
# holds query, key and value in one parameter that is not a module, so that it cannot have an adapter. The text tower's
# head is left out to treat both towers alike. Training the heads in full would add more than twice the weights of all
# adapters of a base model, and the purpose of adapters is to train few weights.
LAYERS = r"encoder\.layers\.\d+\.(self_attn\.(q|k|v|out)_proj|mlp\.fc[12])"


def set_trainable(model: torch.nn.Module, arguments: Any) -> None:
    """Adds the adapters and sets which parameters are trainable, in place.

    Args:
        model: a SiglipMedicalModel without adapters.
        arguments: EncoderArguments.

    Raises:
        InputError: `--unfreeze_last_layers` exceeds the number of layers of a frozen tower.
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
    """Returns the towers that `none`, `vision`, `text` or `both` names."""
    return [tower for tower in TOWERS if flag in (tower, "both")]


def unfreeze_last_layers(tower: torch.nn.Module, name: str, number: int) -> None:
    """Makes the last layers of a frozen tower trainable, with the norm and the pooling head after them.

    Args:
        name: `vision` or `text`, for the message.
        number: of layers; 0 for none.

    Raises:
        InputError: the tower has fewer layers.
    """
    layers = tower.encoder.layers
    if number > len(layers):
        raise InputError(
            f"--unfreeze_last_layers {number}: the {name} tower has {len(layers)} layers. Use at most that number, or "
            f"remove the tower from --freeze"
        )
    if number:
        after = (getattr(tower, part, None) for part in ("post_layernorm", "final_layer_norm", "head"))
        for part in (*layers[-number:], *after):
            if part is not None:
                part.requires_grad_(True)


def set_frozen_parts_to_eval(model: torch.nn.Module) -> None:
    """Sets modules without trainable weights to evaluation mode: no dropout. Call it after `model.train()`."""
    trainable = [parameter.requires_grad for parameter in model.parameters()]
    if trainable and not any(trainable):
        model.eval()
    elif not all(trainable):
        for child in model.children():
            set_frozen_parts_to_eval(child)


# --- adapters ---


def add_adapters(model: torch.nn.Module, towers: list[str], arguments: Any) -> None:
    """Adds adapters to the linear layers of some towers' encoders; this freezes all other parameters."""
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
    """Returns the layers with an adapter, by name."""
    return {name: module for name, module in model.named_modules() if hasattr(module, "lora_A")}


def merged_state(model: torch.nn.Module, state: dict[str, torch.Tensor] | None = None) -> dict[str, torch.Tensor]:
    """Returns the weights with the adapters merged into them, under the names of a model without adapters.

    Args:
        state: the state dict of a sharded model, gathered; None to take it from the model.
    """
    merged = dict(model.state_dict() if state is None else state)
    for name, layer in adapted_layers(model).items():
        down, up = (merged.pop(f"{name}.lora_{side}.{ADAPTER}.weight") for side in "AB")  # [r, in], [out, r]
        weight = merged.pop(f"{name}.base_layer.weight")  # [out, in]
        # [out, r] @ [r, in] -> [out, in]
        merged[f"{name}.weight"] = weight + (up @ down) * layer.scaling[ADAPTER]
        merged[f"{name}.bias"] = merged.pop(f"{name}.base_layer.bias")
    return merged


def save_adapters(model: torch.nn.Module, folder: Path, state: dict[str, torch.Tensor] | None = None) -> None:
    """Writes what cannot be restored exactly from `model.safetensors`: the adapters and the weights below them."""
    from safetensors.torch import save_file

    state = model.state_dict() if state is None else state
    parts = ("lora_A.default.weight", "lora_B.default.weight", "base_layer.weight")
    names = [f"{name}.{part}" for name in adapted_layers(model) for part in parts]
    save_file({name: state[name].contiguous() for name in names}, folder / ADAPTERS, metadata=settings_of(model))


def load_adapters(model: torch.nn.Module, folder: Path) -> None:
    """Loads a checkpoint into a model with adapters and restores exactly the weights that were saved.

    Raises:
        InputError: the checkpoint has no adapters, or its adapters differ in layers, rank or scale.
    """
    from safetensors import safe_open
    from safetensors.torch import load_file

    if not (folder / ADAPTERS).is_file():
        raise InputError(f"{folder} has no {ADAPTERS}: it was trained without adapters. Remove --lora_towers")
    with safe_open(folder / ADAPTERS, "pt") as file:
        written = file.metadata() or {}
    for name, value in settings_of(model).items():
        if written.get(name) != value:
            raise InputError(
                f"{folder}: its adapters do not match this run: {name} was {written.get(name)} and is {value} now. Use "
                "the --lora_towers, --lora_r and --lora_alpha that it was trained with"
            )
    # `exact` replaces the merged weights of the adapted layers by adapters and base weights.
    state, exact = load_file(folder / "model.safetensors"), load_file(folder / ADAPTERS)
    for name in adapted_layers(model):
        state.pop(f"{name}.weight", None)
        state[f"{name}.base_layer.bias"] = state.pop(f"{name}.bias")
    model.load_state_dict(state | exact)


def settings_of(model: torch.nn.Module) -> dict[str, str]:
    """Returns the settings that adapters depend on besides their weights."""
    config = model.peft_config[ADAPTER]
    towers = [
        tower for tower, module in TOWERS.items() if any(name.startswith(module) for name in adapted_layers(model))
    ]
    return {"lora_towers": " and ".join(towers), "lora_r": str(config.r), "lora_alpha": str(config.lora_alpha)}


def export_adapter(model: torch.nn.Module, folder: Path, state: dict[str, torch.Tensor] | None = None) -> None:
    """Writes a folder that `PeftModel.from_pretrained(base_model, folder)` can open.

    Besides the adapters it contains all other trained weights, in particular temperature and bias: without those the
    probabilities would be the base model's.

    Args:
        state: see `merged_state`.
    """
    from safetensors.torch import save_file

    state = model.state_dict() if state is None else state
    trained = [name for name, parameter in model.named_parameters() if parameter.requires_grad]
    # The names that peft expects: with its prefix and without the adapter's name.
    weights = {f"base_model.model.{name.replace(f'.{ADAPTER}.', '.')}": state[name].contiguous() for name in trained}
    folder.mkdir(parents=True, exist_ok=True)
    save_file(weights, folder / "adapter_model.safetensors", metadata={"format": "pt"})
    model.peft_config[ADAPTER].save_pretrained(folder)


def trainable_towers(model: torch.nn.Module) -> set[str]:
    """Returns the towers, `image` or `text`, that have a trainable parameter, adapters included."""
    trainable = [name for name, parameter in model.named_parameters() if parameter.requires_grad]
    modules = {"image": "vision_model.", "text": "text_model."}
    return {tower for tower, module in modules.items() if any(module in name for name in trainable)}
