"""Every reason why an image or a text is refused, with a file that has the fault; and what must not be refused."""

from __future__ import annotations

import io
import pickle
import random
import sys
import warnings

import numpy as np
import pytest
from PIL import Image, ImageCms, ImageDraw, ImageFile, ImageFont, ImageOps

from hub_datasets.duplicates import perceptual_hash, pixel_hash
from hub_datasets.schema import BuildError, Problem, RawRecord, Reason
from hub_datasets.validation import ExaminedImage, ImageSettings, check_text, check_writable, examine_image
from tests.hub_datasets.image_files import (
    SECRET,
    chunk,
    coded,
    deep_png,
    exif,
    noise,
    packaged_dicom,
    pixels,
    segment,
    smooth,
    with_chunks,
    with_segments,
)

SETTINGS = ImageSettings()


def examine(data: bytes, **settings) -> ExaminedImage:
    examined = examine_image(data, "folder/1.png", ImageSettings(**settings))
    assert isinstance(examined, ExaminedImage), examined
    return examined


def refused(data: bytes, **settings) -> Problem:
    examined = examine_image(data, "folder/1.png", ImageSettings(**settings))
    assert isinstance(examined, Problem), examined
    assert examined.message.startswith("'folder/1.png' ")
    return examined


# --- What is refused


@pytest.mark.parametrize("format", ["GIF", "BMP", "TIFF", "WEBP", "PPM", "JPEG2000"])
def test_other_formats_named_png(format):
    problem = refused(coded(noise(3), format))
    assert problem.code is Reason.IMAGE_FORMAT
    assert "no image in an allowed format (JPEG, PNG, DICOM)" in problem.message


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
    assert problem.message.startswith("'folder/1.png' is cut off: ")


def test_a_jpeg_without_its_end_is_cut_off_even_if_its_preview_has_one():
    preview = segment(0xE1, b"Exif\0\0" + exif() + coded(noise(1), "JPEG"))
    data = with_segments(coded(noise(6, size=(80, 80)), "JPEG"), preview)
    assert refused(data[:-2]).code is refused(data[:-500]).code is Reason.IMAGE_TRUNCATED


@pytest.mark.parametrize("interlaced", [False, True])
@pytest.mark.parametrize("type", ["u1", "u2"])
@pytest.mark.parametrize("colour", [0, 2, 4, 6])
def test_a_png_without_its_last_rows(colour, type, interlaced):
    """The file is whole, and so is the compressed stream: whoever wrote it stopped in the middle."""
    values = np.full((41, 40, {0: 1, 2: 3, 4: 2, 6: 4}[colour]), 77, type)
    for share in (0.1, 0.5, 0.95):
        assert refused(deep_png(values, colour, interlaced, share)).code is Reason.IMAGE_TRUNCATED
    black = deep_png(values * 0, colour, interlaced)
    assert not pixels(examine(black).data).any()
    assert examine(deep_png(values, colour, interlaced)).height == 41


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
    assert f"{side} x {side} pixels, the limit is 64,000,000" in problem.message


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
    assert "has 12 x 10 pixels, at least 11 are needed on each side" in problem.message


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
    assert "a JPEG of 12 bits; convert it to a PNG of 16 bits" in problem.message


def test_a_window_that_is_none():
    with pytest.raises(BuildError, match="--window 'bones'"):
        examine_image(coded(noise(1), "PNG"), "1.png", ImageSettings(window="bones"))


# --- What is published


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA"])
def test_all_8_bit_modes_of_png_stay_as_they_are(mode):
    data = coded(noise(9).convert(mode), "PNG")
    examined = examine(data)
    assert examined.data is data
    with Image.open(io.BytesIO(data)) as image:
        assert (examined.pixels, examined.perceptual) == (pixel_hash(image), perceptual_hash(image))
    assert (examined.format, examined.width, examined.height) == ("PNG", 24, 20)
    assert (examined.groups, examined.window, examined.stripped, examined.flags) == ((), "", (), ())


@pytest.mark.parametrize("mode", ["L", "RGB"])
@pytest.mark.parametrize("progressive", [False, True])
def test_jpeg_stays_as_it_is(mode, progressive):
    data = coded(noise(9, mode), "JPEG", progressive=progressive)
    assert examine(data).data is data
    assert examine(data).format == "JPEG"


def test_the_content_decides_not_the_name():
    assert examine_image(coded(noise(1), "JPEG"), "1.png", SETTINGS).format == "JPEG"
    assert examine_image(coded(noise(1), "PNG"), "1.txt", SETTINGS).format == "PNG"


def test_inks_become_the_colours_that_every_reader_makes_of_them():
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    data = coded(smooth(1, "CMYK"), "JPEG", icc_profile=profile)
    examined = examine(data)
    assert (examined.format, examined.stripped) == ("PNG", ("CMYK converted to RGB",))
    with Image.open(io.BytesIO(data)) as inks, Image.open(io.BytesIO(examined.data)) as colours:
        assert np.array_equal(np.asarray(inks.convert("RGB")), np.asarray(colours))
        assert "icc_profile" not in colours.info  # it described inks


def test_metadata_is_removed_and_named():
    data = coded(smooth(1), "JPEG", exif=b"Exif\0\0" + exif(), comment=SECRET)
    examined = examine(data + b"PK\3\4")
    assert set(examined.stripped) == {"EXIF", "GPS", "comment", "data after the end"}
    assert SECRET not in examined.data
    assert np.array_equal(pixels(examined.data), pixels(data))


@pytest.mark.parametrize("orientation", range(2, 9))
@pytest.mark.parametrize(
    "image",
    [smooth(1), smooth(1, "L"), smooth(1).convert("P"), smooth(1, "RGBA"), smooth(1, "LA"), smooth(1).convert("1")],
    ids=lambda image: image.mode,
)
def test_an_image_that_lies_on_its_side_is_set_right(image, orientation):
    originals = [with_chunks(coded(image, "PNG"), chunk(b"eXIf", exif(orientation)))]
    if image.mode in ("L", "RGB"):
        originals.append(coded(image, "JPEG", exif=b"Exif\0\0" + exif(orientation)))
    for data in originals:
        examined = examine(data)
        assert (examined.format, examined.stripped) == ("PNG", ("EXIF", "GPS", "orientation applied"))
        assert SECRET not in examined.data
        with Image.open(io.BytesIO(data)) as before, Image.open(io.BytesIO(examined.data)) as after:
            upright = ImageOps.exif_transpose(before)
            assert after.size == upright.size == (examined.width, examined.height)
            assert np.array_equal(np.asarray(after.convert("RGBA")), np.asarray(upright.convert("RGBA")))
            assert examined.pixels == pixel_hash(upright)


def test_hashes_are_of_what_is_published():
    """Of the turned pixels, not of those in the file."""
    upright = coded(smooth(1), "PNG")
    side = with_chunks(coded(smooth(1).transpose(Image.Transpose.ROTATE_90), "PNG"), chunk(b"eXIf", exif(6)))
    assert examine(side).pixels == examine(upright).pixels
    assert examine(side).perceptual == examine(upright).perceptual


def test_sixteen_bits_of_grey():
    values = np.random.default_rng(0).integers(123, 4096, (30, 40, 1), dtype=np.uint16)
    values.flat[:2] = 123, 4095
    examined = examine(deep_png(values, 0))
    assert (examined.format, examined.window) == ("PNG", "min-max 123..4095")
    expected = np.rint((values[..., 0].astype(float) - 123) / (4095 - 123) * 255)
    assert np.array_equal(pixels(examined.data), expected)
    assert pixels(examined.data).dtype == np.uint8
    assert examined.pixels == pixel_hash(Image.fromarray(expected.astype(np.uint8)))
    shared = examine(deep_png(values, 0), window="0:4095")
    assert shared.window == "fixed 0..4095"
    assert np.array_equal(pixels(shared.data), np.rint(values[..., 0] / 4095 * 255))


def test_sixteen_bits_of_colour_are_rounded_not_cut():
    values = np.random.default_rng(0).integers(0, 65536, (30, 40, 3), dtype=np.uint16)
    examined = examine(deep_png(values, 2))
    assert examined.window == "full range 0..65535"
    assert np.array_equal(pixels(examined.data), np.rint(values / 65535 * 255))
    dark = examine(deep_png(values >> 4, 2))  # 12 bits in 16: the upper bytes alone are nearly black
    assert dark.window == "full range 0..4095"
    assert np.array_equal(pixels(dark.data), np.rint((values >> 4) / 4095 * 255))


@pytest.mark.parametrize(("colour", "channels"), [(4, 2), (6, 4)])
def test_sixteen_bits_with_alpha(colour, channels):
    values = np.random.default_rng(0).integers(0, 4096, (30, 40, channels), dtype=np.uint16)
    values[..., -1] *= 16
    shown = pixels(examine(deep_png(values, colour), window="0:4095").data)
    assert shown.shape == (30, 40, channels)
    assert np.array_equal(shown[..., :-1], np.rint(values[..., :-1] / 4095 * 255))
    assert np.array_equal(shown[..., -1], np.rint(values[..., -1] / 65535 * 255))


def test_a_window_changes_nothing_that_has_8_bits():
    data = coded(noise(1), "PNG")
    assert examine(data, window="0:10").data is data


# --- No bytes raise, warn or change settings


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
        deep_png(np.asarray(noise(1, "LA")).astype(np.uint16) * 99, 4, interlaced=True),
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


def test_a_palette_with_transparent_colours_warns_nobody():
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


def test_what_passes_between_processes_can():
    settings, examined = ImageSettings(window="0:4095"), examine(packaged_dicom("CT_small.dcm"))
    assert pickle.loads(pickle.dumps((settings, examined))) == (settings, examined)  # noqa: S301


def test_help_need_not_wait_for_heavy_modules(run):
    heavy = "{'numpy', 'PIL', 'pydicom', 'datasets', 'torch', 'rapidocr_onnxruntime'}"
    code = f"import sys, hub_datasets.validation; print(sorted({heavy} & set(sys.modules)))"
    assert run("python", "-c", code).stdout.strip() == "[]"


# --- Other parts that are asked


def test_text_that_is_burned_in_is_looked_for_when_asked():
    pytest.importorskip("hub_datasets.privacy")
    pytest.importorskip("rapidocr_onnxruntime", reason="the extra `ocr` is not installed")
    page = Image.new("RGB", (640, 240), "white")
    ImageDraw.Draw(page).text((20, 80), "DOE JANE 1961-04-12", "black", ImageFont.load_default(48))
    (flag,) = examine(coded(page, "PNG"), ocr=True).flags
    assert flag.kind == "burned_in_text"
    assert examine(coded(page, "PNG")).flags == examine(coded(Image.new("L", (64, 64)), "PNG"), ocr=True).flags == ()


def test_dicom_becomes_png():
    examined = examine(packaged_dicom("CT_small.dcm"))
    assert (examined.format, examined.width, examined.height) == ("PNG", 128, 128)
    assert (examined.window, examined.stripped) == ("min-max -896..1167", ("DICOM header",))
    assert [group.split(":")[0] for group in examined.groups] == ["patient", "study"]
    assert examined.data.startswith(b"\x89PNG") and b"1CT1" not in examined.data
    assert examined.pixels == pixel_hash(Image.open(io.BytesIO(examined.data)))


def test_dicom_without_pydicom_says_what_to_install(monkeypatch):
    data = packaged_dicom("CT_small.dcm")
    monkeypatch.setitem(sys.modules, "pydicom", None)  # as if it were not there
    problem = refused(data)
    assert problem.code is Reason.IMAGE_FORMAT
    assert "pip install 'medpairs[dicom]'" in problem.message


def test_real_images_stay_as_they_are(real_data):
    files = [*real_data.glob("slake/imgs/*/*.jpg"), *real_data.glob("knee/**/*.png"), *real_data.glob("pad*/**/*.png")]
    assert files
    for path in files:
        data = path.read_bytes()
        examined = examine(data)
        assert np.array_equal(pixels(examined.data), pixels(data))
        assert examined.data is data or examined.stripped


# --- What is said about it


def record(text: str | None = None, **fields) -> RawRecord:
    return RawRecord("test", "row 1", "1.png", "report", "en", text=text, **fields)


@pytest.mark.parametrize(
    ("length", "code"),
    [(0, Reason.TEXT_EMPTY), (1, Reason.TEXT_SHORT), (5, Reason.TEXT_SHORT), (6, None), (999, None),
     (1000, Reason.TEXT_LONG), (200_000, Reason.TEXT_LONG)],
)  # fmt: skip
@pytest.mark.parametrize("letter", ["a", "肺", "😀"])
def test_bounds_of_a_pairs_text(length, code, letter):
    problem = check_text(record(letter * length), 5, 1000)
    assert (problem and problem.code) == code


@pytest.mark.parametrize("answer", ["No", "是", "2", "x" * 5000])
def test_an_answer_must_only_be_there(answer):
    assert check_text(record(question="?", answer=answer), 5, 1000) is None


@pytest.mark.parametrize("text", ["a\0b", "a\ufffdb", "a\ud800b", "\udfff", "ab\uffff"])
def test_a_text_that_lost_its_characters(text):
    for said in ({"text": text * 9}, {"question": text, "answer": "No"}, {"question": "Is it?", "answer": text}):
        problem = check_text(record(**said), 1, 1000)
        assert problem.code is Reason.TEXT_ENCODING
        problem.message.encode()
    assert (
        f"the answer has U+{max(map(ord, text.replace('b', '').replace('a', ''))):04X} as its chara" in problem.message
    )


CONTROL = [
    *range(1, 9),
    11,
    12,
    *range(14, 32),
    *range(0x7F, 0xA0),
    *range(0x202A, 0x202F),
    *range(0x2066, 0x206A),
    0xFEFF,
]


@pytest.mark.parametrize("code", CONTROL)
def test_characters_that_only_machines_read(code):
    problem = check_text(record(f"The knee {chr(code)}is normal."), 1, 1000)
    assert problem.code is Reason.TEXT_CONTROL_CHARACTERS
    assert f"the text has U+{code:04X} as its character 10 of 20" in problem.message
    for said in ({"question": chr(code), "answer": "No"}, {"question": "Is it?", "answer": chr(code)}):
        assert check_text(record(**said), 1, 1000).code is Reason.TEXT_CONTROL_CHARACTERS


@pytest.mark.parametrize(
    "text", ["a\tb\r\nc", "肺\u200b部", "e\u0301\u00ad", "\u3000，。", "👩\u200d⚕\ufe0f", "عظم\u200f", "\u2028", "\xa0"]
)
def test_characters_that_people_write(text):
    assert check_text(record(text * 9), 1, 1000) is None
    assert check_text(record(question=text, answer=text), 1, 1000) is None


def test_an_empty_question_or_answer():
    for question, answer, words in (("", "No", "question"), ("Is it?", "", "answer"), ("", "", "question and the ans")):
        problem = check_text(record(question=question, answer=answer), 5, 1000)
        assert problem.code is Reason.TEXT_EMPTY and words in problem.message


def test_what_json_in_utf_8_can_hold():
    metadata = {"": None, "n": [-(2**63), 2**64 - 1, 0.1, 1e300], "深": {"a": [True, "\0\n\u2028😀"]}}
    assert check_writable(record("text", metadata=metadata)) is None


@pytest.mark.parametrize(
    "value",
    [float("nan"), float("inf"), -float("inf"), 2**64, -(2**63) - 1, 10**5000, "\ud800", {"\udfff": 1}],
    ids=["nan", "inf", "minus inf", "2**64", "-2**63-1", "10**5000", "surrogate", "surrogate key"],
)
def test_what_json_in_utf_8_cannot_hold(value):
    problem = check_writable(record("text", metadata={"a": [{"b": value}]}))
    assert problem.code is Reason.MALFORMED_ROW
    problem.message.encode()


def test_every_field_must_be_writable():
    for fields in ({"text": "\ud800"}, {"question": "\ud800", "answer": ""}, {"groups": ("patient:\ud800",)}):
        assert check_writable(record(**fields)).code is Reason.MALFORMED_ROW


def test_a_row_that_is_nested_too_deep():
    deep: list = []
    for _ in range(5000):
        deep = [deep]
    assert check_writable(record("text", metadata={"a": deep})).code is Reason.MALFORMED_ROW
