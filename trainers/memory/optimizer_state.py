"""Gives the bytes that an optimizer keeps per weight, and switches activation checkpointing."""

from __future__ import annotations

import torch

# Bytes of optimizer state per float32 parameter. Optimizers that are not listed count as AdamW: two float32 moments.
STATE_BYTES = {"adamw_torch": 8, "adamw_torch_fused": 8, "sgd": 0, "adagrad": 4, "rmsprop": 4, "lion_32bit": 4}
# Two moments of one byte each, and for each moment a float32 scale per block of 256: 2 * (1 + 4 / 256) = 2.03.
EIGHT_BIT_STATE_BYTES = 2.03


def set_activation_checkpointing(model: torch.nn.Module, enabled: bool) -> None:
    """Enables or disables non-reentrant activation checkpointing, for an estimate."""
    if enabled:
        # The saved state of the random number generators takes no GPU memory: an estimate does without it.
        model.activation_checkpointing_enable({"use_reentrant": False, "preserve_rng_state": False})
    else:
        model.activation_checkpointing_disable()
