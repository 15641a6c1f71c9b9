"""What does the encoder see of an image file? Bytes become uint8 pixels at the model's size, and those its floats.

The two halves of the checkpoint's image processor are done at two places. Decoding and resizing cost milliseconds an
image and give the same every time: `PixelReader` does them once, and `image_cache` keeps the result. Rescaling and
normalising make each byte four: `normalize_pixels` does them where the model is, so that bytes travel there.
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
from trainers.images.encoded import check_depth, on_white, readable, upright


@dataclass(frozen=True)
class PixelReader:
    """Decodes and resizes as the checkpoint's image processor does on PIL images, to the bit.

    Attributes:
        height, width: of the result, in pixels. The aspect ratio is not kept: SigLIP's is not.
        resample: Pillow's number of the filter; 3 is bicubic.
        draft: lets the JPEG decoder skip frequencies that a smaller image does not need: it gives the smallest of 1/1,
            1/2, 1/4 and 1/8 of the size that is no smaller than the result. Several times faster for large
            photographs; the pixels then differ from the stock processor's, and so do the ids of the images.
    """

    height: int
    width: int
    resample: int
    draft: bool = False
    max_tiles: ClassVar[int] = 1  # an image is one tile, for the cache

    @classmethod
    def of(cls, image_processor: Any, draft: bool = False) -> PixelReader:
        """The reader that does what an image processor does before it rescales.

        Raises:
            InputError: the processor crops, pads, keeps the aspect ratio or does not resize: it is none of SigLIP's.
        """
        size = image_processor.size
        height, width = (size.get(side) if isinstance(size, dict) else getattr(size, side) for side in SIDES)
        odd = [name for name in ("do_center_crop", "do_pad") if getattr(image_processor, name, None)]
        if not (height and width and image_processor.do_resize) or odd:
            raise InputError(
                f"the image processor ({type(image_processor).__name__}) does not simply resize to height x width: "
                f"{', '.join(odd) or f'size {size}'}; give a SigLIP checkpoint with its own processor"
            )
        return cls(int(height), int(width), int(image_processor.resample), draft)

    @property
    def shape(self) -> tuple[int, int, int]:
        """`(3, height, width)`: planes, as the model wants them, so that no batch has to be turned around."""
        return 3, self.height, self.width

    def __call__(self, data: bytes, where: str) -> tuple[np.ndarray, int]:
        """Returns the pixels `[3, height, width]` uint8 of an encoded image, and its `content_id`.

        Args:
            where: the row and the file, for the message of an error.

        Raises:
            InputError: no JPEG or PNG, damaged, more than 8 bits a channel, or more than MAX_PIXELS.
        """
        with readable(data, where) as image:
            if self.draft:
                image.draft(None, (self.width, self.height))
            return self.of_image(upright(image), where)

    def of_image(self, image: Image.Image, where: str) -> tuple[np.ndarray, int]:
        """The same of an image that is decoded already. Raises InputError where it has more than 8 bits a channel."""
        check_depth(image, where)
        image = image if image.mode == "RGB" else image.convert("RGB")
        identity = content_id(image.tobytes())
        small = on_white(image).resize((self.width, self.height), self.resample)
        return np.ascontiguousarray(np.asarray(small).transpose(2, 0, 1)), identity


SIDES = ("height", "width")


def normalize_pixels(
    pixel_values: torch.Tensor,
    mean: Sequence[float],
    std: Sequence[float],
    rescale: float = 1 / 255,
    out: Sequence[torch.Tensor] | None = None,
) -> torch.Tensor:
    """`(pixel * rescale - mean) / std`, on the device where the pixels are.

    Args:
        pixel_values: `[N, 3, H, W]` uint8. Floats are taken for normalised already, and returned as they are.
        mean, std: one number for each channel, or one for all, in units of the rescaled pixels.
        rescale: the image processor's `rescale_factor`.
        out: on the processor, N places `[3, H, W]` float32 for the images, which are written instead of a new tensor.

    Returns:
        `[N, 3, H, W]` float32, within 1e-6 of what the stock image processor computes.
    """
    if pixel_values.dtype != torch.uint8:
        return pixel_values
    mean, std = (torch.as_tensor(values, dtype=torch.float64).view(-1, 1, 1) for values in (mean, std))
    factor, offset = (values.to(pixel_values.device, torch.float32) for values in (rescale / std, mean / std))
    if pixel_values.device.type != "cpu":
        return pixel_values.float().mul_(factor).sub_(offset)
    # Here memory is what takes the time. One plane stays in the processor's cache, and NumPy asks for large pages.
    result = torch.from_numpy(np.empty(pixel_values.shape, np.float32)) if out is None else out
    factors, offsets = factor.expand(3, 1, 1).flatten().tolist(), offset.neg().expand(3, 1, 1)
    for image, normal in zip(pixel_values, result, strict=True):
        for plane, place, alpha, start in zip(image, normal, factors, offsets, strict=True):
            torch.add(start, place.copy_(plane), alpha=alpha, out=place)
    return result


def normalization_of(image_processor: Any) -> dict[str, Any]:
    """The arguments `mean`, `std` and `rescale` of `normalize_pixels` that an image processor stands for."""
    return {
        "mean": image_processor.image_mean if image_processor.do_normalize else [0.0],
        "std": image_processor.image_std if image_processor.do_normalize else [1.0],
        "rescale": image_processor.rescale_factor if image_processor.do_rescale else 1.0,
    }
