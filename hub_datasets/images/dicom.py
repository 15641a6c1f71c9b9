"""Converts a DICOM file to 8-bit pixels, and derives keys for its patient and study.

Nothing else in the file is published. The keys tell which images belong together and are the same as those of tables
(`patient_ids.py`). They are hashes without a secret and stay on this machine, as does what the header tells of a
person, by which the texts are searched. Requires the extra `dicom` (pydicom, and decoders for compressed files).

Gray values become bytes as `dicom_gray` describes. Of a file with several frames, `--frames` chooses those to use; a
frame's own rescaling and window take precedence over those of the file.
"""

from __future__ import annotations

import contextlib
import io
import struct
import warnings
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from hub_datasets.images.dicom_gray import show_gray
from hub_datasets.images.dicom_identifiers import read_known
from hub_datasets.images.frames import CutOff, chosen, codestream_start
from hub_datasets.images.metadata import read_coding
from hub_datasets.images.windowing import window_color
from hub_datasets.records import Flag, Problem, Reason
from hub_datasets.texts.patient_ids import patient_key, study_key

if TYPE_CHECKING:
    from PIL import Image
    from pydicom import Dataset
    from pydicom.uid import UID

DICOM_OFFSET = 128  # bytes of anything stand before the signature
DICOM_SIGNATURE = b"DICM"
DEFLATED = "1.2.840.10008.1.2.1.99"
IMPLICIT, EXPLICIT_LITTLE, EXPLICIT_BIG = "1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.2"
GRAY = ("MONOCHROME1", "MONOCHROME2")
FIRST_GROUPS = (2, 8)  # of data elements: the file's heading, and what identifies it
LEAST_ELEMENTS = 3
JPEG2000_BOX = b"\0\0\0\x0cjP  "  # starts a JPEG 2000 file, in which boxes hold the coded pixels
LONG_TYPES = {b"OB", b"OW", b"OF", b"OD", b"OL", b"OV", b"SQ", b"UN", b"UC", b"UR", b"UT", b"SV", b"UV"}
FRAME_VALUES = {
    "PixelValueTransformationSequence": ("RescaleSlope", "RescaleIntercept"),
    "FrameVOILUTSequence": ("WindowCenter", "WindowWidth", "VOILUTFunction"),
}


@dataclass(frozen=True, slots=True)
class DicomPicture:
    """A picture of a DICOM file, with what else is used of it.

    Attributes:
        image: of the mode L or RGB, without metadata.
        window: how values of more than 8 bits became 8 bits.
        groups: keys of patient and study.
        flags: findings that a person should review.
        index: its place among the frames, from 0.
        count: the number of frames.
    """

    image: Image.Image
    window: str
    groups: tuple[str, ...]
    flags: tuple[Flag, ...]
    index: int = 0
    count: int = 1
    known: tuple[tuple[str, str, str], ...] = field(default=(), repr=False)  # no message repeats it


def is_dicom(data: bytes) -> bool:
    """Returns whether a file is DICOM: with its signature or, as some programs write it, only the data."""
    return has_signature(data) or looks_like_elements(data)


def has_signature(data: bytes) -> bool:
    return data[DICOM_OFFSET : DICOM_OFFSET + 4] == DICOM_SIGNATURE


def looks_like_elements(data: bytes) -> bool:
    """Returns whether a file starts with data elements in ascending order, of the groups 2 or 8, as no other format."""
    data = data.removeprefix(DICOM_SIGNATURE)  # some write it without the 128 bytes before it
    for order in "<>":
        position, before = 0, (0, 0)
        for count in range(1, LEAST_ELEMENTS + 1):
            if position + 8 > len(data):
                break
            start = data[position : position + 12].ljust(12)
            group, element, kind, short, length = struct.unpack(f"{order}HH2sHI", start)
            if group not in FIRST_GROUPS or (group, element) <= before:
                break
            before = (group, element)
            if not kind.isalpha():  # without its type, the length is in the place of type and length
                position += 8 + struct.unpack_from(f"{order}I", data, position + 4)[0]
            elif kind in LONG_TYPES:  # their length has 32 bits
                position += 12 + length
            else:
                position += 8 + short
            if position > len(data):
                break
            if count == LEAST_ELEMENTS:
                return True
    return False


def read_dicom(
    data: bytes, max_pixels: int, min_side: int, bounds: tuple[float, float] | None, frames: str = "refuse"
) -> Iterator[DicomPicture | Problem]:
    """Yields the pictures in a file that are to be used, or one Problem, whose message follows the file's name.

    Args:
        max_pixels: maximum of width times height; larger pictures are not decoded.
        min_side: minimum width and height in pixels.
        bounds: values that become black and white; None for the file's own window.
        frames: which of several pictures are used, one of `FRAMES`.
    """
    try:
        import pydicom
    except ImportError:
        yield Problem(Reason.IMAGE_FORMAT, "is a DICOM file; to read those: pip install 'medpairs[dicom]'")
        return
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # pydicom tells of every value that bends the standard
            if problem := check_deflated(data, max_pixels):
                yield problem
                return
            dataset = pydicom.dcmread(io.BytesIO(data.removeprefix(DICOM_SIGNATURE)), force=not has_signature(data))
            problem = check_header(dataset, max_pixels, min_side)
            count = int(dataset.get("NumberOfFrames") or 1)
            indices = problem or chosen(count, frames)
            if isinstance(indices, Problem):
                yield indices
                return
        for index in indices:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                picture = check_frame(dataset, index, max_pixels, min_side) or show(dataset, index, count, bounds)
            yield picture
    except MemoryError:
        raise
    except Exception as error:  # on broken data anything that Python can raise
        yield explain(error)


def check_deflated(data: bytes, max_pixels: int) -> Problem | None:
    """Checks that a file that is compressed as a whole does not grow beyond what its pixels can require."""
    from pydicom.filereader import read_dataset

    file = io.BytesIO(data)
    if has_signature(data):
        file.seek(DICOM_OFFSET + 4)
    meta = read_dataset(file, False, True, stop_when=lambda tag, vr, length: tag.group != 2)
    if meta.get("TransferSyntaxUID") != DEFLATED:
        return None
    limit = 8 * max_pixels + 2**24  # bytes; 8 hold a pixel of any kind, and the rest is header
    if len(zlib.decompressobj(-zlib.MAX_WBITS).decompress(data[file.tell() :], limit + 1)) > limit:
        return Problem(Reason.IMAGE_TOO_LARGE, f"grows to more than {limit:,} bytes when it is decompressed")
    return None


def check_header(dataset: Dataset, max_pixels: int, min_side: int) -> Problem | None:
    """Checks that there is a picture of an acceptable size, before it is decoded."""
    from pydicom.uid import UID

    if not any(name in dataset for name in ("PixelData", "FloatPixelData", "DoubleFloatPixelData")):
        if "Rows" in dataset:
            return Problem(Reason.IMAGE_TRUNCATED, "is truncated: it ends before its pixels; copy it again")
        return Problem(Reason.IMAGE_FORMAT, "is a DICOM file without a picture")
    if "TransferSyntaxUID" not in dataset.file_meta:
        if dataset.file_meta or dataset.preamble is not None:
            return Problem(Reason.IMAGE_UNREADABLE, "is damaged: it does not say how its pixels are coded")
        # A file without any heading is uncompressed, and pydicom has found out how its elements are written.
        implicit, little = dataset.original_encoding
        explicit = EXPLICIT_LITTLE if little else EXPLICIT_BIG
        dataset.file_meta.TransferSyntaxUID = UID(IMPLICIT if implicit else explicit)
    if "Rows" not in dataset or "Columns" not in dataset:
        return Problem(Reason.IMAGE_UNREADABLE, "is damaged: it does not say the size of its picture")
    return check_size(int(dataset.Columns), int(dataset.Rows), max_pixels, min_side)


def check_frame(dataset: Dataset, index: int, max_pixels: int, min_side: int) -> Problem | None:
    """Checks the size in a compressed frame's own header: that of the file may be smaller."""
    from PIL import Image
    from pydicom.encaps import get_frame

    if not dataset.file_meta.TransferSyntaxUID.is_encapsulated:
        return None
    frame = get_frame(dataset.PixelData, index, number_of_frames=int(dataset.get("NumberOfFrames") or 1))
    if frame.startswith(JPEG2000_BOX):
        try:
            codestream_start(frame)  # pydicom never leaves a box of size 0
        except CutOff:
            return Problem(Reason.IMAGE_UNREADABLE, "is damaged: its JPEG 2000 picture has no coded pixels")
    if frame.startswith((b"\xff\xd8", b"\xff\x4f", JPEG2000_BOX)):  # JPEG and JPEG 2000
        with contextlib.suppress(OSError, SyntaxError):  # unknown to Pillow, for example lossless JPEG
            width, height = Image.open(io.BytesIO(frame), formats=("JPEG", "JPEG2000")).size
            return check_size(width, height, max_pixels, min_side)
    if frame.startswith(b"\xff\xd8") and (coding := read_coding(frame)) and coding.width:
        return check_size(coding.width, coding.height, max_pixels, min_side)
    return None


def check_size(width: int, height: int, max_pixels: int, min_side: int) -> Problem | None:
    """Checks the size of a picture in its header; the message of a Problem follows the file's name."""
    if width * height > max_pixels:
        limit = f"the limit is {max_pixels:,} (--max_image_pixels)"
        return Problem(Reason.IMAGE_TOO_LARGE, f"has {width} x {height} pixels, {limit}")
    if min(width, height) < min_side:
        needed = f"{min_side} are needed on each side (--min_image_side)"
        return Problem(Reason.IMAGE_TOO_SMALL, f"has {width} x {height} pixels, at least {needed}")
    return None


def leave_out_gdcm(syntax: UID) -> None:
    """Keeps pydicom from using GDCM, where it is installed: on damaged pixels it ends the whole process."""
    from pydicom.pixels import get_decoder

    if syntax.is_compressed and "gdcm" in (decoder := get_decoder(syntax)).available_plugins:
        decoder.remove_plugin("gdcm")


def show(dataset: Dataset, index: int, count: int, bounds: tuple[float, float] | None) -> DicomPicture | Problem:
    """Decodes a frame and converts it to 8 bits."""
    import numpy as np
    from PIL import Image
    from pydicom.pixels import apply_color_lut, pixel_array

    leave_out_gdcm(dataset.file_meta.TransferSyntaxUID)
    values = pixel_array(dataset, index=index) if count > 1 else pixel_array(dataset)  # YBR has become RGB
    set_frame_values(dataset, index)
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
    groups, known = read_groups(dataset), read_known(dataset)
    return DicomPicture(Image.fromarray(np.ascontiguousarray(shown)), window, groups, flags, index, count, known)


def set_frame_values(dataset: Dataset, index: int) -> None:
    """Sets the rescaling and the window of one frame, which some files state for each, as those of the file."""
    for groups, place in (("SharedFunctionalGroupsSequence", 0), ("PerFrameFunctionalGroupsSequence", index)):
        items = dataset.get(groups) or ()
        for name, elements in FRAME_VALUES.items():
            found = items[place].get(name) if place < len(items) else None
            for element in elements:
                if found and (value := found[0].get(element)) is not None:
                    setattr(dataset, element, value)


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
