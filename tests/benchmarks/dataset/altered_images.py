"""Defines the alterations of image copies on which `near_duplicates.py` measures the perceptual hash."""

from __future__ import annotations

import io
from collections.abc import Callable
from functools import partial

from PIL import Image, ImageEnhance


def recoded(image: Image.Image, quality: int) -> Image.Image:
    """Encodes the image as JPEG and decodes it."""
    file = io.BytesIO()
    image.save(file, "JPEG", quality=quality)
    return Image.open(file)


def resized(image: Image.Image, factor: float, method: Image.Resampling = Image.Resampling.LANCZOS) -> Image.Image:
    return image.resize((max(1, round(image.width * factor)), max(1, round(image.height * factor))), method)


def cropped(image: Image.Image, share: float) -> Image.Image:
    """Removes this share of the width and the height at each of the four sides."""
    x, y = round(image.width * share), round(image.height * share)
    return image.crop((x, y, image.width - x, image.height - y))


def with_gamma(image: Image.Image, gamma: float) -> Image.Image:
    return image.point([round(255 * (value / 255) ** gamma) for value in range(256)] * len(image.getbands()))


def with_brightness(image: Image.Image, factor: float) -> Image.Image:
    return ImageEnhance.Brightness(image).enhance(factor)


def with_contrast(image: Image.Image, factor: float) -> Image.Image:
    return ImageEnhance.Contrast(image).enhance(factor)


# The alterations by name. A mirrored or rotated image is a different one and must not be found.
ALTERED: dict[str, Callable[[Image.Image], Image.Image]] = {
    **{f"JPEG of quality {quality}": partial(recoded, quality=quality) for quality in (95, 85, 75, 50)},
    **{f"resized to {factor:.0%}": partial(resized, factor=factor) for factor in (0.5, 0.75, 1.5, 2)},
    "resized to 50% without smoothing": partial(resized, factor=0.5, method=Image.Resampling.NEAREST),
    "resized to 224 x 224": lambda image: image.resize((224, 224)),
    "resized to 50%, JPEG of quality 75": lambda image: recoded(resized(image, 0.5), 75),
    **{f"brightness {factor}": partial(with_brightness, factor=factor) for factor in (0.9, 1.1)},
    **{f"contrast {factor}": partial(with_contrast, factor=factor) for factor in (0.8, 1.2)},
    **{f"gamma {gamma}": partial(with_gamma, gamma=gamma) for gamma in (0.8, 1.25)},
    "cropped by 0.5% at each side": partial(cropped, share=0.005),
    "cropped by 1% at each side": partial(cropped, share=0.01),
    "cropped by 2% at each side": partial(cropped, share=0.02),
    "mirrored (another image)": lambda image: image.transpose(Image.Transpose.FLIP_LEFT_RIGHT),
    "turned by 90 degrees (another image)": lambda image: image.transpose(Image.Transpose.ROTATE_90),
}
