"""Converts a DICOM file to 8-bit pixels, and derives keys for its patient and study.

Nothing else in the file is published. The keys tell which images belong together and are the same as those of tables
(`patient_ids.py`). They are hashes without a secret and stay on this machine, as does what the header tells of a
person, by which the texts are searched. Requires the extra `dicom` (pydicom).

Gray values are rescaled by the Modality LUT and mapped through the window that is stored in the file (PS3.3, C.11.2):
the first of its lookup tables (VOI LUT), or the first pair of center and width, both as pydicom applies them. Without a
stored window, the window spans the smallest to the largest value, padding pixels excluded. A `--window` takes
precedence for images of more than 8 bits. MONOCHROME1, in which large values are dark, is inverted.
"""

from __future__ import annotations

import contextlib
import io
import warnings
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

from hub_datasets.images.dicom_identifiers import read_known
from hub_datasets.images.windowing import describe, extremes, linear, per_value, scaled, window_color
from hub_datasets.records import Flag, Problem, Reason
from hub_datasets.texts.patient_ids import patient_key, study_key

if TYPE_CHECKING:
    import numpy as np
    from PIL import Image
    from pydicom import Dataset

DICOM_OFFSET = 128  # bytes of anything stand before the signature
DICOM_SIGNATURE = b"DICM"
DEFLATED = "1.2.840.10008.1.2.1.99"
GRAY = ("MONOCHROME1", "MONOCHROME2")


@dataclass(frozen=True, slots=True)
class DicomPicture:
    """The content of a DICOM file that is used; `image` has the mode L or RGB, and no metadata."""

    image: Image.Image
    window: str
    groups: tuple[str, ...]
    flags: tuple[Flag, ...]
    known: tuple[tuple[str, str, str], ...] = field(default=(), repr=False)  # no message repeats it


def is_dicom(data: bytes) -> bool:
    return data[DICOM_OFFSET : DICOM_OFFSET + 4] == DICOM_SIGNATURE


def read_dicom(
    data: bytes, max_pixels: int, min_side: int, bounds: tuple[float, float] | None
) -> DicomPicture | Problem:
    """Returns the picture in a file, or the reason why there is none, as a message that follows the file's name.

    Args:
        max_pixels: maximum of width times height; larger pictures are not decoded.
        min_side: minimum width and height in pixels.
        bounds: values that become black and white; None for the file's own window.
    """
    try:
        import pydicom
    except ImportError:
        return Problem(Reason.IMAGE_FORMAT, "is a DICOM file; to read those: pip install 'medpairs[dicom]'")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # pydicom tells of every value that bends the standard
            if problem := check_deflated(data, max_pixels):
                return problem
            dataset = pydicom.dcmread(io.BytesIO(data))
            return check_header(dataset, max_pixels, min_side) or show(dataset, bounds)
    except MemoryError:
        raise
    except Exception as error:  # on broken data anything that Python can raise
        return explain(error)


def check_deflated(data: bytes, max_pixels: int) -> Problem | None:
    """Checks that a file that is compressed as a whole does not grow beyond what its pixels can require."""
    from pydicom.filereader import read_dataset

    file = io.BytesIO(data)
    file.seek(DICOM_OFFSET + 4)
    meta = read_dataset(file, False, True, stop_when=lambda tag, vr, length: tag.group != 2)
    if meta.get("TransferSyntaxUID") != DEFLATED:
        return None
    limit = 8 * max_pixels + 2**24  # bytes; 8 hold a pixel of any kind, and the rest is header
    if len(zlib.decompressobj(-zlib.MAX_WBITS).decompress(data[file.tell() :], limit + 1)) > limit:
        return Problem(Reason.IMAGE_TOO_LARGE, f"grows to more than {limit:,} bytes when it is decompressed")
    return None


def check_header(dataset: Dataset, max_pixels: int, min_side: int) -> Problem | None:
    """Checks that there is one picture of an acceptable size, before it is decoded."""
    from PIL import Image
    from pydicom.encaps import get_frame

    if not any(name in dataset for name in ("PixelData", "FloatPixelData", "DoubleFloatPixelData")):
        if "Rows" in dataset:
            return Problem(Reason.IMAGE_TRUNCATED, "is truncated: it ends before its pixels; copy it again")
        return Problem(Reason.IMAGE_FORMAT, "is a DICOM file without a picture")
    if "TransferSyntaxUID" not in dataset.file_meta:
        return Problem(Reason.IMAGE_UNREADABLE, "is damaged: it does not say how its pixels are coded")
    if (frames := int(dataset.get("NumberOfFrames") or 1)) > 1:
        message = f"contains {frames} pictures; save the one that the text describes as a separate file"
        return Problem(Reason.IMAGE_ANIMATED, message)
    if "Rows" not in dataset or "Columns" not in dataset:
        return Problem(Reason.IMAGE_UNREADABLE, "is damaged: it does not say the size of its picture")
    sizes = [(int(dataset.Columns), int(dataset.Rows))]
    if dataset.file_meta.TransferSyntaxUID.is_encapsulated:
        frame = get_frame(dataset.PixelData, 0, number_of_frames=1)
        if frame.startswith((b"\xff\xd8", b"\xff\x4f", b"\0\0\0\x0cjP")):  # JPEG and JPEG 2000 have their own header
            with contextlib.suppress(OSError, SyntaxError):  # unknown to Pillow, which then decodes nothing
                sizes.append(Image.open(io.BytesIO(frame), formats=("JPEG", "JPEG2000")).size)
    for width, height in sizes:
        if problem := check_size(width, height, max_pixels, min_side):
            return problem
    return None


def check_size(width: int, height: int, max_pixels: int, min_side: int) -> Problem | None:
    """Checks the size of a picture in its header; the message of a Problem follows the file's name."""
    if width * height > max_pixels:
        return Problem(Reason.IMAGE_TOO_LARGE, f"has {width} x {height} pixels, the limit is {max_pixels:,}")
    if min(width, height) < min_side:
        needed = f"{min_side} are needed on each side"
        return Problem(Reason.IMAGE_TOO_SMALL, f"has {width} x {height} pixels, at least {needed}")
    return None


def show(dataset: Dataset, bounds: tuple[float, float] | None) -> DicomPicture | Problem:
    """Decodes the picture and converts it to 8 bits."""
    import numpy as np
    from PIL import Image
    from pydicom.pixels import apply_color_lut, pixel_array

    values = pixel_array(dataset)  # YBR has become RGB
    kind = dataset.PhotometricInterpretation
    window = ""
    if kind in GRAY and values.ndim == 2:
        shown, window = show_gray(values, dataset, bounds)
    else:
        if kind == "PALETTE COLOR":
            values = apply_color_lut(values, dataset)[..., :3]
        if values.ndim != 3 or values.shape[-1] != 3:
            return Problem(Reason.IMAGE_FORMAT, f"has pixels of the kind {kind}; save it as MONOCHROME2 or RGB")
        shown, window = (values, "") if values.dtype == np.uint8 else window_color(values, bounds)
    flags = ()
    if str(dataset.get("BurnedInAnnotation", "")).strip().upper() == "YES":
        flags = (Flag("burned_in_text", "the file's DICOM header says that text is burned into the image"),)
    return DicomPicture(
        Image.fromarray(np.ascontiguousarray(shown)), window, read_groups(dataset), flags, read_known(dataset)
    )


def show_gray(values: np.ndarray, dataset: Dataset, bounds: tuple[float, float] | None) -> tuple[np.ndarray, str]:
    """Returns gray values as bytes, large values bright, and a description of the window."""
    bits = dataset.get("BitsStored", 32)  # pixels of floating point need not say it
    deep = bits > 8 or rescale(values[:1], dataset).dtype != values.dtype
    if not (bounds and deep) and (view := find_view(dataset)):
        to_white, window = view
        shown = per_value(lambda stored: scaled(to_white(rescale(stored, dataset)), 0, 1), values)
    else:
        rescaled, padding = per_value(partial(rescale, dataset=dataset), values), find_padding(values, dataset)
        counted = rescaled if padding is None else rescaled[~padding]
        if bounds and deep:
            (low, high), how = bounds, "fixed"
        else:
            (low, high), how = (extremes(counted), "min-max") if deep else ((0, 2**bits - 1), "")
        shown, window = linear(rescaled, low, high), describe(how, counted, low, high) if how else ""
    return (255 - shown if dataset.PhotometricInterpretation == "MONOCHROME1" else shown), window


def rescale(stored: np.ndarray, dataset: Dataset) -> np.ndarray:
    """Applies the file's Modality LUT, or its slope and intercept, to the stored values."""
    import numpy as np
    from pydicom.pixels import apply_modality_lut

    if dataset.get("ModalityLUTSequence"):
        count_in_16_bits(dataset.ModalityLUTSequence[0])
        stored = stored.astype(np.int64)  # pydicom subtracts the first value of the table in the type that it is given
    return apply_modality_lut(stored, dataset)


def find_view(dataset: Dataset) -> tuple[Callable[[np.ndarray], np.ndarray], str] | None:
    """Returns the file's mapping of rescaled values to 0 (black) to 1 (white), as a function, and its name.

    Returns None without a lookup table or window, and for an invalid window: without a width, or with an unknown
    function.
    """
    import numpy as np
    from pydicom.pixels import apply_voi, apply_windowing

    if dataset.get("VOILUTSequence"):
        largest = 2 ** count_in_16_bits(dataset.VOILUTSequence[0]) - 1
        return lambda values: apply_voi(np.rint(values).astype(np.int64), dataset) / largest, "lookup table of the file"
    if None in (dataset.get("WindowCenter"), dataset.get("WindowWidth")):
        return None
    dataset.VOILUTFunction = dataset.get("VOILUTFunction") or "LINEAR"
    for name in ("BitsStored", "PixelRepresentation"):  # for the range of the result, which here is 0 to 1 for all
        dataset.setdefault(name, 1)

    def to_white(values: np.ndarray) -> np.ndarray:
        black, white = apply_windowing(np.array([-np.inf, np.inf]), dataset)
        return (apply_windowing(values, dataset) - black) / (white - black)

    try:
        to_white(np.zeros(1))
    except ValueError:
        return None
    return to_white, "window of the file"


def count_in_16_bits(table: Dataset) -> int:
    """Makes pydicom count the entries of a lookup table in 16 bits; returns the bits of an entry.

    pydicom counts in the bits of an entry: of a table with 4,096 entries of 8 bits, which is common, it would use only
    256.
    """
    entries, first, bits = table.LUTDescriptor
    table.LUTDescriptor = [entries, first, 16]
    return bits


def find_padding(values: np.ndarray, dataset: Dataset) -> np.ndarray | None:
    """Returns a mask of padding pixels around a round picture; None without padding, or if all pixels are padding."""
    if "PixelPaddingValue" not in dataset:
        return None
    first = int(dataset.PixelPaddingValue)
    last = int(dataset.get("PixelPaddingRangeLimit", first))
    padding = (values >= min(first, last)) & (values <= max(first, last))
    return padding if padding.any() and not padding.all() else None


def read_groups(dataset: Dataset) -> tuple[str, ...]:
    """Returns the keys of patient and study. A placeholder such as `ANONYMOUS` has no key."""
    patient = str(dataset.get("PatientID", "")).strip()
    patient = patient if patient.strip("0") else ""  # as a PatientID zeros are filled in where there is none
    keys = patient_key(patient), study_key(dataset.get("StudyInstanceUID", ""))
    return tuple(key for key in keys if key)


def explain(error: Exception) -> Problem:
    """Returns the Problem that an error of pydicom, or of a decoder that it called, indicates."""
    from PIL import Image

    message = " ".join(str(error).split())
    if isinstance(error, Image.DecompressionBombError):
        return Problem(Reason.IMAGE_TOO_LARGE, f"is too large to decode: {message}")
    if "missing dependencies" in message or "Pillow does not support" in message or "Pillow cannot" in message:
        return Problem(
            Reason.IMAGE_FORMAT,
            "is compressed in a way that cannot be decoded here; decompress it first, for example with gdcmconv --raw, "
            f"or install a decoder: {message}",
        )
    if isinstance(error, EOFError) or any(words in message for words in ("less than expected", "truncated stream")):
        return Problem(Reason.IMAGE_TRUNCATED, f"is truncated; copy it again: {message or 'it ends within a value'}")
    return Problem(Reason.IMAGE_UNREADABLE, f"is damaged: {message or type(error).__name__}")
