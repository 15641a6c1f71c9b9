"""Tests the encoder's command with two processes, as the shipped configuration starts it, against one process."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from trainers.run_encoder import main

ROOT = Path(__file__).resolve().parents[3]


@pytest.mark.slow
def test_two_processes_train_the_same_encoder_as_one(dataset, tmp_path):
    flags = ["--tiny", "--dataset", dataset, "--use_cpu", "--max_steps", 3, "--per_device_train_batch_size", 4]
    flags += [
        "--logging_steps",
        1,
        "--eval_steps",
        2,
        "--save_steps",
        2,
        "--disable_tqdm",
        "True",
        "--report_to",
        "none",
    ]
    flags = list(map(str, flags))
    one, two = tmp_path / "one", tmp_path / "two"
    assert main([*flags, "--output_dir", str(one), "--gradient_accumulation_steps", "4"]) == 0

    config = ROOT / "trainers" / "accelerate_configs" / "ddp.yaml"
    command = [sys.executable, "-m", "accelerate.commands.launch", "--config_file", str(config), "--num_processes", "2"]
    command += ["--main_process_port", "0", "trainers/run_encoder.py", *flags, "--output_dir", str(two)]
    command += ["--gradient_accumulation_steps", "2"]
    environment = os.environ | {"CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-4000:]
    assert done.stdout.count("Written to") == 1

    summaries = [json.loads((folder / "training_summary.json").read_text()) for folder in (one, two)]
    assert [summary["contrastive_batch_size"] for summary in summaries] == [16, 16]
    histories = [[entry for entry in summary["history"] if "step" in entry] for summary in summaries]
    assert [entry.keys() for entry in histories[0]] == [entry.keys() for entry in histories[1]]
    names = ("loss", "grad_norm", "matched_cosine", "hardest_negative_cosine_max", "eval_loss", "eval_recall_at_5")
    compared = [(here, there, name) for here, there in zip(*histories, strict=True) for name in names if name in here]
    assert len(compared) == 3 * 4 + 2 * 2
    for here, there, name in compared:
        assert here[name] == pytest.approx(there[name], rel=1e-3), name
