"""What picture does a DICOM file show, and whose is it?

Of everything else in the file nothing is published: the result is pixels alone. Patient and study come as keys that
say which images belong together, the same as in tables (`patient_ids.py`). They are hashes without a secret: whoever
knows an identifier, or tries all short numbers, can tell that a key is its. Needs the extra `dicom` (pydicom).

Grey values are rescaled as the file says (Modality LUT), then shown through the window that the file was saved with:
its lookup table (VOI LUT), or the first of its centres and widths. A file without one is shown from its smallest to its
largest value, pixels of padding left out. A window that was chosen for the whole set takes precedence wherever there
are more than 8 bits. MONOCHROME1, in which large values are dark, is inverted.
"""

from __future__ import annotations

import contextlib
import io
import warnings
import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from hub_datasets.patient_ids import patient_key, study_key
from hub_datasets.schema import Flag, Problem, Reason
from hub_datasets.windowing import describe, extremes, linear, window_colour

if TYPE_CHECKING:
    import numpy as np
    from PIL import Image
    from pydicom import Dataset

DICOM_OFFSET = 128  # bytes of anything stand before the signature
DICOM_SIGNATURE = b"DICM"
DEFLATED = "1.2.840.10008.1.2.1.99"
GREY = ("MONOCHROME1", "MONOCHROME2")


@dataclass(frozen=True, slots=True)
class DicomPicture:
    """What is taken from a DICOM file; `image` has the mode L or RGB, and no metadata."""

    image: Image.Image
    window: str
    groups: tuple[str, ...]
    flags: tuple[Flag, ...]


def is_dicom(data: bytes) -> bool:
    return data[DICOM_OFFSET : DICOM_OFFSET + 4] == DICOM_SIGNATURE


def read_dicom(
    data: bytes, max_pixels: int, min_side: int, bounds: tuple[float, float] | None
) -> DicomPicture | Problem:
    """The picture in a file, or why there is none; a problem's message goes on after the file's name.

    Args:
        max_pixels: width times height above which nothing is decoded.
        min_side: pixels that width and height must have.
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
    """Checks that a file that is compressed as a whole does not grow beyond what its pixels can need."""
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
            return Problem(Reason.IMAGE_TRUNCATED, "is cut off: it ends before its pixels; copy it again")
        return Problem(Reason.IMAGE_FORMAT, "is a DICOM file without a picture")
    if "TransferSyntaxUID" not in dataset.file_meta:
        return Problem(Reason.IMAGE_UNREADABLE, "is damaged: it does not say how its pixels are coded")
    if (frames := int(dataset.get("NumberOfFrames") or 1)) > 1:
        return Problem(Reason.IMAGE_ANIMATED, f"holds {frames} pictures; save the one that the text is about by itself")
    if "Rows" not in dataset or "Columns" not in dataset:
        return Problem(Reason.IMAGE_UNREADABLE, "is damaged: it does not say how large its picture is")
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
    """Checks a picture's size by its header; a problem's message goes on after the file's name."""
    if width * height > max_pixels:
        return Problem(Reason.IMAGE_TOO_LARGE, f"has {width} x {height} pixels, the limit is {max_pixels:,}")
    if min(width, height) < min_side:
        needed = f"{min_side} are needed on each side"
        return Problem(Reason.IMAGE_TOO_SMALL, f"has {width} x {height} pixels, at least {needed}")
    return None


def show(dataset: Dataset, bounds: tuple[float, float] | None) -> DicomPicture | Problem:
    """Decodes the picture and brings it to 8 bits."""
    import numpy as np
    from PIL import Image
    from pydicom.pixels import apply_color_lut, pixel_array

    values = pixel_array(dataset)  # YBR has become RGB
    kind = dataset.PhotometricInterpretation
    window = ""
    if kind in GREY and values.ndim == 2:
        shown, window = show_grey(values, dataset, bounds)
    else:
        if kind == "PALETTE COLOR":
            values = apply_color_lut(values, dataset)[..., :3]
        if values.ndim != 3 or values.shape[-1] != 3:
            return Problem(Reason.IMAGE_FORMAT, f"has pixels of the kind {kind}; save it as MONOCHROME2 or RGB")
        shown, window = (values, "") if values.dtype == np.uint8 else window_colour(values, bounds)
    flags = ()
    if str(dataset.get("BurnedInAnnotation", "")).strip().upper() == "YES":
        flags = (Flag("burned_in_text", "the file's DICOM header says that text is burned into the image"),)
    return DicomPicture(Image.fromarray(np.ascontiguousarray(shown)), window, read_groups(dataset), flags)


def show_grey(values: np.ndarray, dataset: Dataset, bounds: tuple[float, float] | None) -> tuple[np.ndarray, str]:
    """Grey values as bytes, large ones bright, and the window in words."""
    import numpy as np
    from pydicom.pixels import apply_modality_lut, apply_voi

    padding = find_padding(values, dataset)
    rescaled = apply_modality_lut(values, dataset)
    bits = dataset.get("BitsStored", 32)  # pixels of floating point need not say it
    deep = bits > 8 or rescaled is not values
    if bounds and deep:
        (low, high), how = bounds, "fixed"
    elif "VOILUTSequence" in dataset:
        rescaled = apply_voi(np.rint(rescaled).astype(np.int64), dataset)
        low, high, how = 0, 2 ** int(dataset.VOILUTSequence[0].LUTDescriptor[2]) - 1, "lookup table of the file"
    elif own := own_window(dataset):
        (low, high), how = own, "window of the file"
    elif deep:
        (low, high), how = extremes(rescaled if padding is None else rescaled[~padding]), "min-max"
    else:
        low, high, how = 0, 2**bits - 1, ""
    shown = linear(rescaled, low, high)
    counted = rescaled if padding is None else rescaled[~padding]
    window = describe(how, counted, low, high) if how else ""
    return (255 - shown if dataset.PhotometricInterpretation == "MONOCHROME1" else shown), window


def find_padding(values: np.ndarray, dataset: Dataset) -> np.ndarray | None:
    """Where stored values only fill up the rectangle around a round picture; None without any, or with nothing else."""
    if "PixelPaddingValue" not in dataset:
        return None
    first = int(dataset.PixelPaddingValue)
    last = int(dataset.get("PixelPaddingRangeLimit", first))
    padding = (values >= min(first, last)) & (values <= max(first, last))
    return padding if padding.any() and not padding.all() else None


def own_window(dataset: Dataset) -> tuple[float, float] | None:
    """The values that become black and white by the first window in the file (PS3.3, C.11.2.1.2); None without one.

    A sigmoid window is taken as the straight one that has its slope in the middle.
    """
    centres, widths = dataset.get("WindowCenter"), dataset.get("WindowWidth")
    if centres in (None, "") or widths in (None, ""):
        return None
    centre = float(centres[0] if hasattr(centres, "__len__") else centres)
    width = float(widths[0] if hasattr(widths, "__len__") else widths)
    if dataset.get("VOILUTFunction", "LINEAR") == "LINEAR":  # counts whole values, of which the outermost belong to it
        return (centre - width / 2, centre + width / 2 - 1) if width >= 1 else None
    return (centre - width / 2, centre + width / 2) if width > 0 else None


def read_groups(dataset: Dataset) -> tuple[str, ...]:
    """Keys of patient and study. An identifier that stands for nobody, such as `ANONYMOUS`, joins no images."""
    patient = str(dataset.get("PatientID", "")).strip()
    patient = patient if patient.strip("0") else ""  # as a PatientID zeros are filled in where there is none
    keys = patient_key(patient), study_key(dataset.get("StudyInstanceUID", ""))
    return tuple(key for key in keys if key)


def explain(error: Exception) -> Problem:
    """What an error of pydicom, or of a decoder that it called, says about the file."""
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
        return Problem(Reason.IMAGE_TRUNCATED, f"is cut off; copy it again: {message or 'it ends within a value'}")
    return Problem(Reason.IMAGE_UNREADABLE, f"is damaged: {message or type(error).__name__}")
