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

from evaluation.loading import InputError
from evaluation.scoring.rgb_images import ADVICE, check_depth, composite_on_white

__all__ = ["apply_orientation", "check_depth", "composite_on_white", "open_image", "read_encoded_image"]


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


def apply_orientation(image: Image.Image) -> Image.Image:
    """Returns the decoded image, rotated and mirrored as its EXIF orientation says, as in `datasets`."""
    image.load()
    return image if image.getexif().get(Base.Orientation) is None else ImageOps.exif_transpose(image)
