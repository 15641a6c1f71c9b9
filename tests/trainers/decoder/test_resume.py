"""Tests that a killed and resumed decoder run ends like an uninterrupted one: the same bits, log and answers.

On the same machine and with the same number of threads, as the README promises.
"""

from __future__ import annotations

import json
import random
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.trainers.killed_runs import DECODER, Runs, assert_same, outcome
from trainers.base.checkpoint_files import checkpoints, damage

pytestmark = pytest.mark.slow

# An epoch is 8 updates, the last one of a half batch less; no checkpoint but the last one of an epoch falls on its end.
COMMON = "--per_device_train_batch_size 4 --per_device_eval_batch_size 16 --gradient_accumulation_steps 2"
COMMON += " --num_train_epochs 2 --logging_steps 4 --eval_steps 3 --save_steps 3 --use_cpu True"
COMMON += (
    " --eval_samples 8 --num_samples 3 --max_new_tokens 4 --disable_tqdm True --report_to none --group_by_length True"
)
# Dropout draws random numbers in every layer, and a module learns whole beside the adapters.
LORA = "--learning_rate 1e-2 --lora_dropout 0.1 --modules_to_save lm_head --metric_for_best_model bleu_1 --patience 9"
FULL = "--train_scope full --rows_per_image 2 --learning_rate 2e-2"


@pytest.fixture(scope="module")
def with_adapters(few_chats, speaking_decoder, tmp_path_factory) -> Runs:
    words = ["--dataset", str(few_chats), "--model_name_or_path", str(speaking_decoder)]
    words += [*COMMON.split(), *LORA.split()]
    return Runs(tmp_path_factory.mktemp("lora"), words, DECODER)


@pytest.fixture(scope="module")
def in_full(few_chats, speaking_decoder, tmp_path_factory) -> Runs:
    words = ["--dataset", str(few_chats), "--model_name_or_path", str(speaking_decoder)]
    words += [*COMMON.split(), *FULL.split()]
    return Runs(tmp_path_factory.mktemp("full"), words, DECODER)


@pytest.fixture(params=["with_adapters", "in_full"])
def runs(request) -> Runs:
    return request.getfixturevalue(request.param)


def test_what_is_compared_changes_while_it_trains(runs):
    """The losses of all evaluations are others: or that they are equal would say nothing. All have scores and answers.

    Whether those change, too, depends on the way a training takes on a processor.
    """
    scored = [entry for entry in runs.expected["summary"]["history"] if "eval_loss" in entry]
    assert len(scored) == len({entry["eval_loss"] for entry in scored}) >= 6
    assert all("eval_bleu_1" in entry for entry in scored)
    assert len([text for name, text in runs.expected["answers"].items() if name.startswith("step-") and text]) >= 6


def test_killed_at_random_moments_it_ends_as_if_nothing_had_been(runs):
    assert runs.disturbed("killed", kills=3, seed=1) >= 2
    assert_same(outcome(runs.folder / "killed"), runs.expected)


def test_the_command_killed_after_its_first_checkpoint(with_adapters, run):
    """A process as a user starts it, at a moment that is another one each time; then again, when it is finished."""
    folder = with_adapters.folder / "process"
    command = ["trainers/run_decoder.py", *with_adapters.to("process")]
    moment = random.SystemRandom().uniform(0, 0.3)
    words = [sys.executable, *command]
    process = subprocess.Popen(words, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        while not checkpoints(folder):
            assert process.poll() is None, "it ended by itself"
            time.sleep(0.001)
        time.sleep(moment)
    finally:
        process.kill()
        process.wait()
    left = checkpoints(folder)
    assert left and all(damage(checkpoint) is None for checkpoint in left)
    resumed = run("python", *command, "--resume_from_checkpoint", "auto")
    assert f"Resuming from {left[-1]}\n" in resumed.stdout
    assert_same(outcome(folder), with_adapters.expected)

    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    assert with_adapters.run([*with_adapters.to("process"), "--resume_from_checkpoint", "auto"]) == 0
    assert "nothing to do" in with_adapters.log.read_text().splitlines()[-1]
    assert before == {path: path.stat().st_mtime_ns for path in folder.rglob("*")}


def test_an_end_that_was_killed_is_done_again(in_full):
    """Killed between the last update and the card: no update more, the same end."""
    folder = in_full.folder / "straight"
    for name in ("README.md", "training_summary.json"):
        (folder / name).unlink()
    (folder / "model.safetensors").write_bytes(b"half of it")
    assert in_full.run(in_full.to("straight", "--resume_from_checkpoint", "auto")) == 0
    assert "nothing is left to train" in in_full.log.read_text()
    assert_same(outcome(folder), in_full.expected)


def test_other_flags_are_refused_by_name(with_adapters):
    changed = ["--train_scope", "lora_all", "--max_seq_length", "256", "--rows_per_image", "1"]
    assert with_adapters.run(with_adapters.to("straight", *changed, "--resume_from_checkpoint", "auto")) == 2
    said = with_adapters.log.read_text().splitlines()[-1]
    for part in (
        "--train_scope was lora in the checkpoint and is lora_all now",
        "--max_seq_length was 512 in the checkpoint and is 256 now",
        "--rows_per_image was None in the checkpoint and is 1 now",
    ):
        assert part in said
    history = json.loads(Path(with_adapters.folder, "straight", "training_summary.json").read_text())["history"]
    assert len(history) >= len(with_adapters.expected["summary"]["history"])
