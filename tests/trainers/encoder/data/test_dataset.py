"""Tests the flags of the encoder's input path in the command itself."""

from __future__ import annotations

import json
import os

import pytest

from trainers.images.cache_location import cache_folder

FLAGS = ("--augment", "light", "--horizontal_flip", "--batch_sampler", "stratified", "--draft_decode")


@pytest.mark.slow
def test_a_training_with_every_flag_of_the_input_and_its_resume(run, dataset, tmp_path):
    """The second part of the resumed training is the undisturbed one's: order, augmentation and loss."""
    common = ("--tiny", "--dataset", dataset, "--image_cache", tmp_path / "pixels", "--image_workers", "2", *FLAGS)
    common += ("--num_train_epochs", "2", "--per_device_train_batch_size", "16", "--gradient_accumulation_steps", "1")
    common += ("--logging_steps", "1", "--use_cpu", "--report_to", "none")
    first = run("python", "trainers/run_encoder.py", *common, "--output_dir", tmp_path / "out")
    assert first.stdout.count("--image_cache: decoding") == 2  # of the training and of the evaluation
    caches = sorted(path.name for path in (tmp_path / "pixels").iterdir())

    def history():
        summary = json.loads((tmp_path / "out" / "training_summary.json").read_text())
        return [(one["step"], one["loss"]) for one in summary["history"] if "loss" in one]

    whole = history()
    checkpoints = sorted((tmp_path / "out").glob("checkpoint-*"), key=lambda path: int(path.name.split("-")[1]))
    words = ("--output_dir", tmp_path / "out", "--resume_from_checkpoint", checkpoints[0])
    again = run("python", "trainers/run_encoder.py", *common, *words)
    assert "--image_cache: decoding" not in again.stdout
    assert history() == whole
    assert sorted(path.name for path in (tmp_path / "pixels").iterdir()) == caches


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--image_workers", "0"), "--image_workers 0: must be at least 1"),
        (("--augment", "strong"), "--augment"),
        (("--batch_sampler", "even"), "--batch_sampler"),
    ],
    ids=["workers", "augment", "sampler"],
)
def test_a_wrong_flag_is_one_message(words, said, run):
    process = run("python", "trainers/run_encoder.py", *words, check=False)
    assert process.returncode == 2
    assert said in process.stderr.splitlines()[-1]
    assert "Traceback" not in process.stderr


def test_a_cache_that_cannot_be_written_ends_the_command_with_one_message(run, dataset, tmp_path):
    (tmp_path / "file").write_text("")
    words = ("--tiny", "--dataset", dataset, "--image_cache", tmp_path / "file", "--output_dir", tmp_path / "out")
    process = run("python", "trainers/run_encoder.py", *words, check=False)
    assert process.returncode == 2
    assert f"--image_cache {tmp_path / 'file'}: " in process.stderr.splitlines()[-1]
    assert "Traceback" not in process.stderr
    assert not (tmp_path / "out").exists()


def test_where_the_cache_is(tmp_path):
    assert cache_folder("none") is None
    assert cache_folder(str(tmp_path)) == tmp_path
    assert str(cache_folder(None)).startswith(os.environ["HF_HOME"])
