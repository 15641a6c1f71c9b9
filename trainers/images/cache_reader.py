"""What lies in the folder of an image cache, and how is it read? Pixels mapped to memory, checked against checksums.

`pixels.u8` holds the tiles of all images one after the other, `images.table` a record for each image, and
`manifest.json`, written last, the hash of the table. A copy is checked each time it is read; a view, which costs
nothing to take, when a process takes it for the first time. An image that a disk has damaged is decoded again, and put
right.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import xxhash

VERSION = 2  # of the files below; another makes every cache anew
PIXELS, TABLE, MANIFEST = "pixels.u8", "images.table", "manifest.json"
# One record for each distinct image, in the order of its key, the hash of its bytes. The pixels lie in the same order.
# `note` is what the reader says of an image beside its pixels: its content_id (encoder), its aspect_ratio_id (decoder).
KEY = np.dtype([("high", "<u8"), ("low", "<u8")])
RECORD = np.dtype([("key", KEY), ("tiles", "<i8"), ("note", "<i8"), ("checksum", "<u8")])

Encoded = Callable[[int], tuple[bytes, str]]  # row -> the bytes of its image, and a name for messages


class Reader(Protocol):
    """How an encoded image becomes pixels: a dataclass, whose fields are all that decides them.

    Attributes:
        shape: `(3, height, width)` of a tile.
        max_tiles: the most that an image can have.
    """

    shape: tuple[int, int, int]
    max_tiles: int

    def tiles(self, data: bytes, where: str) -> int:
        """How many tiles an image has, from its header. Not called where `max_tiles` is 1."""

    def __call__(self, data: bytes, where: str) -> tuple[np.ndarray, int]:
        """The pixels of all tiles, uint8, and the note."""


class CachedImages:
    """The pixels of the images of a split, by row, or by whatever else numbers them.

    Pickles and forks well: what is sent to another process is the path.

    Attributes:
        slots: `[rows]`, where the image of each row lies; equal for equal bytes.
        table: `[images]` of RECORD.
        starts: `[images + 1]`, how many tiles lie before those of each image.
    """

    def __init__(self, folder: Path, reader: Reader, slots: np.ndarray, table: np.ndarray, encoded: Encoded):
        self.folder, self.reader, self.slots, self.table, self.encoded = folder, reader, slots, table, encoded
        self.starts = starts_of(table["tiles"])
        self.pixels: np.ndarray | None = None
        self.seen = np.zeros(0, bool)

    def opened(self) -> np.ndarray:
        """`[tiles, 3, height, width]`: the file, mapped to memory by the first read of a process."""
        if self.pixels is None:
            shape = (int(self.starts[-1]), *self.reader.shape)
            # as a plain array: indexing a memmap makes a memmap, which takes longer than the copy
            self.pixels = np.asarray(np.memmap(self.folder / PIXELS, np.uint8, "r", shape=shape))
            self.seen = np.zeros(len(self.table), bool)
        return self.pixels

    def read(self, row: int, out: np.ndarray) -> int:
        """Writes the pixels of a row to `out`, uint8, `[3, height, width]` or `[tiles, 3, height, width]`.

        Returns the note of its image.
        """
        slot = self.slots[row]
        start, record = self.starts[slot], self.table[slot]
        np.copyto(out, self.opened()[start if out.ndim == 3 else slice(start, start + record["tiles"])])
        if checksum(out) != record["checksum"]:
            self.repair(row, out)
        return int(record["note"])

    def view(self, row: int) -> tuple[np.ndarray, int]:
        """The pixels of a row, `[tiles, 3, height, width]` uint8, where they lie: no copy, read only. And the note."""
        slot = self.slots[row]
        record, pixels = self.table[slot], self.opened()[self.starts[slot] : self.starts[slot + 1]]
        if not self.seen[slot]:
            if checksum(pixels) != record["checksum"]:
                pixels = np.empty_like(pixels)  # a disk that is damaged or read only may not take what is put right
                self.repair(row, pixels)
            else:
                self.seen[slot] = True
        return pixels, int(record["note"])

    def repair(self, row: int, out: np.ndarray) -> None:
        """Decodes the image of a row again, to `out` and to the file where that may be written."""
        data, where = self.encoded(row)
        out[:] = self.reader(data, where)[0]
        print(f"--image_cache: {self.folder / PIXELS} was damaged at the image of {where}; it is decoded anew")
        with suppress(OSError), (self.folder / PIXELS).open("r+b") as file:
            write_at(file.fileno(), out, int(self.starts[self.slots[row]]) * tile_bytes(self.reader))

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"pixels": None, "seen": np.zeros(0, bool)}


def starts_of(tiles: np.ndarray) -> np.ndarray:
    """`[images + 1]` int64: how many tiles come before each image, and how many there are."""
    return np.concatenate([[0], np.cumsum(tiles, dtype=np.int64)])


def tile_bytes(reader: Reader) -> int:
    return int(np.prod(reader.shape))


def checksum(pixels: np.ndarray) -> int:
    return xxhash.xxh3_64_intdigest(pixels) or 1  # zero says that an image is not done


def write_at(file: int, pixels: np.ndarray, offset: int) -> None:
    """Writes all bytes at a place of a file; several threads may do so at once."""
    rest = memoryview(pixels).cast("B")
    while rest:
        written = os.pwrite(file, rest, offset)
        rest, offset = rest[written:], offset + written
