"""Tests the decoder's batches: equal to the stock MllamaProcessor's, with each distinct image once, and with labels."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from evaluation.scoring.decoder import to_conversation
from trainers.decoder.data.collator import DecoderCollator, PromptCollator, visible_ranges


@pytest.fixture(scope="module")
def processor(tiny_decoder):
    from transformers import AutoProcessor

    return AutoProcessor.from_pretrained(tiny_decoder)


def picture(size: tuple[int, int], seed: int) -> Image.Image:
    pixels = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), np.uint8)
    return Image.fromarray(pixels)


# one tile, two beside each other, three below each other, four: the tiny model's tiles are 64 pixels
SMALL, WIDE, TALL, BIG = (picture(size, seed) for seed, size in enumerate([(60, 50), (128, 50), (60, 180), (120, 110)]))


def row(images: list, *turns: str) -> dict:
    messages = [{"role": ("user", "assistant")[i % 2], "content": text} for i, text in enumerate(turns)]
    return {"images": images, "messages": messages}


MIXED = [
    row([WIDE], "organ?", "liver"),
    row([SMALL, BIG, TALL], "What changed?", "The effusion is larger.", "And the heart?", "It is not."),
    row([], "Hello?", "Hi."),
    row([BIG], "Is the lung healthy?", "是的"),
    row([WIDE, WIDE], "Are they the same?", "Yes, they are."),
]


def tiles_of(image, processor) -> tuple[np.ndarray, int]:
    """An image's tiles as bytes, resized and padded as the stock processor does it, and its aspect ratio's number."""
    plain = processor.image_processor(image, do_rescale=False, do_normalize=False, return_tensors="np")
    count = int(plain["aspect_ratio_mask"][0, 0].sum())
    tiles = plain["pixel_values"][0, 0, :count]
    assert np.array_equal(tiles, tiles.astype(np.uint8))
    return tiles.astype(np.uint8), int(plain["aspect_ratio_ids"][0, 0])


def items_of(rows: list[dict], processor) -> list[dict]:
    """The rows as DecoderRows gives them."""
    from datasets import Dataset

    from tests.trainers.decoder.data.test_tokenization import FEATURES
    from trainers.decoder.data.tokenization import encode_chats

    named = [one | {"image_path": "x"} for one in rows]
    chats = encode_chats(Dataset.from_list(named, features=FEATURES), processor, 512, False)
    return [
        {
            "row": number,
            "input_ids": chats.input_ids(number),
            "labels": chats.labels(number),
            "prompt_length": chats.prompt_length(number),
            "images": [(id(image), *tiles_of(image, processor)) for image in one["images"]],
        }
        for number, one in enumerate(rows)
    ]


def stock(processor, rows: list[dict], side: str, prompt: bool) -> dict:
    conversations = [to_conversation(one) for one in rows]
    return processor.apply_chat_template(
        [conversation[:-1] for conversation in conversations] if prompt else conversations,
        add_generation_prompt=prompt,
        tokenize=True,
        return_dict=True,
        return_tensors="pt",
        processor_kwargs={"padding": True, "padding_side": side},
    )


def expanded(batch: dict, processor) -> dict:
    """A batch in the stock processor's shapes: each row with images of its own, its tiles normalized, others zero."""
    size, tiles = processor.image_processor.size, processor.image_processor.max_image_tiles
    index, counts = batch["image_index"], batch["aspect_ratio_mask"].sum(dim=1)
    starts = counts.cumsum(0) - counts
    mean, std = (
        torch.tensor(getattr(processor.image_processor, name)).view(3, 1, 1) for name in ("image_mean", "image_std")
    )
    pixels = torch.zeros(*index.shape, tiles, 3, size["height"], size["width"])
    ids = torch.zeros(index.shape, dtype=torch.int64)
    mask = torch.zeros(*index.shape, tiles, dtype=torch.int64)
    mask[:, :, 0] = 1  # an empty place has one tile in the stock processor's mask, which no token sees
    for place in (index >= 0).nonzero().tolist():
        image = index[tuple(place)]
        own = batch["tiles"][starts[image] : starts[image] + counts[image]]
        pixels[(*place, slice(0, len(own)))] = (own.float() / 255 - mean) / std
        ids[tuple(place)], mask[tuple(place)] = batch["aspect_ratio_ids"][image], batch["aspect_ratio_mask"][image]
    return {"pixel_values": pixels, "aspect_ratio_ids": ids, "aspect_ratio_mask": mask}


BATCHES = {
    "one image each": [0, 3],
    "several images": [1, 4],
    "the same image twice": [4],
    "with a row without an image": [2, 0],
    "all kinds": [0, 1, 2, 3, 4],
    "one image in two rows": [0, 4, 0],
}


@pytest.mark.parametrize("prompt", [False, True])
@pytest.mark.parametrize("name", BATCHES)
def test_a_batch_is_that_of_the_stock_processor(processor, name, prompt):
    """Tokens, masks and numbers equal; pixels within the rounding of float32."""
    rows = [MIXED[number] for number in BATCHES[name]]
    expected = stock(processor, rows, "left" if prompt else "right", prompt)
    batch = (PromptCollator if prompt else DecoderCollator)(processor)(items_of(rows, processor))
    ours = batch | expanded(batch, processor)
    for key in ("input_ids", "attention_mask", "cross_attention_mask", "aspect_ratio_ids", "aspect_ratio_mask"):
        assert ours[key].dtype == expected[key].dtype == torch.int64, key
        assert torch.equal(ours[key], expected[key]), key
    assert torch.allclose(ours["pixel_values"], expected["pixel_values"], rtol=0, atol=1e-6)


def test_shapes_and_order(processor):
    batch = DecoderCollator(processor)(items_of(MIXED, processor))
    length = int(batch["attention_mask"].sum(dim=1).max())
    assert {name: tuple(value.shape) for name, value in batch.items()} == {
        "input_ids": (5, length),
        "attention_mask": (5, length),
        "labels": (5, length),
        "cross_attention_mask": (5, length, 3, 4),
        "tiles": (2 + 1 + 4 + 3, 3, 64, 64),
        "aspect_ratio_ids": (4,),
        "aspect_ratio_mask": (4, 4),
        "image_index": (5, 3),
    }
    assert next(iter(batch)) == "input_ids"  # by whose length a Trainer counts rows
    assert batch["tiles"].dtype == torch.uint8


def test_an_image_of_several_rows_is_there_once(processor):
    rows = [MIXED[0], MIXED[3], row([BIG, WIDE], "Which is larger?", "The first."), MIXED[2], MIXED[0]]
    batch = DecoderCollator(processor)(items_of(rows, processor))
    assert batch["image_index"].tolist() == [[0, -1], [1, -1], [1, 0], [-1, -1], [0, -1]]
    assert batch["aspect_ratio_mask"].sum(dim=1).tolist() == [2, 4] and len(batch["tiles"]) == 6
    assert torch.equal(batch["tiles"][:2], torch.from_numpy(tiles_of(WIDE, processor)[0]))


def test_a_batch_without_an_image_has_tokens_alone(processor):
    batch = DecoderCollator(processor)(items_of([MIXED[2]], processor))
    assert list(batch) == ["input_ids", "attention_mask", "labels"]
    assert list(PromptCollator(processor)(items_of([MIXED[2]], processor))) == ["input_ids", "attention_mask"]


def test_labels_are_the_input_where_they_are_not_ignored(processor):
    batch = DecoderCollator(processor)(items_of(MIXED, processor))
    learnt = batch["labels"] != -100
    assert torch.equal(batch["labels"][learnt], batch["input_ids"][learnt])
    assert not (learnt & (batch["attention_mask"] == 0)).any()
    assert not (batch["labels"] == processor.image_token_id).any()
    assert (batch["input_ids"] == processor.tokenizer.bos_token_id).sum(dim=1).tolist() == [1] * 5
    said = [processor.tokenizer.decode(line[line != -100]) for line in batch["labels"]]
    assert said[1] == "The effusion is larger.<|eot_id|>It is not.<|eot_id|>" and said[3] == "是的<|eot_id|>"


def test_prompts_are_on_the_right_and_hold_no_answer(processor):
    items = items_of(MIXED, processor)
    batch = PromptCollator(processor)(items)
    assert "labels" not in batch
    for line, mask, item, seen in zip(
        batch["input_ids"], batch["attention_mask"], items, batch["cross_attention_mask"], strict=True
    ):
        assert line[mask == 1].tolist() == item["input_ids"][: item["prompt_length"]].tolist()
        assert mask[-1] == 1
        assert processor.tokenizer.decode(line).endswith("<|start_header_id|>assistant<|end_header_id|>\n\n")
        images = (line == processor.image_token_id).nonzero().flatten()
        sees = seen.flatten(1).any(dim=1)
        if len(images):  # from the first image's token to the end, and not before
            assert sees[images[0] :].all() and not sees[: images[0]].any()
        else:
            assert not sees.any()


def test_a_row_in_a_batch_is_the_row_alone(processor):
    items = items_of(MIXED, processor)
    batch = DecoderCollator(processor)(items)
    for number, item in enumerate(items):
        alone = DecoderCollator(processor)([item])
        length = alone["input_ids"].shape[1]
        for name in ("input_ids", "labels", "attention_mask"):
            assert torch.equal(batch[name][number, :length], alone[name][0]), name
        images = len(item["images"])
        if images:
            own = batch["cross_attention_mask"][number, :length, :images]
            assert torch.equal(own, alone["cross_attention_mask"][0])
            assert not batch["cross_attention_mask"][number, :, images:].any()


@pytest.mark.parametrize("seed", range(20))
def test_what_tokens_see_is_as_transformers_says(seed):
    """Images anywhere in a row, beside each other and apart, against the stock function."""
    from transformers.models.mllama.processing_mllama import (
        convert_sparse_cross_attention_mask_to_dense,
        get_cross_attention_token_mask,
    )

    random = np.random.default_rng(seed)
    ids = np.where(random.random(24) < random.choice([0.05, 0.3, 0.8]), 9, 1)
    sparse = get_cross_attention_token_mask(ids.tolist(), 9)
    expected = convert_sparse_cross_attention_mask_to_dense([sparse], [[2] * len(sparse)], 4, len(ids))[0]
    ours = np.zeros_like(expected)
    for image, (start, end) in enumerate(visible_ranges(ids, 9)):
        ours[start:end, image, :2] = 1
    assert np.array_equal(ours, expected)


def test_images_and_image_tokens_must_agree(processor):
    item = items_of([MIXED[0]], processor)[0]
    item["images"] = item["images"] * 2
    with pytest.raises(ValueError, match="row 0 has 1 image tokens but 2 images"):
        DecoderCollator(processor)([item])


def test_the_loss_is_the_mean_over_the_answer_s_tokens(processor, tiny_decoder):
    """By hand, from the logits: no question, no padding, no image token has a part in it."""
    from transformers import AutoModelForImageTextToText

    model = AutoModelForImageTextToText.from_pretrained(tiny_decoder).eval()
    batch = DecoderCollator(processor)(items_of([MIXED[0], MIXED[3]], processor))
    names = ("input_ids", "attention_mask", "labels", "cross_attention_mask")
    with torch.no_grad():
        output = model(**{name: batch[name] for name in names}, **expanded(batch, processor))
    terms = []
    for index, answer in enumerate(("liver<|eot_id|>", "是的<|eot_id|>")):
        tokens = processor.tokenizer(answer, add_special_tokens=False)["input_ids"]
        end = int(batch["attention_mask"][index].sum())
        for offset, token in enumerate(tokens):
            position = end - len(tokens) + offset
            assert batch["input_ids"][index, position] == token
            terms.append(-output.logits[index, position - 1].log_softmax(-1)[token].item())
    assert output.loss.item() == pytest.approx(sum(terms) / len(terms), rel=1e-5)


def test_all_that_the_stock_processor_does_for_every_batch_is_done_before(processor, monkeypatch, lines_run):
    """Eight rows on one image: no text is tokenized, no image prepared, and long answers cost as much as short ones."""

    def items(sentences: int) -> list[dict]:
        answer = "The joint space is narrowed. " * sentences
        return items_of([row([BIG], f"Describe finding {number}.", answer) for number in range(8)], processor)

    short, long, collator = items(1), items(40), DecoderCollator(processor)
    for part in (processor, processor.tokenizer, processor.image_processor):
        monkeypatch.setattr(type(part), "__call__", lambda *_, **__: pytest.fail("the collator processes its rows"))
    with pytest.raises(pytest.fail.Exception):
        stock(processor, MIXED[:1], "right", False)
    costs = [lines_run(lambda rows=rows: collator(rows)) for rows in (short, long)]
    assert costs[0] == costs[1]
