"""Tests two processes, started by `accelerate launch` from each shipped configuration, against one, in float64."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from tests.trainers.decoder.distributed_run import ROWS, SCOPES, everything

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[3]
CONFIGS = {"ddp": "MULTI_CPU", "fsdp2_decoder": "FSDP", "deepspeed_zero3": "DEEPSPEED"}
RUNS = [f"{scope}{kind}" for scope in SCOPES for kind in ("", " resumed", " best")]


@pytest.fixture(scope="module", params=CONFIGS)
def launched(request) -> str:
    """The name of a shipped configuration."""
    if request.param == "deepspeed_zero3" and importlib.util.find_spec("deepspeed") is None:
        pytest.skip("deepspeed is not installed; `DS_BUILD_OPS=0 pip install deepspeed` lets this test run")
    return request.param


@pytest.fixture(scope="module")
def found(launched, tiny_decoder, tmp_path_factory) -> dict:
    """What `distributed_run.py` found with two processes."""
    output = tmp_path_factory.mktemp(launched)
    config = ROOT / "trainers" / "accelerate_configs" / f"{launched}.yaml"
    command = [sys.executable, "-m", "accelerate.commands.launch", "--config_file", config, "--num_processes", 2]
    command += ["--main_process_port", 0, "tests/trainers/decoder/distributed_run.py", tiny_decoder, output]
    environment = os.environ | {"CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"}
    if launched == "deepspeed_zero3":
        environment["DS_ACCELERATOR"] = "cpu"
    done = subprocess.run(list(map(str, command)), cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-4000:]
    return torch.load(output / "found.pt", weights_only=True) | {"folder": output}


@pytest.fixture(scope="module")
def alone(tiny_decoder, tmp_path_factory) -> dict:
    """The same by one process."""
    return everything(str(tiny_decoder), tmp_path_factory.mktemp("alone"), 1)


@pytest.fixture
def tolerance(launched) -> float:
    """DeepSpeed computes in float32 whatever the model is in."""
    return 1e-5 if launched == "deepspeed_zero3" else 1e-10


def test_the_weights_are_shared_as_the_configuration_says(launched, found):
    assert {found[run]["type"] for run in RUNS} == {CONFIGS[launched]}


@pytest.mark.parametrize("run", RUNS)
def test_losses_and_gradients_are_those_of_one_process(found, alone, run, tolerance):
    """Answers of 1 to 23 tokens, batches without images in one process only, 5 rows left of 8, and 3 that repeat."""
    assert len(found[run]["losses"]) == len(alone[run]["losses"]) == 4
    assert found[run]["losses"] == pytest.approx(alone[run]["losses"], rel=1e-6)  # Trainer adds them up in float32
    assert found[run]["norms"] == pytest.approx(alone[run]["norms"], rel=tolerance)


@pytest.mark.parametrize("run", RUNS)
def test_the_weights_become_those_of_one_process(found, alone, run, tolerance):
    here, there = found[run]["weights"], alone[run]["weights"]
    assert here.keys() == there.keys()
    for name, weight in there.items():
        torch.testing.assert_close(here[name].double(), weight, rtol=0, atol=tolerance, msg=name)


@pytest.mark.parametrize("run", RUNS)
def test_the_evaluation_is_that_of_one_process(found, alone, run, tolerance):
    """7 rows in batches of 2: one is repeated and left out again."""
    assert found[run]["evaluation"] == pytest.approx(alone[run]["evaluation"], rel=max(tolerance, 1e-6))


@pytest.mark.parametrize("run", RUNS)
def test_answers_are_those_of_one_process(found, alone, run):
    """Of 2 tokens in one process and 9 in the other: where weights are split, neither waits for the other forever."""
    assert found[run]["answers"] == alone[run]["answers"]
    assert any(found[run]["answers"])


@pytest.mark.parametrize("scope", SCOPES)
def test_a_resumed_run_goes_on_the_same_way(found, scope):
    undisturbed, resumed = found[scope], found[f"{scope} resumed"]
    assert resumed["losses"] == undisturbed["losses"]
    for name, weight in undisturbed["weights"].items():
        assert torch.equal(resumed["weights"][name], weight), name


@pytest.mark.parametrize("scope", SCOPES)
def test_the_best_model_is_loaded(found, scope):
    """The first, and not the last, whose weights the undisturbed run ends with."""
    assert found[f"{scope} best"]["best"] == 1
    last, best = found[scope]["weights"], found[f"{scope} best"]["weights"]
    assert max((best[name] - weight).abs().max() for name, weight in last.items()) > 1e-5
    assert found[f"{scope} best"]["evaluation"]["eval_loss"] > found[scope]["evaluation"]["eval_loss"] + 1e-3


def test_a_checkpoint_opens_without_the_processes(found, tiny_decoder):
    """Weights are whole, and no name is missing or unexpected: those of the last update."""
    from transformers import AutoModelForImageTextToText

    checkpoint = found["folder"] / "full" / "checkpoint-4"
    model, report = AutoModelForImageTextToText.from_pretrained(
        checkpoint, dtype=torch.float64, output_loading_info=True
    )
    assert not any(report[kind] for kind in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    assert model.config.architectures == ["MllamaForConditionalGeneration"]
    for name, weight in model.named_parameters():
        torch.testing.assert_close(weight, found["full"]["weights"][name].double(), rtol=0, atol=1e-7, msg=name)


def test_adapters_open_over_their_base(found, tiny_decoder):
    from peft import PeftModel
    from transformers import AutoModelForImageTextToText

    base = AutoModelForImageTextToText.from_pretrained(tiny_decoder, dtype=torch.float64)
    model = PeftModel.from_pretrained(base, found["folder"] / "lora" / "checkpoint-4", autocast_adapter_dtype=False)
    adapters = {name: weight for name, weight in model.named_parameters() if "lora_" in name}
    assert adapters.keys() == found["lora"]["weights"].keys()
    for name, weight in adapters.items():
        torch.testing.assert_close(weight.double(), found["lora"]["weights"][name].double(), rtol=0, atol=1e-7)


def test_ways_of_dealing_out_rows_that_change_the_loss_are_refused(found):
    refused = found["refused"]
    assert "--accelerator_config: leave split_batches and dispatch_batches false" in refused["split"]
    assert refused["dispatch"] == refused["split"]
    assert "--average_tokens_across_devices False" in refused["tokens"]


def test_rows_repeat_and_batches_are_without_images():
    """What the runs are meant to meet."""
    from tests.trainers.decoder.distributed_run import BATCH, WITHOUT_IMAGE

    assert ROWS % (2 * BATCH) == 1
    batches = [set(range(start, start + BATCH)) for start in range(0, ROWS, BATCH)]
    without = [batch <= set(WITHOUT_IMAGE) for batch in batches[:-1]]
    assert any(a != b for a, b in zip(without[::2], without[1::2], strict=True))


def test_deepspeed_and_accelerate_know_the_configuration():
    """Of DeepSpeed, as far as it is installed."""
    from accelerate.commands.config.config_args import ClusterConfig
    from accelerate.utils import DistributedType

    config = ClusterConfig.from_yaml_file(ROOT / "trainers" / "accelerate_configs" / "deepspeed_zero3.yaml")
    assert config.distributed_type == DistributedType.DEEPSPEED
    assert (config.deepspeed_config["zero_stage"], config.deepspeed_config["zero3_save_16bit_model"]) == (3, True)


def test_one_of_several_gpus_is_used_without_a_launch(tiny_decoder, tmp_path, capsys):
    from tests.trainers.decoder.distributed_run import make_trainer

    trainer = make_trainer(str(tiny_decoder), str(tmp_path), 1, "lora")
    trainer.args._n_gpu = 2
    from trainers.base.distributed import one_device_per_process

    one_device_per_process(trainer.args)
    assert trainer.args.n_gpu == 1
    assert "Training on one of 2 GPUs" in capsys.readouterr().out
