"""Runs the encoder's command and prints the peak memory of its training as the operating system counts it.

python -m tests.trainers.encoder.measured_run FILE --flags of run_encoder.py

FILE gets `start`, the bytes in memory when the training begins, without those of the weights, `peak`, the most of them
until it ends, and `cuda`, the most that torch had on the GPU, or null.

Weights are mapped from their file, and come into memory when they are first used: some of them before the training.
"""

from __future__ import annotations

import gc
import json
import sys
from pathlib import Path


def in_memory(field: str) -> int:
    """Bytes of VmRSS (now) or VmHWM (the most)."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{field}:"))


def mapped_weights() -> int:
    """Bytes of safetensors files that are in memory now."""
    total, counts = 0, False
    for line in Path("/proc/self/smaps").read_text().splitlines():
        name, *rest = line.split()
        if not name.endswith(":"):
            counts = line.endswith(".safetensors")
        elif name == "Rss:" and counts:
            total += int(rest[0]) * 1024
    return total


def main() -> int:
    import torch
    from transformers import TrainerCallback
    from transformers.trainer import DEFAULT_CALLBACKS

    from trainers.run_encoder import main as train

    found = {}

    class Measure(TrainerCallback):
        def on_train_begin(self, args, state, control, **kwargs):
            gc.collect()
            Path("/proc/self/clear_refs").write_text("5")  # VmHWM begins anew
            found["start"] = in_memory("VmRSS") - mapped_weights()

        def on_train_end(self, args, state, control, **kwargs):
            found["peak"] = in_memory("VmHWM")
            found["cuda"] = torch.cuda.max_memory_allocated() if torch.cuda.is_available() else None

    DEFAULT_CALLBACKS.append(Measure)
    try:
        status = train(sys.argv[2:])
    finally:
        DEFAULT_CALLBACKS.remove(Measure)
    Path(sys.argv[1]).write_text(json.dumps(found))
    return status


if __name__ == "__main__":
    sys.exit(main())
