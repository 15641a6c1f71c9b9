"""Checks an image file and returns the bytes to publish, or the reason why the image is rejected.

The coded pixels are published unchanged, without metadata, wherever possible. Images are re-encoded as PNG if they are
16-bit gray (`windowing`), DICOM (`dicom`), TIFF, BMP, GIF, WebP or JPEG 2000 (`other_formats`), rotated by EXIF, CMYK
(converted to RGB), or have an ICC profile other than sRGB (`color_profiles`). If a JPEG contains several
pictures, for example a phone's photograph and its depth map, the first is used. A PNG with several pictures is an
animation and is rejected. Of other files with several pictures, `--frames` chooses (`frames`).
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from hub_datasets.errors import one_line
from hub_datasets.images.color_profiles import CONVERTED, to_srgb
from hub_datasets.images.dicom import DicomPicture, check_size, is_dicom, read_dicom
from hub_datasets.images.frames import frame_name
from hub_datasets.images.metadata import UPRIGHT, Coding, edited, read_coding
from hub_datasets.images.other_formats import ConvertedPicture, other_format, read_pictures
from hub_datasets.images.png16 import lacks_rows, may_lack_rows
from hub_datasets.images.windowing import parse_window, window_gray
from hub_datasets.records import Flag, Problem, Reason

if TYPE_CHECKING:  # `--help` does without Pillow
    from PIL import Image

ALLOWED_FORMATS = ("JPEG", "PNG", "DICOM", "TIFF", "BMP", "GIF", "WebP", "JPEG 2000")


@dataclass(frozen=True, slots=True)
class ImageSettings:
    """The options of a build for images.

    Attributes:
        max_pixels: maximum of width times height; larger images are not decoded.
        min_side: minimum width and height in pixels.
        window: how values of more than 8 bits become 8 bits: `auto` or `LOW:HIGH`, see `windowing`.
        ocr: whether to search for text that is burned into the pixels.
        frames: which pictures are used of a file with several, one of `frames.FRAMES`.
    """

    max_pixels: int = 64_000_000
    min_side: int = 8
    window: str = "auto"
    ocr: bool = False
    frames: str = "refuse"


@dataclass(frozen=True, slots=True)
class ExaminedImage:
    """An image that was decoded completely.

    Attributes:
        data: the file to publish: JPEG or PNG without metadata, in its original coding wherever that is possible.
        format: `JPEG` or `PNG`.
        width, height: in pixels.
        pixels: 16 bytes, equal for equal pixels (`hashing.pixel_hash`).
        perceptual: 32 bytes, close for images that look alike (`hashing.perceptual_hash`).
        groups: keys of the patient and the study from the file itself, as hashes.
        window: how values of more than 8 bits became 8 bits; empty for an 8-bit image.
        stripped: what was removed from the original file: "EXIF", "GPS", "comment", ...
        flags: findings that a person should review.
        thumbnail: the picture as 64 x 64 gray values (`hashing.gray_thumbnail`), row by row.
        known: kind, value and origin of what a DICOM header tells that identifies a person; it is never published.
        edits: the (start, end, replacement) that make `data` of the original file, in their order; None for an image
            that was encoded again.
    """

    data: bytes
    format: str
    width: int
    height: int
    pixels: bytes
    perceptual: bytes
    groups: tuple[str, ...] = ()
    window: str = ""
    stripped: tuple[str, ...] = ()
    flags: tuple[Flag, ...] = ()
    thumbnail: bytes = b""
    known: tuple[tuple[str, str, str], ...] = field(default=(), repr=False)
    edits: tuple[tuple[int, int, bytes], ...] | None = None


def examine_image(data: bytes, name: str, settings: ImageSettings) -> ExaminedImage | Problem:
    """Returns the first of `examine_pictures`: of most files there is no other."""
    return next(iter(examine_pictures(data, name, settings)))[1]


def examine_pictures(data: bytes, name: str, settings: ImageSettings) -> Iterator[tuple[str, ExaminedImage | Problem]]:
    """Decodes each picture of a file once and removes its metadata. Invalid bytes give a Problem, never an error.

    Yields (name, result); where `--frames all` makes several images of a file, each has a name of its own, such as
    `scan.dcm#3`, and a key in `groups` that keeps them in one split.

    Args:
        name: how messages name the file.

    Raises:
        BuildError: the window in the settings is invalid.
    """
    bounds = parse_window(settings.window)
    try:
        for picture_name, examined in examine_file(data, name, settings, bounds):
            if isinstance(examined, Problem):
                examined = Problem(examined.code, f"{name!r} {examined.message}")
            yield picture_name, examined
    except MemoryError:
        yield name, Problem(Reason.IMAGE_TOO_LARGE, f"{name!r} does not fit in memory; lower --max_image_pixels")


def examine_file(
    data: bytes, name: str, settings: ImageSettings, bounds: tuple[float, float] | None
) -> Iterator[tuple[str, ExaminedImage | Problem]]:
    """Yields the same as `examine_pictures`, with messages that follow the file's name."""
    limits = (settings.max_pixels, settings.min_side, bounds, settings.frames)
    if is_dicom(data):
        pictures = read_dicom(data, *limits)
    elif format := other_format(data):
        pictures = read_pictures(data, format, *limits)
    else:
        yield name, examine_coded(data, settings, bounds)
        return
    key = ""
    for picture in pictures:
        if isinstance(picture, Problem):
            yield name, picture
            continue
        several = picture.count > 1 and settings.frames == "all"
        if several and not key:
            key = f"file:{hashlib.blake2b(data, digest_size=16).hexdigest()}"
        examined = examine_picture(picture, settings, (key,) if several else ())
        yield frame_name(name, picture.index) if several else name, examined


def examine_picture(
    picture: DicomPicture | ConvertedPicture, settings: ImageSettings, file_groups: tuple[str, ...]
) -> ExaminedImage:
    """Examines a decoded picture, which becomes a PNG."""
    groups, flags = file_groups, ()
    if isinstance(picture, DicomPicture):
        removed, groups, flags = ["DICOM header"], (*picture.groups, *file_groups), picture.flags
    else:
        removed = list(picture.removed)
    if picture.count > 1 and settings.frames != "all":
        removed.append("further pictures")
    data = encode_png(picture.image)
    examined = make_examined_image(data, "PNG", picture.image, settings, tuple(removed), picture.window, groups, flags)
    return replace(examined, known=picture.known) if isinstance(picture, DicomPicture) else examined


def examine_coded(data: bytes, settings: ImageSettings, bounds: tuple[float, float] | None) -> ExaminedImage | Problem:
    """Examines a JPEG or PNG; the message of a Problem follows the file's name."""
    coding = read_coding(data)
    if coding is None:
        message = f"is not an image in an allowed format ({', '.join(ALLOWED_FORMATS)}); convert it to PNG"
        return Problem(Reason.IMAGE_FORMAT, message)
    if problem := check_coding(coding, settings):
        return problem
    published, removed = edited(data, coding), list(coding.removed)
    try:
        image, window = decode_pixels(published, coding, bounds)
    except MemoryError:
        raise
    except Exception as error:  # Pillow's decoders raise a dozen types on broken data, SyntaxError among them
        if "truncated" in str(error):
            return Problem(Reason.IMAGE_TRUNCATED, "is truncated: pixels are missing; copy it again from its origin")
        return Problem(Reason.IMAGE_UNREADABLE, f"is damaged: {one_line(error)}")
    recode = bool(window)
    if coding.profile is not None and not window and image.mode != "CMYK":
        image, done = to_srgb(image, coding.profile)
        removed += [done] if done else []
        recode = done == CONVERTED
    if coding.orientation != 1:
        from PIL.Image import Transpose

        image = image.transpose(Transpose[UPRIGHT[coding.orientation]])
        removed.append("orientation applied")
        recode = True
    if image.mode == "CMYK":
        image = image.convert("RGB")
        removed.append("CMYK converted to RGB")
        recode = True
    if recode:
        published = encode_png(image)
    examined = make_examined_image(
        published, "PNG" if recode else coding.format, image, settings, tuple(removed), window
    )
    return examined if recode else replace(examined, edits=tuple(sorted(coding.edits)))


def check_coding(coding: Coding, settings: ImageSettings) -> Problem | None:
    """Checks everything that is known before decoding; the message of a Problem follows the file's name."""
    if coding.width and coding.height:  # else it has no header, and the file is damaged or ends too early
        if problem := check_size(coding.width, coding.height, settings.max_pixels, settings.min_side):
            return problem
        if coding.format == "JPEG" and coding.bits > 8:
            return Problem(
                Reason.IMAGE_FORMAT,
                f"is a JPEG of {coding.bits} bits; convert it to 8 bits, or to a gray PNG of 16 bits",
            )
        if coding.bits > 8 and coding.color_type:
            return Problem(
                Reason.IMAGE_FORMAT,
                "is a PNG with 16 bits per channel and colors or transparency; convert it to 8 bits per channel, or to "
                "16-bit gray without transparency",
            )
    if coding.animated:
        message = "is an animation; save the picture that the text describes as a separate file"
        return Problem(Reason.IMAGE_ANIMATED, message)
    if coding.cut_off:
        return Problem(
            Reason.IMAGE_TRUNCATED, "is truncated: the file ends before its end mark; copy it again from its origin"
        )
    if coding.damage:
        return Problem(Reason.IMAGE_UNREADABLE, f"is damaged: {coding.damage}")
    return None


def decode_pixels(data: bytes, coding: Coding, bounds: tuple[float, float] | None) -> tuple[Image.Image, str]:
    """Returns the decoded 8-bit image, and a description of its window; raises whatever Pillow raises.

    `Image.open` is not used, because it has its own limit of pixels and warns about it on standard error.
    """
    if coding.format == "JPEG":
        from PIL.JpegImagePlugin import JpegImageFile as Plugin
    else:
        from PIL.PngImagePlugin import PngImageFile as Plugin
    image = Plugin(io.BytesIO(data))
    if image.size != (coding.width, coding.height):
        raise ValueError(f"its headers disagree about its size: {image.size} and {(coding.width, coding.height)}")
    image.load()
    if image.mode == "P" and image.palette is None:
        raise ValueError("its pixels refer to a palette, and it has none")
    if coding.format == "PNG":
        check_rows(data, image.crop((0, image.height - 1, *image.size)).tobytes())
    if coding.bits <= 8:
        return image, ""
    import numpy as np
    from PIL import Image

    gray, window = window_gray(np.asarray(image, dtype=np.uint16), bounds)
    return Image.fromarray(gray), window


def check_rows(data: bytes, last_row: bytes) -> None:
    """Raises OSError, worded as by Pillow, for a PNG with missing rows that Pillow does not report."""
    if may_lack_rows(data, last_row) and lacks_rows(data):
        raise OSError("image file is truncated")


def encode_png(image: Image.Image) -> bytes:
    file = io.BytesIO()
    image.save(file, "PNG")
    return file.getvalue()


def make_examined_image(
    data: bytes,
    format: str,
    image: Image.Image,
    settings: ImageSettings,
    stripped: tuple[str, ...],
    window: str = "",
    groups: tuple[str, ...] = (),
    flags: tuple[Flag, ...] = (),
) -> ExaminedImage:
    """Returns the published bytes with the hashes and flags that are computed from the pixels."""
    from hub_datasets.images.hashing import gray_thumbnail, pixel_hash, thumbnail_hash, without_opaque_alpha

    if isinstance(image.info.get("transparency"), bytes):  # of a palette; Pillow warns when that turns into gray
        image = image.convert("RGBA")
    image = without_opaque_alpha(image)
    if settings.ocr:
        from hub_datasets.images.burned_in_text import find_burned_in_text

        found = find_burned_in_text(image)
        flags = (*flags, found) if found else flags
    small = gray_thumbnail(image)
    hashes = pixel_hash(image), thumbnail_hash(small)
    return ExaminedImage(data, format, *image.size, *hashes, groups, window, stripped, flags, small.tobytes())
