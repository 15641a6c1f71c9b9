"""Decodes images in formats that are not published: TIFF, BMP, GIF, WebP and JPEG 2000. They become PNG.

The conversion changes no pixel of an 8-bit image. The content of a file decides which format it has, not its name; each
is opened by its own decoder of Pillow, after the size in its header was checked.
"""

from __future__ import annotations

import io
import struct
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from hub_datasets.errors import one_line
from hub_datasets.images.color_profiles import CONVERTED, to_srgb
from hub_datasets.images.dicom import check_size
from hub_datasets.images.frames import CutOff, chosen, codestream_start, count_pictures
from hub_datasets.images.metadata import ORIENTATION, UPRIGHT, exif_integers
from hub_datasets.images.windowing import window_gray
from hub_datasets.records import Problem, Reason

if TYPE_CHECKING:  # `--help` does without Pillow
    from PIL import Image

STARTS = {
    b"II*\0": "TIFF", b"MM\0*": "TIFF", b"II+\0": "TIFF", b"MM\0+": "TIFF", b"GIF87a": "GIF", b"GIF89a": "GIF",
    b"\0\0\0\x0cjP  \r\n\x87\n": "JPEG2000", b"\xff\x4f\xff\x51": "JPEG2000",
}  # fmt: skip
NAMES = {"JPEG2000": "JPEG 2000", "WEBP": "WebP"}  # as messages and reports write them
FEATURES = {"JPEG2000": "jpg_2000", "WEBP": "webp"}  # of Pillow, which may be built without them
BMP_HEADERS = {12, 16, 40, 52, 56, 64, 108, 124}  # sizes in bytes of the versions of its header
BITS, COMPRESSION, COLORS, TIFF_ORIENTATION = 258, 259, 262, 274  # TIFF tags
PLACES, LENGTHS = (273, 324), (279, 325)  # TIFF tags of strips and of tiles
MIN_IS_WHITE = 0
KEPT_MODES = ("1", "L", "LA", "P", "RGB", "RGBA")
OTHER_MODES = {"CMYK": "RGB", "YCbCr": "RGB", "RGBX": "RGB", "HSV": "RGB", "RGBa": "RGBA", "La": "LA", "PA": "RGBA"}


@dataclass(slots=True)
class ConvertedPicture:
    """A decoded picture of 8 bits per channel, without metadata.

    Attributes:
        index: its place among the pictures of its file, from 0.
        count: the number of these pictures.
        window: how values of more than 8 bits became 8 bits.
        removed: what was removed or converted, each once.
    """

    image: Image.Image
    index: int
    count: int
    window: str = ""
    removed: list[str] = field(default_factory=list)


def other_format(data: bytes) -> str | None:
    """Returns Pillow's name of the format of a file; None if it is none of those that are read here."""
    for start, format in STARTS.items():
        if data.startswith(start):
            return format
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "WEBP"
    if data[:2] == b"BM" and len(data) > 18 and int.from_bytes(data[14:18], "little") in BMP_HEADERS:
        return "BMP"
    return None


def read_pictures(
    data: bytes, format: str, max_pixels: int, min_side: int, bounds: tuple[float, float] | None, frames: str
) -> Iterator[ConvertedPicture | Problem]:
    """Yields the pictures of a file that are to be used, or one Problem; its message follows the file's name.

    Args:
        format: from `other_format`.
        max_pixels: maximum of width times height; larger pictures are not decoded.
        min_side: minimum width and height in pixels.
        bounds: values that become black and white, where there are more than 8 bits; None for the smallest and largest.
        frames: which of several pictures are used, one of `FRAMES`.
    """
    named = NAMES.get(format, format)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow warns of what it then raises, and of tags that nobody reads
        yield from pictures_of(data, format, named, max_pixels, min_side, bounds, frames)


def pictures_of(
    data: bytes,
    format: str,
    named: str,
    max_pixels: int,
    min_side: int,
    bounds: tuple[float, float] | None,
    frames: str,
) -> Iterator[ConvertedPicture | Problem]:
    """Yields what `read_pictures` yields."""
    try:
        pictures = count_pictures(data, format)
        indices = chosen(len(pictures.places), frames)
        if isinstance(indices, Problem):
            yield indices
            return
        if pictures.width and (problem := check_size(pictures.width, pictures.height, max_pixels, min_side)):
            yield problem
            return
        image = open_image(data, format)
        if image is None:
            yield Problem(Reason.IMAGE_FORMAT, f"is {named}, which this Pillow cannot decode; convert it to PNG")
            return
        for index in indices:
            image.seek(pictures.places[index])
            if problem := check_size(*image.size, max_pixels, min_side) or check_page(image, data):
                yield problem
                continue
            picture = convert(image, data, format, bounds)
            if isinstance(picture, ConvertedPicture):
                picture.index, picture.count = index, len(pictures.places)
                picture.removed.insert(0, f"{named} converted to PNG")
            yield picture
    except CutOff:
        yield Problem(Reason.IMAGE_TRUNCATED, "is truncated: the file ends too early; copy it again from its origin")
    except MemoryError:
        raise
    except Exception as error:  # Pillow's decoders raise a dozen types on broken data, SyntaxError among them
        yield explain(error, named)


def explain(error: Exception, named: str) -> Problem:
    """Returns the Problem that an error of a decoder indicates."""
    message = one_line(error)
    if "truncated" in message or "broken data stream" in message:
        return Problem(Reason.IMAGE_TRUNCATED, "is truncated: pixels are missing; copy it again from its origin")
    if any(words in message for words in ("unknown pixel mode", "unsupported", "Unsupported", "unknown data")):
        return Problem(Reason.IMAGE_FORMAT, f"is a {named} of a kind that is not read ({message}); convert it to PNG")
    if "decompression bomb" in message:
        return Problem(Reason.IMAGE_TOO_LARGE, f"is too large to decode: {message}")
    return Problem(Reason.IMAGE_UNREADABLE, f"is damaged: {message}")


def open_image(data: bytes, format: str) -> Image.Image | None:
    """Opens a file with the decoder of its format, without decoding; None if Pillow was built without it.

    `Image.open` is not used, because it has its own limit of pixels and warns about it on standard error.
    """
    from PIL import features
    from PIL.BmpImagePlugin import BmpImageFile
    from PIL.GifImagePlugin import GifImageFile
    from PIL.Jpeg2KImagePlugin import Jpeg2KImageFile
    from PIL.TiffImagePlugin import TiffImageFile
    from PIL.WebPImagePlugin import WebPImageFile

    if format in FEATURES and not features.check(FEATURES[format]):
        return None
    if format == "JPEG2000":
        check_codestream(data)
    plugins = {"TIFF": TiffImageFile, "BMP": BmpImageFile, "GIF": GifImageFile, "WEBP": WebPImageFile}
    return plugins.get(format, Jpeg2KImageFile)(io.BytesIO(data))


def check_codestream(data: bytes) -> None:
    """Raises CutOff for a JPEG 2000 file without its end mark; its decoder would fill what is missing with gray."""
    if not data[codestream_start(data) :].rstrip(b"\0").endswith(b"\xff\xd9"):
        raise CutOff


def depths(image: Image.Image, data: bytes) -> tuple[int, ...]:
    """Returns the bits of each channel as the file stores them; empty if they are never more than 8."""
    if image.format == "TIFF":
        bits = image.tag_v2.get(BITS, (1,))
        return tuple(bits) if isinstance(bits, tuple) else (bits,)
    if image.format == "JPEG2000":
        start = codestream_start(data)
        (channels,) = struct.unpack_from(">H", data, start + 40)
        return tuple(1 + (data[start + 42 + 3 * channel] & 0x7F) for channel in range(min(channels, 5)))
    return ()


def check_page(image: Image.Image, data: bytes) -> Problem | None:
    """Checks a page before it is decoded: that Pillow keeps all its bits, and that its pixels are in the file."""
    if len(bits := depths(image, data)) > 1 and max(bits) > 8:
        named = NAMES.get(image.format, image.format)
        return Problem(
            Reason.IMAGE_FORMAT,
            f"is a {named} with {max(bits)} bits per channel and colors or transparency; convert it to 8 bits per "
            "channel, or to 16-bit gray without transparency",
        )
    if image.format == "TIFF":
        for places, lengths in zip(PLACES, LENGTHS, strict=True):
            starts, sizes = image.tag_v2.get(places, ()), image.tag_v2.get(lengths, ())
            if any(start + size > len(data) for start, size in zip(starts, sizes, strict=False)):
                raise CutOff
    return None


def convert(
    image: Image.Image, data: bytes, format: str, bounds: tuple[float, float] | None
) -> ConvertedPicture | Problem:
    """Decodes the current picture of a file and returns it upright, in a mode that PNG has, without metadata."""
    from PIL import Image

    profile, orientation = image.info.get("icc_profile"), 1
    removed = ["ICC profile"] if profile else []
    white = format == "TIFF" and image.tag_v2.get(COLORS) == MIN_IS_WHITE
    if format == "TIFF":  # Pillow sets it right while it decodes
        turned = image.tag_v2.get(TIFF_ORIENTATION, 1) != 1
    else:
        exif = image.info.get("exif", b"").removeprefix(b"Exif\0\0")
        orientation = exif_integers(exif).get(ORIENTATION, 1)
        removed += ["EXIF"] if exif else []
        turned = orientation in UPRIGHT
    image.load()
    picture, window = image.copy(), ""
    picture.info = {key: value for key, value in image.info.items() if key == "transparency"}
    if picture.mode.startswith(("I", "F")):
        picture, window = shown(picture, bounds, max(depths(image, data) or (16,)), white, format)
    elif picture.mode in OTHER_MODES:
        removed.append(f"{picture.mode} converted to {OTHER_MODES[picture.mode]}")
        profile = None if picture.mode == "CMYK" else profile
        picture = picture.convert(OTHER_MODES[picture.mode])
    elif picture.mode not in KEPT_MODES:
        message = f"has pixels of the kind {picture.mode}; convert it to a PNG in RGB or gray"
        return Problem(Reason.IMAGE_FORMAT, message)
    if profile and not window:
        picture, done = to_srgb(picture, profile)
        removed += [CONVERTED if done == CONVERTED else done] if done else []
    if orientation in UPRIGHT:
        picture = picture.transpose(Image.Transpose[UPRIGHT[orientation]])
    removed += ["orientation applied"] if turned else []
    return ConvertedPicture(picture, 0, 1, window, removed)


def shown(
    image: Image.Image, bounds: tuple[float, float] | None, bits: int, min_is_white: bool, format: str
) -> tuple[Image.Image, str]:
    """Returns gray values of more than 8 bits as an 8-bit image, and a description of the window."""
    import numpy as np
    from PIL import Image

    values = np.asarray(image)
    if format == "JPEG2000" and bits < 16:  # Pillow scales the values to 16 bits
        values = values >> (16 - bits)
    gray, window = window_gray(values, bounds)
    return Image.fromarray(255 - gray if min_is_white else gray), window
