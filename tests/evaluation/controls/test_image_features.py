"""Checks the features that a vision tower gives: pooling, towers of decoders and of encoders, and refusals."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from evaluation.controls.image_features import began_random, encode_images, load_encoder
from evaluation.loading import InputError
from evaluation.models.vision_towers import mllama_tower, pooled
from tests.evaluation.small_run import picture


def test_patches_are_averaged_to_a_grid_and_a_prefix_is_kept():
    states = torch.arange(2 * 65 * 3, dtype=torch.float32).reshape(2, 65, 3)
    found = pooled(states)
    assert found.shape == (2, 3 * (1 + 16))
    assert np.array_equal(found[:, :3], states[:, 0].numpy())
    patches = states[:, 1:].reshape(2, 8, 8, 3)
    corner = patches[:, :2, :2].mean((1, 2)).numpy()  # the upper left cell of the grid: its first value per dimension
    assert np.allclose(found[:, 3::16], corner)
    assert pooled(states[:, :4]).shape == (2, 3 * 4)  # fewer patches than cells
    with pytest.raises(ValueError, match=r"returned \[2, 65\]"):
        pooled(states[:, :, 0])


def test_the_tower_of_a_decoder_sees_the_complete_image(decoder):
    from transformers import AutoModelForImageTextToText, AutoProcessor

    model, processor = (
        AutoModelForImageTextToText.from_pretrained(decoder).eval(),
        AutoProcessor.from_pretrained(decoder),
    )
    encode = mllama_tower(model, processor)
    pictures = [picture((300, 100), 1), picture((64, 64), 2), picture((20, 90), 3)]
    found = encode(pictures)
    assert found.shape[0] == 3 and found.dtype == np.float32
    assert np.allclose(found[1], encode(pictures[1:2])[0], atol=1e-5)  # whatever else is in the batch
    assert not np.allclose(found[0], encode([pictures[0].transpose(1)])[0], atol=1e-3)


def test_an_encoder_is_loaded_by_name(encoder):
    found = load_encoder(str(encoder))
    states = found.encode([picture((64, 64), 1), picture((10, 70), 2)])
    assert states.shape == (2, 128 * 16) and found.name == encoder.name and not found.is_random


def test_what_has_no_vision_tower_is_refused(tmp_path, encoder):
    from transformers import AutoImageProcessor, BertConfig, BertModel

    sizes = dict.fromkeys(("hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size"), 1)
    BertModel(BertConfig(**sizes, vocab_size=9)).save_pretrained(tmp_path)
    AutoImageProcessor.from_pretrained(encoder).save_pretrained(tmp_path)
    with pytest.raises(InputError, match=r"--frozen_encoder .*: no vision tower that takes pixel_values"):
        load_encoder(str(tmp_path))


def test_images_of_a_row_are_averaged_and_rows_come_in_batches(encoder):
    found = load_encoder(str(encoder))
    first, second = picture((64, 64), 1), picture((64, 64), 2)
    rows = [(7, [first]), (3, [second]), (5, [first, second])]
    alone = found.encode([first, second])
    for size in (1, 2, 8):
        states = encode_images(found, iter(rows), size)
        assert list(states) == [7, 3, 5]
        assert np.allclose(states[7], alone[0], atol=0.01) and np.allclose(states[5], alone.mean(0), atol=0.01)


@pytest.mark.parametrize(("base", "random"), [("", True), ("org/base", False), (None, False)])
def test_a_start_from_random_weights_is_read_from_the_summary(tmp_path, base, random):
    if base is not None:
        (tmp_path / "training_summary.json").write_text(json.dumps({"base_model": base}))
    assert began_random(str(tmp_path)) is random
    assert began_random("org/none") is False
