"""Checks that no metadata of a file survives, and that the pixels do not change."""

from __future__ import annotations

import io
import zlib

import numpy as np
import pytest
from PIL import Image, ImageOps, PngImagePlugin

from hub_datasets.images.metadata import MAX_ICC_BYTES, edited, read_coding
from tests.hub_datasets.image_files import (
    ADOBE_RGB,
    SECRET,
    chunk,
    coded,
    deep_png,
    exif,
    noise,
    pixels,
    rgb_profile,
    segment,
    smooth,
    with_chunks,
    with_profile,
    with_segments,
    xmp,
)

PROFILE = rgb_profile(ADOBE_RGB, desc=SECRET)
LONG_PROFILE = rgb_profile(ADOBE_RGB, desc=SECRET * 25_000)


def strip_metadata(data: bytes) -> tuple[bytes, tuple[str, ...]]:
    """The same image without metadata, and what was removed."""
    coding = read_coding(data)
    return (data, ()) if coding is None else (edited(data, coding), tuple(coding.removed))


JPEGS = {
    "gray": coded(smooth(1, "L"), "JPEG"),
    "color": coded(smooth(1), "JPEG"),
    "full chroma": coded(smooth(1), "JPEG", subsampling=0, quality=98),
    "progressive": coded(smooth(1), "JPEG", progressive=True),
    "restarts": coded(noise(1, size=(96, 80)), "JPEG", restart_marker_rows=1),
    "progressive restarts": coded(noise(1, size=(96, 80)), "JPEG", restart_marker_blocks=3, progressive=True),
    "cmyk": coded(smooth(1, "CMYK"), "JPEG"),
    "density": coded(smooth(1), "JPEG", dpi=(300, 300)),
}
PNGS = {
    "gray": coded(noise(2, "L"), "PNG"),
    "black and white": coded(noise(2, "L").convert("1"), "PNG"),
    "palette": coded(noise(2).convert("P"), "PNG", transparency=3),
    "gray alpha": coded(noise(2, "LA"), "PNG"),
    "color": coded(noise(2), "PNG", dpi=(300, 300)),
    "alpha": coded(noise(2, "RGBA"), "PNG"),
    "16 bits": coded(Image.fromarray(np.arange(600, dtype=np.uint16).reshape(20, 30) * 100), "PNG"),
    "interlaced": deep_png(np.asarray(noise(2)), 2, interlaced=True),
    "many chunks": coded(noise(2, size=(300, 300)), "PNG", compress_level=0),
}
IN_JPEG = {
    "EXIF": segment(0xE1, b"Exif\0\0" + exif()),
    "XMP": segment(0xE1, b"http://ns.adobe.com/xap/1.0/\0" + xmp()),
    "XMP extended": segment(0xE1, b"http://ns.adobe.com/xmp/extension/\0" + b"0" * 40 + SECRET * 9000),
    "IPTC": segment(0xED, b"Photoshop 3.0\0" + b"8BIM\x04\x04\0\0\0\0\0\x06" + SECRET),
    "comment": segment(0xFE, SECRET),
    "application data": segment(0xEB, b"JP\0\1" + SECRET),
    "unknown APP1": segment(0xE1, SECRET),
    "unknown APP2": segment(0xE2, SECRET),
    "unknown APP0": segment(0xE0, SECRET),
    "unknown APP14": segment(0xEE, SECRET),
    "JFXX thumbnail": segment(0xE0, b"JFXX\0\x10" + coded(noise(3, size=(8, 8)), "JPEG") + SECRET),
    "depth map": segment(0xE2, b"MPF\0" + SECRET),
    "bytes between": segment(0xFE, b"") + SECRET,
    "profile": segment(0xE2, b"ICC_PROFILE\0\1\1" + PROFILE),
    "fill bytes": b"\xff\xff\xff" + segment(0xFE, SECRET),
}
IN_PNG = {
    "text": chunk(b"tEXt", b"Comment\0" + SECRET),
    "zipped text": chunk(b"zTXt", b"Comment\0\0" + zlib.compress(SECRET, 0)),
    "international text": chunk(b"iTXt", b"Author\0\0\0\0\0" + SECRET),
    "XMP": chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + xmp()),
    "EXIF": chunk(b"eXIf", exif()),
    "time": chunk(b"tIME", b"\x07\xe8\1\1\1\1\1"),
    "private": chunk(b"prVt", SECRET),
    "unknown": chunk(b"teSt", SECRET),
    "suggested palette": chunk(b"sPLT", SECRET + b"\0\x08"),
    "gamma with a tail": chunk(b"gAMA", b"\0\0\xb1\x8f" + SECRET),
    "profile": chunk(b"iCCP", SECRET + b"\0\0" + zlib.compress(PROFILE)),
    "damaged profile": chunk(b"iCCP", SECRET),
    "damaged text": b"\0\0\0\x06tEXt" + SECRET + b"\0\0\0\0",
}


def test_what_has_nothing_to_remove_is_not_copied():
    for data in (*JPEGS.values(), *PNGS.values()):
        assert strip_metadata(data)[0] is data
        assert strip_metadata(data)[1] == ()


@pytest.mark.parametrize("place", IN_JPEG)
@pytest.mark.parametrize("kind", JPEGS)
def test_jpeg_loses_everything_but_its_pixels(kind, place):
    data = with_segments(JPEGS[kind], IN_JPEG[place])
    stripped, removed = strip_metadata(data)
    assert removed
    assert SECRET not in stripped
    assert np.array_equal(pixels(stripped), pixels(JPEGS[kind]))
    assert len(stripped) <= len(JPEGS[kind]) + 3  # the fill bytes of a marker may stay


@pytest.mark.parametrize("place", IN_PNG)
@pytest.mark.parametrize("kind", PNGS)
def test_png_loses_everything_but_its_pixels(kind, place):
    before_pixels = with_chunks(PNGS[kind], IN_PNG[place])
    after_pixels = PNGS[kind][:-12] + IN_PNG[place] + PNGS[kind][-12:]
    for data in (before_pixels, after_pixels):
        stripped, removed = strip_metadata(data)
        assert removed
        assert stripped == PNGS[kind]


@pytest.mark.parametrize("kind", JPEGS)
def test_metadata_between_the_scans_of_a_jpeg(kind):
    """A comment may stand before any marker, also in the middle of a progressive file."""
    data, start = JPEGS[kind], JPEGS[kind].rindex(b"\xff\xda")
    stripped, removed = strip_metadata(data[:start] + segment(0xFE, SECRET) + data[start:])
    assert (stripped, removed) == (data, ("comment",))


def test_everything_at_once_is_named_once():
    data = with_segments(JPEGS["color"], *IN_JPEG.values(), *IN_JPEG.values()) + SECRET
    stripped, removed = strip_metadata(data)
    assert set(removed) == {
        "EXIF", "GPS", "XMP", "IPTC", "comment", "application data", "thumbnail", "further pictures", "unused bytes",
        "ICC profile",
    }  # fmt: skip
    assert len(removed) == len(set(removed))
    assert SECRET not in stripped
    assert np.array_equal(pixels(stripped), pixels(JPEGS["color"]))


def test_exif_in_two_segments():
    """A decoder joins them, so the place may stand across the border."""
    whole = exif(orientation=6)
    for cut in (1, 8, 30, len(whole) // 2, len(whole) - 1):
        halves = (segment(0xE1, b"Exif\0\0" + part) for part in (whole[:cut], whole[cut:]))
        data = with_segments(JPEGS["color"], *halves)
        assert strip_metadata(data) == (JPEGS["color"], ("EXIF", "GPS"))
        assert read_coding(data).orientation == 6


def test_a_place_is_named():
    assert strip_metadata(with_segments(JPEGS["gray"], IN_JPEG["EXIF"]))[1] == ("EXIF", "GPS")
    assert strip_metadata(with_chunks(PNGS["gray"], IN_PNG["EXIF"]))[1] == ("EXIF", "GPS")
    assert strip_metadata(with_chunks(PNGS["gray"], IN_PNG["XMP"]))[1] == ("XMP", "GPS")
    placeless = Image.Exif()
    placeless[0x0110] = "camera"
    assert strip_metadata(coded(smooth(1), "JPEG", exif=placeless))[1] == ("EXIF",)


def test_a_thumbnail_in_the_jfif_header():
    data = JPEGS["color"]
    header = data[6:18] + b"\2\2" + SECRET * 2  # 2 x 2 pixels of 3 bytes
    assert data[:4] == b"\xff\xd8\xff\xe0"
    with_thumbnail = data[:2] + segment(0xE0, header) + data[20:]
    assert strip_metadata(with_thumbnail) == (data, ("thumbnail",))


@pytest.mark.parametrize("data", [JPEGS["color"], PNGS["color"]], ids=["jpeg", "png"])
@pytest.mark.parametrize("tail", [SECRET, b"\0" * 1000, b"PK\3\4" + SECRET, b"\xff\xd9", JPEGS["gray"]])
def test_what_is_hidden_behind_the_end(data, tail):
    assert strip_metadata(data + tail) == (data, ("data after the end",))


def test_of_several_pictures_the_first_is_left():
    first, second = smooth(1), smooth(2)
    data = coded(first, "MPO", save_all=True, append_images=[second])
    with Image.open(io.BytesIO(data)) as image:
        assert image.n_frames == 2
    stripped, removed = strip_metadata(data)
    assert "further pictures" in removed
    with Image.open(io.BytesIO(stripped)) as image:
        assert image.format == "JPEG"
    assert np.array_equal(pixels(stripped), pixels(coded(first, "JPEG")))


def test_color_and_density_stay():
    data = with_segments(JPEGS["density"], *IN_JPEG.values())
    with Image.open(io.BytesIO(strip_metadata(data)[0])) as image:
        assert image.info["dpi"] == (300, 300)
    colors = (
        chunk(b"gAMA", b"\0\0\xb1\x8f"), chunk(b"cHRM", bytes(32)), chunk(b"sRGB", b"\0"), chunk(b"sBIT", b"\5\6\5"),
        chunk(b"bKGD", bytes(6)), chunk(b"pHYs", b"\0\0\x0b\x13\0\0\x0b\x13\1"),
    )  # fmt: skip
    data = with_chunks(deep_png(np.asarray(noise(2)), 2), *colors)
    assert strip_metadata(data)[0] is data
    with Image.open(io.BytesIO(strip_metadata(PNGS["palette"])[0])) as image:
        assert image.info["transparency"] == 3


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 0, 1)])
def test_a_profile_is_handed_on_in_one_piece(order):
    """Decoders put the parts of a JPEG's into the order of their numbers, whatever stands between them."""
    data = coded(smooth(1), "JPEG", icc_profile=LONG_PROFILE)
    parts = [LONG_PROFILE[60_000 * n : 60_000 * (n + 1)] for n in range(3)]
    segments = [segment(0xE2, b"ICC_PROFILE\0" + bytes((n + 1, 3)) + parts[n]) for n in order]
    parted = with_segments(JPEGS["color"], segments[0], IN_JPEG["comment"], *segments[1:])
    for file in (data, parted, with_profile(PNGS["color"], LONG_PROFILE)):
        assert read_coding(file).profile == LONG_PROFILE
        assert SECRET not in strip_metadata(file)[0]
    assert strip_metadata(data) == (JPEGS["color"], ("ICC profile",))
    assert read_coding(with_chunks(PNGS["color"], IN_PNG["damaged profile"])).profile == b""
    assert read_coding(JPEGS["color"]).profile is None


def test_a_profile_that_grows_when_it_is_unpacked():
    data = with_profile(PNGS["color"], bytes(10**8))
    assert len(read_coding(data).profile) <= MAX_ICC_BYTES


def test_the_color_transform_of_adobe_stays():
    """Without this segment a decoder would take inks for their opposites."""
    assert b"Adobe" in JPEGS["cmyk"]
    stripped, _ = strip_metadata(with_segments(JPEGS["cmyk"], IN_JPEG["comment"]))
    assert stripped == JPEGS["cmyk"]
    start = JPEGS["cmyk"].index(b"\xff\xee")
    longer = JPEGS["cmyk"][:start] + segment(0xEE, JPEGS["cmyk"][start + 4 : start + 16] + SECRET)
    longer += JPEGS["cmyk"][start + 16 :]
    assert strip_metadata(longer) == (JPEGS["cmyk"], ("application data",))


# --- Which way up


def upright(data: bytes) -> np.ndarray:
    with Image.open(io.BytesIO(data)) as image:
        image.load()  # chunks behind the pixels count too
        return np.asarray(ImageOps.exif_transpose(image))


def turned(data: bytes, orientation: int) -> np.ndarray:
    from hub_datasets.images.validation import UPRIGHT

    with Image.open(io.BytesIO(data)) as image:
        method = UPRIGHT.get(orientation)
        return np.asarray(image.transpose(Image.Transpose[method]) if method else image)


@pytest.mark.parametrize("orientation", range(10))
@pytest.mark.parametrize("order", ["<", ">"])
def test_orientation_is_read_as_pillow_reads_it(orientation, order):
    tiff, packet = exif(orientation, order), xmp(orientation)
    digits = b"\nexif\n%8d\n" % (len(tiff) + 6) + (b"Exif\0\0" + tiff).hex().encode()
    raw = b"Raw profile type exif\0"
    jpeg, png = coded(smooth(1), "JPEG"), coded(smooth(1), "PNG")
    for data in (
        with_segments(jpeg, segment(0xE1, b"Exif\0\0" + tiff)),
        with_chunks(png, chunk(b"eXIf", tiff)),
        with_chunks(png, chunk(b"tEXt", raw + digits)),
        with_chunks(png, chunk(b"zTXt", raw + b"\0" + zlib.compress(digits))),
        png[:-12] + chunk(b"eXIf", tiff) + png[-12:],
        with_segments(jpeg, segment(0xE1, b"http://ns.adobe.com/xap/1.0/\0" + packet)),
        with_chunks(png, chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + packet)),
    ):
        coding = read_coding(data)
        assert coding.orientation == (orientation if 1 <= orientation <= 8 else 1)
        assert np.array_equal(turned(data, coding.orientation), upright(data))


def test_exif_that_points_outside_of_itself():
    for tiff in (b"", b"II*\0", b"II*\0\xff\xff\xff\xff", b"MM\0*\0\0\0\x08\xff\xff", b"XX" + exif()[2:], exif()[:20]):
        data = with_segments(JPEGS["color"], segment(0xE1, b"Exif\0\0" + tiff))
        assert read_coding(data).orientation == 1
        assert strip_metadata(data)[0] == JPEGS["color"]


def test_a_raw_profile_that_is_none():
    bomb = zlib.compress(bytes(10**8))
    for content in (b"\0zipped?", b"\0" + bomb, b"\0" + zlib.compress(b"\nexif\n3\nxyz"), b""):
        data = with_chunks(PNGS["color"], chunk(b"zTXt", b"Raw profile type exif\0" + content))
        assert strip_metadata(data) == (PNGS["color"], ("text",))


# --- Files that are not as they should be


def test_what_is_no_jpeg_or_png_is_left_alone():
    for data in (b"", b"GIF89a", b"\x89PNG", b"\xff\xd8", bytes(200)):
        assert strip_metadata(data) == (data, ())
        assert strip_metadata(data)[0] is data


@pytest.mark.parametrize("data", [*JPEGS.values(), *PNGS.values()], ids=[*JPEGS, *PNGS])
def test_a_file_that_ends_too_early(data):
    for size in range(8, len(data), 1 + len(data) // 97):
        coding = read_coding(data[:size])
        assert coding.cut_off and coding.damage, size
    assert not read_coding(data).cut_off and not read_coding(data).damage


@pytest.mark.parametrize("kind", PNGS)
def test_a_changed_byte_of_a_png_is_noticed(kind):
    """Decoders do not look at the checksums of pixels."""
    data = PNGS[kind]
    for place in range(8, len(data), 1 + len(data) // 199):
        changed = data[:place] + bytes((data[place] ^ 0x10,)) + data[place + 1 :]
        coding = read_coding(changed)
        assert coding.damage or coding.removed or coding.cut_off, place


def test_headers_that_contradict_each_other():
    second = PNGS["color"][8:33]
    for data in (with_chunks(PNGS["color"], second), PNGS["color"][:-12] + second + PNGS["color"][-12:]):
        assert read_coding(data).damage
    assert read_coding(PNGS["color"][:8] + PNGS["color"][33:]).damage
    start = JPEGS["color"].index(b"\xff\xc0")
    larger = segment(0xC0, b"\x08\x20\0\x30\0" + JPEGS["color"][start + 9 : start + 19])
    for data in (with_segments(JPEGS["color"], larger), JPEGS["color"][:-2] + larger + b"\xff\xd9"):
        assert (read_coding(data).width, read_coding(data).height) == (0x3000, 0x2000)


def test_a_jpeg_that_would_be_decoded_for_hours():
    """A progressive file may draw the whole image again and again; each time takes a few bytes and all the pixels."""
    data = JPEGS["progressive"]
    start = data.rindex(b"\xff\xda")
    scan = data[start:-2]
    assert not read_coding(data[:start] + scan * 100 + data[-2:]).damage
    assert "more than 500 scans" in read_coding(data[:start] + scan * 600 + data[-2:]).damage


def test_damaged_files_never_raise_and_are_stripped_once():
    random = np.random.default_rng(0)
    for data in (*JPEGS.values(), *PNGS.values()):
        data = with_segments(data, *IN_JPEG.values()) if data[:1] == b"\xff" else with_chunks(data, *IN_PNG.values())
        for _ in range(60):
            changed = bytearray(data)
            for place in random.integers(2, len(data), random.integers(1, 6)):
                changed[place] = random.integers(256)
            stripped, removed = strip_metadata(bytes(changed))
            assert bool(removed) == (len(stripped) != len(changed))


def test_pillow_reads_what_it_read_before():
    """Of a PNG's own fields only those that say nothing of pixels are gone."""
    information = PngImagePlugin.PngInfo()
    information.add_text("Author", SECRET.decode())
    data = with_profile(coded(noise(4), "PNG", pnginfo=information, dpi=(72, 72)), PROFILE)
    with Image.open(io.BytesIO(data)) as before, Image.open(io.BytesIO(strip_metadata(data)[0])) as after:
        assert set(before.info) - set(after.info) == {"Author", "icc_profile"}
        assert all(after.info[key] == before.info[key] for key in after.info)
