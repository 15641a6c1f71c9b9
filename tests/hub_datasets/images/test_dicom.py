"""Checks the conversion of DICOM files, from those of pydicom to files with false headers, to 8-bit pictures."""

from __future__ import annotations

import io
import math
import warnings
import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pydicom
import pytest
from PIL import Image
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.pixels import apply_modality_lut, apply_windowing, pixel_array
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    SecondaryCaptureImageStorage,
)

from hub_datasets.images.dicom import DicomPicture, is_dicom, read_dicom
from hub_datasets.records import Flag, Problem, Reason
from tests.hub_datasets.image_files import coded, noise, packaged_dicom

PACKAGED = [
    path
    for path in sorted((Path(pydicom.__file__).parent / "data" / "test_files").rglob("*.dcm"))
    if is_dicom(path.read_bytes())
]


def dicom(
    values: np.ndarray, syntax: str = ExplicitVRLittleEndian, pixel_data: bytes | None = None, **elements
) -> bytes:
    """A file with these stored values: [rows, columns] or [rows, columns, 3]."""
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = syntax
    dataset.file_meta.MediaStorageSOPClassUID = SecondaryCaptureImageStorage
    dataset.file_meta.MediaStorageSOPInstanceUID = "1.2.3.4"
    dataset.SOPClassUID, dataset.SOPInstanceUID = SecondaryCaptureImageStorage, "1.2.3.4"
    dataset.PatientName, dataset.PatientID, dataset.StudyInstanceUID = "Doe^Jane", "P-4711", "1.2.840.1"
    dataset.Rows, dataset.Columns = values.shape[:2]
    dataset.SamplesPerPixel = 3 if values.ndim == 3 else 1
    dataset.PhotometricInterpretation = "RGB" if values.ndim == 3 else "MONOCHROME2"
    if values.ndim == 3:
        dataset.PlanarConfiguration = 0
    dataset.BitsAllocated = dataset.BitsStored = 8 * values.itemsize
    dataset.HighBit = dataset.BitsStored - 1
    dataset.PixelRepresentation = int(values.dtype.kind == "i")
    dataset.PixelData = values.tobytes() if pixel_data is None else pixel_data
    for name, value in elements.items():
        setattr(dataset, name, value)
    file = io.BytesIO()
    dataset.save_as(file, enforce_file_format=True)
    return file.getvalue()


def read_first(*arguments) -> DicomPicture | Problem:
    """The first of what a file contains; most files contain one picture."""
    return next(read_dicom(*arguments))


def shown(data: bytes, bounds: tuple[float, float] | None = None) -> DicomPicture:
    picture = read_first(data, 1_000_000, 8, bounds)
    assert isinstance(picture, DicomPicture), picture
    return picture


def refused(data: bytes, max_pixels: int = 1_000_000, min_side: int = 8) -> Problem:
    problem = read_first(data, max_pixels, min_side, None)
    assert isinstance(problem, Problem), problem
    return problem


def values_of(picture: DicomPicture) -> np.ndarray:
    return np.asarray(picture.image)


def test_enough_files_are_packaged():
    assert len(PACKAGED) > 60


GRAY = np.random.default_rng(0).integers(-1000, 3000, (32, 40)).astype(np.int16)


@pytest.mark.parametrize("path", PACKAGED, ids=lambda path: path.stem)
def test_every_packaged_file_is_a_picture_or_a_problem(path, capfd):
    data = path.read_bytes()
    assert is_dicom(data)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        result = read_first(data, 1_000_000, 2, None)
    assert capfd.readouterr() == ("", "")
    if isinstance(result, Problem):
        assert result.code in (
            Reason.IMAGE_FORMAT, Reason.IMAGE_ANIMATED, Reason.IMAGE_TRUNCATED, Reason.IMAGE_UNREADABLE,
            Reason.IMAGE_TOO_LARGE,
        )  # fmt: skip
        return
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        dataset = pydicom.dcmread(path)
    assert result.image.mode in ("L", "RGB") and result.image.size == (dataset.Columns, dataset.Rows)
    assert not result.image.info
    identifiers = {str(dataset.get(name, "")) for name in ("PatientID", "StudyInstanceUID")} - {""}
    assert not identifiers & {group.split(":")[1] for group in result.groups}


def test_packaged_pictures_are_what_pydicom_shows():
    """Its own window function, in double precision, stretched to 8 bits."""
    for name in ("MR_small.dcm", "examples_overlay.dcm", "J2K_pixelrep_mismatch.dcm"):
        dataset = pydicom.dcmread(io.BytesIO(packaged_dicom(name)))
        stretched = apply_windowing(apply_modality_lut(pixel_array(dataset), dataset), dataset)
        top, bottom = 2.0**dataset.BitsStored - 1, 0.0
        if dataset.PixelRepresentation:
            bottom, top = -(2.0 ** (dataset.BitsStored - 1)), 2.0 ** (dataset.BitsStored - 1) - 1
        slope, intercept = float(dataset.get("RescaleSlope", 1)), float(dataset.get("RescaleIntercept", 0))
        bottom, top = bottom * slope + intercept, top * slope + intercept
        expected = (stretched - bottom) / (top - bottom) * 255
        assert np.abs(values_of(shown(packaged_dicom(name))) - expected).max() <= 0.5 + 1e-9, name


@pytest.mark.parametrize(
    ("name", "reference"),
    [
        ("MR_small_RLE.dcm", "MR_small.dcm"),
        ("MR_small_bigendian.dcm", "MR_small.dcm"),
        ("MR_small_implicit.dcm", "MR_small.dcm"),
        ("MR_small_jp2klossless.dcm", "MR_small.dcm"),
        ("SC_rgb_small_odd_big_endian.dcm", "SC_rgb_small_odd.dcm"),
        ("liver_expb_1frame.dcm", "liver_1frame.dcm"),
    ],
)
def test_the_same_picture_in_another_coding(name, reference):
    pictures = [read_first(packaged_dicom(each), 10**6, 2, None) for each in (name, reference)]
    assert np.array_equal(values_of(pictures[0]), values_of(pictures[1]))


def test_ybr_becomes_rgb():
    plain = values_of(shown(packaged_dicom("SC_rgb_rle.dcm"))).astype(int)
    for name in ("SC_rgb_jpeg_dcmtk.dcm", "SC_ybr_full_422_uncompressed.dcm", "SC_rgb_dcmtk_+eb+cy+np.dcm"):
        other = values_of(shown(packaged_dicom(name))).astype(int)
        assert np.abs(other[5:, :50].mean((0, 1)) - plain[5:, :50].mean((0, 1))).max() < 4, name


def test_a_file_without_a_window_is_shown_whole():
    picture = shown(dicom(GRAY, RescaleSlope=2, RescaleIntercept=-1024))
    rescaled = GRAY * 2.0 - 1024
    low, high = rescaled.min(), rescaled.max()
    assert picture.window == f"min-max {low:g}..{high:g}"
    assert np.array_equal(values_of(picture), np.rint((rescaled - low) / (high - low) * 255))


def by_the_standard(function: str, x: float, c: float, w: float) -> float:
    """PS3.3, C.11.2.1.2.1 and C.11.2.1.3: the value from 0 to 255 that a window shows for a rescaled one."""
    if function == "SIGMOID":
        return 255 / (1 + math.exp(min(-4 * (x - c) / w, 700)))
    if function == "LINEAR_EXACT":
        return 0 if x <= c - w / 2 else 255 if x > c + w / 2 else ((x - c) / w + 0.5) * 255
    if x <= c - 0.5 - (w - 1) / 2:
        return 0
    return 255 if x > c - 0.5 + (w - 1) / 2 else ((x - (c - 0.5)) / (w - 1) + 0.5) * 255


@pytest.mark.parametrize(("slope", "intercept"), [(None, None), (2, -1024), (0.25, 10.5), (-1, 4000)])
@pytest.mark.parametrize("window", [(40, 100), (1000.5, 2500.25), (128, 256), (100, 1)])
@pytest.mark.parametrize("function", ["LINEAR", "LINEAR_EXACT", "SIGMOID", "", None])
def test_the_window_of_the_file_is_that_of_the_standard(function, window, slope, intercept):
    center, width = window
    elements = {"WindowCenter": [center, 9], "WindowWidth": [width, 7]}  # the first of several
    elements |= {} if function is None else {"VOILUTFunction": function}
    elements |= {} if slope is None else {"RescaleSlope": slope, "RescaleIntercept": intercept}
    for stored in (GRAY, (GRAY + 1000).astype(np.uint16), (GRAY & 0xFF).astype(np.uint8), GRAY.astype(np.float32)):
        data = dicom(stored, **elements)
        picture = shown(of_floats(data, stored) if stored.dtype == np.float32 else data)
        assert picture.window == "window of the file"
        rescaled = stored.astype(float) if slope is None else stored.astype(float) * slope + intercept
        expected = [by_the_standard(function or "LINEAR", x, center, width) for x in rescaled.ravel()]
        assert np.abs(values_of(picture).ravel() - np.array(expected)).max() <= 0.5 + 1e-9, stored.dtype


def of_floats(data: bytes, values: np.ndarray) -> bytes:
    """The file with pixels of floating point, which need not say how many bits they have."""
    dataset = pydicom.dcmread(io.BytesIO(data))
    for name in ("PixelData", "BitsStored", "HighBit", "PixelRepresentation"):
        delattr(dataset, name)
    dataset.FloatPixelData = values.tobytes()
    file = io.BytesIO()
    dataset.save_as(file)
    return file.getvalue()


@pytest.mark.parametrize(("center", "width"), [(40, 0), (40, -5), ("", ""), (None, 100)])
def test_a_window_without_sense_is_none(center, width):
    assert shown(dicom(GRAY, WindowCenter=center, WindowWidth=width)).window.startswith("min-max ")


def test_an_unknown_function_of_a_window_is_none():
    picture = shown(dicom(GRAY, WindowCenter=40, WindowWidth=100, VOILUTFunction="CUBIC"))
    assert picture.window.startswith("min-max ")


def test_a_chosen_window_takes_precedence_where_there_are_more_than_8_bits():
    chosen = shown(dicom(GRAY, WindowCenter=40, WindowWidth=100), (-160, 240))
    assert chosen.window.startswith("fixed -160..240, ")
    assert np.array_equal(values_of(chosen), np.rint(np.clip((GRAY + 160) / 400, 0, 1) * 255))
    bytes_ = np.arange(256, dtype=np.uint8).reshape(16, 16)
    assert np.array_equal(values_of(shown(dicom(bytes_), (-160, 240))), bytes_)
    assert shown(dicom(bytes_)).window == ""


@pytest.mark.parametrize("elements", [{}, {"WindowCenter": 40, "WindowWidth": 2000, "VOILUTFunction": "SIGMOID"}])
def test_monochrome1_is_inverted(elements):
    picture, inverted = (shown(dicom(GRAY, PhotometricInterpretation=f"MONOCHROME{i}", **elements)) for i in (2, 1))
    assert np.array_equal(values_of(inverted), 255 - values_of(picture))


def lookup_table(entries: Sequence[int], first: int, bits: int) -> Dataset:
    """Of what comes out for each value from `first` on."""
    table = Dataset()
    table.LUTDescriptor = [len(entries), first, bits]
    table.LUTData = np.array(entries, "<u2").tobytes()
    return table


@pytest.mark.parametrize("bits", [8, 10, 12, 16])
@pytest.mark.parametrize("signed", [False, True])
def test_the_lookup_table_of_the_file_is_that_of_the_standard(bits, signed):
    """PS3.3, C.11.2.1.1: what lies before the table is shown as its first entry, what lies behind as its last."""
    stored = np.arange(-2048, 2048, dtype=np.int16) if signed else np.arange(4096, dtype=np.uint16)
    first, largest = -1500 if signed else 200, 2**bits - 1
    entries = np.random.default_rng(bits).integers(0, largest + 1, 3000)
    data = dicom(
        stored.reshape(64, 64), VOILUTSequence=[lookup_table(entries, first, bits)], WindowCenter=1, WindowWidth=1
    )
    picture = shown(data)
    expected = entries[np.clip(stored.astype(int) - first, 0, 2999)] / largest * 255
    assert picture.window == "lookup table of the file"  # before its center and width
    assert np.array_equal(values_of(picture).ravel(), np.rint(expected))


def test_a_lookup_table_below_zero():
    """Rescaled values are negative although the stored ones cannot be."""
    table = Dataset()
    table.LUTDescriptor = [3, -1001, 8]
    table.LUTData = b"\x0a\0\x14\0\x1e\0"
    stored = np.array([22, 23, 24, 25], np.uint16).repeat(16).reshape(8, 8)
    data = dicom(stored, VOILUTSequence=[table], RescaleSlope=1, RescaleIntercept=-1024, PixelRepresentation=1)
    assert np.unique(values_of(shown(data))).tolist() == [10, 20, 30]


@pytest.mark.parametrize("bits", [8, 12, 16])
def test_a_table_that_rescales(bits):
    """The Modality LUT: over the whole range of 16 bits with a sign, and shown through a window of its results."""
    stored = np.arange(-32768, 32768, 16, dtype=np.int16).reshape(64, 64)
    entries = np.random.default_rng(bits).integers(0, 2**bits, 4096)
    rescaled = entries[np.clip(stored.astype(int) + 1024, 0, 4095)]
    table = lookup_table(entries, -1024, bits)
    table.ModalityLUTType = "US"
    picture = shown(dicom(stored, ModalityLUTSequence=[table], WindowCenter=100, WindowWidth=120))
    expected = [by_the_standard("LINEAR", x, 100, 120) for x in rescaled.ravel()]
    assert np.abs(values_of(picture).ravel() - np.array(expected)).max() <= 0.5 + 1e-9
    plain = shown(dicom(stored, ModalityLUTSequence=[table]))
    assert plain.window == f"min-max {rescaled.min()}..{rescaled.max()}"


def test_pixels_of_floating_point():
    values = np.linspace(-0.5, 2.0, 120, dtype=np.float32).reshape(10, 12)
    picture = shown(of_floats(dicom(values, pixel_data=b""), values))
    assert picture.window == "min-max -0.5..2"
    assert np.array_equal(values_of(picture), np.rint((values.astype(float) + 0.5) / 2.5 * 255))


def test_padding_does_not_darken_the_picture():
    stored = GRAY.copy()
    stored[:5] = -2000
    plain, padded = shown(dicom(stored)), shown(dicom(stored, PixelPaddingValue=-2000))
    low, high = GRAY[5:].min(), GRAY[5:].max()
    assert plain.window == f"min-max -2000..{high}"
    assert padded.window == f"min-max {low}..{high}"
    assert not values_of(padded)[:5].any()
    everything = shown(dicom(np.full((9, 9), -2000, np.int16), PixelPaddingValue=-2000))
    assert everything.window == "min-max -2000..-2000"


def test_colors_of_8_and_16_bits():
    colors = np.random.default_rng(1).integers(0, 256, (20, 24, 3), dtype=np.uint8)
    assert np.array_equal(values_of(shown(dicom(colors))), colors)
    assert shown(dicom(colors)).window == ""
    deep = np.random.default_rng(1).integers(0, 65536, (20, 24, 3), dtype=np.uint16)
    assert np.array_equal(values_of(shown(dicom(deep))), np.rint(deep / 65535 * 255))


# --- Whose it is


def test_identifiers_become_hashes():
    data = dicom(GRAY)
    groups = shown(data).groups
    assert shown(dicom(GRAY + 1)).groups == groups
    assert [group.split(":")[0] for group in groups] == ["patient", "study"]
    assert not any(secret in str(groups) for secret in ("4711", "1.2.840.1", "Doe"))
    assert shown(dicom(GRAY, PatientID=" P-4711 ")).groups == groups
    assert shown(dicom(GRAY, PatientID="P-4712")).groups[0] != groups[0]
    assert shown(dicom(GRAY, PatientID="P-4712")).groups[1] == groups[1]


@pytest.mark.parametrize("name", ["", "ANONYMOUS", "anonymized", "0", "000", "Unknown", "Anonymous^Patient", None])
def test_nobody_is_no_patient(name):
    """Else a whole set that somebody made anonymous would be one patient, and could not be split."""
    assert [group.split(":")[0] for group in shown(dicom(GRAY, PatientID=name)).groups] == ["study"]
    assert shown(dicom(GRAY, PatientID=name, StudyInstanceUID="")).groups == ()


def test_text_that_is_burned_in():
    (flag,) = shown(dicom(GRAY, BurnedInAnnotation="YES")).flags
    assert isinstance(flag, Flag) and flag.kind == "burned_in_text" and "DICOM header" in flag.detail
    assert shown(dicom(GRAY, BurnedInAnnotation="NO")).flags == shown(dicom(GRAY)).flags == ()


# --- What is refused


def test_sizes_are_checked_before_decoding():
    assert refused(dicom(GRAY), max_pixels=GRAY.size - 1).code is Reason.IMAGE_TOO_LARGE
    assert refused(dicom(GRAY), min_side=33).code is Reason.IMAGE_TOO_SMALL
    huge = refused(dicom(GRAY, Rows=65535, Columns=65535))
    assert huge.code is Reason.IMAGE_TOO_LARGE and "65535 x 65535 pixels" in huge.message


@pytest.mark.parametrize(("syntax", "format"), [(JPEGBaseline8Bit, "JPEG"), (JPEG2000Lossless, "JPEG2000")])
def test_a_compressed_picture_that_is_larger_than_the_header_says(syntax, format):
    picture = noise(1, size=(300, 200))
    small = np.asarray(picture.crop((0, 0, 20, 10)))
    data = dicom(small, syntax, encapsulate([coded(picture, format)]))
    problem = refused(data, max_pixels=10_000)
    assert problem.code is Reason.IMAGE_TOO_LARGE and "300 x 200 pixels" in problem.message


@pytest.mark.parametrize("size", [0, 1, 7])
def test_a_box_of_jpeg_2000_without_a_size_ends(size):
    """pydicom would look for the box after it forever."""
    coding = coded(noise(1, size=(20, 10)), "JPEG2000", irreversible=False)
    pixels = np.asarray(noise(1, size=(20, 10)))
    assert shown(dicom(pixels, JPEG2000Lossless, encapsulate([coding])))
    place = coding.index(b"ftyp") - 4
    damaged = coding[:place] + size.to_bytes(4) + coding[place + 4 :]
    for frame in (damaged, coding[:place] + bytes(6)):
        problem = refused(dicom(pixels, JPEG2000Lossless, encapsulate([frame])))
        assert problem.code is Reason.IMAGE_UNREADABLE and "JPEG 2000 picture has no coded pixels" in problem.message


def test_a_file_that_grows_when_it_is_decompressed():
    """A hundred thousand bytes that would become a hundred million."""
    data = dicom(GRAY, DeflatedExplicitVRLittleEndian)
    assert isinstance(read_first(data, 10**6, 8, None), DicomPicture)
    start = 144 + int.from_bytes(data[140:144], "little")
    bomb = zlib.compress(bytes(10**8), wbits=-15)
    problem = refused(data[:start] + bomb)
    assert problem.code is Reason.IMAGE_TOO_LARGE and "when it is decompressed" in problem.message


def test_several_pictures():
    problem = refused(dicom(GRAY, NumberOfFrames=2))
    assert problem.code is Reason.IMAGE_ANIMATED and "contains 2 pictures" in problem.message
    assert shown(dicom(GRAY, NumberOfFrames=1))


@pytest.mark.parametrize("name", ["MR_small_jpeg_ls_lossless.dcm", "SC_rgb_jpeg_gdcm.dcm", "JPEG2000.dcm"])
def test_compressed_pixels_are_decoded(name):
    assert shown(packaged_dicom(name))


def test_a_compression_that_nothing_here_decodes():
    problem = refused(packaged_dicom("JPEG-lossy.dcm"))
    assert problem.code is Reason.IMAGE_FORMAT
    assert "decompress it first, for example with gdcmconv --raw, or install a decoder: " in problem.message


def test_a_file_without_a_picture():
    assert refused(packaged_dicom("test-SR.dcm")).code is Reason.IMAGE_FORMAT
    assert "a DICOM file without a picture" in refused(packaged_dicom("waveform_ecg.dcm")).message


def test_a_file_that_is_cut_off():
    assert refused(packaged_dicom("MR_truncated.dcm")).code is Reason.IMAGE_TRUNCATED
    data = dicom(GRAY)
    for size in range(132, len(data), 61):
        assert isinstance(read_first(data[:size], 10**6, 8, None), Problem), size
    for size in range(len(data) - 2000, len(data), 100):
        assert refused(data[:size]).code is Reason.IMAGE_TRUNCATED, size
    before_pixels = data.index(b"\xe0\x7f\x10\0OW")
    assert refused(data[:before_pixels]).code is Reason.IMAGE_TRUNCATED
    deflated = dicom(GRAY, DeflatedExplicitVRLittleEndian)
    assert refused(deflated[: len(deflated) // 2]).code is Reason.IMAGE_TRUNCATED


def test_a_file_that_does_not_say_how_it_is_coded():
    problem = refused(dicom(GRAY).replace(b"\2\0\x10\0UI", b"\2\0\x11\0UI"))
    assert problem.code is Reason.IMAGE_UNREADABLE


def test_kinds_of_pixels_that_no_rule_covers():
    problem = refused(dicom(GRAY, PhotometricInterpretation="HSV"))
    assert problem.code is Reason.IMAGE_FORMAT and "HSV" in problem.message


def test_what_is_a_dicom_file():
    assert is_dicom(dicom(GRAY))
    for data in (b"", b"DICM", bytes(132), coded(Image.new("L", (50, 50)), "PNG")):
        assert not is_dicom(data)
