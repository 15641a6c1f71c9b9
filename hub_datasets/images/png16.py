"""Detects missing rows of a PNG that Pillow does not report.

Where the coded pixels end exactly at a row boundary and the file is otherwise complete, Pillow decodes the file without
an error and leaves the missing rows black. This happens for 1 in 26 files that are truncated at a random byte of their
coded pixels.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator

HEADER = struct.Struct(">IIBBBBB")  # width, height, bits, color type, compression, filter, interlacing
HEADER_START, FIRST_CHUNK = 16, 33  # bytes
CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}  # by color type
ADAM7 = ((0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2), (1, 0, 2, 1))
WHOLE = ((0, 0, 1, 1),)  # first row, first column, rows and columns to the next, as in ADAM7
PIECE = 2**20  # bytes that are decompressed at a time


def may_lack_rows(data: bytes, last_row: bytes) -> bool:
    """Returns whether `lacks_rows` has to be called: missing rows are black, and so are the last rows of many images.

    Args:
        last_row: the decoded pixels of the last row. In an interlaced PNG it may be present while others are missing.
    """
    return not any(last_row) or HEADER.unpack_from(data, HEADER_START)[-1] == 1


def lacks_rows(data: bytes) -> bool:
    """Returns whether a PNG of valid structure has too few coded pixels for its size; as slow as decoding.

    Raises:
        zlib.error: if the coded pixels are damaged.
    """
    width, height, bits, color, _, _, interlaced = HEADER.unpack_from(data, HEADER_START)
    missing = 0
    for top, left, down, right in ADAM7 if interlaced else WHOLE:
        columns, rows = -((left - width) // right), -((top - height) // down)  # rounded up
        if columns > 0:
            missing += rows * (
                1 + (columns * bits * CHANNELS[color] + 7) // 8
            )  # the first byte of each row is its filter
    decompressor = zlib.decompressobj()
    for coded in pixel_chunks(data):
        while coded and missing > 0 and not decompressor.eof:
            missing -= len(decompressor.decompress(coded, PIECE))
            coded = decompressor.unconsumed_tail
    return missing > 0


def pixel_chunks(data: bytes) -> Iterator[memoryview]:
    """Yields the contents of the IDAT chunks."""
    view, position = memoryview(data), FIRST_CHUNK
    while position + 12 <= len(data):
        length, name = struct.unpack_from(">I4s", data, position)
        if name == b"IDAT":
            yield view[position + 8 : position + 8 + length]
        position += 12 + length
