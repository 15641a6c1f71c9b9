"""Tests the encoder's batches: shapes, and ids that are equal exactly for equal texts and images."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from evaluation.loading import InputError


@pytest.fixture(scope="module")
def collator(tiny_encoder):
    from modeling.siglip_medical.processing_siglip_medical import SiglipMedicalProcessor
    from trainers.encoder.data.collator import EncoderCollator

    return EncoderCollator(SiglipMedicalProcessor.from_pretrained(tiny_encoder))


def row(text: str, color: str = "red", mode: str = "RGB") -> dict:
    return {"text": text, "image": Image.new(mode, (30, 20), color)}


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
def test_every_color_mode_becomes_three_channels(collator, mode):
    image = Image.new("RGB", (30, 20), "red").convert(mode)
    assert collator([{"text": "skin lesion", "image": image}])["pixel_values"].shape == (1, 3, 64, 64)


def test_a_batch_is_what_the_processor_makes_of_it_with_and_without_a_cache(collator, pairs, tmp_path):
    from evaluation.scoring.encoder import content_id
    from trainers.encoder.data.dataset import EncoderRows

    numbers = [0, 5, 9, 5, 2]
    rows = [pairs["train"][number] for number in numbers]
    images, texts = [row["image"].convert("RGB") for row in rows], [row["text"] for row in rows]
    stock = collator.processor(images=images, text=texts, return_tensors="pt")
    cached = EncoderRows(pairs["train"], collator.reader, tmp_path, workers=2)
    plain = EncoderRows(pairs["train"], collator.reader)
    for given in (rows, cached.__getitems__(numbers), plain.__getitems__(numbers), [cached[n] for n in numbers]):
        batch = collator(given)
        assert (batch["pixel_values"] - stock["pixel_values"]).abs().max() < 1e-6
        assert torch.equal(batch["input_ids"], stock["input_ids"])
        assert batch["group_ids"].tolist() == [content_id(text) for text in texts]
        assert batch["image_ids"].tolist() == [content_id(image.tobytes()) for image in images]


def test_bytes_become_the_same_floats_on_the_device(collator, pairs):
    from trainers.encoder.data.collator import EncoderCollator
    from trainers.images.encoder_pixels import normalize_pixels

    rows = [pairs["train"][number] for number in range(3)]
    compact = EncoderCollator(collator.processor, uint8=True)
    pixels = compact(rows)["pixel_values"]
    assert pixels.dtype == torch.uint8
    assert pixels.is_contiguous()
    assert torch.equal(normalize_pixels(pixels, **compact.normalization), collator(rows)["pixel_values"])


def test_tokens_are_kept_and_a_batch_does_not_change_them(collator):
    from trainers.encoder.data.collator import EncoderCollator

    fresh = EncoderCollator(collator.processor)
    texts = ["left lung", "no fracture", "left lung"]
    first = fresh.tokenized(texts)["input_ids"]
    assert set(fresh.tokens) == {"left lung", "no fracture"}
    expected = first.clone()
    first.fill_(7)
    assert torch.equal(fresh.tokenized(texts)["input_ids"], expected)
    assert torch.equal(fresh.tokenized(["a new text", *texts])["input_ids"][1:], expected)


def test_what_else_the_tokenizer_returns_is_in_the_batch(tiny_encoder):
    from modeling.siglip_medical.processing_siglip_medical import SiglipMedicalProcessor
    from trainers.encoder.data.collator import EncoderCollator

    processor = SiglipMedicalProcessor.from_pretrained(tiny_encoder)
    processor.tokenizer.model_input_names = ["input_ids", "attention_mask"]
    batch = EncoderCollator(processor)([row("left lung"), row("a longer text about the right lung")])
    assert batch["attention_mask"].shape == batch["input_ids"].shape
    assert 0 < batch["attention_mask"][0].sum() < batch["attention_mask"][1].sum()


def test_an_image_of_16_bits_in_a_stream_is_refused(collator):
    image = Image.fromarray(np.full((9, 9), 40_000, np.uint16))
    with pytest.raises(InputError, match=r"x\.png: the image has mode I;16"):
        collator([{"text": "left lung", "image": image, "image_path": "x.png"}])


def test_a_batch_goes_through_a_loader_with_workers(collator, pairs, tmp_path):
    from trainers.encoder.data.dataset import EncoderRows

    ones = EncoderRows(pairs["validation"], collator.reader, tmp_path)
    loaders = [torch.utils.data.DataLoader(ones, 4, collate_fn=collator, num_workers=workers) for workers in (0, 2)]
    for first, second in zip(*loaders, strict=True):
        assert all(torch.equal(first[name], second[name]) for name in first)
