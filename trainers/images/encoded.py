"""Decodes the image of a row safely: JPEG and PNG only, a pixel limit, EXIF orientation, transparency on white."""

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


def read_encoded_image(image: Any, where: str, shown: str = "") -> tuple[bytes, str]:
    """Returns the bytes of a dataset's image, and its location for messages.

    Args:
        image: the Arrow struct of the image, with its `bytes` or the `path` of its file.
        where: the row, for example "--dataset, row 7".
        shown: a more informative name than the path in the struct; "" for that path.

    Raises:
        InputError: the struct has neither, or the file cannot be read.
    """
    path = image["path"].as_py() if image.is_valid else ""
    where = f"{where} ({shown or path})" if shown or path else where
    if image.is_valid and (data := image["bytes"]).is_valid:
        return data.as_buffer(), where
    try:
        return Path(path or "").read_bytes(), where
    except OSError as error:
        raise InputError(f"{where}: the image cannot be read: {error.strerror}") from None


# The formats that hub_datasets writes. No other decoder of Pillow reads bytes of unknown origin.
FORMATS = ("JPEG", "PNG")
# Width times height; the limit of hub_datasets.
MAX_PIXELS = 64_000_000
# Pillow's modes of more than 8 bits, whose values `convert("RGB")` clips at 255.
DEEP_MODES = ("I", "F", "I;16", "I;16B", "I;16L", "I;16N")


@contextmanager
def open_image(data: bytes, where: str) -> Iterator[Image.Image]:
    """Opens an image file of which only the header is read. Any error inside the context becomes an InputError.

    Args:
        where: the row and the file, for error messages.

    Raises:
        InputError: the file is not a JPEG or PNG, is damaged, or has more than MAX_PIXELS.
    """
    try:
        with warnings.catch_warnings():
            # Pillow warns above 89 million pixels; the limit below is lower.
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            image = Image.open(io.BytesIO(data), formats=FORMATS)
        if image.width * image.height > MAX_PIXELS:
            raise InputError(
                f"{where}: the image has {image.width} x {image.height} pixels, more than {MAX_PIXELS:,}. {ADVICE}"
            )
        yield image
    except InputError:
        raise
    except Exception as error:  # each decoder raises its own types for damaged files
        raise InputError(f"{where}: not a readable {' or '.join(FORMATS)} ({error}). {ADVICE}") from None


def check_depth(image: Image.Image, where: str) -> None:
    """Raises InputError if an image has more than 8 bits per channel."""
    if image.mode in DEEP_MODES:
        raise InputError(f"{where}: the image has mode {image.mode}, more than 8 bits per channel. {ADVICE}")


def apply_orientation(image: Image.Image) -> Image.Image:
    """Returns the decoded image, rotated and mirrored as its EXIF orientation says, as in `datasets`."""
    image.load()
    return image if image.getexif().get(Base.Orientation) is None else ImageOps.exif_transpose(image)


def composite_on_white(image: Image.Image) -> Image.Image:
    """Returns an RGB image with its transparent color, if it has one, replaced by white, as the image processors do."""
    if image.info.get("transparency") is None:
        return image
    return Image.fromarray(convert_to_rgb(image, return_numpy=True))


ADVICE = "Build the dataset with `medpairs build`, which windows images to 8 bits per channel and rejects damaged ones"
