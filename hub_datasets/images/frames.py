"""Counts the pictures in a file with several of them, without decoding, and chooses those to use.

A person has to choose, because a text about such a file does not say which picture it describes. Reduced copies and
masks in a TIFF (thumbnails, the levels of a pyramid) are not pages.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from hub_datasets.records import Problem, Reason

FRAMES = ("refuse", "first", "middle", "all")  # the values of --frames
MAX_FRAMES = 2000  # of one file
MAX_VALUES = 2**20  # of one TIFF tag; each becomes an object of Python
BYTES_OF_TIFF = {1, 2, 6, 7}  # types of TIFF values that do not
TIFF_SIZES = (0, 1, 1, 2, 4, 8, 1, 1, 2, 4, 8, 4, 8, 4, 0, 0, 8, 8, 8)  # in bytes, of a value of each type
SUBFILE = 254  # TIFF tag: what a page is
REDUCED_OR_MASK = 0b101
MARK = "#"  # between the name of a file and the number of a frame, from 1


class CutOff(Exception):
    """Raised for a file that ends before its structure does."""


@dataclass(frozen=True, slots=True)
class Pictures:
    """The pictures in a file.

    Attributes:
        places: the number that Pillow's `seek` takes for each of them; longer than MAX_FRAMES by one if there are more.
        width, height: in pixels, of the canvas in the header; 0 where only a decoder reads it.
    """

    places: list[int]
    width: int = 0
    height: int = 0


def chosen(count: int, frames: str) -> range | Problem:
    """Returns the indices of the pictures to use, of a file with `count` of them.

    Args:
        frames: one of FRAMES.
    """
    if count == 1:
        return range(1)
    if frames == "first":
        return range(1)
    if frames == "middle":
        return range((count - 1) // 2, (count - 1) // 2 + 1)
    number = f"more than {MAX_FRAMES:,}" if count > MAX_FRAMES else f"{count:,}"
    if frames == "refuse":
        message = f"contains {number} pictures; choose with --frames first, middle or all, or save the one it is about"
        return Problem(Reason.IMAGE_ANIMATED, message)
    if count > MAX_FRAMES:
        message = f"contains {number} pictures, the limit of --frames all; use --frames first or middle"
        return Problem(Reason.IMAGE_TOO_LARGE, message)
    return range(count)


def frame_name(name: str, index: int) -> str:
    """Returns the name of a picture of a file: `scan.dcm#3` for the third."""
    return f"{name}{MARK}{index + 1}"


def count_pictures(data: bytes, format: str) -> Pictures:
    """Returns the pictures of a file in one of the formats of `other_formats`. Raises CutOff and ValueError."""
    try:
        if format == "TIFF":
            return tiff_pages(data)
        if format == "GIF":
            return gif_pictures(data)
        if format == "WEBP":
            return webp_pictures(data)
    except (struct.error, IndexError):
        raise CutOff from None
    return Pictures([0])


def tiff_pages(data: bytes) -> Pictures:
    """Follows the chain of directories; a chain that returns to itself ends there."""
    order = "<" if data[:2] == b"II" else ">"
    big = b"+" in data[2:4]
    offset, number, entry_size = ("Q", "Q", 20) if big else ("I", "H", 12)
    (position,) = struct.unpack_from(order + offset, data, 8 if big else 4)
    places: list[int] = []
    seen: set[int] = set()
    while position and position not in seen and len(places) <= MAX_FRAMES:
        (entries,) = struct.unpack_from(order + number, data, position)
        if entries > 2**16:
            raise ValueError(f"a directory of {entries:,} entries")
        first, kind = position + struct.calcsize(number), 0
        for entry in range(first, first + entries * entry_size, entry_size):
            tag, type_, values = struct.unpack_from(order + "HH" + offset, data, entry)
            if values > MAX_VALUES and type_ not in BYTES_OF_TIFF:
                raise ValueError(f"the tag {tag} has {values:,} values")
            field = entry + entry_size - struct.calcsize(offset)  # holds the values, or the place of more than fit
            size = values * (TIFF_SIZES[type_] if type_ < len(TIFF_SIZES) else 0)
            if size > struct.calcsize(offset) and struct.unpack_from(order + offset, data, field)[0] + size > len(data):
                raise CutOff
            if tag == SUBFILE:
                (kind,) = struct.unpack_from(order + "I", data, field)
        if not kind & REDUCED_OR_MASK or not places:
            places.append(len(seen))
        seen.add(position)
        (position,) = struct.unpack_from(order + offset, data, first + entries * entry_size)
    if not places:
        raise ValueError("it has no page")
    return Pictures(places)


def gif_pictures(data: bytes) -> Pictures:
    """Jumps from block to block until the end mark."""
    width, height, flags = struct.unpack_from("<HHB", data, 6)
    position, count = 13 + palette_bytes(flags), 0
    while (kind := data[position]) != 0x3B and count <= MAX_FRAMES:  # the trailer
        if kind == 0x21:  # an extension
            position += 2
        elif kind == 0x2C:  # a picture
            count += 1
            position += 10 + palette_bytes(data[position + 9]) + 1
        else:
            raise ValueError(f"a block of the unknown kind {kind}")
        while data[position]:  # sub-blocks
            position += 1 + data[position]
        position += 1
    if not count:
        raise ValueError("it has no picture")
    return Pictures(list(range(count)), width, height)


def palette_bytes(flags: int) -> int:
    return 3 << (flags & 7) + 1 if flags & 0x80 else 0


def webp_pictures(data: bytes) -> Pictures:
    """Jumps from chunk to chunk; the size of the canvas is in the first."""
    end = 8 + int.from_bytes(data[4:8], "little")
    if end > len(data):
        raise CutOff
    position, count, width, height = 12, 0, 0, 0
    while position + 8 <= end and count <= MAX_FRAMES:
        name, size = struct.unpack_from("<4sI", data, position)
        content = data[position + 8 : position + 24]
        if name == b"VP8X":
            width, height = (1 + int.from_bytes(content[start : start + 3], "little") for start in (4, 7))
        elif name == b"ANMF":
            count += 1
        elif name == b"VP8 " and not width:
            width, height = (side & 0x3FFF for side in struct.unpack_from("<HH", content, 6))
        elif name == b"VP8L" and not width:
            bits = int.from_bytes(content[1:5], "little")
            width, height = 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
        position += 8 + size + size % 2
    if not width:
        raise ValueError("it has no header")
    return Pictures(list(range(max(1, count))), width, height)


def codestream_start(data: bytes) -> int:
    """Returns the place of the coded pixels in a JPEG 2000 file. Raises CutOff."""
    position = 0
    try:
        while data[:2] != b"\xff\x4f":
            size, name = struct.unpack_from(">I4s", data, position)
            header = 8
            if size == 1:
                (size,) = struct.unpack_from(">Q", data, position + 8)
                header = 16
            if name == b"jp2c":
                if position + size > len(data):
                    raise CutOff
                return position + header
            if size < header:
                raise CutOff
            position += size
    except struct.error:
        raise CutOff from None
    return 0
