"""Augments images in ways that keep their texts true: small crops, rotations, brightness and contrast; no mirroring.

A report names the left lung and a knee image its medial side, and a mirrored heart looks like a disease
(dextrocardia): a left-right flip makes such texts false. It happens only on request, and no text is changed to match.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch.nn.functional import affine_grid, grid_sample


@dataclass(frozen=True)
class Augmentation:
    """Augments an image with random numbers that depend on the seed, the epoch and the row only.

    Attributes:
        seed: seed of the training.
        light: whether to crop, rotate and change brightness and contrast.
        flip: whether to mirror an image with probability 1/2.
        scale: smallest fraction of the area that a crop keeps; its position is uniform.
        aspect: largest ratio between the scale factors of width and height.
        degrees: largest rotation to either side, in degrees. Areas outside the image repeat its edge pixels.
        brightness: largest change, as a fraction of the range of 255.
        contrast: largest relative change of the distance of each pixel to the mean.
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
        """Returns the pixels `[3, H, W]` uint8 of an image as this row has them in this epoch.

        Args:
            pixels: `[3, H, W]` uint8; not changed.
            epoch, row: numbers from 0 on.
        """
        random = np.random.Generator(np.random.Philox(np.random.SeedSequence([self.seed, epoch, row])))
        # All numbers are drawn in this order, used or not: one flag does not change the effect of another.
        flip = random.random() < 0.5
        area, stretch = random.uniform(self.scale, 1), self.aspect ** random.uniform(-0.5, 0.5)
        # Width and height of the crop as fractions of the image: their product is `area`, their ratio `stretch`.
        part = [min(1.0, math.sqrt(area * stretch)), min(1.0, math.sqrt(area / stretch))]
        # Coordinates run from -1 to 1, so that a crop of fraction `size` stays inside within +-(1 - size).
        center = [random.uniform(size - 1, 1 - size) for size in part]
        angle = math.radians(random.uniform(-self.degrees, self.degrees))
        contrast = 1 + random.uniform(-self.contrast, self.contrast)
        brightness = 255 * random.uniform(-self.brightness, self.brightness)
        if self.light:
            moved = crop_and_rotate(torch.from_numpy(pixels).float(), part, center, angle)
            mean = moved.mean()
            adjusted = moved.sub_(mean).mul_(contrast).add_(mean + brightness)
            pixels = adjusted.round_().clamp_(0, 255).to(torch.uint8).numpy()
        return np.ascontiguousarray(pixels[:, :, ::-1]) if self.flip and flip else pixels


def crop_and_rotate(pixels: torch.Tensor, part: list[float], center: list[float], angle: float) -> torch.Tensor:
    """Cuts a rotated part out of an image and scales it to the image's size, in one bilinear interpolation.

    Args:
        pixels: `[3, H, W]` float.
        part: width and height of the part, as fractions of the image's.
        center: x and y of the part's center, from -1 (left, top) to 1 (right, bottom).
        angle: in radians, clockwise as the image is seen.

    Returns:
        `[3, H, W]` float. Beyond the image's edge its outermost pixels are repeated.
    """
    height, width = pixels.shape[1:]
    cosine, sine = math.cos(angle), math.sin(angle)
    # Rows of the 2 x 3 matrix from output to input coordinates, both in [-1, 1] along each axis. The factors
    # height / width and width / height keep angles right where the two axes have units of different length.
    x_row = [cosine * part[0], -sine * part[1] * height / width, center[0]]
    y_row = [sine * part[0] * width / height, cosine * part[1], center[1]]
    # [1, 2, 3] -> [1, H, W, 2]
    grid = affine_grid(torch.tensor([[x_row, y_row]]), [1, *pixels.shape], align_corners=False)
    return grid_sample(pixels[None], grid, "bilinear", "border", align_corners=False)[0]
