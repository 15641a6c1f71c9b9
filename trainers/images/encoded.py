"""Decodes the image of a row safely: allowed formats, a pixel cap, upright, and on white where it is transparent."""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from PIL import Image, ImageOps
from PIL.ExifTags import Base
from transformers.image_transforms import convert_to_rgb

from evaluation.loading import InputError


def encoded_image(image: Any, where: str, shown: str = "") -> tuple[bytes, str]:
    """(the bytes of an image of a dataset, where it is): from its Arrow struct, or from the file that this names.

    Args:
        shown: a name that says more than the one in the struct.

    Raises:
        InputError: there is neither, or the file cannot be read.
    """
    path = image["path"].as_py() if image.is_valid else ""
    where = f"{where} ({shown or path})" if shown or path else where
    if image.is_valid and (data := image["bytes"]).is_valid:
        return data.as_buffer(), where
    try:
        return Path(path or "").read_bytes(), where
    except OSError as error:
        raise InputError(f"{where}: its image cannot be read: {error.strerror}") from None


FORMATS = ("JPEG", "PNG")  # what hub_datasets writes; no other decoder is given bytes of unknown origin


MAX_PIXELS = 64_000_000  # width times height; what hub_datasets accepts


DEEP_MODES = ("I", "F", "I;16", "I;16B", "I;16L", "I;16N")  # `convert("RGB")` cuts their values off at 255


@contextmanager
def readable(data: bytes, where: str) -> Iterator[Image.Image]:
    """An image of whose file only the header is read yet. What fails while it is in use becomes one InputError.

    Args:
        where: the row and the file, for the message of an error.

    Raises:
        InputError: no JPEG or PNG, damaged, or more than MAX_PIXELS.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # the limit below is lower
            image = Image.open(io.BytesIO(data), formats=FORMATS)
        if image.width * image.height > MAX_PIXELS:
            raise InputError(f"{where}: {image.width} x {image.height} pixels, more than {MAX_PIXELS:,}; {ADVICE}")
        yield image
    except InputError:
        raise
    except Exception as error:  # each decoder has its own types for damage
        raise InputError(f"{where}: not a readable {' or '.join(FORMATS)} ({error}); {ADVICE}") from None


def check_depth(image: Image.Image, where: str) -> None:
    """Raises InputError where an image has more than 8 bits a channel."""
    if image.mode in DEEP_MODES:
        raise InputError(f"{where}: an image of mode {image.mode}, more than 8 bits a channel; {ADVICE}")


def upright(image: Image.Image) -> Image.Image:
    """The decoded image, turned as its EXIF data say, as `datasets` turns it."""
    image.load()
    return image if image.getexif().get(Base.Orientation) is None else ImageOps.exif_transpose(image)


def on_white(image: Image.Image) -> Image.Image:
    """An RGB image with its transparent colour, where it has one, laid on white, as the image processors do."""
    if image.info.get("transparency") is None:
        return image
    return Image.fromarray(convert_to_rgb(image, return_numpy=True))


ADVICE = (
    "build the dataset with hub_datasets/build.py, which windows images to 8 bits a channel and rejects damaged ones"
)
