"""Checks kernel ridge on image features and questions: what it learns, and what it does where it cannot."""

from __future__ import annotations

import math

import numpy as np
import pytest

from evaluation.controls.frozen_features import (
    classify,
    evenly,
    frozen_answers,
    image_kernel,
    phrases,
    question_kernel,
)
from evaluation.scoring.prediction_files import Answer


def question(text: str, reference: str, kind: str = "closed", language: str = "en") -> Answer:
    return Answer(text, reference, "", kind, language)


@pytest.fixture(scope="module")
def features() -> np.ndarray:
    """Images 0..19 show a lesion, 20..39 do not; 40 and 41 are new ones of either kind."""
    random = np.random.default_rng(0)
    sick = np.array([*[1.0] * 20, *[0.0] * 20, 1.0, 0.0])
    return np.concatenate([sick[:, None] * 4, random.normal(size=(42, 3)) / 4], axis=1)


def test_it_looks_at_the_image_and_at_the_question(features):
    seen = [question("Is there a lesion?", "Yes" if image < 20 else "No") for image in range(40)]
    seen += [question("Is it normal?", "No" if image < 20 else "Yes") for image in range(40)]
    asked = [question(text, "?") for text in ("Is there a lesion?", "Is it normal?") for _ in range(2)]
    images, seen_images = np.array([40, 41, 40, 41]), np.array([*range(40), *range(40)])
    assert frozen_answers(asked, seen, images, seen_images, features) == (["Yes", "No", "No", "Yes"], 80)


def test_reports_get_the_text_of_the_most_similar_image(features):
    seen = [question("Describe.", f"report {image}", kind="") for image in range(0, 40, 5)]
    found, _ = frozen_answers(
        [question("Describe.", "?", kind="")] * 2, seen, np.array([40, 21]), np.arange(0, 40, 5), features
    )
    assert found[0] in {f"report {image}" for image in range(0, 20, 5)}
    assert found[1] in {f"report {image}" for image in range(20, 40, 5)}


def test_where_nothing_is_known_the_prior_answers(features):
    seen = [question("大吗?", "大", language="zh"), question("Where?", "left", kind="open")]
    asked = [question("小吗?", "?", "open", "zh"), question("Where?", "?", "open"), question("Wo?", "?", "open", "de")]
    found, used = frozen_answers(asked, seen, np.array([0, 1, 2]), np.array([3, 4]), features)
    assert (found, used) == (["大", "left", ""], 0)  # no answer occurs twice, so there is no class


def test_rows_without_an_image_are_answered_from_the_question(features):
    seen = [*[question("Q a?", "A")] * 5, *[question("Q b?", "B")] * 5]
    nothing = np.full(10, -1)
    found, _ = frozen_answers(
        [question("Q a?", "?"), question("Q b?", "?")], seen, np.array([-1, -1]), nothing, np.zeros((0, 1))
    )
    assert found == ["A", "B"]
    mixed, _ = frozen_answers([question("Q b?", "?")], seen, np.array([40]), nothing, features)
    assert mixed == ["B"]


def test_classes_are_shown_in_their_most_frequent_spelling():
    kernel = np.eye(5)
    assert classify(kernel, kernel[:1], ["Left lung", "left lung", "Left lung", "right", "Right"]) == ["Left lung"]
    assert classify(np.eye(2), np.eye(2), ["a", "b"]) == [None, None]


def test_the_kernel_of_words_is_that_of_tf_idf():
    """The formula of scikit-learn's TfidfVectorizer(ngram_range=(1, 3), sublinear_tf=True), written out for a pair."""
    known, asked = ["is it big", "is it small", "is it big"], ["is it big", "was it big big"]
    inner, outer = question_kernel(known, asked)
    assert inner.shape == (3, 3) and outer.shape == (2, 3)
    assert np.allclose(np.diag(inner), 1) and inner[0, 2] == 1 and np.allclose(inner, inner.T)

    def weights(text: str) -> dict[str, float]:
        vocabulary = {phrase for one in set(known) for phrase in phrases(one)}
        found = {}
        for phrase in vocabulary & set(phrases(text)):
            spread = sum(phrase in phrases(one) for one in set(known))
            found[phrase] = (1 + math.log(phrases(text).count(phrase))) * (1 + math.log(3 / (1 + spread)))
        length = math.sqrt(sum(value**2 for value in found.values()))
        return {phrase: value / length for phrase, value in found.items()}

    first, second = weights(asked[1]), weights(known[1])
    cosine = sum(value * second.get(phrase, 0) for phrase, value in first.items())
    assert outer[1, 1] == pytest.approx(math.exp(6 * (cosine - 1)))


def test_the_kernel_of_images_is_standardized_over_those_that_are_fitted(features):
    fitted = np.arange(40)
    kernel = image_kernel(features, fitted)
    scaled = (features - features[fitted].mean(0)) / features[fitted].std(0)
    squared = ((scaled[:, None] - scaled[None]) ** 2).mean(-1)
    expected = np.exp(-squared / np.median(squared[np.ix_(fitted, fitted)]))[:, fitted]
    assert kernel.shape == (43, 41)
    assert np.allclose(kernel[:-1, :-1], expected, atol=1e-4)
    assert np.array_equal(kernel[-1], [*[0] * 40, 1])  # no image is like no image alone
    assert np.array_equal(kernel[:, -1], [*[0] * 42, 1])


def test_phrases_of_chinese_are_characters():
    assert phrases("左肺?") == ["左", "肺", "左 肺"]


def test_rows_are_evenly_left_out():
    assert evenly([1, 2, 3, 4], 2) == [1, 3] and evenly([1, 2], 2) == [1, 2]
