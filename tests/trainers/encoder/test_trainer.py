"""Tests the encoder's Trainer: gradients, evaluation, checkpoints and resuming, against plain computations."""

from __future__ import annotations

import json
import math
from functools import partial
from types import SimpleNamespace

import pytest
import torch
from transformers import TrainerCallback

from tests.trainers.small_pairs import gradients, relative_error, small_model, small_pairs, stack
from trainers.encoder.global_batch import gather_rows
from trainers.encoder.metrics import TrainingMeter


@pytest.fixture
def make_trainer(tiny_encoder, pairs, tmp_path):
    """`make_trainer(folder, **flags)` with few rows and a fixed seed."""
    from modeling.siglip_medical.modeling_siglip_medical import SiglipMedicalModel
    from modeling.siglip_medical.processing_siglip_medical import SiglipMedicalProcessor
    from trainers.encoder.arguments import EncoderTrainingArguments
    from trainers.encoder.data.collator import EncoderCollator
    from trainers.encoder.trainer import EncoderTrainer

    def make(folder: str = "run", rows: int = 24, positives: str = "group", uint8: bool = False, **flags):
        settings = {"per_device_train_batch_size": 4, "gradient_accumulation_steps": 2, "learning_rate": 1e-3}
        settings |= {"logging_steps": 1, "disable_tqdm": True, "use_cpu": True, "warmup_steps": 0} | flags
        processor = SiglipMedicalProcessor.from_pretrained(tiny_encoder)
        return EncoderTrainer(
            model=SiglipMedicalModel.from_pretrained(tiny_encoder, positives=positives),
            args=EncoderTrainingArguments(output_dir=str(tmp_path / folder), **settings),
            data_collator=EncoderCollator(processor, uint8=uint8),
            train_dataset=pairs["train"].shuffle(seed=0).select(range(rows)),
            eval_dataset=pairs["validation"].shuffle(seed=0).select(range(13)),
            processing_class=processor,
        )

    return make


def losses(trainer) -> list[float]:
    return [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]


def first_gradient(trainer) -> dict[str, torch.Tensor]:
    """What the optimizer is given at the first update."""
    kept: list[dict[str, torch.Tensor]] = []

    class Keep(TrainerCallback):
        def on_pre_optimizer_step(self, args, state, control, model, **kwargs):
            kept.append({name: parameter.grad.clone() for name, parameter in model.named_parameters()})

    trainer.add_callback(Keep())
    trainer.train()
    return kept[0]


@pytest.mark.parametrize("with_labels", [False, True])
@pytest.mark.parametrize("contrastive_batch_size", [None, 4])
def test_an_update_has_the_gradient_of_its_contrasts(make_trainer, contrastive_batch_size, with_labels):
    """A model that takes `**kwargs` beside a column `labels` makes Trainer add up what is to be a mean.

    10 rows are three micro-batches: two of 4 and one of 2, in which every image weighs as much as in the others.
    """
    flags = {"max_grad_norm": 0, "gradient_accumulation_steps": 3, "max_steps": 1, "optim": "sgd"}
    trainer = make_trainer(rows=10, contrastive_batch_size=contrastive_batch_size, **flags)
    collator, batches = trainer.data_collator, list(trainer.get_train_dataloader())
    assert [len(batch["image_ids"]) for batch in batches] == [4, 4, 2]
    if contrastive_batch_size is None:
        batches = [{name: torch.cat([batch[name] for batch in batches]) for name in batches[0]}]
    loss = sum(trainer.model(**batch, return_loss=True).loss * len(batch["image_ids"]) / 10 for batch in batches)
    loss.backward()
    expected = gradients(trainer.model)
    if with_labels:
        trainer.data_collator = lambda rows: collator(rows) | {"labels": torch.zeros(len(rows), dtype=torch.int64)}
    assert relative_error(first_gradient(trainer), expected) < 1e-4  # of float32: of some weights it is near zero
    assert losses(trainer) == [pytest.approx(loss.item(), rel=1e-6)]


@pytest.mark.parametrize(
    "way",
    [
        {"bf16": True},
        {"gradient_checkpointing": True},
        pytest.param({"torch_compile": True, "torch_compile_backend": "eager"}, marks=pytest.mark.slow),
    ],
    ids=lambda way: next(iter(way)),
)
def test_other_ways_of_computing_give_the_same_updates(tmp_path, way):
    from trainers.encoder.arguments import EncoderTrainingArguments
    from trainers.encoder.trainer import EncoderTrainer

    logs = []
    for flags in ({}, way):
        settings = {"per_device_train_batch_size": 4, "gradient_accumulation_steps": 3, "max_steps": 2, "use_cpu": True}
        settings |= {"eval_strategy": "no", "save_strategy": "no", "logging_steps": 1, "warmup_steps": 0}
        args = EncoderTrainingArguments(output_dir=str(tmp_path), disable_tqdm=True, **settings, **flags)
        rows = small_pairs(24, dtype=torch.float32)
        trainer = EncoderTrainer(small_model(torch.float32), args=args, data_collator=stack, train_dataset=rows)
        trainer.train()
        logs.append([(line["loss"], line["grad_norm"]) for line in trainer.state.log_history if "loss" in line])
    assert len(logs[0]) == 2
    for plain, other in zip(*logs, strict=True):
        assert other == pytest.approx(plain, rel=1e-2 if "bf16" in way else 1e-4)


def test_pixels_may_be_normalized_on_the_device(make_trainer):
    plain, as_bytes = (make_trainer(f"bytes{uint8}", uint8=uint8, max_steps=3) for uint8 in (False, True))
    batch = next(iter(as_bytes.get_train_dataloader()))
    assert batch["pixel_values"].dtype == torch.uint8
    plain.train()
    as_bytes.train()
    assert losses(as_bytes) == pytest.approx(losses(plain), rel=1e-5)
    assert as_bytes.evaluate()["eval_loss"] == pytest.approx(plain.evaluate()["eval_loss"], rel=1e-5)


def test_the_default_contrast_is_the_specifications_update():
    from trainers.encoder.arguments import EncoderTrainingArguments

    arguments = EncoderTrainingArguments(use_cpu=True)
    assert arguments.per_device_train_batch_size * arguments.micro_batches_in_contrast == 64
    assert EncoderTrainingArguments(use_cpu=True, contrastive_batch_size=16).micro_batches_in_contrast == 2


@pytest.mark.parametrize(("size", "nearest"), [(24, "16 or 32"), (100, "32 or 64"), (1, "8 or 16"), (0, "8 or 16")])
def test_a_contrast_that_does_not_fit_is_refused_with_the_nearest_that_do(size, nearest):
    from trainers.encoder.arguments import EncoderTrainingArguments

    with pytest.raises(ValueError, match=f"--contrastive_batch_size {size}: .*for example {nearest}"):
        EncoderTrainingArguments(use_cpu=True, contrastive_batch_size=size)
    with pytest.raises(ValueError, match=r"--auto_find_batch_size .* lower --per_device_train_batch_size"):
        EncoderTrainingArguments(use_cpu=True, auto_find_batch_size=True)


def test_the_evaluation_does_not_depend_on_its_batch_size(make_trainer):
    small, large = (make_trainer(f"eval{size}", per_device_eval_batch_size=size).evaluate() for size in (2, 13))
    for name in ("eval_loss", "eval_recall_at_5", "eval_chance_recall_at_5"):
        assert small[name] == pytest.approx(large[name], rel=1e-5), name


def test_a_resumed_run_has_the_losses_of_an_undisturbed_one(make_trainer):
    flags = {"max_steps": 6, "save_steps": 2, "eval_steps": 2, "save_total_limit": 5}
    undisturbed = make_trainer("straight", **flags)
    undisturbed.train()
    resumed = make_trainer("resumed", **flags)
    resumed.train(resume_from_checkpoint=f"{undisturbed.args.output_dir}/checkpoint-4")
    assert losses(resumed) == losses(undisturbed)


def test_the_best_checkpoint_is_the_one_that_is_kept(make_trainer):
    trainer = make_trainer(num_train_epochs=3, learning_rate=5e-3)
    trainer.train()
    evaluated = {e["step"]: e["eval_loss"] for e in trainer.state.log_history if "eval_loss" in e}
    assert len(evaluated) == 3  # at the end of every epoch, though eval_steps is 500
    assert trainer.state.best_global_step == min(evaluated, key=evaluated.get)
    assert trainer.evaluate()["eval_loss"] == pytest.approx(min(evaluated.values()), rel=1e-5)


def test_a_checkpoint_is_complete_and_has_no_pickled_arguments(make_trainer, tmp_path):
    secret = "hf_never_to_be_seen"
    trainer = make_trainer(max_steps=1, hub_token=secret)
    trainer.train()
    folder = tmp_path / "run" / "checkpoint-1"
    names = {path.name for path in folder.iterdir()}
    assert {"model.safetensors", "config.json", "processor_config.json", "tokenizer.json"} <= names
    assert {"training_args.json", "trainer_state.json", "modeling_siglip_medical.py", "contrastive_loss.py"} <= names
    assert "training_args.bin" not in names
    assert json.loads((folder / "training_args.json").read_text())["per_device_train_batch_size"] == 4
    for path in (tmp_path / "run").rglob("*"):
        assert path.is_dir() or secret.encode() not in path.read_bytes(), path


def test_a_logged_line_says_how_well_pairs_match_and_how_fast_it_goes(make_trainer):
    """With a learning rate of 0 the model afterwards is the one that the line is about."""
    trainer = make_trainer(rows=8, max_steps=1, learning_rate=0.0, positives="mask")
    trainer.train()
    (line,) = [entry for entry in trainer.state.log_history if "loss" in entry]
    batches = list(trainer.get_train_dataloader())
    batch = {name: torch.cat([batch[name] for batch in batches]) for name in batches[0]}
    with torch.no_grad():
        outputs = trainer.model(pixel_values=batch["pixel_values"], input_ids=batch["input_ids"])
    cosines = outputs.image_embeds @ outputs.text_embeds.T
    hardest = []
    for row in range(8):
        others = [
            cosines[row, other].item()
            for other in range(8)
            if not any(batch[name][row] == batch[name][other] for name in ("group_ids", "image_ids"))
        ]
        hardest.append(max(others))
    matched = cosines.diagonal().tolist()
    assert line["matched_cosine"] == pytest.approx(sum(matched) / 8, abs=1e-6)
    assert line["hardest_negative_cosine"] == pytest.approx(sum(hardest) / 8, abs=1e-6)
    assert line["hardest_negative_cosine_max"] == pytest.approx(max(hardest), abs=1e-6)
    wins = sum(negative > match for negative, match in zip(hardest, matched, strict=True))
    assert line["hardest_negative_wins"] == pytest.approx(wins / 8)
    assert line["logit_bias"] == pytest.approx(trainer.model.logit_bias.item())
    assert line["temperature"] == pytest.approx(math.exp(line["logit_scale"]))
    assert line["images_per_second"] > 0
    assert line["grad_norm"] > 0


def test_figures_are_means_over_the_updates_since_the_last_line(make_trainer):
    flags = {"max_steps": 4, "rows": 32, "lr_scheduler_type": "constant"}
    each, both = make_trainer("each", **flags), make_trainer("both", logging_steps=2, **flags)
    each.train()
    both.train()
    lines = [[e for e in trainer.state.log_history if "loss" in e] for trainer in (each, both)]
    for number, line in enumerate(lines[1]):
        pair = lines[0][2 * number : 2 * number + 2]
        for name in ("loss", "matched_cosine", "hardest_negative_cosine", "hardest_negative_wins"):
            assert line[name] == pytest.approx((pair[0][name] + pair[1][name]) / 2, abs=1e-5), name
        largest = max(one["hardest_negative_cosine_max"] for one in pair)
        assert line["hardest_negative_cosine_max"] == pytest.approx(largest, abs=1e-5)
        assert line["logit_bias"] == pytest.approx(pair[1]["logit_bias"], abs=1e-5)


def test_evaluations_and_checkpoints_do_not_count_as_training_time(make_trainer, monkeypatch):
    """On a clock of its own: a micro-batch takes a second, an evaluation a thousand, and so does a checkpoint."""
    from trainers.base import callbacks

    now = [0.0]
    monkeypatch.setattr(callbacks, "time", SimpleNamespace(perf_counter=lambda: now[0]))
    trainer = make_trainer(max_steps=3, rows=24, eval_steps=1, save_steps=1, logging_steps=3)

    def takes(seconds, call, *args, **kwargs):
        now[0] += seconds
        return call(*args, **kwargs)

    for name, seconds in (("training_step", 1.0), ("evaluate", 1000.0), ("_save_checkpoint", 1000.0)):
        monkeypatch.setattr(trainer, name, partial(takes, seconds, getattr(trainer, name)))
    trainer.train()
    (line,) = [entry for entry in trainer.state.log_history if "loss" in entry]
    assert now[0] >= 6 + 3 * 2000
    assert line["images_per_second"] == 24 / 6


def test_images_without_a_negative_have_no_hardest_one():
    rows = gather_rows(torch.eye(2), torch.eye(2), torch.tensor([5, 5]), torch.tensor([1, 2]))
    meter = TrainingMeter()
    assert meter.take() == {}
    meter.add(rows)
    assert meter.take() == {"matched_cosine": 1.0}


def test_it_learns(make_trainer):
    flags = {"num_train_epochs": 12, "per_device_train_batch_size": 12, "gradient_accumulation_steps": 1}
    trainer = make_trainer(eval_strategy="no", save_strategy="no", load_best_model_at_end=False, **flags)
    trainer.train()
    assert losses(trainer)[-1] < losses(trainer)[0] / 2
