"""Checks which names of tables and folders are splits."""

from __future__ import annotations

import pytest

from hub_datasets.schema import SPLITS
from hub_datasets.texts.official_splits import BY_NAME, official_split, split_of_path


@pytest.mark.parametrize(
    ("name", "split"),
    [
        ("train", "train"), ("TRAIN", "train"), (" Training ", "train"), ("training-set", "train"), ("训练集", "train"),
        ("train2017", "train"), ("val", "validation"), ("valid", "validation"), ("Validate", "validation"),
        ("validation", "validation"), ("dev", "validation"), ("验证集", "validation"), ("val2014", "validation"),
        ("test", "test"), ("Testing", "test"), ("test_set", "test"), ("测试集", "test"), ("eval", "test"),
    ],
)  # fmt: skip
def test_names_of_splits(name, split):
    assert official_split(name) == split


@pytest.mark.parametrize(
    "name", ["", "fold 3", "3", 3, None, True, "images", "trainer", "testicle", "valve", "2017", "全部"]
)
def test_other_words_are_no_splits(name):
    assert official_split(name) is None


def test_every_split_has_names_in_both_languages():
    assert set(BY_NAME.values()) == set(SPLITS)
    for split in SPLITS:
        names = [name for name, found in BY_NAME.items() if found == split]
        assert split in names and any(not name.isascii() for name in names)


@pytest.mark.parametrize(
    ("path", "split"),
    [
        ("train/im0.png", "train"), ("data/validation/Lung/im0.png", "validation"), ("测试集/图1.png", "test"),
        ("im0.png", ""), ("train.png", ""), ("images/im0.png", ""), ("a/b/c/train/im0.png", ""),
        ("train/test/x.png", "train"),
    ],
)  # fmt: skip
def test_the_split_of_a_folder(path, split):
    assert split_of_path(path) == split
