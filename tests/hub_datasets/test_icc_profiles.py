"""Of a colour profile its colours stay, exactly, and nothing else; what is no profile does not stay."""

from __future__ import annotations

import io
import struct

import numpy as np
import pytest
from PIL import Image, ImageCms

from hub_datasets.icc_profiles import MAX_BYTES, colours_only
from hub_datasets.validation import ImageSettings, examine_image
from tests.hub_datasets.image_files import (
    SECRET,
    chunk,
    coded,
    deep_png,
    matrix_profile,
    noise,
    packaged_dicom,
    pixels,
    profile,
    segment,
    smooth,
    table_profile,
    with_chunks,
    with_profile,
    with_segments,
)

GAMMA = b"curv\0\0\0\0\0\0\0\1\2\x33"
PROFILES = {
    "sRGB": ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes(),
    "matrix": matrix_profile(desc=b"desc\0\0\0\0" + SECRET, cprt=b"text\0\0\0\0" + SECRET, vcgt=SECRET, Priv=SECRET),
    "tables": table_profile(points=30),
    "grey": profile({b"kTRC": GAMMA, b"wtpt": b"XYZ \0\0\0\0" + struct.pack(">3I", 0xF6D6, 0x10000, 0xD32D)}, b"GRAY"),
    "crayons": packaged_dicom("crayons.icc"),
}
JPEG, PNG = coded(smooth(1), "JPEG"), coded(smooth(1), "PNG")


def shown(data: bytes, mode: str = "RGB") -> np.ndarray:
    """What a screen would show of a picture in the colours of a profile."""
    image = noise(1, mode, (64, 64))
    return np.asarray(
        ImageCms.profileToProfile(image, io.BytesIO(data), ImageCms.createProfile("sRGB"), outputMode="RGB")
    )


@pytest.mark.parametrize("kind", PROFILES)
def test_the_colours_stay_and_the_texts_go(kind):
    before, mode = PROFILES[kind], "L" if kind == "grey" else "RGB"
    after = colours_only(before)
    assert np.array_equal(shown(after, mode), shown(before, mode))
    opened = ImageCms.ImageCmsProfile(io.BytesIO(after)).profile
    assert not any((opened.profile_description, opened.copyright, opened.manufacturer, opened.model))
    assert SECRET not in after and b"S\0E\0C" not in after
    assert colours_only(after) == after
    assert len(after) % 4 == 0


@pytest.mark.parametrize("kind", PROFILES)
def test_published_files_have_the_colours_only(kind):
    mode = "L" if kind == "grey" else "RGB"
    clean = colours_only(PROFILES[kind])
    for format in ("JPEG", "PNG"):
        data = coded(smooth(1, mode), format, icc_profile=PROFILES[kind])
        examined = examine_image(data, "1", ImageSettings())
        assert examined.stripped == ("ICC text",)
        with Image.open(io.BytesIO(examined.data)) as image:
            assert image.info["icc_profile"] == clean
        assert np.array_equal(pixels(examined.data), pixels(data))
        again = examine_image(examined.data, "1", ImageSettings())
        assert (again.data, again.stripped) == (examined.data, ())


def test_an_image_that_is_coded_anew_keeps_the_colours_only():
    turned = Image.Exif()
    turned[0x0112] = 6
    data = coded(smooth(1), "JPEG", icc_profile=PROFILES["matrix"], exif=turned)
    examined = examine_image(data, "1", ImageSettings())
    assert examined.format == "PNG" and "ICC text" in examined.stripped
    with Image.open(io.BytesIO(examined.data)) as image:
        assert image.info["icc_profile"] == colours_only(PROFILES["matrix"])
    deep = deep_png(np.arange(1200, dtype=np.uint16).reshape(20, 20, 3), 2)
    examined = examine_image(with_profile(deep, PROFILES["matrix"], b"PATIENT"), "1", ImageSettings())
    assert b"PATIENT" not in examined.data and SECRET not in examined.data


def test_the_name_of_a_profile_is_not_published():
    for name in (b"PATIENT Zhang Wei 13812345678", b"ICC Profile", b""):
        examined = examine_image(with_profile(PNG, colours_only(PROFILES["sRGB"]), name), "1", ImageSettings())
        assert examined.stripped == ("ICC text",)
        assert examined.data == with_profile(PNG, colours_only(PROFILES["sRGB"]))


def changed(place: int, content: bytes, data: bytes = PROFILES["matrix"]) -> bytes:
    return data[:place] + content + data[place + len(content) :]


BROKEN = {
    "a text": b"PATIENT Zhang Wei 13812345678",
    "empty": b"",
    "a header only": PROFILES["matrix"][:128],
    "no signature": changed(36, b"ascp"),
    "followed by a text": PROFILES["matrix"] + SECRET,
    "cut off": PROFILES["matrix"][:-1],
    "many tags": changed(128, b"\xff\xff\xff\xff"),
    "a tag that lies outside": changed(136, b"\xff\xff\xff\xff"),
    "a tag of another type": matrix_profile(rTRC=b"text\0\0\0\0" + SECRET),
    "a tag that is cut off": matrix_profile(rTRC=b"curv\0\0\0\0\0\0\xff\xff"),
    "a curve without a function": matrix_profile(rTRC=b"para\0\0\0\0\0\x09\0\0"),
    "a tag without content": matrix_profile(rTRC=b"curv"),
    "an endless table": matrix_profile(A2B0=b"mft2\0\0\0\0\xff\xff\xff" + bytes(41)),
    "too large": struct.pack(">I", MAX_BYTES + 4) + (PROFILES["matrix"] + bytes(MAX_BYTES))[4 : MAX_BYTES + 4],
}  # fmt: skip
UNKNOWN = {
    "another kind of table": matrix_profile(A2B0=b"mAB \0\0\0\0\3\3" + SECRET * 9),
    "no colours": profile({b"desc": b"text" + SECRET}),
    "another space": profile({}, SECRET[:4]),
    "named colours": changed(12, b"nmcl"),
}


@pytest.mark.parametrize("kind", [*BROKEN, *UNKNOWN])
def test_what_cannot_be_kept_is_named(kind):
    data, what = (BROKEN[kind], "broken ICC profile") if kind in BROKEN else (UNKNOWN[kind], "ICC profile")
    parts = [data[start : start + 60000] for start in range(0, len(data), 60000)] or [b""]
    numbered = (b"ICC_PROFILE\0" + bytes((n, len(parts))) + part for n, part in enumerate(parts, 1))
    for file, clean in (
        (with_segments(JPEG, *(segment(0xE2, part) for part in numbered)), JPEG),
        (with_profile(PNG, data), PNG),
    ):
        examined = examine_image(file, "1", ImageSettings())
        assert (examined.data, examined.stripped) == (clean, (what,))


@pytest.mark.parametrize("heads", [(), (1, 1), (0, 1), (1, 2), (2, 2), (1, 1, 1, 1), (1, 3, 2, 3), (1, 2, 3, 2)])
def test_the_parts_of_a_jpeg_are_all_there_once(heads):
    whole = colours_only(PROFILES["matrix"])
    numbers = [bytes(heads[start : start + 2]) for start in range(0, len(heads), 2)] or [b""]
    size = -(-len(whole) // len(numbers))
    parts = [head + whole[place * size : (place + 1) * size] for place, head in enumerate(numbers)]
    data = with_segments(JPEG, *(segment(0xE2, b"ICC_PROFILE\0" + part) for part in parts))
    examined = examine_image(data, "1", ImageSettings())
    if heads == (1, 1):
        assert (examined.data, examined.stripped) == (data, ())
    else:
        assert (examined.data, examined.stripped) == (JPEG, ("broken ICC profile",))


def test_parts_in_any_order_between_other_segments():
    whole = PROFILES["matrix"]
    parts = [segment(0xE2, b"ICC_PROFILE\0" + bytes((n + 1, 3)) + whole[n * 200 : (n + 1) * 200]) for n in range(2)]
    parts.append(segment(0xE2, b"ICC_PROFILE\0\3\3" + whole[400:]))
    data = with_segments(JPEG, parts[2], segment(0xFE, SECRET), parts[0], segment(0xE1, SECRET), parts[1])
    examined = examine_image(data, "1", ImageSettings())
    assert SECRET not in examined.data and set(examined.stripped) == {"comment", "application data", "ICC text"}
    with Image.open(io.BytesIO(examined.data)) as image:
        assert image.info["icc_profile"] == colours_only(whole)


def test_an_iccp_chunk_that_is_not_packed_as_it_should_be():
    for content in (b"", b"ICC", b"ICC\0\1abc", b"ICC\0\0" + SECRET, b"ICC\0\0x\x9c"):
        examined = examine_image(with_chunks(PNG, chunk(b"iCCP", content)), "1", ImageSettings())
        assert (examined.data, examined.stripped) == (PNG, ("broken ICC profile",))
    good = with_profile(PNG, colours_only(PROFILES["matrix"]))
    length = int.from_bytes(good[33:37], "big")
    tail = with_chunks(PNG, chunk(b"iCCP", good[41 : 41 + length] + SECRET))
    examined = examine_image(tail, "1", ImageSettings())
    assert (examined.data, examined.stripped) == (good, ("ICC text",))


def test_damaged_profiles_never_raise_anything_else():
    random = np.random.default_rng(0)
    for data in (PROFILES["matrix"], PROFILES["sRGB"], table_profile(points=3)):
        for _ in range(400):
            bytes_ = bytearray(data)
            for place in random.integers(0, len(data), random.integers(1, 8)):
                bytes_[place] = random.integers(256)
            try:
                found = colours_only(bytes(bytes_))
            except ValueError:
                continue
            assert colours_only(found) == found if found else True
            assert len(found) <= len(data) + 800
