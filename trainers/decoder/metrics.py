"""What a training of the decoder logs beside its loss: how many tokens and rows it does in a second, and its memory.

Counts are kept on the device over many updates; they are read, and added up over the processes, when a line is logged.
"""

from __future__ import annotations

import resource
import sys
from typing import Any

import torch
import torch.distributed as dist

from evaluation.scoring.decoder import IGNORED
from trainers.base.callbacks import Stopwatch
from trainers.base.distributed import world_size


class TokenMeter(Stopwatch):
    """Collects figures of the updates since the last line; rows that fill up an epoch's last batch count, too."""

    def __init__(self) -> None:
        super().__init__()
        self.counts: torch.Tensor | None = None

    def add(self, batch: dict[str, torch.Tensor]) -> None:
        """Adds a batch with `attention_mask` and `labels` `[B, L]`, without waiting for the device."""
        mask, labels = batch["attention_mask"], batch["labels"]
        rows = torch.full((), len(labels), dtype=torch.int64, device=labels.device)
        counts = torch.stack([rows, mask.sum().long(), (labels[:, 1:] != IGNORED).sum()])
        self.counts = counts if self.counts is None else self.counts + counts

    def take(self) -> dict[str, float]:
        """The figures of all processes, and begins anew. To be called by all processes, or by none.

        Returns:
            nothing where there was no update; else `samples_per_second`, `tokens_per_second` and
            `supervised_tokens_per_second` of all processes together, without evaluations and checkpoints;
            `peak_memory_gib`, the most that a process has had so far: of tensors on a GPU, of everything without one.
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
        """What a checkpoint has to hold of this process's figures, for JSON."""
        return {"counts": None if self.counts is None else self.counts.tolist(), "seconds": self.seconds}

    def restore(self, state: dict[str, Any], device: torch.device) -> None:
        """Goes on with what `state` gave."""
        self.seconds = state["seconds"]
        self.counts = None
        if state["counts"] is not None:
            self.counts = torch.tensor(state["counts"], dtype=torch.int64, device=device)


def peak_memory(device: torch.device) -> int:
    """Bytes that this process has had at most: in tensors on a GPU, else as the operating system counts them."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
