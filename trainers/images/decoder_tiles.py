"""Converts image files to uint8 tiles, and the tiles of a batch to the decoder's float input.

Llama 3.2 Vision fits an image into one to four tiles, keeps its aspect ratio and pads the tiles with zeros. The two
halves of its image processor run in two places, as in `encoder_pixels.py`: `TileReader` decodes, resizes and splits an
image once, and the image cache stores its tiles; `unpack_tiles` converts them to floats and adds the empty tiles on the
model's device. A photograph of four tiles takes 3.8 MB this way, and 15 MB as the stock processor's floats.
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
from trainers.images.encoded import apply_orientation, check_depth, composite_on_white, open_image
from trainers.images.encoder_pixels import SIDES, normalization_of, normalize_pixels

# EXIF orientations that swap width and height.
SIDEWAYS_ORIENTATIONS = (5, 6, 7, 8)
PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
# Chunks of a PNG file that may contain its orientation.
ORIENTATION_CHUNKS = (b"eXIf", b"tEXt", b"zTXt", b"iTXt")


@dataclass(frozen=True)
class TileReader:
    """Decodes, resizes, pads and splits like MllamaImageProcessorPil does before it rescales, bit for bit.

    Attributes:
        tile: side of a tile in pixels; 560 for the released Instruct models, 448 for the base models.
        max_tiles: largest number of tiles of an image.
        resample: Pillow's number of the resampling filter; 2 is bilinear.
        draft: lets the JPEG decoder skip frequencies that the resized image does not need: it decodes at the smallest
            of 1/1, 1/2, 1/4 and 1/8 of the size that is not smaller than the resized image. The pixels then differ
            from the stock processor's; tiles and aspect ratio do not.
    """

    tile: int
    max_tiles: int
    resample: int
    draft: bool = False

    @classmethod
    def of(cls, image_processor: Any, draft: bool = False) -> TileReader:
        """Returns the reader that does what an image processor does before it rescales.

        Raises:
            InputError: the processor does not make square RGB tiles, so it is not that of Llama 3.2 Vision.
        """
        size, tiles = getattr(image_processor, "size", None), getattr(image_processor, "max_image_tiles", None)
        height, width = (size.get(side) if isinstance(size, dict) else getattr(size, side, None) for side in SIDES)
        steps = [getattr(image_processor, name, None) for name in ("do_resize", "do_pad", "do_convert_rgb")]
        if not (tiles and height and height == width and all(steps)):
            raise InputError(
                f"the image processor ({type(image_processor).__name__}) does not convert to RGB, resize, pad and "
                "split into square tiles. Use a Llama 3.2 Vision checkpoint with its own processor"
            )
        return cls(int(height), int(tiles), int(image_processor.resample), draft)

    @property
    def shape(self) -> tuple[int, int, int]:
        """`(3, tile, tile)`: channels first, as the model requires."""
        return 3, self.tile, self.tile

    def fit(self, width: int, height: int) -> tuple[tuple[int, int], tuple[int, int]]:
        """Fits an image of this size in pixels to a grid of tiles.

        Returns:
            `(rows, columns)` of the grid, and `(height, width)` of the resized image in pixels.
        """
        canvas = get_optimal_tiled_canvas(height, width, self.max_tiles, self.tile)
        fitted = get_image_size_fit_to_canvas(height, width, *canvas, self.tile)
        return tuple(int(side) // self.tile for side in canvas), tuple(map(int, fitted))

    def tiles(self, data: bytes, where: str) -> int:
        """Returns the number of tiles of an image from its header, without decoding it. Raises as `__call__`."""
        with open_image(data, where) as image:
            check_depth(image, where)
            rows, columns = self.fit(*upright_size(image, data))[0]
            return rows * columns

    def __call__(self, data: bytes, where: str) -> tuple[np.ndarray, int]:
        """Returns the tiles `[n, 3, tile, tile]` uint8 of an encoded image, row by row, and its `aspect_ratio_id`.

        The id numbers the grids (rows, columns) of at most `max_tiles` tiles, from 1. Empty tiles are left out;
        padding inside a tile is 0.

        Args:
            data: the bytes of the file.
            where: the row and the file, for error messages.

        Raises:
            InputError: the file is not a JPEG or PNG, is damaged, has more than 8 bits per channel or more than
                MAX_PIXELS.
        """
        with open_image(data, where) as image:
            check_depth(image, where)
            size = upright_size(image, data)
            grid, (height, width) = self.fit(*size)
            if self.draft:
                # `draft` takes (width, height) of the stored image, which may be a rotated one.
                image.draft(None, (width, height) if size == image.size else (height, width))
            image = apply_orientation(image)
            # Checked again, because decoding can change the mode.
            check_depth(image, where)
            # A gray image without transparency stays in one channel until it is split.
            if image.mode != "L" or image.info.get("transparency") is not None:
                image = composite_on_white(image if image.mode == "RGB" else image.convert("RGB"))
            small = image.resize((width, height), self.resample)
            number = get_all_supported_aspect_ratios(self.max_tiles).index(grid) + 1
            return self.split(small, *grid), number

    def split(self, image: Image.Image, rows: int, columns: int) -> np.ndarray:
        """Splits a resized image, RGB or gray, into tiles, from the upper left corner of the grid.

        Returns:
            `[rows * columns, 3, tile, tile]` uint8, 0 where the image does not reach.
        """
        tiles = np.zeros((rows, columns, *self.shape), np.uint8)
        for channel, name in enumerate(image.getbands()):
            plane = np.asarray(image.getchannel(name))  # [height, width]
            for row, column in np.ndindex(rows, columns):
                top, left = row * self.tile, column * self.tile
                part = plane[top : top + self.tile, left : left + self.tile]
                tiles[row, column, channel, : part.shape[0], : part.shape[1]] = part
        if image.mode == "L":
            # Copied to all three channels after resizing: a third of the work for the same result.
            tiles[:, :, 1:] = tiles[:, :, :1]
        return tiles.reshape(-1, *self.shape)


def upright_size(image: Image.Image, data: bytes) -> tuple[int, int]:
    """Returns (width, height) in pixels after applying the EXIF orientation, from the header of an image.

    A PNG file whose text or EXIF data come after its pixels has to be decoded for that.
    """
    # PngImageFile.getexif decodes every file without EXIF data in its header, to read the chunks after the pixels.
    exif = Image.Image.getexif(image) if ends_with_pixels(data) else image.getexif()
    return image.size[::-1] if exif.get(Base.Orientation) in SIDEWAYS_ORIENTATIONS else image.size


def ends_with_pixels(data: bytes) -> bool:
    """Returns whether no chunk after the pixels of a PNG file can contain its orientation; False for other files."""
    view = memoryview(data)
    if bytes(view[:8]) != PNG_SIGNATURE:
        return False
    # A chunk: 4 bytes of length (big-endian), 4 of kind, the content, 4 of checksum.
    position, pixels_seen = 8, False
    while position + 8 <= len(view):
        kind = bytes(view[position + 4 : position + 8])
        if pixels_seen and kind in ORIENTATION_CHUNKS:
            return False
        if kind == b"IEND":
            return True
        pixels_seen |= kind == b"IDAT"
        position += 12 + int.from_bytes(view[position : position + 4], "big")
    return False


def unpack_tiles(batch: dict[str, Any], image_processor: Any) -> dict[str, Any]:
    """Converts the tiles of a DecoderCollator's batch to the model's input, on the device that they are on.

    Args:
        batch: with `tiles` `[V, 3, H, W]` uint8, those of all N images one after another, and `aspect_ratio_mask`
            `[N, T]` with V ones at the tiles that exist. A batch without `tiles` is returned as it is.
        image_processor: gives `rescale_factor`, `image_mean` and `image_std`.

    Returns:
        the batch with `pixel_values` `[N, T, 3, H, W]` float32 instead of `tiles`, within 1e-6 of the stock
        processor's: padding inside a tile is normalized, empty tiles are 0.
    """
    if "tiles" not in batch:
        return batch
    tiles, mask = batch["tiles"], batch["aspect_ratio_mask"]
    rest = {name: value for name, value in batch.items() if name != "tiles"}
    normalization = normalization_of(image_processor)
    if tiles.device.type == "cpu":
        # [V] positions in the flattened [N * T]
        positions = mask.flatten().nonzero().flatten().tolist()
        if len(positions) != len(tiles):
            raise ValueError(f"{len(tiles)} tiles do not match the {len(positions)} ones in aspect_ratio_mask")
        pixels = BUFFER.zeros_except(positions, (mask.numel(), *tiles.shape[1:]))
        normalize_pixels(tiles, **normalization, out=[pixels[position] for position in positions])
    else:
        pixels = scatter_tiles(normalize_pixels(tiles, **normalization), mask)
    # [N * T, 3, H, W] -> [N, T, 3, H, W]
    return rest | {"pixel_values": pixels.view(*mask.shape, *tiles.shape[1:])}


class FloatBuffer(threading.local):
    """A buffer for the floats of a batch that is reused once no tensor refers to the previous batch. One per thread.

    A batch takes 15 MB per image. Without reuse, the operating system would spend more time on providing new pages
    than the conversion takes.

    Attributes:
        values: `[tiles, 3, H, W]` float32.
        free: reference count of `values` when no tensor uses it.
        written: positions of `values` that may differ from 0.
    """

    def __init__(self) -> None:
        self.values, self.free, self.written = np.zeros((0, 0), np.float32), 0, set()

    def zeros_except(self, positions: list[int], shape: tuple[int, ...]) -> torch.Tensor:
        """Returns a float32 tensor of `shape`, `[tiles, 3, H, W]`, that is 0 except at `positions`.

        The values at `positions` are undefined; the caller writes them.
        """
        # Every tensor made from the array holds a reference to it, as does what autograd saves of such a tensor.
        fits = self.values.shape[1:] == shape[1:] and len(self.values) >= shape[0]
        if not fits or sys.getrefcount(self.values) > self.free:
            # np.zeros takes fresh pages that the system has cleared: they cost nothing until they are written.
            self.values, self.written = np.zeros(shape, np.float32), set()
            self.free = sys.getrefcount(self.values)
        for position in self.written.difference(positions):
            self.values[position] = 0
        self.written = set(positions)
        return torch.from_numpy(self.values[: shape[0]])


BUFFER = FloatBuffer()


def scatter_tiles(tiles: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Returns `[N * T, 3, H, W]` float32: tiles `[V, 3, H, W]` where a mask `[N, T]` has its V ones, 0 elsewhere."""
    # A stable descending sort puts the V positions of the ones first, in order. `nonzero` would return the same, but
    # its shape depends on the values, so that the CPU would wait for the device.
    positions = mask.flatten().argsort(descending=True, stable=True)[: len(tiles)]
    pixels = torch.zeros((mask.numel(), *tiles.shape[1:]), dtype=torch.float32, device=tiles.device)
    return pixels.index_copy_(0, positions, tiles)
