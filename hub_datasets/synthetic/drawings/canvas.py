"""Provides drawing primitives: pixel coordinates, masks of soft shapes, noise, and conversion to 8-bit images.

A picture is a float32 array (height, width) from 0 (black) to 1 (white). A mask is an array of the same shape, 0
outside and 1 inside a shape.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageDraw, ImageFilter


class Drawing(NamedTuple):
    """A picture (height, width) and its named regions, bool arrays of the same shape."""

    picture: np.ndarray
    regions: dict[str, np.ndarray]


def pixel_grid(height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the coordinates of the pixel centers in pixels, x (1, width) and y (height, 1)."""
    x = np.arange(width, dtype=np.float32)[None, :] + 0.5
    y = np.arange(height, dtype=np.float32)[:, None] + 0.5
    return x, y


def soft_mask(distance: np.ndarray, width: float = 1.5) -> np.ndarray:
    """Return the mask of a shape whose edge is `width` pixels wide, from its signed distance (positive inside)."""
    return np.clip(distance / width + 0.5, 0.0, 1.0)


def ellipse_mask(
    x: np.ndarray, y: np.ndarray, cx: float, cy: float, rx: float, ry: float, angle: float = 0.0, edge: float = 1.5
) -> np.ndarray:
    """Return the soft mask of an ellipse; center and radii are in pixels, `angle` in radians."""
    dx, dy = x - cx, y - cy
    if angle:
        cos, sin = float(np.cos(angle)), float(np.sin(angle))
        dx, dy = dx * cos + dy * sin, dy * cos - dx * sin
    # (1 - r) times the smaller radius approximates the distance from the edge.
    return soft_mask((1.0 - np.sqrt((dx / rx) ** 2 + (dy / ry) ** 2)) * min(rx, ry), edge)


def wavy_ellipse_distance(
    x: np.ndarray, y: np.ndarray, cx: float, cy: float, rx: float, ry: float, waves: np.ndarray, angle: float = 0.0
) -> np.ndarray:
    """Return the signed distance in pixels, positive inside, to an ellipse with a wavy border.

    Args:
        waves: (n, 2), the amplitude as a share of the radius, and the phase, of the border's 2nd, 3rd, ... harmonic.
    """
    dx, dy = x - cx, y - cy
    cos, sin = float(np.cos(angle)), float(np.sin(angle))
    dx, dy = (dx * cos + dy * sin) / rx, (dy * cos - dx * sin) / ry
    theta = np.arctan2(dy, dx)
    border = np.ones_like(theta)
    for harmonic, (amplitude, phase) in enumerate(waves, start=2):
        border += float(amplitude) * np.cos(harmonic * theta + float(phase))
    return (border - np.hypot(dx, dy)) * min(rx, ry)


def random_waves(rng: np.random.Generator, count: int, amplitude: float) -> np.ndarray:
    """Return `waves` for `wavy_ellipse_distance`, with random phases and amplitudes that decrease from `amplitude`."""
    decay = 1.0 / np.sqrt(np.arange(1, count + 1))
    return np.stack([amplitude * decay * rng.uniform(0.4, 1.0, count), rng.uniform(0, 2 * np.pi, count)], axis=1)


def paint_mask(height: int, width: int, paint: Callable[[ImageDraw.ImageDraw], None], blur: float = 0.7) -> np.ndarray:
    """Return as a mask what `paint` draws in gray (0 to 255) on a black image, blurred by `blur` pixels."""
    image = Image.new("L", (width, height), 0)
    paint(ImageDraw.Draw(image))
    if blur:
        image = image.filter(ImageFilter.GaussianBlur(blur))
    return np.asarray(image, dtype=np.float32) / 255.0


def smooth_noise(
    rng: np.random.Generator, height: int, width: int, cell: float, cell_y: float | None = None
) -> np.ndarray:
    """Return smooth noise of about unit variance whose features are `cell` pixels wide and `cell_y` pixels high."""
    rows = max(2, round(height / (cell_y or cell)) + 1)
    columns = max(2, round(width / cell) + 1)
    coarse = rng.standard_normal((rows, columns)).astype(np.float32)
    return np.asarray(Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)) * 1.3


def sensor_noise(rng: np.random.Generator, height: int, width: int, deviation: float) -> np.ndarray:
    """Return independent Gaussian noise with the given standard deviation."""
    return rng.standard_normal((height, width), dtype=np.float32) * np.float32(deviation)


def to_image(array: np.ndarray) -> Image.Image:
    """Return an 8-bit image, mode L for (height, width) and RGB for (height, width, 3); values are clipped to 0..1."""
    return Image.fromarray(np.rint(np.clip(array, 0.0, 1.0) * 255.0).astype(np.uint8))
