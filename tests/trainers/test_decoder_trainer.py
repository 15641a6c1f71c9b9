"""The decoder's Trainer: resuming that resumes, a best model that is loaded, adapters where they belong."""

from __future__ import annotations

import pytest
import torch


@pytest.fixture
def make_trainer(tiny_decoder, chat, tmp_path):
    """`make_trainer(folder, scope, **flags)` on a few rows."""
    from transformers import AutoModelForImageTextToText, AutoProcessor

    from trainers.decoder_arguments import DecoderArguments, DecoderTrainingArguments
    from trainers.decoder_collator import DecoderCollator
    from trainers.decoder_trainer import DecoderTrainer
    from trainers.decoder_tuning import add_adapters

    def make(folder: str, scope: str, **flags):
        settings = {"per_device_train_batch_size": 2, "per_device_eval_batch_size": 4, "learning_rate": 3e-3}
        settings |= {
            "gradient_accumulation_steps": 1,
            "logging_steps": 1,
            "disable_tqdm": True,
            "use_cpu": True,
        } | flags
        processor = AutoProcessor.from_pretrained(tiny_decoder)
        torch.manual_seed(0)  # of the adapters
        model = AutoModelForImageTextToText.from_pretrained(tiny_decoder)
        if scope == "lora":
            model = add_adapters(model, DecoderArguments(lora_r=4, lora_dropout=0.0))
        return DecoderTrainer(
            model=model,
            args=DecoderTrainingArguments(output_dir=str(tmp_path / folder), **settings),
            data_collator=DecoderCollator(processor, 512),
            train_dataset=chat["train"].shuffle(seed=0).select(range(16)),
            eval_dataset=chat["validation"].shuffle(seed=0).select(range(8)),
            processing_class=processor,
        )

    return make


def losses(trainer) -> list[float]:
    return [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]


@pytest.mark.parametrize("scope", ["full", "lora"])
def test_a_resumed_run_has_the_losses_of_an_undisturbed_one(make_trainer, scope):
    """Stock Trainer loads nothing into a fully trained Mllama, and only warns: its losses start again."""
    flags = {"max_steps": 6, "save_steps": 2, "eval_steps": 2, "save_total_limit": 5}
    undisturbed = make_trainer("straight", scope, **flags)
    undisturbed.train()
    resumed = make_trainer("resumed", scope, **flags)
    resumed.train(resume_from_checkpoint=f"{undisturbed.args.output_dir}/checkpoint-4")
    assert losses(resumed) == losses(undisturbed)
    assert len(set(losses(undisturbed))) > 4


@pytest.mark.parametrize("scope", ["full", "lora"])
def test_the_best_model_is_really_loaded(make_trainer, scope):
    """A far too high learning rate makes the last checkpoint worse than an earlier one."""
    flags = {"lr_scheduler_type": "constant", "eval_steps": 1, "save_steps": 1, "save_total_limit": 9}
    flags |= {"learning_rate": 3e-2, "max_steps": 6} if scope == "full" else {"learning_rate": 1.0, "max_steps": 5}
    trainer = make_trainer("best", scope, **flags)
    trainer.train()
    evaluated = [entry["eval_loss"] for entry in trainer.state.log_history if "eval_loss" in entry]
    assert min(evaluated) < evaluated[-1]  # otherwise nothing is shown
    assert trainer.evaluate()["eval_loss"] == pytest.approx(min(evaluated), rel=1e-4)


def test_a_full_checkpoint_opens_with_every_weight(make_trainer, tmp_path):
    from transformers import AutoModelForImageTextToText

    trainer = make_trainer("whole", "full", max_steps=2, save_steps=2, eval_steps=2)
    trainer.train()
    folder = tmp_path / "whole" / "checkpoint-2"
    model, info = AutoModelForImageTextToText.from_pretrained(folder, output_loading_info=True)
    assert not info["missing_keys"] and not info["unexpected_keys"]
    for name, value in model.state_dict().items():
        assert torch.equal(value, trainer.model.state_dict()[name]), name
    assert {"chat_template.jinja", "training_args.json", "tokenizer.json"} <= {path.name for path in folder.iterdir()}
    assert not (folder / "training_args.bin").exists()


def test_adapters_sit_in_the_text_decoder_only(make_trainer):
    model = make_trainer("adapters", "lora").model
    trained = [name for name, parameter in model.named_parameters() if parameter.requires_grad]
    assert trained and all("lora_" in name and ".language_model." in name for name in trained)
    for part in ("self_attn.q_proj", "cross_attn.k_proj", "mlp.down_proj"):
        assert any(part in name for name in trained), part


def test_merging_changes_no_answer(make_trainer, chat):
    from trainers.decoder_collator import DecoderCollator
    from trainers.decoder_tuning import merged

    trainer = make_trainer("merge", "lora", max_steps=4, eval_strategy="no")
    trainer.train()
    batch = DecoderCollator(trainer.processing_class, 512)([chat["validation"][0], chat["validation"][5]])
    with torch.no_grad():
        before = trainer.model.eval()(**batch).logits
        model = merged(trainer.model)
        after = model(**batch).logits
    assert not any("lora" in name for name, _ in model.named_parameters())
    torch.testing.assert_close(after, before, rtol=1e-4, atol=1e-4)
