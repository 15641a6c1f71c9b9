"""Checks the published bytes of an image: its own where possible, else the same pixels."""

from __future__ import annotations

import io
import pickle
import sys

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFont, ImageOps

from hub_datasets.images.hashing import perceptual_hash, pixel_hash
from hub_datasets.images.validation import ExaminedImage, ImageSettings, examine_image
from hub_datasets.records import Problem, Reason
from tests.hub_datasets.image_files import (
    ADOBE_RGB,
    SECRET,
    chunk,
    coded,
    deep_png,
    exif,
    noise,
    packaged_dicom,
    pixels,
    rgb_profile,
    smooth,
    with_chunks,
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


def test_inks_become_the_colors_that_every_reader_makes_of_them():
    data = coded(smooth(1, "CMYK"), "JPEG", icc_profile=rgb_profile(ADOBE_RGB))
    examined = examine(data)
    assert (examined.format, examined.stripped) == ("PNG", ("ICC profile", "CMYK converted to RGB"))
    with Image.open(io.BytesIO(data)) as inks, Image.open(io.BytesIO(examined.data)) as colors:
        assert np.array_equal(np.asarray(inks.convert("RGB")), np.asarray(colors))
        assert "icc_profile" not in colors.info


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


def test_sixteen_bits_of_gray():
    values = np.random.default_rng(0).integers(123, 4096, (30, 40, 1), dtype=np.uint16)
    values.flat[:2] = 123, 4095
    examined = examine(deep_png(values, 0))
    assert (examined.format, examined.window) == ("PNG", "min-max 123..4095")
    expected = np.rint((values[..., 0].astype(float) - 123) / (4095 - 123) * 255)
    assert np.array_equal(pixels(examined.data), expected)
    assert pixels(examined.data).dtype == np.uint8
    assert examined.pixels == pixel_hash(Image.fromarray(expected.astype(np.uint8)))
    assert examine(deep_png(values, 0, interlaced=True)).pixels == examined.pixels
    shared = examine(deep_png(values, 0), window="0:4095")
    assert shared.window == "fixed 0..4095"
    assert np.array_equal(pixels(shared.data), np.rint(values[..., 0] / 4095 * 255))


def test_a_window_changes_nothing_that_has_8_bits():
    data = coded(noise(1), "PNG")
    assert examine(data, window="0:10").data is data


def test_what_passes_between_processes_can():
    settings, examined = ImageSettings(window="0:4095"), examine(packaged_dicom("CT_small.dcm"))
    assert pickle.loads(pickle.dumps((settings, examined))) == (settings, examined)  # noqa: S301


def test_help_need_not_wait_for_heavy_modules(run):
    heavy = "{'numpy', 'PIL', 'pydicom', 'datasets', 'torch', 'rapidocr_onnxruntime'}"
    code = f"import sys, hub_datasets.images.validation; print(sorted({heavy} & set(sys.modules)))"
    assert run("python", "-c", code).stdout.strip() == "[]"


# --- Other parts that are asked


def test_text_that_is_burned_in_is_looked_for_when_asked():
    pytest.importorskip("hub_datasets.texts.identifiers")
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
