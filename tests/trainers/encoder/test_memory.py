"""Tests the memory estimate against what autograd really saves and against real runs."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from modeling.siglip_medical.configuration_siglip_medical import SiglipMedicalConfig
from modeling.siglip_medical.modeling_siglip_medical import SiglipMedicalModel
from trainers.encoder.memory import UpdateShape, drop_model_contents, estimate_evaluation, estimate_memory
from trainers.memory.tracker import (
    COPIES,
    GRADIENTS,
    KINDS,
    LOSS,
    OPTIMIZER,
    PIXELS,
    TEXT,
    VISION,
    WEIGHTS,
    Ledger,
    tagged_modules,
)

MIB = 2**20
SIDE, PATCH, LENGTH, WORDS = 64, 8, 64, 500


def config(width: int = 128, layers: int = 3, side: int = SIDE, **settings) -> SiglipMedicalConfig:
    size = {"hidden_size": width, "intermediate_size": 4 * width, "num_hidden_layers": layers}
    size["num_attention_heads"] = max(width // 64, 1)
    ends = {"pad_token_id": 1, "bos_token_id": 1, "eos_token_id": 1}
    return SiglipMedicalConfig(
        text_config=size | ends | {"vocab_size": WORDS},
        vision_config=size | {"image_size": side, "patch_size": PATCH},
        **settings,
    )


def bare(**settings) -> SiglipMedicalModel:
    with torch.device("meta"):
        return SiglipMedicalModel(config(**settings))


def test_activations_are_what_autograd_really_keeps():
    """To the byte but for the small tensors that modules hold on to: a real forward pass, its saved tensors counted."""
    torch.manual_seed(0)
    model, shape = SiglipMedicalModel(config()).train(), UpdateShape(micro_batch=40, texts=24, micro_batches=2)
    inputs = {"pixel_values": torch.randn(40, 3, SIDE, SIDE), "input_ids": torch.randint(0, WORDS, (24, LENGTH))}
    given = {tensor.untyped_storage().data_ptr() for tensor in (*model.parameters(), *model.buffers())}
    given |= {tensor.untyped_storage().data_ptr() for tensor in inputs.values()}
    kept: dict[int, torch.Tensor] = {}

    def keep(tensor):
        if tensor.untyped_storage().data_ptr() not in given:
            kept[tensor.untyped_storage().data_ptr()] = tensor
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        outputs = model(**inputs, return_logits=False)
    outputs_alone = [outputs.vision_model_output.last_hidden_state, outputs.text_model_output.last_hidden_state]
    for tensor in outputs_alone:  # held by the outputs themselves, beside what is kept for the backward pass
        kept[tensor.untyped_storage().data_ptr()] = tensor
    real = sum(tensor.untyped_storage().nbytes() for tensor in kept.values())
    ledger, fake = Ledger(), bare()
    with FakeTensorMode(allow_non_fake_inputs=True):
        drop_model_contents(fake)
        given = {name: torch.empty(values.shape, dtype=values.dtype) for name, values in inputs.items()}
        with ledger, tagged_modules(fake, ledger):
            for tensor in (*fake.parameters(), *fake.buffers(), *given.values()):
                ledger.note(tensor, WEIGHTS)
            outputs = fake(**given, return_logits=False)
            counted = ledger.now[VISION] + ledger.now[TEXT]
    del outputs
    assert counted == pytest.approx(real, rel=0.002)
    assert real > 50 * MIB
    at_peak = estimate_memory(bare(), shape).parts  # by then the backward pass has begun
    assert at_peak[VISION] + at_peak[TEXT] == pytest.approx(real, rel=0.05)


def test_weights_gradients_and_optimizer_are_counted_by_their_numbers():
    model = bare()
    weights = sum(parameter.numel() for parameter in model.parameters())
    buffers = sum(buffer.numel() * buffer.element_size() for buffer in model.buffers())
    parts = estimate_memory(model, UpdateShape(4, 4, micro_batches=2)).parts
    assert parts[WEIGHTS] == 4 * weights + buffers
    assert parts[GRADIENTS] == 4 * weights and parts[OPTIMIZER] == 8 * weights


@pytest.mark.parametrize("bf16", [False, True])
def test_activations_grow_by_the_image_and_by_the_text(bf16):
    one, two, more = (
        estimate_memory(bare(), UpdateShape(images, texts, micro_batches=2, bf16=bf16)).parts
        for images, texts in ((64, 64), (128, 64), (128, 128))
    )
    assert two[VISION] == pytest.approx(2 * one[VISION], rel=0.1) and two[TEXT] == pytest.approx(one[TEXT], rel=0.1)
    assert more[TEXT] == pytest.approx(2 * one[TEXT], rel=0.1) and more[VISION] == pytest.approx(two[VISION], rel=0.1)
    assert one[PIXELS] < two[PIXELS] and one[WEIGHTS] == more[WEIGHTS]


def test_the_gradient_cache_takes_the_memory_of_a_micro_batch():
    """The whole update of 1,024 pairs costs its embeddings more than one of 64."""
    small, large = (estimate_memory(bare(), UpdateShape(32, 32, micro_batches=n, contrast=32 * n)) for n in (2, 32))
    assert all(small.parts[kind] == large.parts[kind] for kind in (WEIGHTS, GRADIENTS, OPTIMIZER))
    assert large.peak - small.peak < 40 * MIB and large.peak > small.peak


@pytest.mark.slow
def test_checkpointing_and_bfloat16_take_less():
    shapes = [
        UpdateShape(32, 32, micro_batches=2, bf16=b, activation_checkpointing=c)
        for b in (False, True)
        for c in (False, True)
    ]
    plain, checkpointed, half, both = (estimate_memory(bare(layers=8), shape) for shape in shapes)
    assert checkpointed.peak < 0.5 * plain.peak and both.peak < 0.8 * half.peak < 0.7 * plain.peak
    assert half.parts[COPIES] > 0 == plain.parts[COPIES]


def test_a_frozen_tower_keeps_nothing():
    model = bare()
    model.vision_model.requires_grad_(False)
    learning = sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)
    parts = estimate_memory(model, UpdateShape(16, 16, micro_batches=2)).parts
    assert parts[GRADIENTS] == 4 * learning and parts[OPTIMIZER] == 8 * learning
    whole = estimate_memory(bare(), UpdateShape(16, 16, micro_batches=2)).parts
    assert parts[VISION] < 0.1 * whole[VISION] and parts[TEXT] == whole[TEXT]


def test_processes_hold_buckets_or_share():
    alone, ddp, fsdp = (
        estimate_memory(bare(), UpdateShape(8, 8, micro_batches=2, contrast=64, processes=n, sharded=sharded)).parts
        for n, sharded in ((1, False), (4, False), (4, True))
    )
    assert ddp[GRADIENTS] == 2 * alone[GRADIENTS]
    assert [fsdp[kind] for kind in (WEIGHTS, GRADIENTS, OPTIMIZER)] == [
        alone[kind] // 4 for kind in (WEIGHTS, GRADIENTS, OPTIMIZER)
    ]


def test_an_evaluation_keeps_one_layer_at_a_time():
    training = estimate_memory(bare(layers=8), UpdateShape(16, 16, micro_batches=2))
    evaluation = estimate_evaluation(bare(layers=8), UpdateShape(16, 16), batch=16)
    assert evaluation.peak < 0.5 * training.peak
    assert evaluation.parts[GRADIENTS] == 0 and set(evaluation.parts) == set(KINDS)


@pytest.mark.slow
def test_a_model_of_400_million_is_estimated_without_its_memory():
    """The size of SigLIP so400m at 448 pixels, 3.5 GB of weights alone, in the memory that this process has."""
    resident = resident_memory()
    size = {"hidden_size": 1152, "intermediate_size": 4304, "num_hidden_layers": 27, "num_attention_heads": 16}
    with torch.device("meta"):
        model = SiglipMedicalModel(
            SiglipMedicalConfig(
                text_config=size | {"vocab_size": 256_000}, vision_config=size | {"image_size": 448, "patch_size": 14}
            )
        )
    estimate = estimate_memory(model, UpdateShape(8, 8, micro_batches=8, contrast=64, bf16=True))
    assert estimate.parts[WEIGHTS] > 3 * 2**30 and estimate.parts[LOSS] > 0
    assert resident_memory() - resident < 300 * MIB


def resident_memory() -> int:
    from tests.trainers.encoder.measured_run import in_memory

    return in_memory("VmRSS")


# --- beside real runs ---


def write_encoder(
    folder: Path, texts: list[str], width: int, layers: int, side: int, patch: int, words: int = 0
) -> int:
    """A checkpoint of a given size with the tokenizer of the tiny one. Returns the number of its weights."""
    from modeling.siglip_medical.processing_siglip_medical import SiglipMedicalProcessor
    from modeling.tiny_checkpoints import write_tiny_encoder

    write_tiny_encoder(folder, texts, image_size=side)
    processor = SiglipMedicalProcessor.from_pretrained(folder)
    size = {"hidden_size": width, "intermediate_size": 4 * width, "num_hidden_layers": layers}
    size["num_attention_heads"] = width // 64
    ends = dict.fromkeys(("pad_token_id", "bos_token_id", "eos_token_id"), processor.tokenizer.eos_token_id)
    model = SiglipMedicalModel(
        SiglipMedicalConfig(
            text_config=size | ends | {"vocab_size": words or len(processor.tokenizer)},
            vision_config=size | {"image_size": side, "patch_size": patch},
        )
    )
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return sum(parameter.numel() for parameter in model.parameters())


@pytest.fixture(scope="module")
def small(pairs, tmp_path_factory) -> Path:
    """Ten million weights, 196 patches: activations are most of what a micro-batch of 16 takes."""
    folder = tmp_path_factory.mktemp("ten-million")
    assert 10e6 < write_encoder(folder, pairs["train"]["text"], 256, 6, side=112, patch=8) < 20e6
    return folder


def estimated_and_measured(run, tmp_path, *words, env=None) -> tuple[float, dict]:
    """(what `--dry_run` prints as the peak, in bytes, what a run of the same flags takes)."""
    words = ("--output_dir", tmp_path / "out", "--eval_strategy", "no", "--save_strategy", "no", *words)
    said = run("python", "trainers/run_encoder.py", *words, "--dry_run").stdout
    estimate = float(re.search(r"^  peak +([0-9,]+)", said, re.MULTILINE)[1].replace(",", "")) * MIB
    file = tmp_path / "measured.json"
    run(
        "python",
        "-m",
        "tests.trainers.encoder.measured_run",
        file,
        *words,
        "--disable_tqdm",
        "True",
        env=env,
        timeout=900,
    )
    return estimate, json.loads(file.read_text())


SMALL_PIECES = {"MALLOC_MMAP_THRESHOLD_": "131072"}
"""glibc keeps freed pieces of up to 32 MiB for reuse, at this size as much again; so it gives them back."""


@pytest.mark.slow
@pytest.mark.parametrize(
    "words",
    [
        ["--per_device_train_batch_size", "16", "--gradient_accumulation_steps", "2"],
        ["--per_device_train_batch_size", "32", "--gradient_accumulation_steps", "1"],
        ["--per_device_train_batch_size", "32", "--gradient_accumulation_steps", "2", "--activation_checkpointing"],
        ["--per_device_train_batch_size", "32", "--gradient_accumulation_steps", "1", "--freeze", "text"],
    ],
    ids=["two micro-batches", "one", "checkpointing", "frozen text"],
)
def test_a_small_model_takes_what_was_estimated(words, small, dataset, run, tmp_path):
    flags = ("--dataset", dataset, "--model_name_or_path", small, "--max_steps", "2", "--use_cpu", *words)
    estimate, found = estimated_and_measured(run, tmp_path, *flags, env=SMALL_PIECES)
    assert estimate == pytest.approx(found["peak"] - found["start"], rel=0.2)


@pytest.mark.slow
def test_a_model_of_a_hundred_million_takes_what_was_estimated(pairs, dataset, run, tmp_path):
    """With the C library as it comes."""
    weights = write_encoder(tmp_path / "model", pairs["train"]["text"], 640, 9, side=112, patch=16, words=20_000)
    assert 100e6 < weights < 120e6
    flags = ("--dataset", dataset, "--model_name_or_path", tmp_path / "model", "--max_steps", "2", "--use_cpu")
    batch = ("--per_device_train_batch_size", "16", "--gradient_accumulation_steps", "2")
    estimate, found = estimated_and_measured(run, tmp_path, *flags, *batch)
    assert estimate == pytest.approx(found["peak"] - found["start"], rel=0.2)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU here")
@pytest.mark.parametrize("words", [[], ["--bf16", "False"], ["--activation_checkpointing"]])
def test_a_gpu_takes_what_was_estimated(words, pairs, dataset, run, tmp_path):
    """As torch.cuda.max_memory_allocated counts it."""
    write_encoder(tmp_path / "model", pairs["train"]["text"], 768, 12, side=224, patch=16, words=32_000)
    flags = ("--dataset", dataset, "--model_name_or_path", tmp_path / "model", "--max_steps", "3")
    batch = ("--per_device_train_batch_size", "32", "--gradient_accumulation_steps", "2")
    estimate, found = estimated_and_measured(run, tmp_path, *flags, *batch, *words)
    assert estimate == pytest.approx(found["cuda"], rel=0.2)
