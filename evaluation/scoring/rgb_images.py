"""Converts decoded images to RGB, once for training and evaluation, so that a model is scored on what it was given."""

from __future__ import annotations

from typing import TYPE_CHECKING

from evaluation.loading import InputError

if TYPE_CHECKING:
    from PIL import Image

# Pillow's modes of more than 8 bits, whose values `convert("RGB")` clips at 255.
DEEP_MODES = ("I", "F", "I;16", "I;16B", "I;16L", "I;16N")
ADVICE = "Build the dataset with `medpairs build`, which windows images to 8 bits per channel and rejects damaged ones"


def to_rgb(image: Image.Image, where: str) -> Image.Image:
    """Returns a decoded image as training reads it: in RGB, with a transparent color replaced by white.

    Args:
        where: the row, for the message.

    Raises:
        InputError: the image has more than 8 bits per channel.
    """
    check_depth(image, where)
    return composite_on_white(image if image.mode == "RGB" else image.convert("RGB"))


def check_depth(image: Image.Image, where: str) -> None:
    """Raises InputError if an image has more than 8 bits per channel."""
    if image.mode in DEEP_MODES:
        raise InputError(f"{where}: the image has mode {image.mode}, more than 8 bits per channel. {ADVICE}")


def composite_on_white(image: Image.Image) -> Image.Image:
    """Returns an RGB image with its transparent color, if it has one, replaced by white, as the image processors do."""
    if image.info.get("transparency") is None:
        return image
    from PIL import Image
    from transformers.image_transforms import convert_to_rgb

    return Image.fromarray(convert_to_rgb(image, return_numpy=True))
