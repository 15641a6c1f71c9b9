"""Checks that no bytes make the examination of an image raise, warn or print."""

from __future__ import annotations

import io
import random
import warnings

import numpy as np
from PIL import Image, ImageFile

from hub_datasets.images.hashing import pixel_hash
from hub_datasets.images.validation import ExaminedImage, ImageSettings, examine_image
from hub_datasets.records import Problem, Reason
from tests.hub_datasets.image_files import (
    SECRET,
    chunk,
    coded,
    deep_png,
    exif,
    noise,
    packaged_dicom,
    pixels,
    smooth,
    with_chunks,
)


def examine(data: bytes, **settings) -> ExaminedImage:
    examined = examine_image(data, "folder/1.png", ImageSettings(**settings))
    assert isinstance(examined, ExaminedImage), examined
    return examined


def originals() -> list[bytes]:
    return [
        coded(smooth(1), "JPEG", exif=b"Exif\0\0" + exif(6)),
        coded(smooth(1, "L"), "JPEG", progressive=True, comment=SECRET),
        coded(smooth(1, "CMYK"), "JPEG"),
        coded(noise(1), "MPO", save_all=True, append_images=[noise(2)]),
        coded(smooth(1), "PNG"),
        coded(smooth(1).convert("P"), "PNG", transparency=1),
        coded(noise(1), "PNG", save_all=True, append_images=[noise(2)]),
        with_chunks(coded(smooth(1, "RGBA"), "PNG"), chunk(b"eXIf", exif(3)), chunk(b"iCCP", b"x\0\0" + SECRET)),
        deep_png(np.asarray(noise(1, "L"))[..., None].astype(np.uint16) * 99, 0, interlaced=True),
        packaged_dicom("MR_small.dcm"),
        packaged_dicom("examples_palette.dcm")[:40_000],
        packaged_dicom("image_dfl.dcm"),
        packaged_dicom("MR_small_RLE.dcm"),
        packaged_dicom("SC_rgb_jpeg_dcmtk.dcm"),
    ]


def mutated(data: bytes, chance: random.Random) -> bytes:
    changed = bytearray(data)
    for _ in range(chance.randint(1, 8)):
        place = chance.randrange(len(changed))
        kind = chance.random()
        if kind < 0.5:
            changed[place] = chance.randrange(256)
        elif kind < 0.7:  # near the start, where headers stand
            changed[min(place, chance.randrange(400))] ^= 1 << chance.randrange(8)
        elif kind < 0.8:
            del changed[max(1, place) :]
        elif kind < 0.9:
            del changed[place : place + chance.randint(1, 40)]
        else:
            changed[place:place] = chance.randbytes(chance.randint(1, 40))
        if not changed:
            break
    return bytes(changed)


def test_a_thousand_damaged_images(capfd):
    """With checksums made right again for half of the PNG files, so that damage reaches the decoder."""
    chance, files = random.Random(0), originals()
    codes = set()
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # a warning would be raised, and fail the test
        for number in range(1000):
            data = mutated(files[number % len(files)], chance)
            if number % 2 and data.startswith(b"\x89PNG"):
                data = with_right_checksums(data)
            examined = examine_image(data, "1.png", ImageSettings(max_pixels=100_000))
            assert isinstance(examined, ExaminedImage | Problem)
            codes.add(examined.code if isinstance(examined, Problem) else None)
            if isinstance(examined, ExaminedImage):
                assert SECRET not in examined.data or SECRET in pixels(examined.data).tobytes()
                assert pixels(examined.data).shape[:2] == (examined.height, examined.width)
    assert {None, Reason.IMAGE_TRUNCATED, Reason.IMAGE_UNREADABLE, Reason.IMAGE_TOO_LARGE} < codes
    assert capfd.readouterr() == ("", "")
    assert ImageFile.LOAD_TRUNCATED_IMAGES is False


def with_right_checksums(data: bytes) -> bytes:
    made, place = data[:8], 8
    while place + 12 <= len(data):
        length = int.from_bytes(data[place : place + 4])
        if place + 12 + length > len(data):
            break
        made += chunk(data[place + 4 : place + 8], data[place + 8 : place + 8 + length])
        place += 12 + length
    return made + data[place:]


def test_a_palette_with_transparent_colors_warns_nobody():
    image = noise(1).convert("P")
    data = coded(image, "PNG", transparency=bytes(range(256)))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        examined = examine(data)
    assert examined.data is data
    with Image.open(io.BytesIO(data)) as image:
        assert examined.pixels == pixel_hash(image)


def test_an_image_beyond_pillows_own_limit_warns_nobody(capfd):
    image = Image.new("1", (10_000, 9_000))  # 90 million pixels: from there on Image.open warns
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert examine(coded(image, "PNG"), max_pixels=10**8).width == 10_000
    assert capfd.readouterr() == ("", "")
