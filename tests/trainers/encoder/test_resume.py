"""Tests that a run that is killed twice and resumed ends like an uninterrupted one: the same bits, the same log.

On the same machine and with the same number of threads, as the README promises.
"""

from __future__ import annotations

import functools
import json
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.trainers.killed_runs import Runs, assert_same, kill_at, outcome, run_command
from trainers.base.checkpoint_files import damage, partial

COMMON = "--per_device_train_batch_size 5 --gradient_accumulation_steps 3 --learning_rate 1e-3"
STEPS = "--logging_steps 4 --eval_steps 3 --save_steps 3 --disable_tqdm True --use_cpu True"
# GradCache over whole updates, of which the last of an epoch is shorter; evaluations that fall between lines of the log
STRATIFIED = "--batch_sampler stratified --augment light --metric_for_best_model recall_at_5 --patience 9"
STRATIFIED += " --num_train_epochs 3"
# several contrasts an update, dropout, the Trainer's own sampler, every image decoded each time
DROPOUT = "--contrastive_batch_size 5 --image_cache none --num_train_epochs 2"


@pytest.fixture(scope="module")
def dropout_encoder(tiny_encoder, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("dropout") / "encoder"
    shutil.copytree(tiny_encoder, folder)
    config = json.loads((folder / "config.json").read_text())
    for tower in ("text_config", "vision_config"):
        config[tower]["attention_dropout"] = 0.2
    (folder / "config.json").write_text(json.dumps(config))
    return folder


@pytest.fixture(scope="module")
def stratified(dataset, tmp_path_factory) -> Runs:
    words = ["--dataset", str(dataset), "--tiny", *COMMON.split(), *STEPS.split(), *STRATIFIED.split()]
    return Runs(tmp_path_factory.mktemp("stratified"), words)


@pytest.fixture(scope="module")
def with_dropout(dataset, dropout_encoder, tmp_path_factory) -> Runs:
    words = ["--dataset", str(dataset), "--model_name_or_path", str(dropout_encoder)]
    return Runs(tmp_path_factory.mktemp("dropout"), [*words, *COMMON.split(), *STEPS.split(), *DROPOUT.split()])


@pytest.mark.slow
def test_killed_at_random_moments_it_ends_as_if_nothing_had_been(stratified):
    assert stratified.disturbed("killed", kills=4, seed=0) >= 3
    assert_same(outcome(stratified.folder / "killed"), stratified.expected)


@pytest.mark.slow
def test_with_dropout_and_several_contrasts_too(with_dropout):
    assert with_dropout.disturbed("killed", kills=2, seed=2) >= 1
    assert_same(outcome(with_dropout.folder / "killed"), with_dropout.expected)


@pytest.mark.slow
def test_the_command_killed_while_it_writes_a_checkpoint(stratified, run):
    """A process as a user starts it, the second checkpoint half written."""
    folder = stratified.folder / "process"
    command = [sys.executable, "trainers/run_encoder.py", *stratified.to("process")]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        second = folder / "checkpoint-5"  # at the end of the first epoch
        # It may be complete before this process, on a busy machine, has looked again.
        while not (partial(second) / "model.safetensors").exists() and not second.exists():
            assert process.poll() is None, "it ended by itself"
            time.sleep(0.0005)
    finally:
        process.kill()
        process.wait()
    left = {path.name for path in folder.iterdir()}
    assert "checkpoint-3" in left and damage(folder / "checkpoint-3") is None
    assert left & {"checkpoint-5", "checkpoint-5.partial"}
    resumed = run("python", *command[1:], "--resume_from_checkpoint", "last")
    assert f"Resuming from {folder}/checkpoint-" in resumed.stdout
    assert not list(folder.glob("*.partial"))
    assert_same(outcome(folder), stratified.expected)
    # and now it is finished
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    assert run_command([*command[2:], "--resume_from_checkpoint", "last"], stratified.log) == 0
    assert "nothing to do" in stratified.log.read_text().splitlines()[-1]
    assert before == {path: path.stat().st_mtime_ns for path in folder.rglob("*")}


@pytest.mark.slow
def test_an_end_that_was_killed_is_done_again(stratified):
    """Killed between the last update and the card: no update more, the same end."""
    folder = stratified.folder / "ended"
    shutil.copytree(stratified.folder / "straight", folder)
    for name in ("README.md", "training_summary.json"):
        (folder / name).unlink()
    (folder / "model.safetensors").write_bytes(b"half of it")
    assert run_command(stratified.to("ended", "--resume_from_checkpoint", "last"), stratified.log) == 0
    assert "nothing is left to train" in stratified.log.read_text()
    assert_same(outcome(folder), stratified.expected)


@pytest.mark.slow
def test_other_flags_are_refused_by_name(stratified):
    changed = ["--seed", "7", "--augment", "none", "--learning_rate", "1e-4"]
    words = stratified.to("straight", *changed, "--resume_from_checkpoint", "last")
    assert run_command(words, stratified.log) == 2
    said = stratified.log.read_text().splitlines()[-1]
    for part in (
        "--seed was 42 in the checkpoint and is 7 now",
        "--augment was light in the checkpoint and is none now",
        "--learning_rate was 0.001 in the checkpoint and is 0.0001 now",
    ):
        assert part in said
    assert (stratified.folder / "straight" / "README.md").is_file()


@pytest.mark.slow
def test_killed_processes_leave_no_room_for_doubt(stratified):
    """The hook that kills does kill: a run told to die at its first file event has written nothing."""
    prepare = functools.partial(kill_at, 0, 0.0, stratified.folder / "first")
    assert run_command(stratified.to("first"), stratified.log, prepare) == -signal.SIGKILL
    assert not (stratified.folder / "first").exists()
