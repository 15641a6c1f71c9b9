"""How may a picture change so that its text stays true? A little cut away, turned, brighter or darker; never mirrored.

A report speaks of the left lung, an image of a knee of its medial side, and a mirrored picture of the heart is that of
an illness: a left-right flip makes such texts false. It is done only when asked for, and no text is changed to fit.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from PIL import Image


@dataclass(frozen=True)
class Augmentation:
    """Draws a change of an image from the seed, the epoch and the row, and from nothing else.

    Attributes:
        seed: of the training.
        light: whether to crop, turn and change brightness and contrast.
        flip: whether to mirror every other image.
        scale: smallest share of the area that is kept, the place drawn evenly.
        aspect: largest factor between the stretch of width and height.
        degrees: largest turn to either side. What lies outside the picture is its edge, repeated.
        brightness: largest change, as a share of the whole range.
        contrast: largest change of the distance to the mean, as a share.
    """

    seed: int
    light: bool = True
    flip: bool = False
    scale: float = 0.8
    aspect: float = 1.1
    degrees: float = 7.0
    brightness: float = 0.1
    contrast: float = 0.1

    def __call__(self, pixels: np.ndarray, epoch: int, row: int) -> np.ndarray:
        """Returns the pixels `[3, H, W]` uint8 of an image as this row has them in this epoch; the input is kept."""
        random = np.random.Generator(np.random.Philox(np.random.SeedSequence([self.seed, epoch, row])))
        # Everything is drawn in this order whatever is switched on, so that a flag changes nothing but itself.
        flip = random.random() < 0.5
        share, stretch = random.uniform(self.scale, 1), self.aspect ** random.uniform(-0.5, 0.5)
        left, top = random.random(2)
        angle = np.radians(random.uniform(-self.degrees, self.degrees))
        contrast = 1 + random.uniform(-self.contrast, self.contrast)
        brightness = 255 * random.uniform(-self.brightness, self.brightness)
        if self.light:
            pixels = self.moved(pixels, share, stretch, left, top, angle)
            pixels = adjusted(pixels, contrast, brightness)
        return np.ascontiguousarray(pixels[:, :, ::-1]) if self.flip and flip else pixels

    def moved(
        self, pixels: np.ndarray, share: float, stretch: float, left: float, top: float, angle: float
    ) -> np.ndarray:
        """A part of the image, turned, at the image's size again. One interpolation does both."""
        height, width = pixels.shape[1:]
        part_width, part_height = (width * min(1, (share * s) ** 0.5) for s in (stretch, 1 / stretch))
        part_height *= height / width
        centre_x = part_width / 2 + left * (width - part_width)
        centre_y = part_height / 2 + top * (height - part_height)
        a, b = np.cos(angle) * part_width / width, -np.sin(angle) * part_height / height
        d, e = np.sin(angle) * part_width / width, np.cos(angle) * part_height / height
        # A corner of the turned part lies outside by less than half its diagonal times the sine: that much edge.
        border = int(np.ceil(np.hypot(height, width) / 2 * np.sin(np.radians(self.degrees)))) + 2
        x = border + centre_x - a * width / 2 - b * height / 2
        y = border + centre_y - d * width / 2 - e * height / 2
        padded = np.pad(pixels.transpose(1, 2, 0), ((border, border), (border, border), (0, 0)), mode="edge")
        image = Image.fromarray(padded).transform(
            (width, height), Image.Transform.AFFINE, (a, b, x, d, e, y), Image.Resampling.BICUBIC
        )
        return np.asarray(image).transpose(2, 0, 1)


def adjusted(pixels: np.ndarray, contrast: float, brightness: float) -> np.ndarray:
    """The image with its distances to its mean, and its mean, changed. By a table of the 256 values."""
    mean = pixels.mean()
    table = (np.arange(256) - mean) * contrast + mean + brightness
    return np.take(np.rint(table).clip(0, 255).astype(np.uint8), pixels)
