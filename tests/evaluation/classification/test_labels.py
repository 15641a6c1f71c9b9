"""Checks how labels are read, what classes are called in prompts, and what is predicted without the images."""

from __future__ import annotations

import numpy as np
import pytest
from datasets import ClassLabel, Value

from evaluation.classification.blind import constant_scores, majority_scores, metadata_scores
from evaluation.classification.labels import class_balanced, is_ordered, most_frequent, read_labels
from evaluation.classification.prompts import TEMPLATES, class_prompts
from tests.evaluation.classification.planted import KNEE, SKIN, labeled_rows


def test_labels_are_read_by_source():
    rows = labeled_rows([KNEE[2], SKIN[1], None, KNEE[0], KNEE[2]])
    found = read_labels(rows)
    assert list(found) == ["knee_xray", "pad_ufes_20"]
    knee, skin = found.values()
    assert knee.classes == ["Normal", "Doubtful", "Mild", "Moderate", "Severe"] and knee.is_ordered
    assert (list(knee.rows), knee.labels.tolist()) == ([0, 3, 4], [2, 0, 2])
    assert (list(skin.rows), skin.labels.tolist(), skin.is_ordered) == ([1], [1], False)
    assert list(knee.groups) == ["test 0", "test 3", "test 4"]
    assert knee.select([2]).labels.tolist() == [2] and list(knee.select([2]).rows) == [4]


def test_an_image_with_several_texts_is_one_image():
    rows = labeled_rows([KNEE[1], KNEE[1], KNEE[3]])
    paths = ["a.png", "a.png", "b.png"]
    rows = rows.remove_columns("image_path").add_column("image_path", paths)
    assert list(read_labels(rows)["knee_xray"].rows) == [0, 2]
    paths = ["a.png", "b.png", "a.png"]
    rows = rows.remove_columns("image_path").add_column("image_path", paths)
    with pytest.raises(ValueError, match=r"rows 0 and 2: the image a\.png has the labels .*Doubtful and .*Moderate"):
        read_labels(rows)


def test_datasets_of_others():
    rows = labeled_rows([None, None]).remove_columns("label")
    assert read_labels(rows) == {}  # no column
    texts = rows.add_column("label", ["a", "b"])
    assert read_labels(texts.cast_column("label", Value("string"))) == {}  # names of classes are not known
    plain = labeled_rows(["grade 10", "grade 2", "grade 1"], names=["grade 10", "grade 2", "grade 1"])
    plain = plain.remove_columns(["source_dataset", "group_id", "image_path"])
    (found,) = read_labels(plain, "test").values()
    assert found.source == "" and found.classes == ["grade 1", "grade 2", "grade 10"] and found.is_ordered
    assert found.labels.tolist() == [2, 1, 0] and list(found.groups) == ["test row 0", "test row 1", "test row 2"]
    unlabeled = labeled_rows([None, KNEE[0]]).cast_column("label", ClassLabel(names=[*KNEE, *SKIN]))
    assert list(read_labels(unlabeled)["knee_xray"].rows) == [1]


@pytest.mark.parametrize(
    ("classes", "ordered"),
    [(["0", "1", "2"], True), (["KL-0", "KL-1", "KL-2"], True), (["0", "1"], False), (["type 1", "b", "c"], False)],
)
def test_grades_are_known_by_their_names(classes, ordered):
    assert is_ordered("mine", classes) == ordered


def test_a_class_balanced_sample():
    labels = np.repeat([0, 1, 2], [100, 10, 3])
    counts = np.bincount(labels[class_balanced(labels, 30)]).tolist()
    assert counts == [17, 10, 3]  # the rare ones whole, the frequent one takes the rest
    assert np.bincount(labels[class_balanced(labels, 9)]).tolist() == [3, 3, 3]
    whole = class_balanced(labels, 1000)
    assert (
        whole.tolist() == list(range(113))
        and class_balanced(labels, 30).tolist() == class_balanced(labels, 30).tolist()
    )


def test_prompts_in_two_languages():
    labels = read_labels(labeled_rows([KNEE[0], KNEE[4]]))["knee_xray"]
    for language, word in (("en", "X-ray, knee: severe osteoarthritis"), ("zh", "膝关节X光片：重度骨关节炎")):
        texts, numbers = class_prompts(labels, language)
        assert len(texts) == 5 * len(TEMPLATES[language]) and numbers == sorted(numbers)
        assert any(text.startswith(word) for text, number in zip(texts, numbers, strict=True) if number == 4)
        assert not any("{" in text for text in texts) and len({*texts}) == len(texts)


def test_prompts_of_unknown_sources_have_their_classes_names():
    rows = labeled_rows(["mine/{modality}_x", "mine/b"], names=["mine/{modality}_x", "mine/b"])
    labels = read_labels(rows)["mine"]
    texts, _ = class_prompts(labels, "en")
    assert "{modality} x" in texts and "clinical photograph: {modality} x." in texts  # a name is not a template
    assert not any("body_part" in text for text in texts)  # nothing is known of it
    assert class_prompts(labels, "zh") is None
    assert most_frequent(["a", "a", "a", "b"]) == "a" and most_frequent(["a", "b"]) == most_frequent([]) == ""


def test_majority_and_chance():
    assert majority_scores(2, 3, np.array([1, 1, 0])).tolist() == [[0, 1, 0]] * 2
    assert majority_scores(1, 3, np.array([1, 0])).tolist() == [[1, 1, 0]]
    assert constant_scores(2, 3).tolist() == [[0, 0, 0]] * 2


def test_metadata_by_naive_bayes():
    seen = np.array([0, 0, 0, 0, 1, 1])
    known = {"sex": ["f", "f", "f", "m", "m", ""], "site": ["x"] * 6}
    scores = metadata_scores({"sex": ["f", "m", "", "z"], "age": ["9"] * 4}, known, seen, 3)
    # By hand: P(f | 0) = 4 / 6, P(f | 1) = 1 / 3, P(m | 0) = 2 / 6, P(m | 1) = 2 / 3; classes start equal.
    assert np.exp(scores[0, :2]) == pytest.approx([4 / 6, 1 / 3]) and np.exp(scores[1, :2]) == pytest.approx(
        [1 / 3, 2 / 3]
    )
    assert scores[2, 0] == scores[2, 1] and scores[3, 0] == scores[3, 1]  # unknown values say nothing
    assert (scores[:, 2] < scores[:, :2].min()).all()  # a class that was not seen
