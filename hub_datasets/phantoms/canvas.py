"""The brushes: coordinate grids, soft shapes, noise at a chosen scale, and the way back to an 8-bit image.

Pictures are float32 arrays of shape (height, width), 0 black and 1 white; masks are the same with 0 outside and 1
inside.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageDraw, ImageFilter


class Drawing(NamedTuple):
    """A picture of shape (height, width) and, by name, which of its pixels (bool, same shape) belong to a thing."""

    picture: np.ndarray
    regions: dict[str, np.ndarray]


def grid(height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """Return x (1, width) and y (height, 1) of the pixel centres, in pixels."""
    x = np.arange(width, dtype=np.float32)[None, :] + 0.5
    y = np.arange(height, dtype=np.float32)[:, None] + 0.5
    return x, y


def soft(distance: np.ndarray, width: float = 1.5) -> np.ndarray:
    """Return the mask of a signed distance (pixels, positive inside) with an edge `width` pixels wide."""
    return np.clip(distance / width + 0.5, 0.0, 1.0)


def ellipse(
    x: np.ndarray, y: np.ndarray, cx: float, cy: float, rx: float, ry: float, angle: float = 0.0, edge: float = 1.5
) -> np.ndarray:
    """Return the soft mask of an ellipse, all in pixels, turned by `angle` radians."""
    dx, dy = x - cx, y - cy
    if angle:
        cos, sin = float(np.cos(angle)), float(np.sin(angle))
        dx, dy = dx * cos + dy * sin, dy * cos - dx * sin
    # (1 - r) times the smaller radius is close enough to the distance from the edge.
    return soft((1.0 - np.sqrt((dx / rx) ** 2 + (dy / ry) ** 2)) * min(rx, ry), edge)


def blob(
    x: np.ndarray, y: np.ndarray, cx: float, cy: float, rx: float, ry: float, waves: np.ndarray, angle: float = 0.0
) -> np.ndarray:
    """Return the signed distance (pixels) to an ellipse with a wavy border.

    Args:
        waves: (n, 2) amplitude, as a share of the radius, and phase of the border's 2nd, 3rd, ... harmonic.
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
    """Return `waves` for `blob`: amplitudes up to `amplitude`, falling with the harmonic, at random phases."""
    fall = 1.0 / np.sqrt(np.arange(1, count + 1))
    return np.stack([amplitude * fall * rng.uniform(0.4, 1.0, count), rng.uniform(0, 2 * np.pi, count)], axis=1)


def painted(height: int, width: int, paint: Callable[[ImageDraw.ImageDraw], None], blur: float = 0.7) -> np.ndarray:
    """Return what `paint` draws in grey (0 to 255) on a black page, blurred by `blur` pixels, as a mask."""
    page = Image.new("L", (width, height), 0)
    paint(ImageDraw.Draw(page))
    if blur:
        page = page.filter(ImageFilter.GaussianBlur(blur))
    return np.asarray(page, dtype=np.float32) / 255.0


def clouds(rng: np.random.Generator, height: int, width: int, cell: float, cell_y: float | None = None) -> np.ndarray:
    """Return smooth noise of about unit variance with features `cell` pixels wide (and `cell_y` high)."""
    rows = max(2, round(height / (cell_y or cell)) + 1)
    columns = max(2, round(width / cell) + 1)
    coarse = rng.standard_normal((rows, columns)).astype(np.float32)
    return np.asarray(Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)) * 1.3


def grain(rng: np.random.Generator, height: int, width: int, deviation: float) -> np.ndarray:
    """Return sensor noise: independent, of the given standard deviation."""
    return rng.standard_normal((height, width), dtype=np.float32) * np.float32(deviation)


def to_image(array: np.ndarray) -> Image.Image:
    """Return an 8-bit image, clipped at black and white: mode L for (height, width), RGB for (height, width, 3)."""
    return Image.fromarray(np.rint(np.clip(array, 0.0, 1.0) * 255.0).astype(np.uint8))
