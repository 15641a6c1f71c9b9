"""Checks that both ways that are timed give the same results on tiny models."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from evaluation.timing.workloads import (
    CONTROL,
    OURS,
    encoder_workloads,
    our_generation,
    pictures,
    plain_generation,
)


def test_embeddings_are_equal(encoder):
    from transformers import AutoModel, AutoProcessor

    model, processor = AutoModel.from_pretrained(encoder), AutoProcessor.from_pretrained(encoder)
    found = encoder_workloads(model, processor, 3)
    assert set(found) == {"images", "texts"}
    for ways in found.values():
        ours, control = ways[OURS](), ways[CONTROL]()
        assert ours.shape == control.shape == (3, 128)
        np.testing.assert_allclose(ours, control, atol=1e-5)
    images = found["images"][OURS]()
    assert not np.allclose(images[0], images[1])


@pytest.mark.slow
def test_both_ways_ask_the_same_and_answer_as_long_as_was_asked(decoder, monkeypatch):
    """Answers can differ: in the stock model, tokens before the image receive cross-attention output, too."""
    from transformers import AutoModelForImageTextToText, AutoProcessor

    model = AutoModelForImageTextToText.from_pretrained(decoder).eval()
    processor = AutoProcessor.from_pretrained(decoder)
    asked, generate = [], model.generate
    monkeypatch.setattr(model, "generate", lambda **inputs: asked.append(inputs) or generate(**inputs))
    control = plain_generation(model, processor, 2)(6)
    ours = our_generation(model, processor, 2)(6)
    assert control.shape == ours.shape == (2, 6)
    first, second = asked
    assert torch.equal(first["input_ids"], second["input_ids"])
    assert torch.equal(first["pixel_values"].flatten(), second["pixel_values"].flatten())


def test_images_differ():
    first, second = pictures(2)
    assert first.size == second.size == (512, 384) and first.tobytes() != second.tobytes()
    assert pictures(1)[0].tobytes() == first.tobytes()
