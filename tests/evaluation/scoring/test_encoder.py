"""Checks embeddings, retrieval scores, loss and nearest texts of an encoder."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from datasets import Dataset, Features, Image, Value

from evaluation.models.encoders import dual_encoder
from evaluation.scoring.encoder import NEIGHBORS, content_id, embed_pairs, nearest_texts, score_embeddings
from tests.evaluation.small_run import TEXTS, picture

SIZES = [(64, 64), (200, 40), (30, 90), (128, 128)]
MODES = ["RGB", "L", "RGBA", "P"]


def make_rows(texts: list[str], pictures: list) -> Dataset:
    features = Features({"image": Image(), "text": Value("string")})
    return Dataset.from_dict({"image": pictures, "text": texts}, features=features)


@pytest.fixture(scope="module")
def model_and_processor(encoder):
    from transformers import AutoModel, AutoProcessor

    return AutoModel.from_pretrained(encoder), AutoProcessor.from_pretrained(encoder)


@pytest.fixture(scope="module")
def distinct() -> Dataset:
    """Nine rows with different images and texts, of several shapes, colors and languages; one text is too long."""
    texts = [f"{TEXTS[row % 4]} {row}" for row in range(8)] + [" ".join(TEXTS * 20)]
    return make_rows(texts, [picture(SIZES[row % 4], row, MODES[row % 4]) for row in range(9)])


@pytest.fixture(scope="module")
def embeds(model_and_processor, distinct) -> dict[str, np.ndarray]:
    return embed_pairs(dual_encoder(*model_and_processor, "tiny"), distinct, batch_size=4)


def test_the_loss_is_that_of_transformers(model_and_processor, distinct, embeds):
    model, processor = model_and_processor
    images = [image.convert("RGB") for image in distinct["image"]]
    padded = {"padding": "max_length", "max_length": 64, "truncation": True}
    inputs = processor(images=images, text=list(distinct["text"]), return_tensors="pt", **padded)
    with torch.inference_mode():
        expected = model(**inputs, return_loss=True)
    assert type(model).__name__ == "SiglipModel"  # the stock class, not ours
    scores = score_embeddings(embeds, model.logit_scale.item(), model.logit_bias.item())
    assert scores["loss"] == pytest.approx(expected.loss.item(), rel=1e-5)
    unit = torch.nn.functional.normalize(torch.from_numpy(embeds["image_embeds"]))
    torch.testing.assert_close(unit, expected.image_embeds, atol=1e-5, rtol=0)
    # The loss hangs on the temperature and the bias that it was given.
    assert score_embeddings(embeds, 1.0, model.logit_bias.item())["loss"] != pytest.approx(scores["loss"], rel=1e-2)
    assert score_embeddings(embeds, model.logit_scale.item(), 0.0)["loss"] != pytest.approx(scores["loss"], rel=1e-2)


@pytest.mark.parametrize("batch_size", [1, 7, 100])
def test_embeddings_do_not_depend_on_the_batch(model_and_processor, distinct, embeds, batch_size):
    other = embed_pairs(dual_encoder(*model_and_processor, "tiny"), distinct, batch_size)
    for name in ("image_ids", "text_ids"):
        assert other[name].tolist() == embeds[name].tolist()
        assert other[name].dtype == np.int64
    for name in ("image_embeds", "text_embeds"):
        assert other[name].shape == (9, 128) and other[name].dtype == np.float32
        np.testing.assert_allclose(other[name], embeds[name], atol=1e-5)


def test_equal_contents_have_equal_ids(model_and_processor):
    image, other = picture((40, 40), 1), picture((40, 40), 2)
    rows = make_rows(["a", "b", "a", "A"], [image, other, other, image.convert("RGBA")])
    embeds = embed_pairs(dual_encoder(*model_and_processor, "tiny"), rows, batch_size=2)
    a, b, again, upper = embeds["text_ids"]
    assert a == again and len({a, b, upper}) == 3
    first, second, third, fourth = embeds["image_ids"]
    assert first == fourth and second == third and first != second


@pytest.mark.slow
def test_content_ids_are_the_same_in_every_process(run):
    code = "from evaluation.scoring.encoder import content_id; print(content_id('肝脏'), content_id(b'liver'))"
    done = run("python", "-c", code, env={"PYTHONHASHSEED": "7"})
    assert done.stdout.split() == [str(content_id("肝脏")), str(content_id(b"liver"))]


def test_content_ids_are_positive_and_the_same_in_every_version():
    assert content_id("liver") == content_id(b"liver") == 0x3019080900E57371
    assert all(0 <= content_id(str(number)) < 2**63 for number in range(1000))


def test_scores_have_both_directions_and_their_chance():
    random = np.random.default_rng(0)
    embeds = {name: random.normal(size=(12, 8)).astype(np.float32) for name in ("image_embeds", "text_embeds")}
    embeds |= {"image_ids": np.arange(12), "text_ids": np.arange(12) // 2}
    scores = score_embeddings(embeds, 2.3, -10.0)
    for k in (1, 5, 10):
        for direction in ("image_to_text", "text_to_image"):
            assert 0 <= scores[f"{direction}_recall_at_{k}"] <= 1
            assert 0 < scores[f"chance_{direction}_recall_at_{k}"] <= 1
        both = [scores[f"{direction}_recall_at_{k}"] for direction in ("image_to_text", "text_to_image")]
        assert scores[f"recall_at_{k}"] == pytest.approx(sum(both) / 2)
    assert scores["chance_image_to_text_recall_at_1"] == pytest.approx(1 / 6)  # six texts, one of them its own
    assert scores["chance_text_to_image_recall_at_1"] == pytest.approx(2 / 12)
    assert (scores["num_images"], scores["num_texts"]) == (12, 6)
    # What repeats is a positive: a model that gives equal texts one place far from the others loses nothing.
    axes = np.eye(8, dtype=np.float32)[np.arange(12) // 2]
    perfect = score_embeddings(embeds | {"image_embeds": axes, "text_embeds": axes}, np.log(100), -50.0)
    assert perfect["loss"] < 1e-6
    assert perfect["recall_at_1"] == 1


def test_nearest_texts_against_a_double_loop():
    random = np.random.default_rng(3)
    image_ids, text_ids = random.integers(0, 9, 40), random.integers(0, 7, 40)
    image_of, text_of = random.normal(size=(9, 5)), random.normal(size=(7, 5)) * 3
    embeds = {"image_ids": image_ids, "text_ids": text_ids}
    embeds |= {
        "image_embeds": image_of[image_ids].astype(np.float32),
        "text_embeds": text_of[text_ids].astype(np.float32),
    }
    texts, images = [f"text {number}" for number in text_ids], [f"image {number}" for number in image_ids]
    found = list(nearest_texts(embeds, texts, images))

    assert [row["image_path"] for row in found] == list(dict.fromkeys(images))  # each image once, as they come
    assert len(found) > 5
    known = [{"row": f"row {number}"} for number in range(40)]
    for named, row in zip(nearest_texts(embeds, texts, images, known), found, strict=True):
        assert named == row | {"row": f"row {images.index(row['image_path'])}"}
    for row in found:
        image = int(row["image_path"].split()[1])
        cosine = {
            f"text {text}": image_of[image] @ text_of[text] / np.linalg.norm(image_of[image] * 1.0)
            / np.linalg.norm(text_of[text])
            for text in set(text_ids)
        }  # fmt: skip
        own = {texts[index] for index in range(40) if image_ids[index] == image}
        best = sorted(cosine, key=cosine.get, reverse=True)[:NEIGHBORS]
        assert [near["text"] for near in row["nearest"]] == best
        assert [near["right"] for near in row["nearest"]] == [text in own for text in best]
        assert row["text"] in own
    assert {near["right"] for row in found for near in row["nearest"]} == {True, False}


def test_embeddings_with_nan_are_refused():
    embeds = {"image_embeds": np.full((2, 3), np.nan, np.float32), "text_embeds": np.ones((2, 3), np.float32)}
    with pytest.raises(ValueError, match=r"image_embeds has NaN or infinity in 2 row\(s\), first in row 0"):
        score_embeddings(embeds | {"image_ids": np.arange(2), "text_ids": np.arange(2)}, 1.0, 0.0)
