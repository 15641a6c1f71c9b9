"""Checks that a patched Mllama has the same gradients with DDP and FSDP2 in two processes as in one process."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
SETUPS = ["ddp", "ddp,lora", "fsdp2", "fsdp2,lora", "fsdp2,head", "fsdp2,last"]


@pytest.mark.slow
def test_two_processes_give_the_gradients_of_one(tiny_mllama):
    """All setups share one launch, because starting two processes takes longer than the comparisons."""
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    command += ["tests/modeling/mllama/sharded.py", str(tiny_mllama), *SETUPS]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300, check=False)
    assert run.returncode == 0, run.stdout + run.stderr[-3000:]
    for setup in SETUPS:
        assert all(f"process {rank}, {setup}: the same" in run.stdout for rank in (0, 1)), setup
