"""Measures the highest memory that is in use while an action runs: of the GPU, or of this process."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

CLEAR, STATUS = Path("/proc/self/clear_refs"), Path("/proc/self/status")


def peak_memory(action: Callable[[], object]) -> dict[str, Any]:
    """Runs an action and returns the peak.

    Returns:
        `bytes` and `of`: `gpu`, tensors that torch held on the GPU; or `process`, the resident memory of this process
        with Python, libraries and weights. `bytes` is None where the system does not say (`process` requires Linux).
    """
    import torch

    if torch.cuda.is_available():
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
        action()
        torch.cuda.synchronize()
        return {"of": "gpu", "bytes": torch.cuda.max_memory_allocated()}
    is_reset = reset_peak()
    action()
    return {"of": "process", "bytes": resident_peak() if is_reset else None}


def reset_peak() -> bool:
    """Makes the kernel forget the peak of this process; returns whether it did."""
    try:
        CLEAR.write_text("5", encoding="ascii")  # 5: reset the high-water mark, see proc(5)
    except OSError:
        return False
    return True


def resident_peak() -> int | None:
    """Returns the high-water mark of the resident memory in bytes; None where it is not known."""
    try:
        found = re.search(r"^VmHWM:\s*(\d+) kB", STATUS.read_text(encoding="ascii"), re.MULTILINE)
    except OSError:
        return None
    return 1024 * int(found[1]) if found else None
