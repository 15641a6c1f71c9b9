"""Assembles image files by hand: codings that Pillow does not write, and metadata in every possible place."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path

import numpy as np
from PIL import Image

CHANNELS = {0: 1, 2: 3, 4: 2, 6: 4}  # PNG color types: gray, RGB, gray with alpha, RGB with alpha
ADAM7 = ((0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2), (1, 0, 2, 1))
SECRET = b"SECRET"  # stands in every piece of metadata


def noise(number: int, mode: str = "RGB", size: tuple[int, int] = (24, 20)) -> Image.Image:
    channels = len(Image.new(mode, (1, 1)).getbands())
    values = np.random.default_rng(number).integers(0, 256, (size[1], size[0], channels), dtype=np.uint8)
    return Image.frombytes(mode, size, values.tobytes())


def smooth(number: int, mode: str = "RGB", size: tuple[int, int] = (96, 80)) -> Image.Image:
    """Soft shapes, so that a picture with other edges or colors is far from it."""
    return noise(number, mode, (6, 5)).resize(size, Image.Resampling.BICUBIC)


def coded(image: Image.Image, format: str, **options) -> bytes:
    file = io.BytesIO()
    image.save(file, format, **options)
    return file.getvalue()


def pixels(data: bytes) -> np.ndarray:
    with Image.open(io.BytesIO(data), formats=("JPEG", "PNG")) as image:
        return np.asarray(image)


def exif(orientation: int = 1, order: str = "<", **texts: bytes) -> bytes:
    """EXIF with a place, a camera and an orientation, without the heading that a JPEG puts before it."""
    tags = Image.Exif()
    tags.endian = order
    tags[0x0112] = orientation
    tags[0x0110] = SECRET.decode() + " camera"
    tags[0x8825] = {1: "N", 2: (48.0, 51.0, 29.5), 29: SECRET.decode()}
    return tags.tobytes().removeprefix(b"Exif\0\0")


def xmp(orientation: int = 1) -> bytes:
    return b'<x:xmpmeta><rdf tiff:Orientation="%d" exif:GPSLatitude="48" a="%b"/></x:xmpmeta>' % (orientation, SECRET)


# --- JPEG


def segment(marker: int, content: bytes) -> bytes:
    return bytes((0xFF, marker)) + struct.pack(">H", len(content) + 2) + content


def with_segments(data: bytes, *segments: bytes) -> bytes:
    """A JPEG with further segments right after its start."""
    return data[:2] + b"".join(segments) + data[2:]


# --- PNG


def chunk(name: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))


def with_chunks(data: bytes, *chunks: bytes) -> bytes:
    """A PNG with further chunks right after its header."""
    return data[:33] + b"".join(chunks) + data[33:]


def rows(values: np.ndarray) -> bytes:
    """Coded rows of [height, width, channels] with the filter Sub, which needs to know how long a pixel is."""
    content = b""
    for row in values:
        line = np.frombuffer(row.astype(row.dtype.newbyteorder(">")).tobytes(), np.uint8)
        before = np.concatenate([np.zeros(row.itemsize * row.shape[1], np.uint8), line])[: len(line)]
        content += b"\1" + (line - before).tobytes()
    return content


def deep_png(values: np.ndarray, color: int, interlaced: bool = False, share: float = 1) -> bytes:
    """A PNG of 16 bits, or 8, from [height, width, channels], with this share of its coded rows."""
    height, width, channels = values.shape
    assert channels == CHANNELS[color]
    parts = [values[y::dy, x::dx] for y, x, dy, dx in ADAM7] if interlaced else [values]
    content = b"".join(rows(part) for part in parts if part.size)
    content = zlib.compress(content[: int(len(content) * share)])
    header = struct.pack(">IIBBBBB", width, height, 8 * values.itemsize, color, 0, 0, interlaced)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", content) + chunk(b"IEND", b"")


def packaged_dicom(name: str) -> bytes:
    """A test file that comes with pydicom."""
    import pydicom

    return (Path(pydicom.__file__).parent / "data" / "test_files" / name).read_bytes()


# --- Color profiles

DISPLAY_P3 = ((0.51512, 0.2412, -0.00105), (0.29198, 0.69225, 0.04189), (0.1571, 0.06657, 0.78407))  # XYZ of R, G, B
ADOBE_RGB = ((0.60974, 0.31111, 0.01947), (0.20528, 0.62567, 0.06087), (0.14919, 0.06322, 0.74457))  # under D50


def numbers(kind: bytes, values: tuple[float, ...]) -> bytes:
    """The content of a tag of an ICC profile: a type, and numbers of 16 bits before and after the point."""
    return kind + bytes(4) + struct.pack(f">{len(values)}i", *(round(65536 * value) for value in values))


def profile(tags: dict[bytes, bytes], space: bytes = b"RGB ") -> bytes:
    """An ICC profile of version 2 of a device, with a secret wherever nothing that counts stands."""
    body, table, start = b"", b"", 132 + 12 * len(tags)
    for name, content in tags.items():
        table += struct.pack(">4sII", name, start + len(body), len(content))
        body += content + SECRET + bytes(-len(content + SECRET) % 4)
    header = struct.pack(">I", start + len(body)) + SECRET[:4] + b"\2\x10\0\0mntr" + space + b"XYZ " + SECRET * 2
    header += b"acsp" + SECRET * 4 + struct.pack(">4I", 0, 0xF6D6, 0x10000, 0xD32D) + SECRET * 8
    return header + struct.pack(">I", len(tags)) + table + body


def gray_profile(gamma: float) -> bytes:
    white = numbers(b"XYZ ", (0.9642, 1, 0.8249))
    return profile({b"wtpt": white, b"kTRC": numbers(b"para", (0, gamma))}, b"GRAY")


def rgb_profile(primaries: tuple, gamma: float = 2.2, **others: bytes) -> bytes:
    """A profile of three primaries and a gamma, with other tags."""
    tags = {b"wtpt": numbers(b"XYZ ", (0.9642, 1, 0.8249))}
    for name, primary in zip((b"r", b"g", b"b"), primaries, strict=True):
        tags |= {name + b"XYZ": numbers(b"XYZ ", primary), name + b"TRC": numbers(b"para", (0, gamma))}
    return profile(tags | {name.encode(): content for name, content in others.items()})


def with_profile(data: bytes, profile: bytes, name: bytes = b"ICC") -> bytes:
    """A PNG with a color profile."""
    return with_chunks(data, chunk(b"iCCP", name + b"\0\0" + zlib.compress(profile)))
