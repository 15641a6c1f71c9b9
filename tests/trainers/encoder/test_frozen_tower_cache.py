"""Tests training on stored embeddings of a frozen tower against computing them at every step."""

from __future__ import annotations

import json
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch

from evaluation.loading import InputError
from modeling.siglip_medical.matryoshka_loss import embedding_loss
from tests.cases import few
from tests.trainers.small_pairs import gradients, relative_error, small_model, small_pairs, split, stack
from trainers.encoder.arguments import EncoderArguments, EncoderTrainingArguments
from trainers.encoder.frozen_tower_cache import read_embeddings
from trainers.encoder.gradient_cache import Contrast
from trainers.encoder.tuning import set_trainable

FROZEN = {"vision": {"image"}, "text": {"text"}, "both": {"image", "text"}}


@pytest.fixture
def make_trainer(tiny_encoder, pairs, tmp_path):
    """`make_trainer(folder, **flags)`: as run_encoder.py makes it; flags of both kinds."""
    from modeling.siglip_medical.modeling_siglip_medical import SiglipMedicalModel
    from modeling.siglip_medical.processing_siglip_medical import SiglipMedicalProcessor
    from trainers.encoder.data.collator import EncoderCollator
    from trainers.encoder.data.dataset import encoder_rows
    from trainers.encoder.frozen_tower_cache import cache_frozen_towers
    from trainers.encoder.trainer import EncoderTrainer

    def make(folder: str = "run", rows: int = 24, base=tiny_encoder, **flags):
        own = {name: flags.pop(name) for name in list(flags) if name in EncoderArguments.__dataclass_fields__}
        arguments = EncoderArguments(**({"image_cache": str(tmp_path / "pixels"), "tiny": True} | own))
        settings = {"per_device_train_batch_size": 4, "gradient_accumulation_steps": 2, "learning_rate": 1e-3}
        settings |= {"logging_steps": 1, "disable_tqdm": True, "use_cpu": True, "warmup_steps": 0, "max_steps": 6}
        processor = SiglipMedicalProcessor.from_pretrained(tiny_encoder)
        model = SiglipMedicalModel.from_pretrained(base)
        set_trainable(model, arguments)
        splits = {
            "train": pairs["train"].shuffle(seed=0).select(range(rows)),
            "validation": pairs["validation"].shuffle(seed=0).select(range(13)),
        }
        embedded = encoder_rows(splits, processor, arguments, seed=0)
        trainer = EncoderTrainer(
            model=model,
            args=EncoderTrainingArguments(output_dir=str(tmp_path / folder), **(settings | flags)),
            data_collator=EncoderCollator(processor, uint8=True),
            train_dataset=embedded["train"],
            eval_dataset=embedded["validation"],
            processing_class=processor,
        )
        cache_frozen_towers(trainer, arguments)
        return trainer

    return make


def losses(trainer) -> list[float]:
    return [entry[name] for entry in trainer.state.log_history for name in ("loss", "eval_loss") if name in entry]


def rows_through(module) -> list[int]:
    seen: list[int] = []
    module.register_forward_hook(lambda _module, _args, output: seen.append(len(output.pooler_output)))
    return seen


@pytest.mark.parametrize("sizes", [(12,), (4, 4, 4), (5, 5, 2)], ids=str)
@pytest.mark.parametrize("freeze", FROZEN)
def test_the_gradient_is_that_of_the_full_batch(freeze, sizes):
    """In float64, with embeddings in the place of the frozen tower's inputs."""
    model, rows = small_model(), small_pairs(12)
    set_trainable(model, EncoderArguments(tiny=True, freeze=freeze))
    model(**stack(rows), return_loss=True).loss.backward()
    expected = gradients(model)
    given = model(**stack(rows), return_logits=False)
    inputs = {"image": "pixel_values", "text": "input_ids"}
    for number, row in enumerate(rows):
        for tower in FROZEN[freeze]:
            row.pop(inputs[tower])
            row[f"{tower}_embeds"] = given[f"{tower}_embeds"][number].detach()

    def embed(batch):
        known = {name: values for name, values in batch.items() if name.endswith("_embeds")}
        outputs = model(
            **({n: v for n, v in batch.items() if n not in known} or {"input_ids": torch.zeros(1, 1).long()})
        )
        for name, values in known.items():
            outputs[name] = values
        return outputs

    passes = {tower: rows_through(getattr(model, f"{tower}_model")) for tower in ("vision", "text")}
    contrast = Contrast(
        split(rows, sizes),
        embed,
        lambda *embeds, **ids: embedding_loss(model.config, *embeds, **ids),
        trainable={"image", "text"} - FROZEN[freeze],
        device=torch.device("cpu"),
    )
    contrast.compute()
    for step in range(len(sizes)):
        if not contrast.idle(step):
            contrast.surrogate(step).backward()
    assert relative_error(gradients(model), expected) < 1e-12
    assert freeze == "text" or not passes["vision"]
    assert freeze == "vision" or set(passes["text"]) <= {1}


@pytest.mark.parametrize("freeze", few(FROZEN))
def test_the_losses_are_those_without_the_cache(freeze, make_trainer):
    flags = {"freeze": freeze, "eval_steps": 3, "save_steps": 3}
    plain = make_trainer("plain", cache_frozen_tower=False, **flags)
    assert not plain.cached_towers and "pixels" in plain.train_dataset[0]
    plain.train()
    cached = make_trainer("cached", **flags)
    assert set(cached.cached_towers) == FROZEN[freeze]
    passes = {tower: rows_through(getattr(cached.model, f"{tower}_model")) for tower in ("vision", "text")}
    cached.train()
    assert len(losses(cached)) == len(losses(plain)) == 8
    np.testing.assert_allclose(losses(cached), losses(plain), rtol=2e-5)
    assert losses(plain)[0] != losses(plain)[-1]
    assert freeze == "text" or not passes["vision"]
    assert freeze == "vision" or set(passes["text"]) <= {1}
    for name, value in plain.model.state_dict().items():
        if name.endswith("k_proj.bias"):
            continue  # its gradient is nothing but rounding, of which Adam makes whole steps
        torch.testing.assert_close(cached.model.state_dict()[name], value, rtol=1e-3, atol=1e-4)


def test_the_second_run_reads_what_the_first_one_wrote(make_trainer, tmp_path):
    first = make_trainer("first", freeze="both")
    tables = {tower: first.train_dataset.embeddings[tower] for tower in ("image", "text")}
    files = {path: path.stat().st_mtime_ns for path in tmp_path.glob("pixels/*/*.npy")}
    assert len(files) == 8  # two towers, two splits, embeddings and ids
    second = make_trainer("second", freeze="both")
    assert {path: path.stat().st_mtime_ns for path in tmp_path.glob("pixels/*/*.npy")} == files
    for tower, table in tables.items():
        again = second.train_dataset.embeddings[tower]
        for row in range(24):
            assert np.array_equal(again[row][0], table[row][0]) and again[row][1] == table[row][1]
    ids = [
        table["image_id"] for table in make_trainer("x", cache_frozen_tower=False).train_dataset.__getitems__([0, 5])
    ]
    assert [second.train_dataset[row]["image_id"] for row in (0, 5)] == ids


@pytest.mark.parametrize("damage", ["cut", "changed", "unfinished"])
def test_a_damaged_file_is_made_anew(damage, make_trainer):
    first = make_trainer("first", freeze="vision")
    file = first.train_dataset.embeddings["image"].file
    whole, right = file.read_bytes(), np.load(file)
    if damage == "cut":
        file.write_bytes(whole[:-100])
    elif damage == "changed":
        file.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    else:
        file.with_suffix(".sum").unlink()
    make_trainer("second", freeze="vision")
    assert read_embeddings(file, len(right)) is not None  # it is whole again
    np.testing.assert_allclose(np.load(file), right, atol=1e-6)


def test_other_weights_have_another_file(make_trainer, tmp_path):
    make_trainer("first", freeze="vision").model.save_pretrained(tmp_path / "base")
    from safetensors.torch import load_file, save_file

    weights = load_file(tmp_path / "base" / "model.safetensors")
    weights["vision_model.post_layernorm.bias"] += 0.5
    save_file(weights, tmp_path / "base" / "model.safetensors", metadata={"format": "pt"})
    changed = make_trainer("second", freeze="vision", base=tmp_path / "base")
    direct = make_trainer("third", freeze="vision", base=tmp_path / "base", cache_frozen_tower=False)
    batch = direct.data_collator(direct.train_dataset.__getitems__([0, 1, 2]))
    with torch.no_grad():
        expected = direct.embed(direct.model.eval(), {"pixel_values": batch["pixel_values"]}).image_embeds
    found = np.stack([changed.train_dataset[row]["image_embeds"] for row in range(3)])
    np.testing.assert_allclose(found, expected, atol=1e-5)
    assert len(list(tmp_path.glob("pixels/*/image-*.sum"))) == 4


def test_a_checkpoint_with_another_frozen_tower_is_refused(make_trainer, tmp_path):
    first = make_trainer("first", freeze="vision", save_steps=2, eval_steps=2, save_total_limit=5)
    first.train()
    checkpoint = tmp_path / "first" / "checkpoint-2"
    resumed = make_trainer("again", freeze="vision", save_steps=2, eval_steps=2, save_total_limit=5)
    resumed.train(resume_from_checkpoint=str(checkpoint))
    assert losses(resumed) == losses(first)
    with torch.no_grad():
        first.model.vision_model.head.probe += 1
    first.model.save_pretrained(tmp_path / "base")
    other = make_trainer("other", freeze="vision", base=tmp_path / "base")
    with pytest.raises(InputError, match="its frozen vision tower differs"):
        other.train(resume_from_checkpoint=str(checkpoint))


def test_nothing_is_cached_where_it_would_change_something(make_trainer):
    assert not make_trainer("a").cached_towers
    assert not make_trainer("b", freeze="vision", unfreeze_last_layers=1).cached_towers
    assert not make_trainer("c", lora_towers="vision").cached_towers
    assert not make_trainer("d", freeze="vision", augment="light").cached_towers
    assert set(make_trainer("e", freeze="both", augment="light").cached_towers) == {"text"}


def test_without_an_image_cache_the_embeddings_are_kept_in_memory(make_trainer):
    kept = make_trainer("memory", freeze="both", image_cache="none")
    assert kept.train_dataset.embeddings["image"].file is None
    kept.train()
    disk = make_trainer("disk", freeze="both")
    disk.train()
    assert losses(kept) == pytest.approx(losses(disk), rel=2e-5)
    for trainer in (kept, disk):
        copy = pickle.loads(pickle.dumps(trainer.train_dataset.embeddings))  # noqa: S301 (as a loader's workers get it)
        assert np.array_equal(copy["image"][3][0], trainer.train_dataset.embeddings["image"][3][0])
    size = [len(pickle.dumps(trainer.train_dataset.embeddings["image"])) for trainer in (kept, disk)]
    assert size[1] < size[0] / 4


def test_a_damaged_best_checkpoint_with_adapters_is_not_loaded(make_trainer):
    trainer = make_trainer(lora_towers="vision", max_steps=2, eval_steps=1, save_steps=1)
    trainer.train()
    weights = Path(trainer.state.best_model_checkpoint) / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1])
    with pytest.raises(InputError, match=r"is incomplete: model\.safetensors has"):
        trainer._load_best_model()


@pytest.mark.slow
@pytest.mark.parametrize("name", few(["gradient_checkpointing", "activation_checkpointing"]))
def test_activation_checkpointing_that_would_lose_gradients_is_refused(name, make_trainer):
    flags = {name: True, f"{name}_kwargs": {"use_reentrant": True}}
    with pytest.raises(InputError, match="use_reentrant"):
        make_trainer("a", lora_towers="vision", **flags)
    trainer = make_trainer("b", lora_towers="vision", **{name: True})
    plain = make_trainer("c", lora_towers="vision")
    for one in (trainer, plain):
        one.train()
    assert losses(trainer) == pytest.approx(losses(plain), rel=2e-5)


@pytest.mark.slow
@pytest.mark.parametrize("freeze", ["text", "both"])
def test_two_processes_share_the_work(freeze, run, dataset, tmp_path):
    """Each makes a part of the embeddings; the losses are those of one process without the cache."""
    words = [
        "trainers/run_encoder.py",
        "--tiny",
        "--dataset",
        dataset,
        "--use_cpu",
        "--freeze",
        freeze,
        "--max_steps",
        2,
    ]
    words += ["--per_device_train_batch_size", 4, "--temperature_lr", 0.1, "--warmup_steps", 0, "--logging_steps", 1]
    words += ["--disable_tqdm", "True", "--image_cache", tmp_path / "pixels"]
    one, two = ([*words, "--output_dir", tmp_path / name, "--gradient_accumulation_steps"] for name in ("one", "two"))
    run("python", *one, 4, "--cache_frozen_tower", "False")
    launch = ["-m", "accelerate.commands.launch", "--config_file", "trainers/accelerate_configs/ddp.yaml"]
    launch += ["--num_processes", 2, "--main_process_port", 0]
    run("python", *launch, *two, 2, env={"CUDA_VISIBLE_DEVICES": ""})
    assert list(tmp_path.glob("pixels/*/text-*.sum"))
    summaries = [json.loads((tmp_path / name / "training_summary.json").read_text()) for name in ("one", "two")]
    found = [[e[name] for e in s["history"] for name in ("loss", "eval_loss") if name in e] for s in summaries]
    assert len(found[0]) == 3 and found[0][1] != found[0][0]
    assert found[1] == pytest.approx(found[0], rel=1e-4)
