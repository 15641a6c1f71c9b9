"""Says where and with what a measurement was made: machine, packages, commit of the code, seeds, processes."""

from __future__ import annotations

import os
import platform
from typing import Any

from model_cards.commands.environment_report import ROOT, output_of, processor_facts, version

COMMIT_DIGITS = 40


def provenance(seeds: dict[str, int], processes: int = 1) -> dict[str, Any]:
    """Returns the facts that a record keeps about a run.

    Args:
        seeds: seeds by what they are for, for example `{"limit": 0, "bootstrap": 0}`.
        processes: number of processes that shared the rows.

    Returns:
        `hardware` (processor, threads of torch, GPUs with their memory in GiB, memory in GiB), `software` (Python,
        operating system, version of this project, `commit` of a clone and whether tracked files were `changed`),
        `seeds` and `processes`. No names of users, folders or hosts.
    """
    return {"hardware": hardware(), "software": software(), "seeds": seeds, "processes": processes}


def hardware() -> dict[str, Any]:
    """Returns the processor, the memory and the GPUs of this machine."""
    import torch

    processor = processor_facts().get("model name") or platform.processor() or platform.machine()
    found: dict[str, Any] = {
        "processor": processor, "cores": os.cpu_count(), "threads": torch.get_num_threads(),
        "vectors": torch.backends.cpu.get_cpu_capability(), "device": device(),
    }  # fmt: skip
    if hasattr(os, "sysconf") and {"SC_PAGE_SIZE", "SC_PHYS_PAGES"} <= os.sysconf_names.keys():
        found["memory_gib"] = round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1)
    gpus = [torch.cuda.get_device_properties(number) for number in range(torch.cuda.device_count())]
    found["gpus"] = [f"{gpu.name}, {gpu.total_memory / 2**30:.0f} GiB" for gpu in gpus]
    return found


def device() -> str:
    """Returns what computes: the name of the GPU, or `cpu`."""
    import torch

    return torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu"


def software() -> dict[str, Any]:
    """Returns the versions of Python, of the operating system and of this project."""
    found: dict[str, Any] = {"python": platform.python_version(), "system": platform.platform(), "medpairs": version()}
    if commit := code_commit():
        changed = output_of("git", "-C", str(ROOT), "status", "--porcelain", "--untracked-files=no")
        found |= {"commit": commit, "changed": bool(changed)}
    return found


def code_commit() -> str:
    """Returns the commit of the clone that this code is in; "" outside of a clone."""
    commit = output_of("git", "-C", str(ROOT), "rev-parse", "HEAD") if (ROOT / ".git").exists() else ""
    return commit if len(commit) == COMMIT_DIGITS else ""
