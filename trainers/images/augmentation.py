"""How may a picture change so that its text stays true? A little cut away, turned, brighter or darker; never mirrored.

A report speaks of the left lung, an image of a knee of its medial side, and a mirrored picture of the heart is that of
an illness: a left-right flip makes such texts false. It is done only when asked for, and no text is changed to fit.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch.nn.functional import affine_grid, grid_sample


@dataclass(frozen=True)
class Augmentation:
    """Draws a change of an image from the seed, the epoch and the row, and from nothing else.

    Attributes:
        seed: of the training.
        light: whether to crop, turn and change brightness and contrast.
        flip: whether to mirror every other image.
        scale: smallest share of the area that is kept, the place drawn evenly.
        aspect: largest factor between the stretch of width and height.
        degrees: largest turn to either side. What then lies outside the picture is its edge, repeated.
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
        # Everything is drawn, in this order, whatever is switched on: a flag changes nothing but itself.
        flip = random.random() < 0.5
        share, stretch = random.uniform(self.scale, 1), self.aspect ** random.uniform(-0.5, 0.5)
        part = [min(1.0, math.sqrt(share * stretch)), min(1.0, math.sqrt(share / stretch))]  # of width and height
        centre = [random.uniform(size - 1, 1 - size) for size in part]
        angle = math.radians(random.uniform(-self.degrees, self.degrees))
        contrast = 1 + random.uniform(-self.contrast, self.contrast)
        brightness = 255 * random.uniform(-self.brightness, self.brightness)
        if self.light:
            moved = turned_part(torch.from_numpy(pixels).float(), part, centre, angle)
            mean = moved.mean()
            changed = moved.sub_(mean).mul_(contrast).add_(mean + brightness)
            pixels = changed.round_().clamp_(0, 255).to(torch.uint8).numpy()
        return np.ascontiguousarray(pixels[:, :, ::-1]) if self.flip and flip else pixels


def turned_part(pixels: torch.Tensor, part: list[float], centre: list[float], angle: float) -> torch.Tensor:
    """A part of an image, turned, at the image's size again; one bilinear interpolation does both.

    Args:
        pixels: `[3, H, W]` float.
        part: width and height of the part, as shares of the image's.
        centre: of the part, x and y, from -1 (left, top) to 1.
        angle: in radians, clockwise as the image is seen.

    Returns:
        `[3, H, W]` float. Beyond the image's edge its outermost pixels go on.
    """
    height, width = pixels.shape[1:]
    cosine, sine = math.cos(angle), math.sin(angle)
    across = [cosine * part[0], -sine * part[1] * height / width, centre[0]]
    down = [sine * part[0] * width / height, cosine * part[1], centre[1]]
    grid = affine_grid(torch.tensor([[across, down]]), [1, *pixels.shape], align_corners=False)
    return grid_sample(pixels[None], grid, "bilinear", "border", align_corners=False)[0]
