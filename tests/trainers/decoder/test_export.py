"""Tests the decoder's export: it opens without this project, has every weight, and answers like the trained model."""

from __future__ import annotations

import json

import pytest
import torch

from evaluation.loading import InputError


def logits(model, batch) -> torch.Tensor:
    model.eval()
    with torch.no_grad():
        return model(**{name: value for name, value in batch.items() if name != "labels"}).logits


@pytest.fixture
def batch(tiny_decoder, chat):
    from transformers import AutoProcessor

    from evaluation.scoring.decoder import to_conversation

    return AutoProcessor.from_pretrained(tiny_decoder).apply_chat_template(
        [to_conversation(chat["validation"][row]) for row in (0, 5)],
        tokenize=True,
        return_dict=True,
        return_tensors="pt",
        processor_kwargs={"padding": True, "padding_side": "right"},
    )


def stir(model) -> None:
    """Adapters that change answers, as training would leave them; a new one adds zero."""
    generator = torch.Generator().manual_seed(1)
    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.data += 0.05 * torch.randn(parameter.shape, generator=generator).to(parameter.dtype)


def opened(folder, **settings):
    from transformers import AutoModelForImageTextToText

    model, info = AutoModelForImageTextToText.from_pretrained(folder, output_loading_info=True, **settings)
    assert not info["missing_keys"] and not info["unexpected_keys"] and not info["mismatched_keys"]
    return model


CASES = {
    "lm_head": {"train_scope": "lm_head"},
    "full": {"train_scope": "full"},
    "lora": {"train_scope": "lora"},
    "adapter and head": {"train_scope": "adapter", "modules_to_save": ["lm_head"]},
    "DoRA everywhere": {"train_scope": "lora_all", "use_dora": True},
    "projector whole": {"train_scope": "adapter", "modules_to_save": ["multi_modal_projector"]},
}


@pytest.mark.parametrize("case", CASES)
def test_the_merged_model_answers_as_the_trained_one(make_decoder_trainer, batch, tiny_decoder, tmp_path, case):
    from safetensors import safe_open

    from trainers.decoder.export import export_decoder

    trainer = make_decoder_trainer("out", isolate_rows=False, **CASES[case])  # computes as the stock model
    start = logits(opened(tiny_decoder), batch)
    stir(trainer.model)
    before = logits(trainer.model, batch)
    assert (before - start).abs().max() > 0.05  # something was learned that could get lost
    answering = export_decoder(trainer, trainer.processing_class, trainer.arguments, tmp_path / "out")
    after = logits(opened(tmp_path / "out"), batch)
    torch.testing.assert_close(after, before, rtol=0, atol=1e-4)
    torch.testing.assert_close(logits(answering, batch), before, rtol=0, atol=1e-4)
    with (
        safe_open(tmp_path / "out" / "model.safetensors", "pt") as new,
        safe_open(tiny_decoder / "model.safetensors", "pt") as old,
    ):
        assert set(new.keys()) == set(old.keys())  # those of the release
    assert "use_cache" not in json.loads((tmp_path / "out" / "config.json").read_text())
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert {"config.json", "generation_config.json", "chat_template.jinja", "tokenizer.json"} <= names
    assert "processor_config.json" in names and "export.partial" not in names
    assert not [name for name in names if name.startswith("adapter") or name.endswith(".bin")]


@pytest.mark.parametrize("export", ["adapter", "both"])
def test_adapters_open_over_their_base(make_decoder_trainer, batch, tiny_decoder, tmp_path, export):
    from peft import AutoPeftModel, PeftModel
    from transformers import AutoModelForImageTextToText, AutoProcessor

    from trainers.decoder.export import export_decoder

    trainer = make_decoder_trainer(
        "out", isolate_rows=False, train_scope="lora", modules_to_save=["lm_head"], export=export
    )
    stir(trainer.model)
    before = logits(trainer.model, batch)
    export_decoder(trainer, trainer.processing_class, trainer.arguments, tmp_path / "out")
    folder = tmp_path / "out" / ("adapter" if export == "both" else "")
    assert json.loads((folder / "adapter_config.json").read_text())["base_model_name_or_path"] == str(tiny_decoder)
    ways = {
        "PeftModel": PeftModel.from_pretrained(opened(tiny_decoder), folder),
        "AutoPeftModel": AutoPeftModel.from_pretrained(folder),
        "transformers": AutoModelForImageTextToText.from_pretrained(folder),
    }
    for way, model in ways.items():
        torch.testing.assert_close(logits(model, batch), before, rtol=0, atol=1e-4, msg=lambda m, w=way: f"{w}: {m}")
    assert AutoProcessor.from_pretrained(folder).chat_template == trainer.processing_class.chat_template
    assert (folder / "generation_config.json").is_file() and not (folder / "README.md").exists()
    if export == "both":
        torch.testing.assert_close(logits(opened(tmp_path / "out"), batch), before, rtol=0, atol=1e-4)
    else:
        assert not list(folder.glob("model*")) and not (folder / "config.json").exists()


@pytest.mark.parametrize("bits", ["load_in_4bit", "load_in_8bit"])
def test_adapters_of_a_quantized_base_are_merged_into_the_base_as_it_was(
    make_decoder_trainer, batch, tiny_decoder, tmp_path, bits
):
    pytest.importorskip("bitsandbytes")
    from peft import PeftModel

    from trainers.decoder.export import export_decoder

    trainer = make_decoder_trainer("out", isolate_rows=False, train_scope="lora", export="both", **{bits: True})
    stir(trainer.model)
    before = logits(trainer.model, batch)
    export_decoder(trainer, trainer.processing_class, trainer.arguments, tmp_path / "out")
    merged = opened(tmp_path / "out")
    assert not hasattr(merged.config, "quantization_config")
    over_base = PeftModel.from_pretrained(opened(tiny_decoder), tmp_path / "out" / "adapter")
    torch.testing.assert_close(logits(merged, batch), logits(over_base, batch), rtol=0, atol=1e-4)
    start, after = logits(opened(tiny_decoder), batch), logits(merged, batch)
    assert (after - before).abs().mean() < (after - start).abs().mean() / 2  # near what was trained
    same = dict(opened(tiny_decoder).named_parameters())
    for name, parameter in merged.named_parameters():  # no weight has been through 4 bits
        assert torch.equal(parameter, same[name]) or "_proj" in name, name
    # the trained one is as it was; 8-bit layers round what they are given, and make a step of its last bits
    rounding = 1e-4 if bits == "load_in_4bit" else 0.02
    torch.testing.assert_close(logits(trainer.model, batch), before, rtol=0, atol=rounding)


def test_a_merge_in_16_bits_is_rounded_once(make_decoder_trainer, tmp_path):
    from trainers.decoder.export import merge_in_place

    trainer = make_decoder_trainer("out", isolate_rows=False, train_scope="lora", bf16=True)
    stir(trainer.model)
    name = "model.language_model.layers.0.self_attn.q_proj"
    layer = trainer.model.get_base_model().get_submodule(name)
    assert layer.base_layer.weight.dtype == torch.bfloat16 and layer.lora_A["default"].weight.dtype == torch.float32
    exact = layer.base_layer.weight.double() + layer.scaling["default"] * (
        layer.lora_B["default"].weight.double() @ layer.lora_A["default"].weight.double()
    )
    weight = merge_in_place(trainer.model).get_submodule(name).weight
    assert weight.dtype == torch.bfloat16
    assert (weight != exact.float().to(torch.bfloat16)).float().mean() < 1e-3  # where float32 ends on a tie


def test_16_bits_are_written_as_16_bits(make_decoder_trainer, tmp_path):
    from safetensors import safe_open

    from trainers.decoder.export import export_decoder

    trainer = make_decoder_trainer("out", isolate_rows=False, train_scope="lm_head", bf16=True)
    assert trainer.model.lm_head.weight.dtype == torch.float32
    export_decoder(trainer, trainer.processing_class, trainer.arguments, tmp_path / "out")
    with safe_open(tmp_path / "out" / "model.safetensors", "pt") as file:
        assert {file.get_slice(name).get_dtype() for name in file.keys()} == {"BF16"}  # noqa: SIM118
    assert {parameter.dtype for parameter in opened(tmp_path / "out").parameters()} == {torch.bfloat16}


def test_an_export_replaces_another_and_leaves_the_rest(make_decoder_trainer, tmp_path):
    from trainers.decoder.export import export_decoder

    out = tmp_path / "out"
    (out / "checkpoint-4").mkdir(parents=True)
    (out / "checkpoint-4" / "model.safetensors").write_bytes(b"kept")
    (out / "recipe.yaml").write_text("kept")
    for name in ("model-00001-of-00002.safetensors", "model.safetensors.index.json", "adapter_model.safetensors"):
        (out / name).write_bytes(b"of an earlier run")
    others = ("model_best.safetensors", "adapter_notes.txt", "adapter/notes.txt", "model.safetensors.old")
    (out / "adapter").mkdir()
    for name in (*others, "adapter/adapter_model.safetensors", "adapter/tokenizer.json"):
        (out / name).write_bytes(b"kept" if name in others else b"of an earlier run")
    trainer = make_decoder_trainer("out", isolate_rows=False, train_scope="full")
    export_decoder(trainer, trainer.processing_class, trainer.arguments, out)
    opened(out)
    names = {path.name for path in out.iterdir()}
    assert not names & {"model-00001-of-00002.safetensors", "model.safetensors.index.json", "adapter_model.safetensors"}
    assert (out / "checkpoint-4" / "model.safetensors").read_bytes() == b"kept" and (out / "recipe.yaml").is_file()
    assert all((out / name).read_bytes() == b"kept" for name in others)
    assert [path.name for path in (out / "adapter").iterdir()] == ["notes.txt"]
    again = make_decoder_trainer("out", isolate_rows=False, train_scope="lora", export="adapter")
    export_decoder(again, again.processing_class, again.arguments, out)
    assert not (out / "model.safetensors").exists() and not (out / "config.json").exists()
    assert (out / "adapter_model.safetensors").stat().st_size > 1000
    both = make_decoder_trainer("out", isolate_rows=False, train_scope="lora", export="both")
    export_decoder(both, both.processing_class, both.arguments, out)
    assert (out / "adapter" / "adapter_model.safetensors").stat().st_size > 1000
    assert all((out / name).read_bytes() == b"kept" for name in others)


def test_what_is_there_stays_until_the_new_one_is_complete(make_decoder_trainer, tmp_path, monkeypatch):
    from trainers.decoder import export as decoder_export

    out = tmp_path / "out"
    out.mkdir()
    (out / "model.safetensors").write_bytes(b"the one before")
    trainer = make_decoder_trainer("out", isolate_rows=False, train_scope="full")
    renamed = decoder_export.released_name
    monkeypatch.setattr(decoder_export, "released_name", lambda name: renamed(name).replace("lm_head", "head"))
    with pytest.raises(InputError, match=r"missing language_model.head.weight; unexpected language_model.lm_head"):
        decoder_export.export_decoder(trainer, trainer.processing_class, trainer.arguments, out)
    assert (out / "model.safetensors").read_bytes() == b"the one before"
    assert not (out / "export.partial").exists()
