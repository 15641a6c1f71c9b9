"""Tests the decoder's checkpoints: resuming, loading the best model, and the content of the files."""

from __future__ import annotations

import json
import shutil

import pytest
import torch

from evaluation.loading import InputError
from tests.cases import few

SCOPES = {
    "full": {"train_scope": "full"},
    "lm_head": {"train_scope": "lm_head"},
    "lm_head in 16 bits": {"train_scope": "lm_head", "bf16": True},
    "lora": {"train_scope": "lora", "lora_dropout": 0.1},
    "lora in 16 bits": {"train_scope": "lora", "bf16": True},
    "DoRA": {"train_scope": "adapter", "use_dora": True},
    "everywhere": {"train_scope": "lora_all"},
    "modules_to_save": {"train_scope": "adapter", "modules_to_save": ["lm_head", "multi_modal_projector"]},
    "4 bits": {"train_scope": "lora", "load_in_4bit": True},
    "8 bits": {"train_scope": "adapter", "load_in_8bit": True},
}


def losses(trainer) -> list[float]:
    return [
        entry.get("loss", entry.get("eval_loss")) for entry in trainer.state.log_history if "train_loss" not in entry
    ]


def learned(trainer) -> dict[str, torch.Tensor]:
    return {name: p.detach().clone() for name, p in trainer.model.named_parameters() if p.requires_grad}


def reseal(folder) -> None:
    """Writes the manifest anew, as if the checkpoint had been written as it is now."""
    from trainers.base.checkpoint_files import partial, seal

    (folder / "manifest.json").unlink()
    folder.rename(partial(folder))
    seal(folder)


@pytest.mark.parametrize("case", few(SCOPES, "lora"))
def test_a_resumed_run_has_the_losses_of_an_undisturbed_one(make_decoder_trainer, case):
    """Stock Trainer loads nothing into a fully trained Mllama, and only warns: its losses start again."""
    flags = {"max_steps": 6, "save_steps": 2, "eval_steps": 2, "save_total_limit": 5} | SCOPES[case]
    if "load_in" in str(flags):
        pytest.importorskip("bitsandbytes")
    undisturbed = make_decoder_trainer("straight", **flags)
    undisturbed.train()
    resumed = make_decoder_trainer("resumed", **flags)
    resumed.train(resume_from_checkpoint=f"{undisturbed.args.output_dir}/checkpoint-4")
    assert losses(resumed) == losses(undisturbed)
    assert len(set(losses(undisturbed))) > 6
    ends = learned(resumed)
    for name, weight in learned(undisturbed).items():
        assert torch.equal(weight, ends[name]), name


@pytest.mark.parametrize("case", few(["full", "lm_head", "lora", "DoRA", "modules_to_save", "4 bits"], "full", "lora"))
def test_the_best_model_is_really_loaded(make_decoder_trainer, case):
    """What has learned is spoilt before the last evaluation; the checkpoint after that is the worse one."""
    from transformers import TrainerCallback

    class Spoil(TrainerCallback):
        def on_step_end(self, args, state, control, model=None, **kwargs):
            if state.global_step == 4:
                generator = torch.Generator().manual_seed(0)
                for parameter in model.parameters():
                    if parameter.requires_grad:
                        parameter.data += torch.randn(parameter.shape, generator=generator)

    flags = {"eval_steps": 1, "save_steps": 1, "save_total_limit": 9, "max_steps": 4}
    trainer = make_decoder_trainer("best", **flags | SCOPES[case])
    trainer.add_callback(Spoil())
    trainer.train()
    evaluated = [entry["eval_loss"] for entry in trainer.state.log_history if "eval_loss" in entry]
    assert min(evaluated) < evaluated[-1] - 0.01  # otherwise nothing is shown
    assert trainer.evaluate()["eval_loss"] == pytest.approx(min(evaluated), rel=1e-5)


@pytest.fixture
def trained(make_decoder_trainer, tmp_path):
    """`trained(case)`: (the trainer, its only checkpoint) after two updates."""

    def train(case: str):
        trainer = make_decoder_trainer("whole", max_steps=2, save_steps=2, eval_steps=2, **SCOPES[case])
        trainer.train()
        return trainer, tmp_path / "whole" / "checkpoint-2"

    return train


@pytest.mark.parametrize("case", ["full", "lm_head", "modules_to_save"])
def test_a_checkpoint_holds_what_learns_and_what_answering_needs(trained, tiny_decoder, case):
    from safetensors.torch import load_file
    from transformers import AutoProcessor, GenerationConfig

    trainer, folder = trained(case)
    names = {path.name for path in folder.iterdir()}
    assert {"chat_template.jinja", "training_args.json", "tokenizer.json", "processor_config.json"} <= names
    assert {"generation_config.json", "trainer_state.json", "manifest.json"} <= names
    assert not names & {"training_args.bin", "README.md"} and not [name for name in names if name.endswith(".bin")]
    assert AutoProcessor.from_pretrained(folder).chat_template == trainer.processing_class.chat_template
    assert GenerationConfig.from_pretrained(folder).eos_token_id == trainer.inner_model.generation_config.eos_token_id
    stem = {"full": "model", "lm_head": "learned", "modules_to_save": "adapter_model"}[case]
    assert {name for name in names if name.endswith(".safetensors")} == {f"{stem}.safetensors"}
    held = sum(weight.numel() for weight in load_file(folder / f"{stem}.safetensors").values())
    assert held == sum(parameter.numel() for parameter in trainer.model.parameters() if parameter.requires_grad)
    if case == "modules_to_save":
        config = json.loads((folder / "adapter_config.json").read_text())
        assert config["base_model_name_or_path"] == str(tiny_decoder)


def test_a_full_checkpoint_opens_with_every_weight(trained):
    from transformers import AutoModelForImageTextToText

    trainer, folder = trained("full")
    model, info = AutoModelForImageTextToText.from_pretrained(folder, output_loading_info=True)
    assert not info["missing_keys"] and not info["unexpected_keys"]
    for name, value in model.state_dict().items():
        assert torch.equal(value, trainer.model.state_dict()[name]), name


def test_a_checkpoint_of_a_part_does_not_open_as_if_it_were_the_whole(trained):
    from transformers import AutoModelForImageTextToText

    _, folder = trained("lm_head")
    with pytest.raises(OSError, match=r"model\.safetensors"):
        AutoModelForImageTextToText.from_pretrained(folder)


@pytest.mark.parametrize("case", few(["full", "lm_head", "modules_to_save"]))
def test_a_weight_that_is_missing_unexpected_or_of_another_shape_is_an_error(trained, make_decoder_trainer, case):
    from safetensors.torch import load_file, save_file

    _, folder = trained(case)
    (path,) = folder.glob("*.safetensors")
    weights = load_file(path)
    name = max(weights, key=lambda key: ("lm_head" in key, key))
    changed = {key: weight for key, weight in weights.items() if key != name}
    damaged = {
        "missing": changed,
        "unexpected": weights | {"a.new.weight": torch.zeros(2)},
        "of another shape": changed | {name: weights[name][:-1].contiguous()},
    }
    for word, state in damaged.items():
        save_file(state, path, metadata={"format": "pt"})
        reseal(folder)
        again = make_decoder_trainer("again", max_steps=4, eval_strategy="no", **SCOPES[case])
        before = learned(again)
        with pytest.raises(InputError, match=word):
            again.train(resume_from_checkpoint=str(folder))
        assert all(torch.equal(before[key], weight) for key, weight in learned(again).items())  # nothing half loaded


@pytest.mark.parametrize(("wrote", "reads"), few([("lora", "full"), ("full", "lm_head"), ("lm_head", "lora")]))
def test_a_checkpoint_of_another_scope_is_named(trained, make_decoder_trainer, wrote, reads):
    _, folder = trained(wrote)
    again = make_decoder_trainer("again", max_steps=4, eval_strategy="no", allow_changed_flags=True, **SCOPES[reads])
    with pytest.raises(InputError, match="give the --train_scope that it was trained with"):
        again.train(resume_from_checkpoint=str(folder))


def test_adapters_of_another_rank_are_an_error(trained, make_decoder_trainer):
    _, folder = trained("lora")
    flags = SCOPES["lora"] | {"lora_r": 8, "max_steps": 4, "eval_strategy": "no", "allow_changed_flags": True}
    with pytest.raises(
        InputError, match=r"is not of this adapter: of another shape .*\(4, 128\) instead of \(8, 128\)"
    ):
        make_decoder_trainer("again", **flags).train(resume_from_checkpoint=str(folder))


def test_a_best_checkpoint_that_was_changed_is_an_error(trained):
    trainer, folder = trained("lm_head")
    shutil.copy(folder / "config.json", folder / "learned.safetensors")
    trainer.state.best_model_checkpoint = str(folder)
    with pytest.raises(InputError, match=r"is incomplete: learned\.safetensors has"):
        trainer._load_best_model()
