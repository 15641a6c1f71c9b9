"""Checks what becomes of TIFF, BMP, GIF, WebP and JPEG 2000, and of files with several pictures (`--frames`)."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from hub_datasets.images.validation import ExaminedImage, ImageSettings, examine_pictures
from hub_datasets.records import Problem, Reason
from tests.hub_datasets.image_files import coded, noise, packaged_dicom, pixels

FRAMES = [noise(number, "L", (40, 30)) for number in range(5)]


def examined(data: bytes, **settings) -> list[tuple[str, ExaminedImage | Problem]]:
    return list(examine_pictures(data, "a.bin", ImageSettings(**settings)))


def only(data: bytes, **settings) -> ExaminedImage:
    ((name, found),) = examined(data, **settings)
    assert name == "a.bin" and isinstance(found, ExaminedImage), found
    return found


def values(found: ExaminedImage, mode: str = "L") -> np.ndarray:
    """The pixels of what is published; of a palette, its colors."""
    with Image.open(io.BytesIO(found.data)) as image:
        return np.asarray(image.convert(mode))


def several(format: str, images: list[Image.Image] = FRAMES) -> bytes:
    return coded(images[0], format, save_all=True, append_images=images[1:])


@pytest.mark.parametrize(
    ("mode", "format", "options"),
    [
        ("RGB", "TIFF", {}), ("L", "TIFF", {}), ("RGB", "TIFF", {"compression": "tiff_lzw"}),
        ("L", "TIFF", {"compression": "tiff_deflate"}), ("RGB", "TIFF", {"compression": "packbits"}),
        ("RGB", "BMP", {}), ("L", "BMP", {}), ("L", "GIF", {}), ("RGB", "WEBP", {"lossless": True}),
        ("RGB", "JPEG2000", {"irreversible": False}), ("L", "JPEG2000", {"irreversible": False}),
        ("RGBA", "TIFF", {}), ("LA", "TIFF", {}), ("RGB", "TIFF", {"big_tiff": True}),
        ("RGBA", "WEBP", {"lossless": True, "exact": True}), ("RGBA", "JPEG2000", {"irreversible": False}),
        ("LA", "JPEG2000", {"irreversible": False}), ("RGB", "JPEG2000", {"irreversible": False, "no_jp2": True}),
    ],
)  # fmt: skip
def test_pixels_stay_as_they_are(mode, format, options):
    image = noise(7, mode, (40, 30))
    found = only(coded(image, format, **options))
    assert (found.format, found.width, found.height) == ("PNG", 40, 30)
    assert (values(found, mode) == np.asarray(image)).all()


def test_a_black_and_white_picture_has_black_and_white():
    image = noise(3, "L", (40, 30)).convert("1")
    found = pixels(only(coded(image, "TIFF", compression="group4")).data)
    assert set(np.unique(found)) <= {0, 1, 255} and len(np.unique(found)) == 2


def test_a_tiff_of_16_bits_goes_through_the_window():
    values = np.linspace(0, 4095, 40 * 30).reshape(30, 40).astype(np.uint16)
    data = coded(Image.fromarray(values), "TIFF")
    found = only(data, window="1000:2000")
    shown = pixels(found.data).astype(int)
    assert found.window and (shown[values <= 1000] == 0).all() and (shown[values >= 2000] == 255).all()
    assert only(data).window  # the whole range


RAMP = np.linspace(0, 4095, 40 * 30).reshape(30, 40)
DEEP = {
    "32 bits": lambda: coded(Image.fromarray(RAMP.astype(np.int32)), "TIFF"),
    "floating point": lambda: coded(Image.fromarray(RAMP.astype(np.float32)), "TIFF"),
    "big-endian": lambda: coded(Image.frombytes("I;16B", (40, 30), RAMP.astype(">u2").tobytes()), "TIFF"),
    "JPEG 2000": lambda: coded(Image.fromarray(RAMP.astype(np.uint16)), "JPEG2000", irreversible=False),
}


@pytest.mark.parametrize("kind", DEEP)
def test_other_deep_gray_goes_through_the_window(kind):
    found = only(DEEP[kind](), window="1000:2000")
    shown, expected = pixels(found.data).astype(int), (np.clip(RAMP, 1000, 2000) - 1000) / 1000 * 255
    assert found.window.startswith("fixed 1000..2000") and abs(shown - expected).max() <= 1


def test_a_tiff_in_which_zero_is_white_is_inverted():
    values = np.arange(1200, dtype=np.uint8).reshape(30, 40)
    data = coded(Image.fromarray(values), "TIFF", tiffinfo={262: 0})
    with Image.open(io.BytesIO(data)) as image:
        assert image.tag_v2[262] == 0
        assert (pixels(only(data).data) == np.asarray(image)).all()


@pytest.mark.parametrize(("format", "options"), [("GIF", {"transparency": 3}), ("BMP", {}), ("TIFF", {})])
def test_the_colors_of_a_palette_stay(format, options):
    data = coded(noise(5, "RGB", (40, 30)).quantize(16), format, **options)
    with Image.open(io.BytesIO(data)) as image:
        expected = np.asarray(image.convert("RGBA"))
    assert (values(only(data), "RGBA") == expected).all()
    assert (expected[..., 3] == 0).any() == bool(options)


@pytest.mark.parametrize("mode", ["CMYK", "YCbCr"])
def test_other_color_spaces_become_rgb(mode):
    found = only(coded(noise(3, mode, (40, 30)), "TIFF"))
    assert pixels(found.data).shape == (30, 40, 3)
    assert found.stripped == ("TIFF converted to PNG", f"{mode} converted to RGB")


def test_colors_that_are_not_read_are_named():
    ((_, refused),) = examined(coded(noise(3, "LAB", (40, 30)), "TIFF"))
    assert refused.code is Reason.IMAGE_FORMAT and "has pixels of the kind LAB; convert it" in refused.message


def test_the_orientation_of_a_tiff_is_applied():
    image = noise(2, "RGB", (40, 30))
    tags = image.getexif()
    tags[0x0112] = 6
    found = only(coded(image, "TIFF", exif=tags.tobytes()))
    assert (found.width, found.height) == (30, 40) and "orientation applied" in found.stripped
    turned = only(coded(image, "WEBP", lossless=True, exif=tags.tobytes()))
    assert (turned.width, turned.height) == (30, 40)


@pytest.mark.parametrize("format", ["TIFF", "GIF"])
def test_several_pictures_are_a_choice(format):
    data = several(format)
    ((_, refused),) = examined(data)
    assert refused.code is Reason.IMAGE_ANIMATED and "contains 5 pictures; choose with --frames" in refused.message
    for frames, index in (("first", 0), ("middle", 2)):
        assert (values(only(data, frames=frames)) == np.asarray(FRAMES[index])).all()
    found = examined(data, frames="all")
    assert [name for name, _ in found] == [f"a.bin#{number}" for number in range(1, 6)]
    assert all((values(one) == np.asarray(FRAMES[place])).all() for place, (_, one) in enumerate(found))
    assert len({one.groups for _, one in found}) == 1 and found[0][1].groups  # which keeps them in one split


def test_frames_of_dicom():
    data = packaged_dicom("examples_ybr_color.dcm")
    ((_, refused),) = examined(data)
    assert refused.code is Reason.IMAGE_ANIMATED and "contains 30 pictures" in refused.message
    every = examined(data, frames="all")
    assert [name for name, _ in every] == [f"a.bin#{number}" for number in range(1, 31)]
    for frames, index in (("first", 0), ("middle", 14)):
        assert only(data, frames=frames).pixels == every[index][1].pixels
    assert len({one.pixels for _, one in every}) > 10  # a film, in which pictures differ


def test_dicom_without_its_preamble():
    data = packaged_dicom("CT_small.dcm")
    whole = only(data)
    for bare in (only(data[132:]), only(data[128:])):  # without the signature, and with it alone
        assert whole.pixels == bare.pixels and whole.groups == bare.groups


@pytest.mark.parametrize("format", ["TIFF", "BMP", "GIF", "WEBP", "JPEG2000"])
def test_a_file_that_is_cut_off_or_too_large(format):
    data = coded(noise(4, "RGB", (60, 50)), format)
    ((_, cut),) = examined(data[: len(data) // 2])
    assert isinstance(cut, Problem) and cut.code in (Reason.IMAGE_TRUNCATED, Reason.IMAGE_UNREADABLE)
    ((_, large),) = examined(data, max_pixels=100)
    assert large.code is Reason.IMAGE_TOO_LARGE
