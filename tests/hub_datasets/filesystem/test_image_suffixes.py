"""Checks by which names files count as images, and which of several with one stem is preferred."""

from __future__ import annotations

import pytest

from hub_datasets.filesystem.image_suffixes import best_kind, common_end, folded, is_image, stem_of


@pytest.mark.parametrize(
    ("path", "image", "stem"),
    [
        ("a/1.PNG", True, "1"),
        ("1.2.dcm", True, "1.2"),
        ("1.2.840", False, "1.2.840"),
        ("scan.jpg.txt", False, "scan.jpg.txt"),
        ("a/.png", False, ".png"),
    ],
)
def test_only_the_suffix_of_an_image_is_taken_off(path, image, stem):
    assert (is_image(path), stem_of(path)) == (image, stem)


def test_the_preferred_kinds_of_one_stem():
    assert best_kind(["a/1.dcm", "b/1.PNG", "c/1.png", "1.jpg"]) == ["b/1.PNG", "c/1.png"]


def test_spellings_of_one_name_are_equal():
    assert folded("Caf\u00e9.PNG") == folded("cafe\u0301.png") != folded("cafe.png")


def test_the_equal_end_of_two_paths():
    assert common_end(["a", "b", "c"], ["x", "b", "c"]) == 2
    assert common_end(["a"], ["b", "a"]) == 1 and common_end([], ["a"]) == common_end(["a"], ["b"]) == 0
