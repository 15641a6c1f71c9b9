"""Tests how the decoder to start from is loaded: from a checkpoint, or as a small random one."""

from __future__ import annotations

import gc
import re
from pathlib import Path

import pytest
import torch

from evaluation.loading import InputError
from trainers.decoder.arguments import DecoderArguments, DecoderTrainingArguments
from trainers.decoder.model import base_source, load_decoder


@pytest.fixture
def load(chat, tmp_path):
    """`load(**flags)`: (model, processor)."""

    def load_from_flags(bf16: bool = False, **flags):
        training = DecoderTrainingArguments(output_dir=str(tmp_path / "out"), use_cpu=True, bf16=bf16)
        return load_decoder(DecoderArguments(**flags), chat["train"], training)

    return load_from_flags


@pytest.mark.parametrize(("bf16", "dtype"), [(False, torch.float32), (True, torch.bfloat16)])
def test_weights_are_in_the_bits_of_the_training(load, tiny_decoder, bf16, dtype):
    model, processor = load(bf16, model_name_or_path=str(tiny_decoder))
    assert {parameter.dtype for parameter in model.parameters()} == {dtype}
    assert model.config._attn_implementation == "sdpa"
    assert re.search(r"{%-? generation", processor.chat_template)
    assert processor.chat_template == processor.tokenizer.chat_template


def test_an_encoder_is_no_decoder(load, tiny_encoder):
    with pytest.raises(InputError, match="a model of type 'siglip', not mllama"):
        load(model_name_or_path=str(tiny_encoder))


@pytest.mark.parametrize("bits", [{}, {"load_in_4bit": True}])
def test_a_tiny_one_leaves_no_folder_and_no_name_of_one(load, tmp_path, bits):
    if bits:
        pytest.importorskip("bitsandbytes")
    arguments = DecoderArguments(tiny=True, **bits)
    model, _ = load(tiny=True, **bits)
    folder = Path(base_source(model, arguments)[0])
    assert (folder / "model.safetensors").is_file()
    model.config.save_pretrained(tmp_path)
    assert str(folder) not in (tmp_path / "config.json").read_text()
    assert not model.name_or_path
    del model
    gc.collect()
    assert not folder.exists()


@pytest.mark.parametrize("export", ["adapter", "both"])
def test_adapters_alone_over_a_tiny_base_are_refused(load, export):
    with pytest.raises(
        InputError, match=f"--tiny cannot be combined with --export {export}: adapters require their base model"
    ):
        load(tiny=True, export=export)


def test_a_quantized_tiny_one_is_exported_merged(chat, tmp_path):
    """Its base is read again for that, and nothing that is written names where it lay."""
    pytest.importorskip("bitsandbytes")
    from transformers import AutoModelForImageTextToText

    from trainers.decoder.export import export_decoder
    from trainers.decoder.trainer import DecoderTrainer
    from trainers.decoder.tuning import set_trainable

    arguments = DecoderArguments(tiny=True, load_in_4bit=True, model_name_or_path="")
    training = DecoderTrainingArguments(output_dir=str(tmp_path), use_cpu=True, disable_tqdm=True, eval_strategy="no")
    model, processor = load_decoder(arguments, chat["train"], training)
    folder, _ = base_source(model, arguments)
    trainer = DecoderTrainer(model=set_trainable(model, arguments), args=training, processing_class=processor)
    trainer.save_model(str(tmp_path / "checkpoint-1"))
    export_decoder(trainer, processor, arguments, tmp_path)
    _, info = AutoModelForImageTextToText.from_pretrained(tmp_path, output_loading_info=True)
    assert not info["missing_keys"] and not info["unexpected_keys"]
    for path in tmp_path.rglob("*.json"):
        assert folder not in path.read_text(), path
    assert not (tmp_path / "adapter").exists()
