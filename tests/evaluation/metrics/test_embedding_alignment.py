"""Checks alignment and calibration against plain loops and scikit-learn, planted encoders, and the Space."""

from __future__ import annotations

import numpy as np
import pytest

from evaluation.metrics.embedding_alignment import alignment
from evaluation.metrics.embedding_alignment.alignment import alignment_scores, k_occurrences, skewness
from evaluation.metrics.embedding_alignment.calibration import calibration_scores


@pytest.fixture(scope="module")
def metric():
    from evaluation.metrics.embedding_alignment.embedding_alignment import EmbeddingAlignment

    return EmbeddingAlignment(keep_in_memory=True)


@pytest.fixture(scope="module")
def pairs() -> dict:
    """40 pairs of 15 images and 12 texts, which are similar to their own."""
    random = np.random.default_rng(4)
    images, texts = random.normal(size=(15, 6)), random.normal(size=(12, 6))
    image_ids, text_ids = random.integers(0, 15, 40), random.integers(0, 12, 40)
    return {
        "image_embeds": 2 * images[image_ids],
        "text_embeds": texts[text_ids] + 0.5,
        "image_ids": image_ids,
        "text_ids": text_ids,
    }


def test_against_a_double_loop(pairs):
    scores = alignment_scores(**pairs, logit_scale=1.5, logit_bias=-2.0, num_neighbors=3)
    image_of, text_of = {}, {}
    for row in range(40):
        image_of[pairs["image_ids"][row]] = pairs["image_embeds"][row]
        text_of[pairs["text_ids"][row]] = pairs["text_embeds"][row]
    together = set(zip(pairs["image_ids"], pairs["text_ids"], strict=True))
    cosine = {
        (i, t): image @ text / np.linalg.norm(image) / np.linalg.norm(text)
        for i, image in image_of.items()
        for t, text in text_of.items()
    }
    matched = [value for key, value in cosine.items() if key in together]
    others = [value for key, value in cosine.items() if key not in together]
    assert scores["matched_similarity"] == pytest.approx(np.mean(matched), abs=1e-6)
    assert scores["mismatched_similarity"] == pytest.approx(np.mean(others), abs=1e-6)
    expected = np.mean([[(a > b) + 0.5 * (a == b) for b in others] for a in matched])
    assert scores["matching_auc"] == pytest.approx(expected, abs=1e-6)
    means = [np.mean([v / np.linalg.norm(v) for v in found.values()], axis=0) for found in (image_of, text_of)]
    assert scores["modality_gap"] == pytest.approx(np.linalg.norm(means[0] - means[1]))
    counts = dict.fromkeys(text_of, 0)
    for i in image_of:
        for t in sorted(text_of, key=lambda t: -cosine[i, t])[:3]:
            counts[t] += 1
    from scipy.stats import skew

    assert scores["text_hubness"] == pytest.approx(skew(list(counts.values())))
    assert scores["text_antihubs"] == pytest.approx(np.mean([count == 0 for count in counts.values()]))
    probabilities = {key: 1 / (1 + np.exp(2.0 - np.exp(1.5) * value)) for key, value in cosine.items()}
    brier = np.mean([(value - (key in together)) ** 2 for key, value in probabilities.items()])
    assert scores["brier"] == pytest.approx(brier, abs=1e-6)
    assert scores["base_rate"] == pytest.approx(len(matched) / len(cosine))
    sizes = (len(image_of), len(text_of), len(matched), len(others))
    assert tuple(scores[f"num_{name}"] for name in ("images", "texts", "matched", "mismatched")) == sizes


def test_hubs_against_scikit_learn():
    from scipy.stats import skew
    from sklearn.neighbors import NearestNeighbors

    random = np.random.default_rng(8)
    queries, candidates = random.normal(size=(600, 30)) + 0.5, random.normal(size=(300, 30))
    queries, candidates = (x / np.linalg.norm(x, axis=1, keepdims=True) for x in (queries, candidates))
    neighbors = NearestNeighbors(n_neighbors=10, metric="cosine").fit(candidates)
    nearest = neighbors.kneighbors(queries, return_distance=False)
    expected = np.bincount(nearest.ravel(), minlength=300)
    counts = k_occurrences(queries, candidates, 10)
    np.testing.assert_allclose(counts, expected, atol=1e-9)
    assert counts.sum() == pytest.approx(6000)
    assert skewness(counts) == pytest.approx(skew(expected)) and skew(expected) > 0.3


def test_ties_share_their_places():
    counts = k_occurrences(np.array([[1.0, 0.0]]), np.array([[1.0, 0.0], [0.5, 0.0], [0.5, 1.0], [0.0, 1.0]]), 2)
    assert counts.tolist() == [1, 0.5, 0.5, 0]
    assert k_occurrences(np.eye(2), np.eye(2), 10).tolist() == [2, 2]  # more neighbors than candidates


def test_a_planted_hub_is_found():
    random = np.random.default_rng(3)
    texts = random.normal(size=(200, 40))
    images = texts + 0.1 * random.normal(size=texts.shape)
    plain = alignment_scores(images, texts)
    texts[0] = 10 * images.mean(axis=0) / np.linalg.norm(images.mean(axis=0))  # near to the mean of all images
    images += 0.5 * texts[0]
    assert alignment_scores(images, texts)["text_hubness"] > 5 > 2 * abs(plain["text_hubness"])


def test_planted_encoders():
    random = np.random.default_rng(0)
    size = 300
    perfect = alignment_scores(np.eye(size), np.eye(size), logit_scale=np.log(100), logit_bias=-50.0)
    assert perfect["matching_auc"] == perfect["matched_similarity"] == 1 and perfect["mismatched_similarity"] == 0
    assert perfect["modality_gap"] == 0 and perfect["brier"] < 1e-12 and perfect["ece"] < 1e-12
    noise = alignment_scores(*random.normal(size=(2, size, 64)), logit_scale=np.log(100), logit_bias=0.0)
    assert noise["matching_auc"] == pytest.approx(0.5, abs=0.05)
    assert noise["brier"] > 10 * noise["base_rate_brier"] and noise["ece"] > 0.3  # certain, and wrong
    constant = alignment_scores(np.ones((size, 4)), np.ones((size, 4)), logit_scale=0.0, logit_bias=0.0)
    assert constant["matching_auc"] == 0.5 and constant["modality_gap"] == 0
    assert constant["text_hubness"] == constant["image_hubness"] == constant["text_antihubs"] == 0
    apart = alignment_scores(np.tile([1.0, 0.0], (9, 1)), np.tile([0.0, 1.0], (9, 1)))
    assert apart["modality_gap"] == pytest.approx(2**0.5) and apart["mismatched_similarity"] == 0


def test_a_sample_of_mismatched_pairs_stands_for_all(monkeypatch):
    random = np.random.default_rng(6)
    images = random.normal(size=(300, 16))
    arguments = {"image_embeds": images, "text_embeds": images + random.normal(size=images.shape)}
    arguments |= {"logit_scale": 2.0, "logit_bias": -4.0}
    whole = alignment_scores(**arguments)
    monkeypatch.setattr(alignment, "MOST_PAIRS", 30_000)  # of 90,000
    part = alignment_scores(**arguments)
    assert part["num_mismatched"] == whole["num_mismatched"] == 300 * 299
    assert part["base_rate"] == pytest.approx(1 / 300) == whole["base_rate"]
    for name in ("matching_auc", "mismatched_similarity", "ece", "brier"):
        assert part[name] == pytest.approx(whole[name], abs=0.01) and part[name] != whole[name]
    assert alignment_scores(**arguments) == part  # the sample is seeded


def test_one_pair_and_one_text_for_all():
    one = alignment_scores([[1.0, 2.0]], [[2.0, 1.0]])
    assert one["matching_auc"] is one["mismatched_similarity"] is None and one["num_mismatched"] == 0
    same = alignment_scores(np.eye(3), np.ones((3, 3)), text_ids=["a"] * 3, logit_scale=0.0, logit_bias=0.0)
    assert same["matching_auc"] is None and same["num_texts"] == 1 and same["base_rate"] == 1


def test_calibration_against_scikit_learn():
    from sklearn.calibration import calibration_curve
    from sklearn.metrics import brier_score_loss

    random = np.random.default_rng(7)
    probabilities = random.random(500)
    outcomes = random.random(500) < probabilities**2  # too confident
    found = calibration_scores(probabilities, outcomes, num_bins=8)
    shares, means = calibration_curve(outcomes, probabilities, n_bins=8)
    np.testing.assert_allclose([point["outcome"] for point in found["reliability"]], shares)
    np.testing.assert_allclose([point["probability"] for point in found["reliability"]], means)
    sizes = np.histogram(probabilities, np.linspace(0, 1, 9))[0] / 500
    assert found["ece"] == pytest.approx(np.sum(sizes * np.abs(shares - means))) and found["ece"] > 0.1
    assert found["brier"] == pytest.approx(brier_score_loss(outcomes, probabilities))
    # A weight of two is the same as a row twice; 0 and 1 are in the first and the last bin.
    twice = calibration_scores([0.0, 1.0, 1.0], [0, 1, 0])
    assert calibration_scores([0.0, 1.0, 1.0], [0, 1, 0], [2, 2, 2]) == twice and len(twice["reliability"]) == 2


def test_always_the_base_rate_is_calibrated_and_says_nothing():
    found = calibration_scores([0.25] * 4, [1, 0, 0, 0])
    assert found["ece"] == 0 and found["brier"] == found["base_rate_brier"] == 0.1875


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([0.5, 1.5], [0, 1]), "row 1: the probability is not valid"),
        (([0.5, np.nan], [0, 1]), "row 1: the probability is not valid"),
        (([0.5, 0.5], [0, 2]), "row 1: the outcome is not valid"),
        (([0.5, 0.5], [0, 1], [1, 0]), "row 1: the weight is not valid"),
        (([0.5], [0, 1]), "Give one probability"),
        (([], []), "Give one probability"),
    ],
)
def test_invalid_probabilities_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        calibration_scores(*arguments)


@pytest.mark.parametrize(
    ("images", "texts", "more", "message"),
    [
        ([[1, 0], [np.nan, 1]], np.eye(2), {}, r"image_embeds has NaN.* in 1 row\(s\), first in row 1"),
        (np.eye(2), [[0, 0], [1, 1]], {}, r"text_embeds has NaN, infinity or only zeros in 1 row\(s\), first in row 0"),
        (np.eye(2), np.eye(3), {}, "Give one row per"),
        (np.eye(2), np.eye(2), {"text_ids": [1]}, "text_ids has 1 values for 2 pairs"),
        (np.eye(2), np.eye(2), {"logit_scale": 1.0}, "Give logit_scale and logit_bias, or neither"),
        (np.eye(2), np.eye(2), {"num_neighbors": 0}, "num_neighbors is 0"),
        ([], [], {}, "has the shape"),
    ],
)
def test_invalid_embeddings_are_refused(images, texts, more, message):
    with pytest.raises(ValueError, match=message):
        alignment_scores(images, texts, **more)


def test_compute_equals_the_function(metric):
    images, texts = [[1, 0], [0, 1], [1, 1]], [[1, 0.25], [0.125, 1], [0, 1]]
    more = {"logit_scale": 1.0, "logit_bias": -1.0, "num_neighbors": 1}
    expected = alignment_scores(images, texts, **more)
    assert metric.compute(predictions=images, references=texts, **more) == expected


@pytest.mark.slow
def test_the_folder_is_a_complete_space(check_space):
    scores = check_space("embedding_alignment")
    assert scores["matching_auc"] == 1 and scores["num_matched"] == 2 and scores["ece"] > 0
