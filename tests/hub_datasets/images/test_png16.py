"""Checks that a PNG with missing last rows is distinguished from one whose last rows are black."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from hub_datasets.images.png16 import lacks_rows, may_lack_rows
from tests.hub_datasets.image_files import CHANNELS, coded, deep_png, noise


def test_pillow_shows_missing_rows_black():
    """As soon as it raises an error for every cut, `lacks_rows` can go."""
    whole = deep_png(np.full((9, 9, 1), 7, np.uint8), 0)
    shorter = deep_png(np.full((6, 9, 1), 7, np.uint8), 0)
    cut = shorter[:8] + whole[8:33] + shorter[33:]
    with Image.open(io.BytesIO(cut)) as image:
        assert np.asarray(image)[:, 0].tolist() == [7] * 6 + [0] * 3
    assert lacks_rows(cut)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "I;16"])
@pytest.mark.parametrize("size", [(1, 1), (3, 2), (7, 40), (8, 8), (200, 300)])
def test_whole_images_lack_nothing(mode, size):
    image = noise(1, "RGB", size).convert("L").convert(mode) if mode == "I;16" else noise(1, "RGB", size).convert(mode)
    for level in (0, 6):
        assert not lacks_rows(coded(image, "PNG", compress_level=level))


@pytest.mark.parametrize("size", [(1, 1), (2, 1), (1, 2), (5, 3), (8, 8), (9, 17), (40, 41)])
@pytest.mark.parametrize("interlaced", [False, True])
@pytest.mark.parametrize("color", [0, 2, 4, 6])
def test_a_missing_row_is_noticed(size, interlaced, color):
    """The header promises one row more than there is."""
    width, height = size
    values = np.full((height + 1, width, CHANNELS[color]), 7, np.uint8)
    whole, shorter = deep_png(values, color, interlaced), deep_png(values[:-1], color, interlaced)
    assert not lacks_rows(whole)
    assert not lacks_rows(shorter)
    assert lacks_rows(shorter[:8] + whole[8:33] + shorter[33:])


def test_only_black_rows_and_interlaced_files_are_looked_at():
    plain = deep_png(np.ones((9, 9, 1), np.uint8), 0)
    assert may_lack_rows(plain, bytes(9))
    assert not may_lack_rows(plain, bytes(8) + b"\1")
    assert may_lack_rows(deep_png(np.ones((9, 9, 1), np.uint8), 0, interlaced=True), b"\1" * 9)
