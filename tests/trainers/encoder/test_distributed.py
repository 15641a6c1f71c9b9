"""Tests two and four processes, started by `accelerate launch`, against one process, in float64."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from tests.trainers.encoder.distributed_run import RUNS, trainer_run
from tests.trainers.small_pairs import gradients, relative_error, small_model, small_pairs, stack

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[3]
FIGURES = ("loss", "grad_norm", "temperature", "logit_bias", "matched_cosine", "hardest_negative_cosine")
FIGURES += ("hardest_negative_cosine_max", "hardest_negative_wins", "learning_rate")


@pytest.fixture(scope="module", params=[2, pytest.param(4, marks=pytest.mark.slow)], ids="{} processes".format)
def found(request, tmp_path_factory) -> dict:
    """What `distributed_run.py` found with so many processes."""
    output = tmp_path_factory.mktemp(f"processes{request.param}")
    config = ROOT / "trainers" / "accelerate_configs" / "ddp.yaml"
    command = [sys.executable, "-m", "accelerate.commands.launch", "--config_file", config, "--num_processes"]
    command += [request.param, "--main_process_port", 0, "tests/trainers/encoder/distributed_run.py", output]
    environment = os.environ | {"CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"}
    done = subprocess.run(list(map(str, command)), cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-4000:]
    return torch.load(output / "found.pt", weights_only=True)


@pytest.fixture(scope="module")
def alone(tmp_path_factory) -> dict:
    """The same by one process."""
    folder = tmp_path_factory.mktemp("alone")
    return {name: trainer_run(str(folder / name), 1, **flags) for name, flags in RUNS.items()}


@pytest.fixture(scope="module")
def expected() -> dict[str, torch.Tensor]:
    """The gradient of one batch of 12, by the model's own loss."""
    model = small_model()
    model(**stack(small_pairs(12)), return_loss=True).loss.backward()
    return gradients(model)


@pytest.mark.parametrize("run", RUNS)
def test_every_update_has_the_gradient_of_one_process(found, alone, run):
    """The last update of an epoch too, which has 5 rows of 24, so that of 4 processes two have none."""
    assert len(found[run]["gradients"]) == len(alone[run]["gradients"]) == 4
    for here, there in zip(found[run]["gradients"], alone[run]["gradients"], strict=True):
        assert relative_error(here, there) < 1e-9


@pytest.mark.parametrize("run", RUNS)
def test_every_logged_figure_is_that_of_one_process(found, alone, run):
    assert len(found[run]["log"]) == 4
    for here, there in zip(found[run]["log"], alone[run]["log"], strict=True):
        for name in FIGURES:
            assert here[name] == pytest.approx(there[name], rel=1e-5, abs=1e-7), name


def test_how_pairs_are_compared_matters(alone):
    first = [alone[run]["gradients"][0] for run in ("whole update", "contrasts of 12")]
    assert relative_error(*first) > 0.1


def test_the_evaluation_is_that_of_one_process(found, alone):
    """13 rows in batches of 2: the sampler repeats some, which are left out again."""
    for name in ("eval_loss", "eval_recall_at_5", "eval_num_images", "eval_num_texts"):
        assert found["whole update"]["evaluation"][name] == pytest.approx(
            alone["whole update"]["evaluation"][name], rel=1e-6
        ), name


def test_a_run_resumed_in_an_epoch_goes_on_the_same_way(found):
    assert [entry["loss"] for entry in found["resumed"]["log"]] == [e["loss"] for e in found["whole update"]["log"]]
    for here, there in zip(found["resumed"]["gradients"], found["whole update"]["gradients"][1:], strict=True):
        assert relative_error(here, there) < 1e-12


def test_sharded_weights_get_the_same_gradient(found, expected):
    assert relative_error(found["sharded"], expected) < 1e-9


def test_the_loss_that_stays_in_its_process_is_wrong(found):
    """As of SiglipModel under DDP: gradients that miss the negatives of the other processes."""
    model = small_model(positives="pair")
    model(**stack(small_pairs(12)), return_loss=True).loss.backward()
    assert relative_error(found["local"], gradients(model)) > 0.1


def test_batches_that_differ_between_processes_are_refused(found):
    assert "--accelerator_config: leave split_batches and dispatch_batches false" in found["refused"]


def test_processes_that_would_train_apart_are_refused(found):
    assert "processes were launched, but they cannot communicate without a GPU. Add --use_cpu." in found["apart"]
