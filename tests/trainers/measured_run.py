"""Runs the encoder's command and tells the most memory that its training held, as the system counts it.

python -m tests.trainers.measured_run FILE --flags of run_encoder.py

FILE gets `start`, the bytes in memory when the training begins, `peak`, the most of them until it ends, and `cuda`, the
most that torch had on the GPU, or null.
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
            found["start"] = in_memory("VmRSS")

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
