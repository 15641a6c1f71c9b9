"""Converts image files to uint8 pixels at the encoder's input size, and those pixels to its float input.

The two halves of the checkpoint's image processor run in two places. Decoding and resizing take milliseconds per image
and always give the same result: `PixelReader` does both once, and the image cache stores the result. Rescaling and
normalizing make four bytes of each one: `normalize_pixels` does both on the model's device, so that only uint8 is
transferred.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from PIL import Image

from evaluation.loading import InputError
from evaluation.scoring.encoder import content_id
from trainers.images.encoded import apply_orientation, check_depth, composite_on_white, open_image


@dataclass(frozen=True)
class PixelReader:
    """Decodes and resizes like the checkpoint's image processor does on PIL images, bit for bit.

    Attributes:
        height, width: of the result, in pixels. As in SigLIP, the aspect ratio is not kept.
        resample: Pillow's number of the resampling filter; 3 is bicubic.
        draft: lets the JPEG decoder skip frequencies that the resized image does not need: it decodes at the smallest
            of 1/1, 1/2, 1/4 and 1/8 of the size that is not smaller than the result. Several times faster for large
            photographs; the pixels then differ from the stock processor's, and so do the image ids.
        max_tiles: 1: in the image cache, an image of the encoder is one tile.
    """

    height: int
    width: int
    resample: int
    draft: bool = False
    max_tiles: ClassVar[int] = 1

    @classmethod
    def of(cls, image_processor: Any, draft: bool = False) -> PixelReader:
        """Returns the reader that does what an image processor does before it rescales.

        Raises:
            InputError: the processor crops, pads, keeps the aspect ratio or does not resize, so it is not SigLIP's.
        """
        size = image_processor.size
        height, width = (size.get(side) if isinstance(size, dict) else getattr(size, side) for side in SIDES)
        unsupported = [name for name in ("do_center_crop", "do_pad") if getattr(image_processor, name, None)]
        if not (height and width and image_processor.do_resize) or unsupported:
            raise InputError(
                f"the image processor ({type(image_processor).__name__}) does not only resize to height x width: "
                f"{', '.join(unsupported) or f'size {size}'}. Use a SigLIP checkpoint with its own processor"
            )
        return cls(int(height), int(width), int(image_processor.resample), draft)

    @property
    def shape(self) -> tuple[int, int, int]:
        """`(3, height, width)`: channels first, as the model requires, so that no batch has to be transposed."""
        return 3, self.height, self.width

    def __call__(self, data: bytes, where: str) -> tuple[np.ndarray, int]:
        """Returns the pixels `[3, height, width]` uint8 of an encoded image, and its `content_id`.

        Args:
            data: the bytes of the file.
            where: the row and the file, for error messages.

        Raises:
            InputError: the file is not a JPEG or PNG, is damaged, has more than 8 bits per channel or more than
                MAX_PIXELS.
        """
        with open_image(data, where) as image:
            if self.draft:
                image.draft(None, (self.width, self.height))
            return self.of_image(apply_orientation(image), where)

    def of_image(self, image: Image.Image, where: str) -> tuple[np.ndarray, int]:
        """Does the same as a call for a decoded image. Raises InputError if it has more than 8 bits per channel."""
        check_depth(image, where)
        image = image if image.mode == "RGB" else image.convert("RGB")
        identity = content_id(image.tobytes())
        small = composite_on_white(image).resize((self.width, self.height), self.resample)
        # [H, W, 3] -> [3, H, W]
        return np.ascontiguousarray(np.asarray(small).transpose(2, 0, 1)), identity


SIDES = ("height", "width")


def normalize_pixels(
    pixel_values: torch.Tensor,
    mean: Sequence[float],
    std: Sequence[float],
    rescale: float = 1 / 255,
    out: Sequence[torch.Tensor] | None = None,
) -> torch.Tensor:
    """Computes `(pixel * rescale - mean) / std` on the device of the pixels.

    Args:
        pixel_values: `[N, 3, H, W]` uint8. Floats count as normalized already and are returned as they are.
        mean, std: one number per channel, or one for all, in units of the rescaled pixels.
        rescale: the image processor's `rescale_factor`.
        out: on a CPU only, N tensors `[3, H, W]` float32 to write the images to, instead of a new tensor.

    Returns:
        `[N, 3, H, W]` float32, within 1e-6 of the stock image processor's; `out` if it was given.
    """
    if pixel_values.dtype != torch.uint8:
        return pixel_values
    # In float64 `[3, 1, 1]` or `[1, 1, 1]`, so that the two constants are rounded to float32 only once.
    mean, std = (torch.as_tensor(values, dtype=torch.float64).view(-1, 1, 1) for values in (mean, std))
    factor, offset = (values.to(pixel_values.device, torch.float32) for values in (rescale / std, mean / std))
    if pixel_values.device.type != "cpu":
        return pixel_values.float().mul_(factor).sub_(offset)
    # On a CPU, memory bandwidth is the limit: one channel of one image at a time stays in the CPU's cache, and NumPy
    # requests huge pages for the result.
    result = torch.from_numpy(np.empty(pixel_values.shape, np.float32)) if out is None else out
    factors, offsets = factor.expand(3, 1, 1).flatten().tolist(), offset.neg().expand(3, 1, 1)
    for image, normal in zip(pixel_values, result, strict=True):
        for channel, target, alpha, start in zip(image, normal, factors, offsets, strict=True):
            # [H, W]: start + alpha * channel
            torch.add(start, target.copy_(channel), alpha=alpha, out=target)
    return result


def normalization_of(image_processor: Any) -> dict[str, Any]:
    """Returns the arguments `mean`, `std` and `rescale` of `normalize_pixels` for an image processor."""
    return {
        "mean": image_processor.image_mean if image_processor.do_normalize else [0.0],
        "std": image_processor.image_std if image_processor.do_normalize else [1.0],
        "rescale": image_processor.rescale_factor if image_processor.do_rescale else 1.0,
    }
