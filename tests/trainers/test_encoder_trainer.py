"""The encoder's Trainer: gradients, evaluation, checkpoints and resuming against the plain way of doing it."""

from __future__ import annotations

import json

import pytest
import torch


@pytest.fixture
def make_trainer(tiny_encoder, pairs, tmp_path):
    """`make_trainer(folder, **flags)` with few rows and a fixed seed."""
    from modeling.siglip_medical.modeling_siglip_medical import SiglipMedicalModel
    from modeling.siglip_medical.processing_siglip_medical import SiglipMedicalProcessor
    from trainers.arguments import EncoderTrainingArguments
    from trainers.encoder_collator import EncoderCollator
    from trainers.encoder_trainer import EncoderTrainer

    def make(folder: str = "run", rows: int = 24, **flags):
        settings = {"per_device_train_batch_size": 4, "gradient_accumulation_steps": 2, "learning_rate": 1e-3}
        settings |= {"logging_steps": 1, "disable_tqdm": True, "use_cpu": True, "warmup_steps": 0} | flags
        processor = SiglipMedicalProcessor.from_pretrained(tiny_encoder)
        return EncoderTrainer(
            model=SiglipMedicalModel.from_pretrained(tiny_encoder),
            args=EncoderTrainingArguments(output_dir=str(tmp_path / folder), **settings),
            data_collator=EncoderCollator(processor),
            train_dataset=pairs["train"].shuffle(seed=0).select(range(rows)),
            eval_dataset=pairs["validation"].shuffle(seed=0).select(range(13)),
            processing_class=processor,
        )

    return make


def losses(trainer) -> list[float]:
    return [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]


@pytest.mark.parametrize("with_labels", [False, True])
def test_accumulation_averages_the_gradients_of_the_batches(make_trainer, with_labels):
    """A model that takes `**kwargs` beside a column `labels` makes Trainer add them up: 2 times the gradient."""
    trainer = make_trainer(rows=8, max_steps=1, lr_scheduler_type="constant", optim="sgd", max_grad_norm=0)
    trainer.args.weight_decay = 0.0
    if with_labels:
        collator = trainer.data_collator
        trainer.data_collator = lambda rows: collator(rows) | {"labels": torch.zeros(len(rows), dtype=torch.int64)}
    before = {name: value.detach().clone() for name, value in trainer.model.named_parameters()}
    batches = list(trainer.get_train_dataloader())
    expected = {name: torch.zeros_like(value) for name, value in before.items()}
    for batch in batches:
        trainer.model.zero_grad()
        trainer.model(**batch, return_loss=True).loss.backward()
        for name, parameter in trainer.model.named_parameters():
            expected[name] += parameter.grad / len(batches)
    trainer.model.zero_grad()
    trainer.train()
    for name, parameter in trainer.model.named_parameters():
        moved = (before[name] - parameter.detach()) / 1e-3
        torch.testing.assert_close(moved, expected[name], rtol=1e-2, atol=2e-3)


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
    assert {"training_args.json", "trainer_state.json", "modeling_siglip_medical.py", "loss.py"} <= names
    assert "training_args.bin" not in names
    assert json.loads((folder / "training_args.json").read_text())["per_device_train_batch_size"] == 4
    for path in (tmp_path / "run").rglob("*"):
        assert path.is_dir() or secret.encode() not in path.read_bytes(), path


def test_temperature_and_bias_are_logged(make_trainer):
    trainer = make_trainer(max_steps=2)
    trainer.train()
    logged = [entry for entry in trainer.state.log_history if "loss" in entry]
    assert all({"logit_scale", "logit_bias"} <= entry.keys() for entry in logged)
    assert logged[-1]["logit_bias"] == pytest.approx(trainer.model.logit_bias.item())


def test_it_learns(make_trainer):
    trainer = make_trainer(num_train_epochs=12, gradient_accumulation_steps=1, per_device_train_batch_size=12)
    trainer.train()
    assert losses(trainer)[-1] < losses(trainer)[0] / 3
