"""Opens a tiny checkpoint of each family and checks what it embeds or answers."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
import torch
from datasets import Dataset, Features, Image, Value

from evaluation.loading import InputError
from evaluation.models.open_model import open_answerer, open_encoder
from evaluation.models.source import find_source
from evaluation.scoring.encoder import embed_pairs
from model_cards.results import GENERATION, RETRIEVAL
from tests.evaluation.models.conftest import flags, mean_loss, mixed, one_image
from tests.evaluation.models.tiny_families import DECODERS, ENCODERS
from tests.evaluation.small_run import picture

PAIR = Features({"image": Image(), "text": Value("string")})
FAST = ("clip", "siglip2", "qwen2_vl")
SIGMOID = ("siglip", "siglip2")  # families that are trained with the sigmoid loss


def cases(families):
    return [pytest.param(name, marks=() if name in FAST else pytest.mark.slow) for name in families]


@pytest.mark.parametrize("name", cases(ENCODERS))
def test_an_encoder(family, name):
    folder = family(name)
    source = find_source(flags(model=str(folder)))
    assert (source.task, source.family) == (RETRIEVAL, name)
    encoder = open_encoder(source, flags(model=str(folder)))
    images = [row["images"][0] for row in one_image()]
    texts = ["liver", "a longer text about a knee", "word " * 300]  # the last one is truncated
    found, read = encoder.embed_images(images), encoder.embed_texts(texts)
    assert found.dtype == read.dtype == np.float32 and len(found) == len(read) == 3
    for row in range(3):  # whatever else is in the batch
        np.testing.assert_allclose(found[row], encoder.embed_images(images[row : row + 1])[0], atol=1e-5)
        np.testing.assert_allclose(read[row], encoder.embed_texts(texts[row : row + 1])[0], atol=1e-5)
    # Towers of random weights hardly tell images apart, but never give two of them one place.
    assert len({row.tobytes() for row in found}) == len({row.tobytes() for row in read}) == 3
    assert (encoder.scale_and_bias is not None) == (name in SIGMOID)


@pytest.mark.parametrize("name", cases(name for name in ENCODERS if name != "align"))
def test_an_encoder_embeds_as_its_own_forward_pass(family, name):
    """An independent way to the same embeddings: the similarities that the complete model computes."""
    from transformers import AutoModel, AutoProcessor

    folder = family(name)
    model, processor = AutoModel.from_pretrained(folder).eval(), AutoProcessor.from_pretrained(folder)
    images, texts = [row["images"][0] for row in one_image()], ["liver", "a knee"]
    padding = {"padding": "max_length", "max_length": 64} if name in SIGMOID else {"padding": True}
    patches = {"images_kwargs": {"patch_size": 8, "max_num_patches": 16}} if name == "siglip2" else {}
    inputs = processor(images=images, text=texts, return_tensors="pt", **padding, **patches)
    if name in SIGMOID:  # trained to attend to the padding
        inputs.pop("attention_mask", None)
    with torch.no_grad():
        expected = model(**inputs)
    encoder = open_encoder(find_source(flags(model=str(folder))), flags(model=str(folder)))
    for found, own in (
        (encoder.embed_images(images), expected.image_embeds),
        (encoder.embed_texts(texts), expected.text_embeds),
    ):
        unit = torch.nn.functional.normalize(torch.from_numpy(found))
        torch.testing.assert_close(unit, torch.nn.functional.normalize(own), atol=1e-5, rtol=0)


def needs(name: str) -> None:
    if name == "smolvlm":
        pytest.importorskip("num2words")  # its processor requires it
    if name == "mistral3":
        pytest.importorskip("torchvision")


@pytest.mark.parametrize("name", cases(DECODERS))
def test_a_decoder(family, name):
    needs(name)
    folder = family(name)
    source = find_source(flags(model=str(folder)))
    assert (source.task, source.family) == (GENERATION, name)
    answerer = open_answerer(source, flags(model=str(folder)), None)
    rows = one_image() if name == "paligemma" else mixed()
    answers = answerer.answer(rows)
    assert answers == [answerer.answer([row])[0] for row in rows]  # whatever else is in the batch
    others = [{**row, "images": [picture((50, 50), 9) for _ in row["images"]]} for row in rows]
    if name != "paligemma":  # a PaliGemma of random weights gives one answer to everything
        assert answerer.answer(others)[:3] != answers[:3]
    if name == "paligemma":
        assert answerer.losses is None
        with pytest.raises(InputError, match="row 3 has 0 images, but PaliGemma answers about exactly one"):
            answerer.answer(mixed())
    else:
        losses = [mean_loss(answerer, [row]) for row in rows]
        assert min(losses) <= mean_loss(answerer, rows) <= max(losses)
    features = answerer.encode_images([row["images"][0] for row in one_image()])
    assert len(features) == 3 and len({row.tobytes() for row in features}) == 3 and answerer.left_out == {}


def test_the_loss_is_that_of_transformers(family):
    """Against the loss that the model computes itself from labels, for a conversation of one answer."""
    from transformers import AutoModelForImageTextToText, Qwen2VLProcessor

    from evaluation.models.opening import without_videos

    folder = family("qwen2_vl")
    model = AutoModelForImageTextToText.from_pretrained(folder).eval()
    processor = without_videos(Qwen2VLProcessor).from_pretrained(folder)
    row = one_image()[0]
    row["messages"][0]["content"] = "Is it a liver?"
    parts = [{"type": "image", "image": row["images"][0]}, {"type": "text", "text": "Is it a liver?"}]
    conversation = [
        {"role": "user", "content": parts},
        {"role": "assistant", "content": [{"type": "text", "text": "Yes"}]},
    ]
    inputs = processor.apply_chat_template(conversation, tokenize=True, return_dict=True, return_tensors="pt")
    ids = inputs["input_ids"][0].tolist()
    written = processor.tokenizer("Yes<|im_end|>")["input_ids"]
    start = next(place for place in range(len(ids)) if ids[place : place + len(written)] == written)
    labels = torch.full_like(inputs["input_ids"], -100)
    labels[0, start : start + len(written)] = inputs["input_ids"][0, start : start + len(written)]
    with torch.no_grad():
        expected = model(**inputs, labels=labels).loss.item()
    answerer = open_answerer(find_source(flags(model=str(folder))), flags(model=str(folder)), None)
    assert mean_loss(answerer, [row]) == pytest.approx(expected, rel=1e-5)


def test_a_family_without_a_chat_template_is_one_message(family):
    folder = family("blip-2")
    with pytest.raises(InputError, match=r"'blip-2' without a chat template.* Use a checkpoint with a chat template"):
        open_answerer(find_source(flags(model=str(folder))), flags(model=str(folder)), None)


def test_what_cannot_be_evaluated_says_what_can(tmp_path):
    (tmp_path / "config.json").write_text('{"model_type": "bert"}')
    with pytest.raises(InputError, match=r"type 'bert' cannot be evaluated\. What can be evaluated: an encoder"):
        find_source(flags(model=str(tmp_path)))
    (tmp_path / "config.json").unlink()
    with pytest.raises(InputError, match=r"no config\.json, and no configuration of another kind"):
        find_source(flags(model=str(tmp_path)))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["siglip", "mllama", "clip", "qwen2_vl"])
def test_precision_and_quantization(family, name):
    folder, images = family(name), [row["images"][0] for row in one_image()]
    full = flags(model=str(folder))
    source = find_source(full)
    changes = [{"dtype": "bfloat16"}, {"device_map": "auto"}]
    if name in ("siglip", "mllama"):  # bitsandbytes needs 64 columns on a CPU, and the others have 32
        pytest.importorskip("bitsandbytes")
        changes.append({"load_in_4bit": True})
    for changed in changes:
        options = flags(model=str(folder), **changed)
        if source.task == RETRIEVAL:
            exact, found = (open_encoder(source, each).embed_images(images) for each in (full, options))
            same = np.array_equal(exact, found)
            np.testing.assert_allclose(exact, found, atol=0.5)
        else:
            rows = one_image()
            exact, found = (mean_loss(open_answerer(source, each), rows) for each in (full, options))
            same = exact == found
            assert found == pytest.approx(exact, rel=0.2)
        assert same == ("device_map" in changed)  # the others have an effect


def test_without_bitsandbytes_four_bits_are_one_message(family, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    options = flags(model=str(family("clip")), load_in_4bit=True)
    with pytest.raises(
        InputError, match=r'--load_in_4bit requires bitsandbytes: pip install "medpairs\[quantization\]"'
    ):
        open_encoder(find_source(options), options)


def test_a_conversation_that_the_template_refuses_is_one_message(family, tmp_path):
    folder = shutil.copytree(family("qwen2_vl"), tmp_path / "strict")
    template = (folder / "chat_template.jinja").read_text()
    strict = "{% if messages | length > 2 %}{{ raise_exception('too many turns') }}{% endif %}"
    (folder / "chat_template.jinja").write_text(strict + template)
    answerer = open_answerer(find_source(flags(model=str(folder))), flags(model=str(folder)))
    assert len(answerer.answer(one_image()[:1])) == 1
    with pytest.raises(InputError, match="refuses a conversation among rows 0, 1, 2: too many turns"):
        answerer.answer(one_image())


def test_deep_images_are_refused_as_in_training(family):
    from PIL import Image as Picture

    row = one_image()[0] | {"images": [Picture.new("I;16", (20, 20))]}
    deep = Dataset.from_dict({"image": row["images"], "text": ["liver"]}, features=PAIR)
    for name in ("qwen2_vl", "clip"):
        options = flags(model=str(family(name)))
        with pytest.raises(InputError, match=r"row 0: the image has mode I;16, more than 8 bits per channel"):
            if name == "clip":
                embed_pairs(open_encoder(find_source(options), options), deep, 1)
            else:
                open_answerer(find_source(options), options).answer([row])
