"""Checks prompt ensembles, accuracies and AUCs against counting pairs and scikit-learn, and planted models."""

from __future__ import annotations

import numpy as np
import pytest

from evaluation.metrics.zero_shot_classification.classification import (
    class_aucs,
    class_scores,
    classification_scores,
    prompt_ensemble,
    row_credits,
)


@pytest.fixture(scope="module")
def metric():
    from evaluation.metrics.zero_shot_classification.zero_shot_classification import ZeroShotClassification

    return ZeroShotClassification(keep_in_memory=True)


def auc_by_pairs(scores: np.ndarray, positive: np.ndarray) -> float:
    """The definition: over all pairs, the share in which the positive row scores higher, ties half."""
    above = [np.sign(a - b) for a in scores[positive] for b in scores[~positive]]
    return float((np.array(above) + 1).mean() / 2)


def test_against_counting_pairs_and_scikit_learn():
    from sklearn.metrics import accuracy_score, balanced_accuracy_score

    random = np.random.default_rng(2)
    references = random.integers(0, 4, 80)
    scores = random.normal(size=(80, 4)) + np.eye(4)[references]
    rounded = scores.round(1)  # many ties between rows
    found = classification_scores(rounded, references, ["a", "b", "c", "d"])
    for number, name in enumerate("abcd"):
        expected = auc_by_pairs(rounded[:, number], references == number)
        assert found["classes"][name]["auc"] == pytest.approx(expected, abs=1e-12)
        assert found["classes"][name]["n"] == (references == number).sum()
    whole = classification_scores(scores, references)
    assert whole["accuracy"] == pytest.approx(accuracy_score(references, scores.argmax(1)))
    assert whole["balanced_accuracy"] == pytest.approx(balanced_accuracy_score(references, scores.argmax(1)))
    assert whole["majority_accuracy"] == np.bincount(references).max() / 80
    assert 0.3 < whole["accuracy"] < 0.95


@pytest.mark.parametrize(
    ("scores", "accuracy", "auc"),
    [
        (lambda references, random: np.eye(5)[references], 1.0, 1.0),  # a perfect model
        (lambda references, random: np.ones((600, 5)), 0.2, 0.5),  # a constant one: chance, exactly
        (lambda references, random: -np.eye(5)[references], 0.0, 0.0),
        (lambda references, random: random.normal(size=(600, 5)), 0.2, 0.5),  # a random one: chance, about
    ],
)
def test_planted_models(scores, accuracy, auc):
    random = np.random.default_rng(5)
    references = np.repeat(np.arange(5), [400, 100, 50, 30, 20])
    found = classification_scores(scores(references, random), references)
    slack = 0.0 if accuracy != 0.2 else 0.06
    assert found["balanced_accuracy"] == pytest.approx(accuracy, abs=slack + 1e-12)
    assert found["macro_auc"] == pytest.approx(auc, abs=slack + 1e-12)
    assert found["chance_balanced_accuracy"] == 0.2 and found["majority_accuracy"] == pytest.approx(400 / 600)


def test_a_constant_model_is_at_chance_exactly():
    found = classification_scores(np.zeros((7, 3)), [0, 0, 0, 0, 1, 2, 2])
    assert found["balanced_accuracy"] == found["accuracy"] == pytest.approx(1 / 3, abs=1e-15)
    assert [found["classes"][name]["auc"] for name in "012"] == [0.5, 0.5, 0.5]


def test_ties_of_some_classes_share_the_row():
    scores = [[1, 1, 0], [1, 1, 0], [2, 2, 2], [0, 1, 0]]
    assert row_credits(scores, [0, 2, 1, 1]).tolist() == [0.5, 0.0, 1 / 3, 1.0]


def test_classes_that_are_missing_have_no_auc():
    found = classification_scores([[0.9, 0.1, 0.0], [0.2, 0.8, 0.0]], [0, 1], ["a", "b", "c"])
    assert found["classes"]["c"] == {"auc": None, "recall": None, "n": 0}
    assert (found["macro_auc"], found["balanced_accuracy"], found["num_classes"]) == (1.0, 1.0, 2)
    alone = classification_scores([[0.9, 0.1], [0.2, 0.8]], [0, 0])  # all rows are of one class
    assert alone["macro_auc"] is None and alone["chance_balanced_accuracy"] == 1.0
    assert class_aucs([[0.9, 0.1]], [1]) == [None, None]  # one row


def test_prompts_are_averaged_as_unit_vectors():
    prompts = np.float32([[10, 0], [0, 1], [3, 4]])  # without scaling, the first would outweigh the second
    found = prompt_ensemble(prompts, [0, 0, 1])
    np.testing.assert_allclose(found, [[2**-0.5, 2**-0.5], [0.6, 0.8]], atol=1e-12)
    scores = class_scores(np.float32([[5, 5], [3, 4]]), found)
    np.testing.assert_allclose(scores, [[1, 1.4 / 2**0.5], [1.4 / 2**0.5, 1]], atol=1e-6)
    zero = prompt_ensemble(np.float32([[1, 0], [-1, 0], [0, 1]]), [0, 0, 1])  # prompts that cancel out
    assert zero[0].tolist() == [0, 0] and class_scores([[1, 0]], zero).tolist() == [[0, 0]]


@pytest.mark.parametrize(
    ("scores", "references", "message"),
    [
        ([[0, 1], [np.nan, 1]], [0, 1], r"predictions has NaN or infinity in 1 row\(s\), first in row 1"),
        ([[0, 1], [2, 1]], [0, 2], "row 1: class 2 is out of range. Use 0 to 1"),
        ([[0, 1], [2, 1]], [-1, 0], "row 0: class -1 is out of range"),
        ([[0, 1], [2]], [0, 1], "predictions is not a table of numbers"),
        ([[0, 1], [2, None]], [0, 1], "predictions has NaN"),
        ([[0], [2]], [0, 0], "at least two classes"),
        ([[0, 1]], [0, 1], "There are 1 rows of scores and 2 references"),
        ([[0, 1]], [0.5], "references are not integers"),
        ([], [], "has the shape"),
    ],
)
def test_invalid_rows_are_refused(scores, references, message):
    with pytest.raises(ValueError, match=message):
        classification_scores(scores, references)


@pytest.mark.parametrize(
    ("classes", "message"), [([0, 2], "A class has no prompt"), ([0], "one integer"), ([0, -1], "negative")]
)
def test_invalid_prompts_are_refused(classes, message):
    with pytest.raises(ValueError, match=message):
        prompt_ensemble(np.eye(2), classes)


def test_names_of_classes_are_different():
    with pytest.raises(ValueError, match="class_names needs 2 different names"):
        classification_scores([[0, 1]], [0], ["a", "a"])


def test_compute_equals_the_functions(metric):
    scores, references = [[0.9, 0.1], [0.4, 0.6], [0.7, 0.3]], [0, 1, 1]
    assert metric.compute(predictions=scores, references=references) == classification_scores(scores, references)


@pytest.mark.slow
def test_the_folder_is_a_complete_space(check_space):
    scores = check_space("zero_shot_classification")
    assert scores["balanced_accuracy"] == 0.75 and scores["classes"]["melanoma"]["n"] == 2
