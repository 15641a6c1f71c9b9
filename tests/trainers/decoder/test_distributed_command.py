"""Tests the decoder's command with two processes, as the shipped configuration starts it, against one process."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from trainers.run_decoder import main

ROOT = Path(__file__).resolve().parents[3]


@pytest.mark.slow
def test_two_processes_train_the_same_decoder_as_one(dataset, tmp_path):
    flags = ["--tiny", "--dataset", dataset, "--use_cpu", "--max_steps", 3, "--per_device_train_batch_size", 2]
    flags += ["--logging_steps", 1, "--eval_steps", 2, "--save_steps", 2, "--disable_tqdm", "True"]
    flags += ["--report_to", "none", "--lora_dropout", 0, "--image_cache", tmp_path / "pixels", "--eval_samples", 5]
    flags += ["--max_new_tokens", 4, "--num_samples", 2]
    flags = list(map(str, flags))
    one, two = tmp_path / "one", tmp_path / "two"
    assert main([*flags, "--output_dir", str(one), "--gradient_accumulation_steps", "4"]) == 0

    config = ROOT / "trainers" / "accelerate_configs" / "ddp.yaml"
    command = [sys.executable, "-m", "accelerate.commands.launch", "--config_file", str(config), "--num_processes", "2"]
    command += ["--main_process_port", "0", "trainers/run_decoder.py", *flags, "--output_dir", str(two)]
    command += ["--gradient_accumulation_steps", "2"]
    environment = os.environ | {"CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-4000:]
    assert done.stdout.count("Written to") == 1

    histories = []
    for folder in (one, two):
        history = json.loads((folder / "training_summary.json").read_text())["history"]
        histories.append([entry for entry in history if "step" in entry])
    assert [entry.keys() for entry in histories[0]] == [entry.keys() for entry in histories[1]]
    names = ("loss", "grad_norm", "eval_loss", "eval_accuracy", "eval_bleu")
    compared = [(here, there, name) for here, there in zip(*histories, strict=True) for name in names if name in here]
    assert len(compared) >= 3 * 2 + 2
    for here, there, name in compared:
        assert here[name] == pytest.approx(there[name], rel=1e-3), name
