"""Checks that images with a color profile are published in sRGB without it, against an independent formula."""

from __future__ import annotations

import io
import struct

import numpy as np
import pytest
from PIL import Image, ImageCms

from hub_datasets.images.color_profiles import to_srgb
from hub_datasets.images.hashing import pixel_hash
from hub_datasets.images.validation import ExaminedImage, ImageSettings, examine_image
from tests.hub_datasets.image_files import (
    ADOBE_RGB,
    DISPLAY_P3,
    SECRET,
    chunk,
    coded,
    deep_png,
    exif,
    gray_profile,
    noise,
    packaged_dicom,
    pixels,
    profile,
    rgb_profile,
    segment,
    smooth,
    with_chunks,
    with_profile,
    with_segments,
)

SRGB_TO_XYZ = np.array([[0.43607, 0.38515, 0.14308], [0.22249, 0.71689, 0.06062], [0.01392, 0.09708, 0.71410]])  # D50
SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
WIDE = rgb_profile(DISPLAY_P3, desc=SECRET, cprt=SECRET)
CONVERTED = ("ICC profile", "colors converted to sRGB")
JPEG, PNG = coded(smooth(1), "JPEG"), coded(smooth(1), "PNG")


def examine(data: bytes) -> ExaminedImage:
    examined = examine_image(data, "1", ImageSettings())
    assert isinstance(examined, ExaminedImage), examined
    return examined


def encoded(linear: np.ndarray) -> np.ndarray:
    """sRGB's curve, as bytes."""
    linear = np.clip(linear, 0, 1)
    return np.rint(255 * np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055))


def in_srgb(values: np.ndarray, primaries: tuple, gamma: float = 2.2) -> np.ndarray:
    """Bytes in the colors of `rgb_profile`, in those of sRGB."""
    return encoded((values / 255) ** gamma @ np.array(primaries) @ np.linalg.inv(SRGB_TO_XYZ).T)


@pytest.mark.parametrize("format", ["JPEG", "PNG"])
@pytest.mark.parametrize("primaries", [DISPLAY_P3, ADOBE_RGB], ids=["Display P3", "Adobe RGB"])
def test_wide_colors_become_srgb(primaries, format):
    data = coded(smooth(1), format, icc_profile=rgb_profile(primaries, desc=SECRET))
    examined = examine(data)
    assert (examined.format, examined.stripped) == ("PNG", CONVERTED)
    shown, expected = pixels(examined.data), in_srgb(pixels(data), primaries)
    assert np.abs(shown - expected).max() <= 1
    assert np.abs(shown - pixels(data).astype(int)).max() > 20  # the profile made a difference
    assert examined.pixels == pixel_hash(Image.fromarray(shown))
    with Image.open(io.BytesIO(examined.data)) as image:
        assert not image.info
    assert SECRET not in examined.data
    again = examine(examined.data)
    assert (again.data, again.stripped) == (examined.data, ())


@pytest.mark.parametrize("file", [SRGB, packaged_dicom("crayons.icc")], ids=["Little CMS", "Apple"])
@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_an_image_in_srgb_keeps_its_coding(file, mode):
    for format in ("JPEG", "PNG"):
        plain = coded(smooth(1, mode), format)
        examined = examine(coded(smooth(1, mode), format, icc_profile=file))
        assert (examined.data, examined.stripped) == (plain, ("ICC profile",))


@pytest.mark.parametrize("mode", ["L", "LA", "1"])
def test_gray_stays_gray(mode):
    image = smooth(1).convert(mode)
    converted, done = to_srgb(image, gray_profile(1.8))
    assert converted.mode == ("LA" if mode == "LA" else "L") and done == CONVERTED[1]
    values = np.asarray(image.convert("L"))
    assert np.abs(np.asarray(converted.convert("L")) - encoded((values / 255) ** 1.8)).max() <= 1
    of_colors, done = to_srgb(image, rgb_profile(ADOBE_RGB, 1.8))  # of a program that knows no other
    assert of_colors.mode == converted.mode and done == CONVERTED[1]
    assert np.abs(np.asarray(of_colors).astype(int) - np.asarray(converted)).max() <= 1


@pytest.mark.parametrize("mode", ["P", "RGBA"])
def test_what_is_transparent_stays_transparent(mode):
    image = smooth(1).convert(mode)
    if mode == "RGBA":
        image.putalpha(smooth(2, "L"))
    data = coded(image, "PNG", icc_profile=WIDE, **({"transparency": bytes(range(256))} if mode == "P" else {}))
    before, after = (np.asarray(Image.open(io.BytesIO(file)).convert("RGBA")) for file in (data, examine(data).data))
    assert np.array_equal(before[..., 3], after[..., 3]) and np.ptp(after[..., 3]) > 100
    assert np.abs(after[..., :3] - in_srgb(before[..., :3], DISPLAY_P3)).max() <= 1


def test_a_transparent_color_stays_transparent():
    image = Image.new("RGB", (20, 20), (200, 40, 40))
    image.paste((10, 200, 30), (5, 5, 15, 15))
    data = coded(image, "PNG", icc_profile=WIDE, transparency=(200, 40, 40))
    alpha = pixels(examine(data).data)[..., 3]
    assert alpha[0, 0] == 0 and alpha[10, 10] == 255


def test_a_palette_without_transparency_becomes_its_colors():
    image = smooth(1).convert("P")
    shown = pixels(examine(coded(image, "PNG", icc_profile=WIDE)).data)
    assert np.abs(shown - in_srgb(np.asarray(image.convert("RGB")), DISPLAY_P3)).max() <= 1


def test_a_photograph_that_lies_on_its_side():
    data = coded(smooth(1), "JPEG", icc_profile=WIDE, exif=b"Exif\0\0" + exif(6))
    upright = pixels(examine(coded(smooth(1), "JPEG", icc_profile=WIDE)).data)
    examined = examine(data)
    assert set(examined.stripped) == {*CONVERTED, "EXIF", "GPS", "orientation applied"}
    assert np.array_equal(pixels(examined.data), np.rot90(upright, -1))


def test_a_window_takes_precedence_over_a_profile():
    values = np.arange(400, dtype=np.uint16).reshape(20, 20, 1) * 100
    plain, tagged = deep_png(values, 0), with_profile(deep_png(values, 0), gray_profile(1.8))
    assert (examine(tagged).data, examine(tagged).stripped) == (examine(plain).data, ("ICC profile",))


UNUSABLE = {
    "a text": b"PATIENT Zhang Wei 13812345678",
    "empty": b"",
    "a header only": WIDE[:128],
    "no signature": WIDE[:36] + b"ascp" + WIDE[40:],
    "cut off": WIDE[:300],
    "many tags": WIDE[:128] + b"\xff\xff\xff\xff" + WIDE[132:],
    "a tag of another type": rgb_profile(DISPLAY_P3, rTRC=b"text\0\0\0\0" + SECRET),
    "no colors": profile({b"desc": b"text" + SECRET}),
    "of another space": profile({}, SECRET[:4]),
    "of inks": profile({}, b"CMYK"),
    "of gray": gray_profile(1.8),
}


@pytest.mark.parametrize("kind", UNUSABLE)
def test_a_profile_that_cannot_be_used_is_named(kind):
    parts = b"ICC_PROFILE\0\1\1" + UNUSABLE[kind]
    for file, clean in (
        (with_segments(JPEG, segment(0xE2, parts)), JPEG),
        (with_profile(PNG, UNUSABLE[kind]), PNG),
    ):
        examined = examine(file)
        assert (examined.data, examined.stripped) == (clean, ("ICC profile", "unusable ICC profile"))


@pytest.mark.parametrize("content", [b"", b"ICC", b"ICC\0\1abc", b"ICC\0\0" + SECRET, b"ICC\0\0x\x9c"])
def test_a_chunk_that_is_not_packed_as_it_should_be(content):
    examined = examine(with_chunks(PNG, chunk(b"iCCP", content)))
    assert (examined.data, examined.stripped) == (PNG, ("ICC profile", "unusable ICC profile"))


def test_a_part_of_a_profile_is_missing():
    first = segment(0xE2, b"ICC_PROFILE\0\1\2" + WIDE[:200])
    examined = examine(with_segments(JPEG, first))
    assert (examined.data, examined.stripped) == (JPEG, ("ICC profile", "unusable ICC profile"))


def test_damaged_profiles_raise_nothing(capfd):
    random, image = np.random.default_rng(0), noise(1)
    done = set()
    for data in (WIDE, SRGB, gray_profile(1.8)):
        for _ in range(300):
            changed = bytearray(data)
            for place in random.integers(0, len(data), random.integers(1, 8)):
                changed[place] = random.integers(256)
            converted, what = to_srgb(image, bytes(changed))
            assert converted.size == image.size and (converted is image) == (what != CONVERTED[1])
            done.add(what)
    assert done == {"", CONVERTED[1], "unusable ICC profile"}
    assert capfd.readouterr() == ("", "")


def test_profiles_that_claim_more_than_they_hold():
    """A table or a curve whose size is a lie takes no memory and no time."""
    for content in (b"mft2\0\0\0\0\xff\xff\xff" + bytes(41), b"mft1\0\0\0\0\3\3\xff" + bytes(41)):
        data = rgb_profile(DISPLAY_P3, A2B0=content)
        assert to_srgb(noise(1), data)[1] in ("unusable ICC profile", CONVERTED[1])
    curve = rgb_profile(DISPLAY_P3, rTRC=b"curv\0\0\0\0" + struct.pack(">I", 0xFFFFFFF0))
    assert to_srgb(noise(1), curve)[1] == "unusable ICC profile"
