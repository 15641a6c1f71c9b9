"""A batch of pairs: shapes, and ids that tell equal texts and images from others."""

from __future__ import annotations

import pytest
import torch
from PIL import Image


@pytest.fixture(scope="module")
def collator(tiny_encoder):
    from modeling.siglip_medical.processing_siglip_medical import SiglipMedicalProcessor
    from trainers.encoder_collator import EncoderCollator

    return EncoderCollator(SiglipMedicalProcessor.from_pretrained(tiny_encoder))


def row(text: str, colour: str = "red", mode: str = "RGB") -> dict:
    return {"text": text, "image": Image.new(mode, (30, 20), colour)}


def test_shapes_and_names(collator, pairs):
    batch = collator([pairs["train"][index] for index in range(5)])
    assert {name: tuple(value.shape) for name, value in batch.items()} == {
        "pixel_values": (5, 3, 64, 64),
        "input_ids": (5, 64),
        "group_ids": (5,),
        "image_ids": (5,),
    }
    assert batch["group_ids"].dtype == batch["image_ids"].dtype == torch.int64


def test_equal_texts_and_equal_images_have_equal_ids(collator):
    batch = collator([row("left lung"), row("right lung", "blue"), row("left lung", "blue")])
    assert [batch["group_ids"].unique(return_inverse=True)[1].tolist()[i] for i in (0, 2)] == [
        batch["group_ids"].unique(return_inverse=True)[1][0]
    ] * 2
    assert batch["group_ids"][0] == batch["group_ids"][2] != batch["group_ids"][1]
    assert batch["image_ids"][1] == batch["image_ids"][2] != batch["image_ids"][0]


def test_texts_that_the_tokenizer_confuses_stay_different(collator):
    """The tokenizer of SigLIP drops brackets: the ids are of the text before it."""
    batch = collator([row("lesion (of skin)"), row("lesion of skin")])
    assert torch.equal(batch["input_ids"][0], batch["input_ids"][1])
    assert batch["group_ids"][0] != batch["group_ids"][1]


@pytest.mark.parametrize("mode", ["L", "RGBA", "P"])
def test_every_colour_mode_becomes_three_channels(collator, mode):
    image = Image.new("RGB", (30, 20), "red").convert(mode)
    assert collator([{"text": "skin lesion", "image": image}])["pixel_values"].shape == (1, 3, 64, 64)
