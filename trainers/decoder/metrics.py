"""Measures a decoder's training beside its loss: tokens and rows per second, and peak memory.

Counts stay on the device over many updates; they are read, and added up over the processes, when a line is logged.
"""

from __future__ import annotations

import resource
import sys
from typing import Any

import torch
import torch.distributed as dist

from modeling.mllama.chunked_cross_entropy import IGNORE_INDEX
from trainers.base.callbacks import Stopwatch
from trainers.base.distributed import world_size


class TokenMeter(Stopwatch):
    """Collects figures of the updates since the last logged line; rows that pad an epoch's last batch count, too.

    Attributes:
        counts: `[3]` int64: rows, tokens and labels of this process; None before the first update.
    """

    def __init__(self) -> None:
        super().__init__()
        self.counts: torch.Tensor | None = None

    def add(self, batch: dict[str, torch.Tensor]) -> None:
        """Adds a batch with `attention_mask` and `labels` `[B, L]`, without waiting for the device."""
        mask, labels = batch["attention_mask"], batch["labels"]
        # The label of the first token is never predicted.
        rows = torch.full((), len(labels), dtype=torch.int64, device=labels.device)
        counts = torch.stack([rows, mask.sum().long(), (labels[:, 1:] != IGNORE_INDEX).sum()])
        self.counts = counts if self.counts is None else self.counts + counts

    def take(self) -> dict[str, float]:
        """Returns the figures over all processes and resets them. To be called by all processes or by none.

        Returns:
            an empty dict if there was no update; else `samples_per_second`, `tokens_per_second` and
            `supervised_tokens_per_second` of all processes together, without the time of evaluations and checkpoints;
            and `peak_memory_gib`, the highest peak of a process so far: of tensors on a GPU, else of all its memory.
        """
        if self.counts is None:
            return {}
        peak = torch.tensor(peak_memory(self.counts.device), dtype=torch.float64)
        seconds = torch.tensor(self.seconds, dtype=torch.float64)
        if world_size() > 1:
            dist.all_reduce(self.counts)
            most = torch.stack([peak, seconds]).to(self.counts.device)
            dist.all_reduce(most, op=dist.ReduceOp.MAX)
            peak, seconds = most.cpu()
        figures = {"peak_memory_gib": round(peak.item() / 2**30, 4)}
        if seconds.item():
            rates = (count / seconds.item() for count in self.counts.tolist())
            names = ("samples", "tokens", "supervised_tokens")
            figures |= {f"{name}_per_second": round(rate, 3) for name, rate in zip(names, rates, strict=True)}
        self.counts, self.seconds = None, 0.0
        return figures

    def state(self) -> dict[str, Any]:
        """Returns this process's figures for a checkpoint, as JSON values."""
        return {"counts": None if self.counts is None else self.counts.tolist(), "seconds": self.seconds}

    def restore(self, state: dict[str, Any], device: torch.device) -> None:
        """Restores the result of `state`."""
        self.seconds = state["seconds"]
        self.counts = None
        if state["counts"] is not None:
            self.counts = torch.tensor(state["counts"], dtype=torch.int64, device=device)


def peak_memory(device: torch.device) -> int:
    """Returns the peak memory of this process in bytes: of its tensors on a GPU, else its resident set size."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    # getrusage reports bytes on macOS and KiB on Linux.
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
