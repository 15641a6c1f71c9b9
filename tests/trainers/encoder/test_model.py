"""Tests flags that change the checkpoint: each applies to the model that is trained and to the one that is saved."""

from __future__ import annotations

import json
import math

import pytest
import torch
from PIL import Image

from evaluation.loading import InputError
from trainers.encoder.arguments import EncoderArguments
from trainers.encoder.model import open_checkpoint

QUICK = ("--per_device_train_batch_size", "16", "--gradient_accumulation_steps", "2", "--disable_tqdm", "True")
DOTTED, PLAIN = "a lesion of 1.5 cm", "a lesion of 15 cm"


def opened(checkpoint, **flags):
    return open_checkpoint(str(checkpoint), EncoderArguments(**flags))


def test_without_flags_the_checkpoint_stays_as_it_is(tiny_encoder):
    from safetensors.torch import load_file

    model, processor = opened(tiny_encoder)
    weights = load_file(tiny_encoder / "model.safetensors")
    assert all(torch.equal(value, weights[name]) for name, value in model.state_dict().items())
    assert model.config.vision_config.image_size == 64 and model.config.truncate_dim is None
    assert list(processor.image_processor.image_mean) == [0.5, 0.5, 0.5]


def test_image_size_is_that_of_positions_and_pixels(tiny_encoder):
    """The same as interpolating at every call, which `interpolate_pos_encoding` does."""
    (stock, _), (model, processor) = opened(tiny_encoder), opened(tiny_encoder, image_size=96)
    image = Image.effect_noise((200, 150), 60).convert("RGB")
    pixels = processor(images=image, return_tensors="pt")["pixel_values"]
    assert pixels.shape == (1, 3, 96, 96)
    with torch.no_grad():
        resized = model.get_image_features(pixels).pooler_output
        expected = stock.get_image_features(pixels, interpolate_pos_encoding=True).pooler_output
    torch.testing.assert_close(resized, expected)  # of float32


def test_mean_and_deviation(tiny_encoder):
    _, processor = opened(tiny_encoder, image_mean=["imagenet"], image_std=["0.25"])
    white = processor(images=Image.new("RGB", (64, 64), "white"), return_tensors="pt")["pixel_values"]
    expected = [(1 - mean) / 0.25 for mean in (0.485, 0.456, 0.406)]
    assert white[0, :, 5, 5].tolist() == pytest.approx(expected, rel=1e-5)


def test_the_temperature_is_reset_only_where_it_is_asked_for(tiny_encoder, tmp_path):
    model, processor = opened(tiny_encoder)
    with torch.no_grad():
        model.logit_scale.fill_(4.7)
        model.logit_bias.fill_(-13.0)
    model.save_pretrained(tmp_path)
    processor.save_pretrained(tmp_path)
    for reset, scale, bias in ((False, 4.7, -13.0), (True, math.log(10), -10.0)):
        model, _ = opened(tmp_path, reset_temperature=reset)
        assert model.logit_scale.item() == pytest.approx(scale) and model.logit_bias.item() == pytest.approx(bias)


def test_the_normaliser_can_be_left_out(tiny_encoder):
    ids = {}
    for normalize in (True, False):
        _, processor = opened(tiny_encoder, normalize_text=normalize)
        ids[normalize] = [processor(text=text)["input_ids"] for text in (DOTTED, PLAIN)]
    assert ids[True][0] != ids[True][1]
    assert ids[False][0] == ids[False][1]  # the stock tokenizer drops the point


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        ({"image_size": 100}, "image size 100 is not a positive multiple of the patch size 8"),
        ({"matryoshka_dims": [64, 32]}, "include 128 itself"),
        ({"matryoshka_dims": [256]}, "matryoshka_dims"),
        ({"matryoshka_weights": [1.0]}, "matryoshka_dims is not set"),
        ({"truncate_dim": 129}, "truncate_dim: 129"),
    ],
)
def test_what_does_not_fit_the_checkpoint_is_refused(flags, said, tiny_encoder):
    with pytest.raises(InputError, match="--model_name_or_path") as refused:
        opened(tiny_encoder, **flags)
    assert said in str(refused.value)


@pytest.mark.slow
def test_a_training_saves_all_of_it(tiny_encoder, run, dataset, tmp_path):
    """And what was trained is what opens elsewhere: same size, same pixels, same mask, same widths."""
    words = ("--image_size", "96", "--image_mean", "imagenet", "--text_attention_mask", "--reset_temperature")
    words += ("--matryoshka_dims", "128", "64", "--contrastive_weights", "inverse", "--sentence_sampling", "1")
    flags = ("--dataset", dataset, "--model_name_or_path", tiny_encoder, "--max_steps", "3", "--use_cpu")
    run("python", "trainers/run_encoder.py", *flags, *QUICK, *words, "--output_dir", tmp_path / "out")
    model, processor = opened(tmp_path / "out")
    saved = json.loads((tmp_path / "out" / "config.json").read_text())
    assert saved["vision_config"]["image_size"] == 96 and saved["matryoshka_dims"] == [128, 64]
    assert (saved["text_attention_mask"], saved["contrastive_weights"]) == (True, "inverse")
    assert list(processor.image_processor.image_mean) == [0.485, 0.456, 0.406]
    assert set(processor(text=[PLAIN])) == {"input_ids", "attention_mask"}
    assert model.logit_scale.item() == pytest.approx(math.log(10), abs=0.01)

    again = ("--config", tmp_path / "out" / "recipe.yaml", "--output_dir", tmp_path / "again")
    run("python", "trainers/run_encoder.py", *again)
    folders = [tmp_path / name for name in ("out", "again")]
    for name in ("config.json", "processor_config.json"):
        assert folders[1].joinpath(name).read_bytes() == folders[0].joinpath(name).read_bytes(), name
    histories = [json.loads((folder / "training_summary.json").read_text())["history"] for folder in folders]
    names = ("train_loss", "eval_loss")
    losses = [[entry[name] for entry in history for name in names if name in entry] for history in histories]
    assert losses[1] == pytest.approx(losses[0], rel=1e-4) and len(losses[0]) >= 2


def test_long_reports_are_read_sentence_by_sentence(tiny_encoder):
    from trainers.encoder.data.sentence_sampling import SentenceSampling

    _, processor = opened(tiny_encoder)
    long = " ".join(f"Finding number {number} is a small effusion of the knee joint." for number in range(30))
    short = "No fracture. No effusion."
    draw = SentenceSampling(processor, max_length=64, seed=0, count=2)
    assert draw(short, 0) == draw(short, 1) == short
    drawn = [draw(long, epoch) for epoch in range(8)]
    assert len(set(drawn)) > 3 and all(text in long and text.count(".") == 2 for text in drawn)
    assert drawn == [SentenceSampling(processor, 64, seed=0, count=2)(long, epoch) for epoch in range(8)]
