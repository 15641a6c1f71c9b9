"""What does the decoder see of an image file? Bytes become uint8 tiles, and those the floats of a batch.

Llama 3.2 Vision fits an image into one to four tiles, its shape kept, and pads what is left of them with zeros. The two
halves of its image processor are done at two places, as `pixels` does it for the encoder: `TileReader` decodes, resizes
and cuts once, and `image_cache` keeps the tiles that an image has; `unpack_tiles` makes floats of them and puts empty
tiles beside them where the model is. A photograph of four tiles is 3.8 MB this way, and 15 MB as the stock floats.
"""

from __future__ import annotations

import sys
import threading
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from PIL import Image
from PIL.ExifTags import Base
from transformers.models.mllama.image_processing_pil_mllama import (
    get_all_supported_aspect_ratios,
    get_image_size_fit_to_canvas,
    get_optimal_tiled_canvas,
)

from evaluation.loading import InputError
from trainers.images.encoded import check_depth, on_white, readable, upright
from trainers.images.encoder_pixels import SIDES, normalization_of, normalize_pixels

ON_THEIR_SIDE = (5, 6, 7, 8)  # EXIF orientations in which width and height change places
PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
LATE_METADATA = (b"eXIf", b"tEXt", b"zTXt", b"iTXt")  # chunks of a PNG file that may say how to turn the image


@dataclass(frozen=True)
class TileReader:
    """Decodes, resizes, pads and cuts as MllamaImageProcessorPil does before it rescales, to the bit.

    Attributes:
        tile: side of a tile in pixels; 560 for the released Instruct models, 448 for the base models.
        max_tiles: the most that an image can have.
        resample: Pillow's number of the filter; 2 is bilinear.
        draft: lets the JPEG decoder skip frequencies that a smaller image does not need: it gives the smallest of 1/1,
            1/2, 1/4 and 1/8 of the size that is no smaller than the resized image. The pixels then differ from the
            stock processor's; tiles and aspect ratio do not.
    """

    tile: int
    max_tiles: int
    resample: int
    draft: bool = False

    @classmethod
    def of(cls, image_processor: Any, draft: bool = False) -> TileReader:
        """The reader that does what an image processor does before it rescales.

        Raises:
            InputError: the processor does not make square tiles of RGB: it is not Llama 3.2 Vision's.
        """
        size, tiles = getattr(image_processor, "size", None), getattr(image_processor, "max_image_tiles", None)
        height, width = (size.get(side) if isinstance(size, dict) else getattr(size, side, None) for side in SIDES)
        steps = [getattr(image_processor, name, None) for name in ("do_resize", "do_pad", "do_convert_rgb")]
        if not (tiles and height and height == width and all(steps)):
            raise InputError(
                f"the image processor ({type(image_processor).__name__}) does not convert to RGB, resize, pad and cut "
                "into square tiles; give a Llama 3.2 Vision checkpoint with its own processor"
            )
        return cls(int(height), int(tiles), int(image_processor.resample), draft)

    @property
    def shape(self) -> tuple[int, int, int]:
        """`(3, tile, tile)`: planes, as the model wants them."""
        return 3, self.tile, self.tile

    def fit(self, width: int, height: int) -> tuple[tuple[int, int], tuple[int, int]]:
        """((rows, columns) of tiles, (height, width) of the resized image) for an image of this size in pixels."""
        canvas = get_optimal_tiled_canvas(height, width, self.max_tiles, self.tile)
        fitted = get_image_size_fit_to_canvas(height, width, *canvas, self.tile)
        return tuple(int(side) // self.tile for side in canvas), tuple(map(int, fitted))

    def tiles(self, data: bytes, where: str) -> int:
        """How many tiles an image has, from its header: its pixels are not decoded. Raises InputError as a call."""
        with readable(data, where) as image:
            check_depth(image, where)
            rows, columns = self.fit(*upright_size(image, data))[0]
            return rows * columns

    def __call__(self, data: bytes, where: str) -> tuple[np.ndarray, int]:
        """Returns the tiles `[n, 3, tile, tile]` uint8 of an encoded image, row by row, and its `aspect_ratio_id`.

        The id counts the shapes (rows, columns) of at most `max_tiles` tiles from 1. Only the tiles that the image has
        are there; what it leaves of them is 0.

        Args:
            where: the row and the file, for the message of an error.

        Raises:
            InputError: no JPEG or PNG, damaged, more than 8 bits a channel, or more than MAX_PIXELS.
        """
        with readable(data, where) as image:
            check_depth(image, where)
            size = upright_size(image, data)
            grid, (height, width) = self.fit(*size)
            if self.draft:
                image.draft(None, (width, height) if size == image.size else (height, width))
            image = upright(image)
            check_depth(image, where)
            if image.mode != "L" or image.info.get("transparency") is not None:
                image = on_white(image if image.mode == "RGB" else image.convert("RGB"))
            small = image.resize((width, height), self.resample)
            number = get_all_supported_aspect_ratios(self.max_tiles).index(grid) + 1
            return self.cut(small, *grid), number

    def cut(self, image: Image.Image, rows: int, columns: int) -> np.ndarray:
        """`[rows * columns, 3, tile, tile]` uint8: a resized image, RGB or grey, laid into the corner of its tiles."""
        tiles = np.zeros((rows, columns, *self.shape), np.uint8)
        for channel, name in enumerate(image.getbands()):
            plane = np.asarray(image.getchannel(name))
            for row, column in np.ndindex(rows, columns):
                top, left = row * self.tile, column * self.tile
                part = plane[top : top + self.tile, left : left + self.tile]
                tiles[row, column, channel, : part.shape[0], : part.shape[1]] = part
        if image.mode == "L":  # resized once instead of three times, with the same result
            tiles[:, :, 1:] = tiles[:, :, :1]
        return tiles.reshape(-1, *self.shape)


def upright_size(image: Image.Image, data: bytes) -> tuple[int, int]:
    """(width, height) in pixels of an image that is turned as its EXIF data say, from its header.

    A PNG file whose text or EXIF data come after its pixels is decoded: only then is all of it known.
    """
    # Pillow looks behind the pixels of every PNG file without EXIF data, by decoding them
    exif = Image.Image.getexif(image) if ends_with_pixels(data) else image.getexif()
    return image.size[::-1] if exif.get(Base.Orientation) in ON_THEIR_SIDE else image.size


def ends_with_pixels(data: bytes) -> bool:
    """Whether the first chunks of a PNG file hold all that is said of its orientation; False for other files."""
    view = memoryview(data)
    if bytes(view[:8]) != PNG_SIGNATURE:
        return False
    position, pixels = 8, False
    while position + 8 <= len(view):
        kind = bytes(view[position + 4 : position + 8])
        if pixels and kind in LATE_METADATA:
            return False
        if kind == b"IEND":
            return True
        pixels |= kind == b"IDAT"
        position += 12 + int.from_bytes(view[position : position + 4], "big")  # length, kind, content, checksum
    return False


def unpack_tiles(batch: dict[str, Any], image_processor: Any) -> dict[str, Any]:
    """A batch of a DecoderCollator as the model takes it: floats instead of bytes, on the device where the bytes are.

    Args:
        batch: with `tiles` `[V, 3, H, W]` uint8, those of all N images one after the other, and `aspect_ratio_mask`
            `[N, T]`, whose V ones say which are there. Without `tiles` it is returned as it is.
        image_processor: whose `rescale_factor`, `image_mean` and `image_std` are meant.

    Returns:
        The batch with `pixel_values` `[N, T, 3, H, W]` float32 instead of `tiles`, within 1e-6 of what the stock
        processor computes: padding inside a tile is normalised, tiles that an image does not have are 0.
    """
    if "tiles" not in batch:
        return batch
    tiles, mask = batch["tiles"], batch["aspect_ratio_mask"]
    rest = {name: value for name, value in batch.items() if name != "tiles"}
    normalization = normalization_of(image_processor)
    if tiles.device.type == "cpu":
        places = mask.flatten().nonzero().flatten().tolist()
        if len(places) != len(tiles):
            raise ValueError(f"{len(tiles)} tiles, and aspect_ratio_mask has places for {len(places)}")
        pixels = MEMORY.zeros_but(places, (mask.numel(), *tiles.shape[1:]))
        normalize_pixels(tiles, **normalization, out=[pixels[place] for place in places])
    else:
        pixels = place_tiles(normalize_pixels(tiles, **normalization), mask)
    return rest | {"pixel_values": pixels.view(*mask.shape, *tiles.shape[1:])}


class FloatMemory(threading.local):
    """Memory for the floats of a batch, used again as soon as nobody holds those of the last one.

    A batch takes 15 MB an image, and most of the time of making it would be the kernel's, for memory it has not seen.
    """

    def __init__(self) -> None:
        self.values, self.free, self.written = np.zeros((0, 0), np.float32), 0, set()

    def zeros_but(self, places: list[int], shape: tuple[int, ...]) -> torch.Tensor:
        """`shape` float32, `[tiles, 3, H, W]`: 0 everywhere but at `places`, which are to be written."""
        # every tensor made of it refers to it, and so does what autograd keeps of one
        fits = self.values.shape[1:] == shape[1:] and len(self.values) >= shape[0]
        if not fits or sys.getrefcount(self.values) > self.free:
            # NumPy's zeros are not touched before something is written to them
            self.values, self.written = np.zeros(shape, np.float32), set()
            self.free = sys.getrefcount(self.values)
        for place in self.written.difference(places):
            self.values[place] = 0
        self.written = set(places)
        return torch.from_numpy(self.values[: shape[0]])


MEMORY = FloatMemory()


def place_tiles(tiles: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """`[N * T, 3, H, W]` float32: tiles `[V, 3, H, W]` where a mask `[N, T]` has its V ones, and 0 elsewhere."""
    # sorted, the places of the ones come first; counting them would make the processor wait for the device
    places = mask.flatten().argsort(descending=True, stable=True)[: len(tiles)]
    pixels = torch.zeros((mask.numel(), *tiles.shape[1:]), dtype=torch.float32, device=tiles.device)
    return pixels.index_copy_(0, places, tiles)
