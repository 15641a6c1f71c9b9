"""Bytes that an optimizer keeps for each weight, and switching activation checkpointing."""

from __future__ import annotations

import torch

# Bytes that an optimizer keeps for a parameter of 4 bytes; for others those of AdamW are taken.
STATE_BYTES = {"adamw_torch": 8, "adamw_torch_fused": 8, "sgd": 0, "adagrad": 4, "rmsprop": 4, "lion_32bit": 4}


EIGHT_BIT = 2.03  # two moments of a byte each, and a scale for every 256 of them


def switch_checkpointing(model: torch.nn.Module, on: bool) -> None:
    if on:
        model.activation_checkpointing_enable({"use_reentrant": False, "preserve_rng_state": False})
    else:
        model.activation_checkpointing_disable()
