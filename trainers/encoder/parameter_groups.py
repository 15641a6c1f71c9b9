"""Assigns a learning rate and a weight decay to each parameter: up to five AdamW groups in a fixed order.

Each tower has two groups, with and without weight decay, at its own learning rate (`--vision_lr`, `--text_lr`);
temperature and bias have one (`--temperature_lr`). Trainer's own rule also decays `logit_scale`, the position
embeddings and the probe of the pooling head. Zero is not a sensible prior for any of these.
"""

from __future__ import annotations

from typing import Any

import torch

SCALARS = ("logit_scale", "logit_bias")
TOWERS = {"vision": "vision_model", "text": "text_model"}
# Parts of the names of matrices without weight decay. Vectors, that is all biases and norms, have none either.
UNDECAYED = ("position_embedding", "probe")
ORDER = ("vision_decay", "vision_no_decay", "text_decay", "text_no_decay", "temperature")


def parameter_groups(model: torch.nn.Module, training: Any) -> list[dict[str, Any]]:
    """Returns the optimizer's groups: every trainable parameter once, empty groups left out.

    The order depends on the model only, so that the optimizer's state fits when a run is resumed.

    Args:
        model: a SiglipMedicalModel, with or without adapters, wrapped or not.
        training: has `learning_rate`, `weight_decay`, and `vision_lr`, `text_lr` and `temperature_lr`, each of which
            may be None to use `learning_rate`.

    Returns:
        dicts with `params`, `lr`, `weight_decay`, `name` (one of ORDER) and `names` (those of the parameters).

    Raises:
        ValueError: a trainable parameter belongs to no tower and is neither temperature nor bias.
    """
    groups: dict[str, dict[str, Any]] = {
        name: {"params": [], **settings_of(name, training), "name": name, "names": []} for name in ORDER
    }
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            group = groups[group_of(name, parameter)]
            group["params"].append(parameter)
            group["names"].append(name)
    return [group for group in groups.values() if group["params"]]


def group_of(name: str, parameter: torch.nn.Parameter) -> str:
    """Returns the group that a parameter belongs to, one of ORDER."""
    parts = name.split(".")
    if parts[-1] in SCALARS:
        return "temperature"
    for tower, module in TOWERS.items():
        if module in parts:
            undecayed = parameter.ndim < 2 or any(part in UNDECAYED for part in parts)
            return f"{tower}_{'no_decay' if undecayed else 'decay'}"
    raise ValueError(f"the parameter {name} belongs to no tower and is neither temperature nor bias")


def settings_of(group: str, training: Any) -> dict[str, float]:
    """Returns `lr` and `weight_decay` of a group, one of ORDER."""
    # "vision_no_decay" -> training.vision_lr
    rate = getattr(training, f"{group.split('_')[0]}_lr")
    return {
        "lr": training.learning_rate if rate is None else rate,
        "weight_decay": training.weight_decay if group in ("vision_decay", "text_decay") else 0.0,
    }


def describe_groups(groups: list[dict[str, Any]]) -> list[str]:
    """Returns a line per group with its number of weights, learning rate, weight decay, and first and last name."""
    lines = []
    for group in groups:
        weights = sum(parameter.numel() for parameter in group["params"])
        names = group["names"]
        shown = ", ".join(names) if len(names) < 3 else f"{names[0]} ... {names[-1]}"
        lines.append(
            f"{group['name']:<16} {weights:>13,} weights in {len(names):>3} tensors, learning rate "
            f"{group.get('initial_lr', group['lr']):g}, weight decay {group['weight_decay']:g} ({shown})"
        )
    return lines
