"""Tests 4-bit and 8-bit weights of the text decoder, and of nothing else, on a CPU."""

from __future__ import annotations

import importlib.util

import pytest
import torch

from evaluation.loading import InputError
from trainers.decoder.arguments import DecoderArguments
from trainers.decoder.quantization import check_quantized, is_quantized, quantization_settings

BITS = {"load_in_4bit": "Linear4bit", "load_in_8bit": "Linear8bitLt"}


@pytest.fixture(autouse=True)
def needs_bitsandbytes():
    pytest.importorskip("bitsandbytes")


@pytest.fixture(params=BITS)
def bits(request):
    return request.param


@pytest.mark.parametrize("bf16", [False, True])
def test_the_text_decoder_is_quantized_and_nothing_else(make_decoder_trainer, bits, bf16):
    model = make_decoder_trainer("out", train_scope="lora", bf16=bf16, **{bits: True}).inner_model
    dtype = torch.bfloat16 if bf16 else torch.float32
    linear = {
        name: module
        for name, module in model.named_modules()
        if isinstance(module, torch.nn.Linear) and "lora_" not in name
    }
    for name, module in linear.items():
        if ".language_model.layers." in name:
            assert type(module).__name__ == BITS[bits] and is_quantized(module), name
            assert module.weight.dtype == (torch.uint8 if bits == "load_in_4bit" else torch.int8), name
        else:
            assert type(module) is torch.nn.Linear and module.weight.dtype == dtype, name
    assert len([name for name in linear if ".language_model." in name]) == 5 * 7
    for name, parameter in model.named_parameters():  # norms, gates, vision tower, projector, embeddings and head
        if "_proj" not in name or "vision" in name:
            assert parameter.dtype == dtype, name
        if "lora_" in name:
            assert parameter.dtype == torch.float32, name
    if bits == "load_in_4bit":
        state = model.model.language_model.layers[0].mlp.up_proj.base_layer.weight.quant_state
        assert state.quant_type == "nf4" and state.nested and state.dtype == dtype


def test_weights_of_few_bits_are_counted_as_what_they_stand_for(make_decoder_trainer, bits):
    from trainers.decoder.tuning import describe_trainable

    plain, few = (make_decoder_trainer("out", train_scope="lora", **flags).model for flags in ({}, {bits: True}))
    assert describe_trainable(plain) == describe_trainable(few)


def test_training_learns_by_adapters_alone(make_decoder_trainer, bits):
    flags = {"train_scope": "lora", "max_steps": 12, "eval_strategy": "no", "save_strategy": "no", bits: True}
    trainer = make_decoder_trainer("out", lr_scheduler_type="constant", **flags)
    before = {name: parameter.detach().clone() for name, parameter in trainer.model.named_parameters()}
    start = trainer.evaluate()["eval_loss"]
    trainer.train()
    assert trainer.evaluate()["eval_loss"] < start - 0.1
    for name, parameter in trainer.model.named_parameters():
        assert parameter.requires_grad == ("lora_" in name), name
        assert torch.equal(parameter, before[name]) == ("lora_" not in name), name


def test_an_evaluation_takes_no_gradient_from_the_training_after_it(make_decoder_trainer, bits):
    """bitsandbytes 0.50 packs 4-bit weights at the first evaluation on some processors, and then has no gradient."""
    trainer = make_decoder_trainer("out", train_scope="lora", **{bits: True})
    batch = trainer._prepare_inputs(next(iter(trainer.get_train_dataloader())))
    model = trainer.model.train()

    def gradients() -> dict[str, torch.Tensor]:
        model.zero_grad()
        model(**batch).loss.backward()
        return {name: p.grad.clone() for name, p in model.named_parameters() if p.requires_grad}

    before = gradients()
    model.eval()
    with torch.no_grad():
        evaluated = model(**batch).loss
    model.train()
    after = gradients()
    # 8-bit layers round what they are given, and make a step of its last bits
    rounding = (1e-5 if bits == "load_in_4bit" else 1e-2) * max(gradient.norm() for gradient in before.values())
    for name, gradient in before.items():
        assert (after[name] - gradient).norm() <= rounding, name
    assert any(gradient.abs().max() > 0 for name, gradient in after.items() if ".layers.0." in name)
    # without a gradient, 8-bit layers round the outputs to float16
    torch.testing.assert_close(evaluated, model(**batch).loss, rtol=1e-5 if bits == "load_in_4bit" else 1e-3, atol=0)


def test_a_layer_that_should_not_be_quantized_is_an_error(tiny_decoder, monkeypatch):
    """A name that matches nothing, as `vision_model` does, is only seen in the layers."""
    from transformers import AutoModelForImageTextToText

    from trainers.decoder import quantization

    arguments = DecoderArguments(load_in_4bit=True)
    with monkeypatch.context() as patch:
        patch.setattr(quantization, "KEPT", ("vision_model", "multi_modal_projector", "lm_head"))
        settings = quantization_settings(arguments, torch.float32)
    model = AutoModelForImageTextToText.from_pretrained(
        tiny_decoder, dtype=torch.float32, quantization_config=settings, device_map={"": "cpu"}
    )
    with pytest.raises(InputError, match=r"--load_in_4bit: model\.vision_model.* became a Linear4bit, not a Linear"):
        check_quantized(model, arguments, torch.float32)
    plain = AutoModelForImageTextToText.from_pretrained(tiny_decoder, dtype=torch.float32)
    with pytest.raises(InputError, match=r"language_model.* became a Linear, not a Linear4bit"):
        check_quantized(plain, arguments, torch.float32)


def test_without_bitsandbytes_the_message_says_what_to_install(monkeypatch, bits):
    find = importlib.util.find_spec
    without = lambda name, *rest: None if name == "bitsandbytes" else find(name, *rest)  # noqa: E731
    monkeypatch.setattr(importlib.util, "find_spec", without)
    with pytest.raises(InputError, match=rf'--{bits} requires bitsandbytes: pip install "medpairs\[quantization\]"'):
        quantization_settings(DecoderArguments(**{bits: True}), torch.float32)
