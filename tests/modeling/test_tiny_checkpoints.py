"""Checks that the tiny checkpoints are complete, reproducible, and able to learn from an image."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
import torch
from PIL import Image

from tests.modeling.conftest import TEXTS


def digest(folder: Path) -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.iterdir() if path.is_file()}


def test_the_same_seed_gives_the_same_encoder(tiny_encoder, tmp_path):
    from modeling.tiny_checkpoints import write_tiny_encoder

    write_tiny_encoder(tmp_path / "same", TEXTS, seed=0)
    write_tiny_encoder(tmp_path / "other", TEXTS, seed=1)
    assert digest(tmp_path / "same") == digest(tiny_encoder)
    assert digest(tmp_path / "other")["model.safetensors"] != digest(tiny_encoder)["model.safetensors"]


def test_the_same_seed_gives_the_same_decoder(tiny_decoder, tmp_path):
    from modeling.tiny_checkpoints import write_tiny_decoder
    from trainers.decoder.data.collator import CHAT_TEMPLATE

    write_tiny_decoder(tmp_path, TEXTS, CHAT_TEMPLATE, seed=0)
    assert digest(tmp_path) == digest(tiny_decoder)


@pytest.mark.parametrize("kind", ["encoder", "decoder"])
def test_weights_are_safetensors_only(kind, request):
    names = {path.suffix for path in request.getfixturevalue(f"tiny_{kind}").iterdir()}
    assert ".safetensors" in names and not names & {".bin", ".pt", ".pth", ".pkl"}


def test_the_decoder_has_the_vocabulary_layout_of_llama(tiny_decoder):
    from transformers import AutoConfig, AutoProcessor

    config, processor = AutoConfig.from_pretrained(tiny_decoder), AutoProcessor.from_pretrained(tiny_decoder)
    assert config.image_token_index == config.text_config.vocab_size == len(processor.tokenizer) - 1
    assert processor.image_token_id == config.image_token_index


def test_every_weight_of_the_decoder_gets_a_gradient(tiny_decoder):
    """With closed gates, 113 of 156 weights would get no gradient."""
    from transformers import AutoModelForImageTextToText, AutoProcessor

    from evaluation.scoring.decoder import encode, prepare_for_scoring, to_conversation

    model = prepare_for_scoring(AutoModelForImageTextToText.from_pretrained(tiny_decoder))
    processor = AutoProcessor.from_pretrained(tiny_decoder)
    messages = [{"role": "user", "content": "organ?"}, {"role": "assistant", "content": "liver"}]
    row = {"images": [Image.new("RGB", (200, 90), "red")], "messages": messages}
    batch = encode(processor, [to_conversation(row)], "right", False)
    labels = batch["input_ids"].masked_fill(batch["input_ids"] == processor.image_token_id, -100)
    model(**batch, labels=labels).loss.backward()
    # The tile embeddings have gates of their own that start closed; the gates get a gradient and open in training.
    gated = ("tile_positional_embedding.embedding", "gated_positional_embedding.tile_embedding")
    silent = [
        name
        for name, parameter in model.named_parameters()
        if parameter.requires_grad and (parameter.grad is None or not parameter.grad.abs().max() > 0)
    ]
    assert [name for name in silent if not any(part in name for part in gated)] == []


def test_the_answer_of_the_decoder_depends_on_the_image(tiny_decoder):
    from transformers import AutoModelForImageTextToText, AutoProcessor

    from evaluation.scoring.decoder import encode, prepare_for_scoring, to_conversation

    model = prepare_for_scoring(AutoModelForImageTextToText.from_pretrained(tiny_decoder))
    processor = AutoProcessor.from_pretrained(tiny_decoder)
    rows = [
        {"images": [Image.new("RGB", (90, 90), color)], "messages": [{"role": "user", "content": "organ?"}]}
        for color in ("black", "white")
    ]
    with torch.no_grad():
        logits = model(**encode(processor, [to_conversation(row) for row in rows], "right", True)).logits[:, -1]
    assert (logits[0] - logits[1]).abs().max() > 1e-3
