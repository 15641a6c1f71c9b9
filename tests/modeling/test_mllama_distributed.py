"""A prepared Mllama in two processes, one with images and one without: DDP and FSDP2 give one process's gradients."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
WAYS = ["ddp", "ddp,lora", "fsdp2", "fsdp2,lora", "fsdp2,head", "fsdp2,last"]


def test_two_processes_give_the_gradients_of_one(tiny_mllama):
    """In one launch: starting two processes takes longer than all they do."""
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    command += ["tests/modeling/sharded_mllama.py", str(tiny_mllama), *WAYS]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300, check=False)
    assert run.returncode == 0, run.stdout + run.stderr[-3000:]
    for way in WAYS:
        assert all(f"process {rank}, {way}: the same" in run.stdout for rank in (0, 1)), way
