"""Reduces the memory of Llama 3.2's vision tower: it keeps only the states that are read and can checkpoint its layers.

The stock encoder keeps the outputs of all 32 layers until the end, 16 MB each per image in bfloat16, although only five
are read. Its layers do not support activation checkpointing, so one image takes 10 GB if the tower is trainable. The
results equal the stock ones.
"""

from __future__ import annotations

from types import MethodType

import torch
from torch import nn
from transformers.modeling_outputs import BaseModelOutput
from transformers.models.mllama.modeling_mllama import MllamaVisionModel


def prepare_vision(tower: nn.Module) -> None:
    """Replaces `forward` of both encoders of the tower, in place; a tower of another class stays unchanged."""
    if not isinstance(tower, MllamaVisionModel):
        return
    tower.transformer.read_layers = frozenset(tower.intermediate_layers_indices)
    tower.global_transformer.read_layers = frozenset()
    for encoder in (tower.transformer, tower.global_transformer):
        encoder.forward = MethodType(encoder_forward, encoder)


def restore_vision(tower: nn.Module) -> None:
    """Undoes `prepare_vision`."""
    if not isinstance(tower, MllamaVisionModel):
        return
    for encoder in (tower.transformer, tower.global_transformer):
        for name in ("forward", "read_layers"):
            vars(encoder).pop(name, None)


def encoder_forward(
    self: nn.Module, hidden_states: torch.Tensor, attention_mask: torch.Tensor | None = None
) -> BaseModelOutput:
    """Replaces `MllamaVisionEncoder.forward`.

    Args:
        hidden_states: `[N, T * P, D]` patch embeddings.
        attention_mask: the additive mask of the stock model, or None.

    Returns:
        the last hidden state, and in `hidden_states` one entry per layer: its output, or None if no code reads it.
    """
    checkpointed = self.gradient_checkpointing and self.training and torch.is_grad_enabled()
    kept = []
    for number, layer in enumerate(self.layers):
        if checkpointed:
            hidden_states = self._gradient_checkpointing_func(layer, hidden_states, attention_mask)
        else:
            hidden_states = layer(hidden_states, attention_mask=attention_mask)
        kept.append(hidden_states if number in self.read_layers else None)
    return BaseModelOutput(last_hidden_state=hidden_states, hidden_states=tuple(kept))
