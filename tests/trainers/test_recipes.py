"""The shipped recipes: each is parsed, says how to launch it and what it takes, and goes through a dry run."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
import torch

from modeling.siglip_medical.configuration_siglip_medical import SiglipMedicalConfig
from modeling.siglip_medical.modeling_siglip_medical import SiglipMedicalModel
from tests.benchmarks.decoder.gpu_table import LEARNED, TOKENS, llama_config
from tests.cases import few
from trainers.base.parser import parse
from trainers.base.recipe_file import RECIPES, shipped
from trainers.decoder.arguments import DecoderArguments, DecoderTrainingArguments
from trainers.decoder.memory import DecoderUpdate, bare_decoder, estimate_decoder
from trainers.encoder.arguments import EncoderArguments, EncoderTrainingArguments
from trainers.encoder.memory import UpdateShape, estimate_memory

ROOT = Path(__file__).resolve().parents[2]
ON_GPUS = {"encoder_gpu_16gb": 16, "encoder_gpu_80gb": 80, "encoder_8_gpus": 40}  # GB of a GPU
DECODERS = {"decoder_gpu_16gb": 16, "decoder_gpu_24gb": 24, "decoder_gpu_80gb": 80, "decoder_8_gpus": 80}
ENCODER, DECODER = (EncoderArguments, EncoderTrainingArguments), (DecoderArguments, DecoderTrainingArguments)
ROOM = 0.9  # of a GPU's memory, for the CUDA context and what the allocator cannot use
GIB = 2**30


def parsed(recipe: str):
    family = recipe.split("_")[0]
    return parse(ENCODER if family == "encoder" else DECODER, f"medpairs train-{family}", "", ["--config", recipe])


def head(recipe: str) -> str:
    lines = (RECIPES / f"{recipe}.yaml").read_text(encoding="utf-8").splitlines()
    return "\n".join(line.removeprefix("#").strip() for line in lines if line.startswith("#"))


def test_the_recipes_that_are_promised_are_there():
    assert shipped() == sorted([*ON_GPUS, *DECODERS, "encoder_demo", "decoder_demo"])


@pytest.mark.parametrize("recipe", shipped())
def test_the_first_line_is_the_command_that_launches_it(recipe):
    family = recipe.split("_")[0]
    words = shlex.split(head(recipe).splitlines()[0])
    alone = words[:2] == ["medpairs", f"train-{family}"]
    script = 1 if alone else words.index(f"trainers/run_{family}.py")
    assert words[script + 1 : script + 3] == ["--config", recipe.removeprefix(f"{family}_")]
    # every flag is one
    parse(ENCODER if family == "encoder" else DECODER, f"medpairs train-{family}", "", words[script + 1 :])
    for word in words[: script + 1]:
        assert not word.endswith((".yaml", ".py")) or (ROOT / word).is_file()


@pytest.mark.parametrize("recipe", few(ON_GPUS))
def test_the_peak_that_is_named_is_the_estimate_for_the_base_model_and_fits(recipe):
    arguments, training = parsed(recipe)
    processes = 8 if recipe == "encoder_8_gpus" else 1
    size = {"hidden_size": 768, "intermediate_size": 3072, "num_hidden_layers": 12, "num_attention_heads": 12}
    with torch.device("meta"):
        model = SiglipMedicalModel(
            SiglipMedicalConfig(
                text_config=size | {"vocab_size": 32_000},
                vision_config=size | {"image_size": arguments.image_size, "patch_size": 16},
            )
        )
    micro, steps = training.per_device_train_batch_size, training.gradient_accumulation_steps
    waiting = 1 if training.micro_batches_in_contrast > 1 else steps + 1
    contrast = micro * steps * processes
    estimate = estimate_memory(
        model, UpdateShape(micro, micro, steps, contrast, waiting, bf16=True, processes=processes)
    )
    named = float(re.search(r"Peak of a process: ([0-9.]+) GiB", head(recipe))[1])
    assert named == pytest.approx(estimate.peak / GIB, abs=0.1)
    assert estimate.peak < ROOM * ON_GPUS[recipe] * 1e9
    assert f"{contrast} pairs" in (RECIPES / f"{recipe}.yaml").read_text()


@pytest.mark.slow
@pytest.mark.parametrize("recipe", DECODERS)
def test_the_peak_that_is_named_is_the_estimate_for_llama_and_fits(recipe):
    arguments, training = parsed(recipe)
    processes = 8 if recipe == "decoder_8_gpus" else 1
    rows, steps = training.per_device_train_batch_size, training.gradient_accumulation_steps
    update = DecoderUpdate(
        rows=rows, tokens=TOKENS, answer_tokens=LEARNED, images=rows, micro_batches=steps, processes=processes,
        sharded=processes > 1, activation_checkpointing=training.activation_checkpointing,
        optim=getattr(training.optim, "value", training.optim),
    )  # fmt: skip
    assert arguments.max_seq_length == TOKENS
    estimate = estimate_decoder(bare_decoder(llama_config(), arguments, torch.bfloat16), update)
    named = float(re.search(r"Peak of a process: ([0-9.]+) GiB", head(recipe))[1])
    assert named == pytest.approx(estimate.peak / GIB, abs=0.1)
    assert estimate.peak < ROOM * DECODERS[recipe] * 1e9


@pytest.mark.slow
@pytest.mark.parametrize("recipe", [name for name in shipped() if name.startswith("decoder")])
def test_a_dry_run_of_a_decoder_goes_through(recipe, tiny_decoder, dataset, tmp_path, capsys):
    from trainers.decoder.dry_run import describe, load_bare

    words = ["--config", recipe, "--dataset", str(dataset), "--output_dir", str(tmp_path / "out")]
    if recipe in DECODERS:
        words += ["--model_name_or_path", str(tiny_decoder)]
    arguments, training = parse(DECODER, "medpairs train-decoder", "", words)
    describe(load_bare(arguments, training), arguments, training)
    assert f"micro-batch {training.per_device_train_batch_size} x accumulation" in capsys.readouterr().out
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
@pytest.mark.parametrize("recipe", [name for name in shipped() if name.startswith("encoder")])
def test_a_dry_run_of_it_goes_through(recipe, tiny_encoder, dataset, tmp_path, capsys):
    from trainers.run_encoder import main

    words = ["--config", recipe, "--dataset", str(dataset), "--output_dir", str(tmp_path / "out"), "--dry_run"]
    if recipe in ON_GPUS:  # at a smaller size: 448 is the base model's
        words += ["--model_name_or_path", str(tiny_encoder), "--image_size", "96"]
    assert main(words) == 0
    said = capsys.readouterr().out
    _, training = parsed(recipe)
    assert f"micro-batch {training.per_device_train_batch_size} x accumulation" in said
    assert said.endswith("Dry run: nothing was trained, and nothing written.\n")
    assert not (tmp_path / "out").exists()
