"""Both trainers, a few updates each, on real files of SLAKE, PAD-UFES-20 and the OAI knees."""

from __future__ import annotations

import json

import pytest

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def real_build(run, real_data, tmp_path_factory):
    folder = tmp_path_factory.mktemp("real") / "data"
    sources = ("--slake_dir", real_data / "slake", "--pad_ufes_dir", real_data / "pad_ufes")
    knees = ("--knee_dir", real_data / "knee" / "oai_kneeKL224")
    splits = ("--val_fraction", "0.2", "--output_dir", folder)
    run("python", "hub_datasets/build.py", *sources, *knees, *splits)
    return folder


@pytest.mark.parametrize("command", ["run_encoder", "run_decoder"])
def test_it_trains_on_what_comes_out(command, real_build, run, tmp_path):
    words = ["--tiny", "--dataset", real_build, "--output_dir", tmp_path / "out", "--max_steps", "3"]
    words += ["--per_device_train_batch_size", "4", "--gradient_accumulation_steps", "1", "--logging_steps", "1"]
    words += ["--per_device_eval_batch_size", "8", "--disable_tqdm", "True"]
    if command == "run_decoder":
        words += ["--num_samples", "2", "--max_new_tokens", "4"]
    run("python", f"trainers/{command}.py", *words)
    summary = json.loads((tmp_path / "out" / "training_summary.json").read_text(encoding="utf-8"))
    losses = [entry["loss"] for entry in summary["history"] if "loss" in entry]
    assert len(losses) == 3 and all(0 < loss < 30 for loss in losses)
    report = json.loads((real_build / "report.json").read_text(encoding="utf-8"))
    assert set(report["sources"]) == {"knee_xray", "pad_ufes_20", "slake"}
    assert summary["dataset_revision"] == report["fingerprint"]
