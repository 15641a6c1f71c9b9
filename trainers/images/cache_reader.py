"""Reads an image cache: pixels from a memory-mapped file, verified by checksums.

`pixels.u8` holds the tiles of all images one after another, `images.table` one record per image, and `manifest.json`,
written last, the hash of the table. A copied image is verified at each read; a view, which costs nothing, when a
process takes it for the first time. An image with a wrong checksum is decoded again and written back.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import xxhash

# Version of the file format. It is part of each cache's name: a new version rebuilds all caches.
VERSION = 2
PIXELS, TABLE, MANIFEST = "pixels.u8", "images.table", "manifest.json"
# The hash of an image's bytes, 128 bits as two little-endian integers.
KEY = np.dtype([("high", "<u8"), ("low", "<u8")])
# One record per distinct image, 40 bytes, sorted by key; the pixels are stored in the same order. `note` is the number
# that the reader returns with the pixels: the content_id (encoder) or the aspect_ratio_id (decoder). `checksum` is that
# of the pixels, 0 until they are written.
RECORD = np.dtype([("key", KEY), ("tiles", "<i8"), ("note", "<i8"), ("checksum", "<u8")])

# Maps a row to the bytes of its image and a name for messages.
Encoded = Callable[[int], tuple[bytes, str]]


class Reader(Protocol):
    """Decodes an image file to pixels. A dataclass: its fields are all settings that affect the pixels.

    Attributes:
        shape: `(3, height, width)` of a tile.
        max_tiles: largest number of tiles of an image.
    """

    shape: tuple[int, int, int]
    max_tiles: int

    def tiles(self, data: bytes, where: str) -> int:
        """Returns the number of tiles of an image, from its header. Not called if `max_tiles` is 1."""

    def __call__(self, data: bytes, where: str) -> tuple[np.ndarray, int]:
        """Returns the uint8 pixels, `[3, height, width]` or `[tiles, 3, height, width]`, and the note."""


class CachedImages:
    """Gives access to the pixels of a split's images by row.

    It can be pickled and forked: other processes receive the path, not the pixels.

    Attributes:
        slots: `[rows]`, the index in `table` of each row's image; equal for images with equal bytes.
        table: `[images]` of RECORD.
        starts: `[images + 1]` int64, the number of tiles before those of each image.
        pixels: `[tiles, 3, height, width]` uint8, memory-mapped; None until the first read of this process.
        verified: `[images]` bool, which images this process has verified by their checksum.
    """

    def __init__(self, folder: Path, reader: Reader, slots: np.ndarray, table: np.ndarray, encoded: Encoded):
        self.folder, self.reader, self.slots, self.table, self.encoded = folder, reader, slots, table, encoded
        self.starts = starts_of(table["tiles"])
        self.pixels: np.ndarray | None = None
        self.verified = np.zeros(0, bool)

    def mapped_pixels(self) -> np.ndarray:
        """Returns the file as `[tiles, 3, height, width]` uint8, mapped to memory by the first call of a process."""
        if self.pixels is None:
            shape = (int(self.starts[-1]), *self.reader.shape)
            # A plain array: indexing an np.memmap creates another np.memmap, which takes longer than copying the tile.
            self.pixels = np.asarray(np.memmap(self.folder / PIXELS, np.uint8, "r", shape=shape))
            self.verified = np.zeros(len(self.table), bool)
        return self.pixels

    def read(self, row: int, out: np.ndarray) -> int:
        """Copies the pixels of a row to `out` and returns the note of its image.

        Args:
            out: uint8, `[3, height, width]` for an image of one tile, or `[tiles, 3, height, width]`.
        """
        slot = self.slots[row]
        start, record = self.starts[slot], self.table[slot]
        np.copyto(out, self.mapped_pixels()[start if out.ndim == 3 else slice(start, start + record["tiles"])])
        if checksum(out) != record["checksum"]:
            self.repair(row, out)
        return int(record["note"])

    def view(self, row: int) -> tuple[np.ndarray, int]:
        """Returns the pixels of a row without a copy, `[tiles, 3, height, width]` uint8, read-only, and the note."""
        slot = self.slots[row]
        record, pixels = self.table[slot], self.mapped_pixels()[self.starts[slot] : self.starts[slot + 1]]
        if not self.verified[slot]:
            if checksum(pixels) != record["checksum"]:
                # A copy, because the file may be on a damaged or read-only disk, where the repair cannot be written.
                pixels = np.empty_like(pixels)
                self.repair(row, pixels)
            else:
                self.verified[slot] = True
        return pixels, int(record["note"])

    def repair(self, row: int, out: np.ndarray) -> None:
        """Decodes the image of a row again, to `out` and, if the file can be written, to the file."""
        data, where = self.encoded(row)
        out[:] = self.reader(data, where)[0]
        print(f"--image_cache: {self.folder / PIXELS} is damaged at {where}; the image is decoded again")
        with suppress(OSError), (self.folder / PIXELS).open("r+b") as file:
            write_at(file.fileno(), out, int(self.starts[self.slots[row]]) * tile_bytes(self.reader))

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"pixels": None, "verified": np.zeros(0, bool)}


def starts_of(tiles: np.ndarray) -> np.ndarray:
    """Returns `[images + 1]` int64: the number of tiles before each image, and at the end that of all tiles."""
    return np.concatenate([[0], np.cumsum(tiles, dtype=np.int64)])


def tile_bytes(reader: Reader) -> int:
    """Returns the bytes of one tile."""
    return int(np.prod(reader.shape))


def checksum(pixels: np.ndarray) -> int:
    """Returns the hash of an image's pixels, never 0, which marks an image as not yet written."""
    return xxhash.xxh3_64_intdigest(pixels) or 1


def write_at(file: int, pixels: np.ndarray, offset: int) -> None:
    """Writes all bytes at an offset of a file. Threads may write to one file at the same time.

    Args:
        file: its descriptor.
        offset: in bytes.
    """
    # `pwrite` takes the offset as an argument, so that threads share no file position. It may write less than asked.
    rest = memoryview(pixels).cast("B")
    while rest:
        written = os.pwrite(file, rest, offset)
        rest, offset = rest[written:], offset + written
