"""What does the vision tower of Llama 3.2 keep in memory? States that are read, and where it learns its layers' inputs.

The stock encoder holds the output of all 32 layers until its end, 16 MB each for an image in bfloat16, of which five
are read; and its layers know no activation checkpointing, so that an image takes 10 GB where the tower learns. The
results are the same to the bit.
"""

from __future__ import annotations

from types import MethodType

import torch
from torch import nn
from transformers.modeling_outputs import BaseModelOutput
from transformers.models.mllama.modeling_mllama import MllamaVisionModel


def prepare_vision(tower: nn.Module) -> None:
    """Gives both encoders of the tower another forward, in place; another kind of tower stays as it is."""
    if not isinstance(tower, MllamaVisionModel):
        return
    tower.transformer.read_layers = frozenset(tower.intermediate_layers_indices)
    tower.global_transformer.read_layers = frozenset()
    for encoder in (tower.transformer, tower.global_transformer):
        encoder.forward = MethodType(encoder_forward, encoder)


def restore_vision(tower: nn.Module) -> None:
    """Undoes it."""
    if not isinstance(tower, MllamaVisionModel):
        return
    for encoder in (tower.transformer, tower.global_transformer):
        for name in ("forward", "read_layers"):
            vars(encoder).pop(name, None)


def encoder_forward(
    self: nn.Module, hidden_states: torch.Tensor, attention_mask: torch.Tensor | None = None
) -> BaseModelOutput:
    """In place of `MllamaVisionEncoder.forward`: `hidden_states` has None for the layers that nothing reads."""
    checkpointed = self.gradient_checkpointing and self.training and torch.is_grad_enabled()
    kept = []
    for number, layer in enumerate(self.layers):
        if checkpointed:
            hidden_states = self._gradient_checkpointing_func(layer, hidden_states, attention_mask)
        else:
            hidden_states = layer(hidden_states, attention_mask=attention_mask)
        kept.append(hidden_states if number in self.read_layers else None)
    return BaseModelOutput(last_hidden_state=hidden_states, hidden_states=tuple(kept))
