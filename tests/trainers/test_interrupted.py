"""A training that ends before its time, by Ctrl-C or a full disk: one line, the exit status, and how to resume."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.conftest import ROOT

WORDS = ("--tiny", "--use_cpu", "--max_steps", "2000", "--eval_strategy", "no")
BATCH = ("--per_device_train_batch_size", "2", "--gradient_accumulation_steps", "1", "--image_cache", "none")
SECONDS = 240


def start(
    command: str, dataset: Path, output: Path, *more: str, limit: str = "", save_steps: str = "3"
) -> subprocess.Popen:
    words = ["medpairs.py", command, "--dataset", str(dataset), "--output_dir", str(output), *WORDS, *BATCH, *more]
    words += ["--save_steps", save_steps]
    shell = ["bash", "-c", f'{limit} exec "$@"', "bash"] if limit else []
    pipes = {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen([*shell, sys.executable, *words], cwd=ROOT, start_new_session=True, **pipes)


@pytest.mark.slow
@pytest.mark.parametrize("command", ["train-encoder", "train-decoder"])
def test_ctrl_c_says_how_to_resume(dataset, tmp_path, command):
    process = start(command, dataset, tmp_path / "out", "--dataloader_num_workers", "2")
    deadline = time.monotonic() + SECONDS
    while process.poll() is None and not (tmp_path / "out" / "checkpoint-6").is_dir():
        assert time.monotonic() < deadline
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does, with the workers that read images
    said = process.communicate(timeout=60)[1]
    last = said.splitlines()[-1]
    assert process.returncode == 130 and "Traceback" not in said, said
    found = re.fullmatch(
        rf"interrupted; resume from {tmp_path}/out/checkpoint-(\d+) with --resume_from_checkpoint last", last
    )
    assert found and int(found[1]) >= 6, last


@pytest.mark.slow
def test_ctrl_c_before_the_first_checkpoint(dataset, tmp_path):
    process = start("train-encoder", dataset, tmp_path / "out", save_steps="2000")
    while process.poll() is None and not (tmp_path / "out" / "recipe.yaml").is_file():
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGINT)
    said = process.communicate(timeout=60)[1]
    assert process.returncode == 130 and said.splitlines()[-1] == "interrupted; nothing was saved yet", said


@pytest.mark.slow
def test_a_full_disk_says_how_to_resume(dataset, tmp_path):
    """The limit lets the weights through, and not the state of the optimizer, which is twice as large."""
    process = start("train-encoder", dataset, tmp_path / "out", limit="ulimit -f 6000;")
    said = process.communicate(timeout=SECONDS)[1]
    last = said.splitlines()[-1]
    assert process.returncode == 1 and "Traceback" not in said, said
    assert last.startswith("error: ") and last.endswith("; nothing was saved yet"), last
    assert "the disk is full" in last or "File too large" in last
