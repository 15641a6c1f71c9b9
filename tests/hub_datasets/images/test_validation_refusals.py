"""Checks every reason for rejecting an image with a file that has the fault, and similar files that are valid."""

from __future__ import annotations

import numpy as np
import pytest

from hub_datasets.errors import BuildError
from hub_datasets.images.validation import ExaminedImage, ImageSettings, examine_image
from hub_datasets.records import Problem, Reason
from tests.hub_datasets.image_files import (
    chunk,
    coded,
    deep_png,
    exif,
    noise,
    pixels,
    segment,
    with_chunks,
    with_segments,
)


def examine(data: bytes, **settings) -> ExaminedImage:
    examined = examine_image(data, "folder/1.png", ImageSettings(**settings))
    assert isinstance(examined, ExaminedImage), examined
    return examined


def refused(data: bytes, **settings) -> Problem:
    examined = examine_image(data, "folder/1.png", ImageSettings(**settings))
    assert isinstance(examined, Problem), examined
    assert examined.message.startswith("'folder/1.png' ")
    return examined


@pytest.mark.parametrize("format", ["GIF", "BMP", "TIFF", "WEBP", "JPEG2000"])
def test_other_formats_named_png_become_png(format):
    """The content decides, not the name; what holds all pixels of the original keeps them."""
    examined = examine(coded(noise(3), format))
    assert (examined.format, examined.width, examined.height) == ("PNG", *noise(3).size)


def test_a_format_that_is_not_allowed():
    problem = refused(coded(noise(3), "PPM"))
    assert problem.code is Reason.IMAGE_FORMAT
    assert "is not an image in an allowed format (JPEG, PNG, DICOM, TIFF, BMP, GIF, WebP, JPEG 2000)" in problem.message


@pytest.mark.parametrize("content", [b"", b"<!DOCTYPE html><title>404</title>", b"\x89PNG\r\n", bytes(1000)])
def test_no_image_named_png(content):
    assert refused(content).code is Reason.IMAGE_FORMAT


@pytest.mark.parametrize("format", ["PNG", "JPEG"])
@pytest.mark.parametrize(
    "options", [{}, {"progressive": True}, {"optimize": True}], ids=["plain", "progressive", "opt"]
)
@pytest.mark.parametrize("share", [0.01, 0.05, 0.3, 0.6, 0.9, 0.999])
def test_an_image_that_is_cut_off(format, options, share):
    data = coded(noise(6, size=(80, 80)), format, **options)
    problem = refused(data[: int(len(data) * share)])
    assert problem.code is Reason.IMAGE_TRUNCATED
    assert problem.message.startswith("'folder/1.png' is truncated: ")


def test_a_jpeg_without_its_end_is_cut_off_even_if_its_preview_has_one():
    preview = segment(0xE1, b"Exif\0\0" + exif() + coded(noise(1), "JPEG"))
    data = with_segments(coded(noise(6, size=(80, 80)), "JPEG"), preview)
    assert refused(data[:-2]).code is refused(data[:-500]).code is Reason.IMAGE_TRUNCATED


@pytest.mark.parametrize("interlaced", [False, True])
@pytest.mark.parametrize(("color", "type"), [(0, "u1"), (2, "u1"), (4, "u1"), (6, "u1"), (0, "u2")])
def test_a_png_without_its_last_rows(color, type, interlaced):
    """The file is whole, and so is the compressed stream: whoever wrote it stopped in the middle."""
    values = np.full((41, 40, {0: 1, 2: 3, 4: 2, 6: 4}[color]), 77, type)
    for share in (0.1, 0.5, 0.95):
        assert refused(deep_png(values, color, interlaced, share)).code is Reason.IMAGE_TRUNCATED
    black = deep_png(values * 0, color, interlaced)
    assert not pixels(examine(black).data).any()
    assert examine(deep_png(values, color, interlaced)).height == 41


def test_a_damaged_png():
    data = bytearray(coded(noise(7, size=(80, 80)), "PNG"))
    for place in range(50, len(data) - 20, 97):  # in the coded pixels
        data[place] ^= 1
        problem = refused(bytes(data))
        assert problem.code is Reason.IMAGE_UNREADABLE
        assert "is damaged: the checksum of a chunk IDAT is wrong" in problem.message
        data[place] ^= 1


def test_a_png_without_its_palette():
    data = coded(noise(1).convert("P"), "PNG")
    start = data.index(b"PLTE") - 4
    end = start + 12 + int.from_bytes(data[start : start + 4])
    problem = refused(data[:start] + data[end:])
    assert problem.code is Reason.IMAGE_UNREADABLE and "a palette, and it has none" in problem.message


def test_a_damaged_jpeg():
    data = coded(noise(7, size=(80, 80)), "JPEG")
    tables = data.index(b"\xff\xc4")
    for damaged in (
        data[: tables + 4] + bytes(28) + data[tables + 32 :],
        data[:2] + b"\xff\xd9",
    ):
        assert refused(damaged).code is Reason.IMAGE_UNREADABLE


@pytest.mark.parametrize("side", [8_001, 20_000, 2**31 - 1])
def test_a_small_file_with_a_huge_header(side):
    """Beyond our limit, beyond Pillow's, and beyond all sense."""
    data = deep_png(np.zeros((1, 1, 3), np.uint8), 2)
    data = data[:8] + chunk(b"IHDR", side.to_bytes(4) * 2 + b"\x08\2\0\0\0") + data[33:]
    assert len(data) < 100
    problem = refused(data)
    assert problem.code is Reason.IMAGE_TOO_LARGE
    assert f"{side} x {side} pixels, the limit is 64,000,000 (--max_image_pixels)" in problem.message


def test_a_jpeg_with_a_huge_header():
    data = coded(noise(1), "JPEG")
    frame = data.index(b"\xff\xc0")
    huge = data[: frame + 5] + b"\xff\xff\xff\xff" + data[frame + 9 :]
    assert refused(huge).code is Reason.IMAGE_TOO_LARGE
    hidden = data[:frame] + segment(0xC0, b"\x08\xff\xff\xff\xff" + data[frame + 9 : frame + 19]) + data[frame:]
    assert refused(hidden).code is Reason.IMAGE_TOO_LARGE


@pytest.mark.parametrize("format", ["PNG", "JPEG"])
def test_the_limits_of_pixels(format):
    data = coded(noise(1, size=(12, 10)), format)
    assert examine(data, max_pixels=120, min_side=10).width == 12
    assert refused(data, max_pixels=119).code is Reason.IMAGE_TOO_LARGE
    problem = refused(data, min_side=11)
    assert problem.code is Reason.IMAGE_TOO_SMALL
    assert "has 12 x 10 pixels, at least 11 are needed on each side (--min_image_side)" in problem.message


def test_an_animation():
    data = coded(noise(1), "PNG", save_all=True, append_images=[noise(2), noise(3)])
    assert refused(data).code is Reason.IMAGE_ANIMATED
    hidden = coded(noise(1), "PNG", save_all=True, append_images=[noise(2)], default_image=True)  # of one picture
    assert refused(hidden).code is Reason.IMAGE_ANIMATED


def test_an_animation_of_one_picture_is_none():
    data = coded(noise(1), "PNG")
    claim = chunk(b"acTL", b"\0\0\0\1\0\0\0\0")
    assert examine(with_chunks(data, claim)).data == data
    behind = data[:-12] + chunk(b"acTL", b"\0\0\0\x09\0\0\0\0") + data[-12:]  # no decoder takes it there
    assert examine(behind).data == data


def test_a_jpeg_of_12_bits():
    data = bytearray(coded(noise(1), "JPEG"))
    data[data.index(b"\xff\xc0") + 4] = 12
    problem = refused(bytes(data))
    assert problem.code is Reason.IMAGE_FORMAT
    assert "a JPEG of 12 bits; convert it to 8 bits, or to a gray PNG of 16 bits" in problem.message


@pytest.mark.parametrize(("color", "channels"), [(2, 3), (4, 2), (6, 4)], ids=["RGB", "gray alpha", "RGB alpha"])
@pytest.mark.parametrize("window", ["auto", "0:4095"])
def test_a_png_of_16_bits_with_colors_or_transparency(color, channels, window):
    """Pillow reads only the upper byte of each channel."""
    problem = refused(deep_png(np.ones((20, 20, channels), np.uint16), color), window=window)
    assert problem.code is Reason.IMAGE_FORMAT
    assert "16 bits per channel and colors or transparency; convert it to 8 bits per channel" in problem.message
    assert examine(deep_png(np.ones((20, 20, channels), np.uint8), color)).window == ""


def test_a_window_that_is_none():
    with pytest.raises(BuildError, match="--window 'bones'"):
        examine_image(coded(noise(1), "PNG"), "1.png", ImageSettings(window="bones"))
