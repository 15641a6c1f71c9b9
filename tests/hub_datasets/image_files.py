"""Image files put together by hand: codings that Pillow does not write, and every place where metadata can stand."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path

import numpy as np
from PIL import Image

CHANNELS = {0: 1, 2: 3, 4: 2, 6: 4}  # PNG colour types: grey, RGB, grey with alpha, RGB with alpha
ADAM7 = ((0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2), (1, 0, 2, 1))
SECRET = b"SECRET"  # stands in every piece of metadata


def noise(number: int, mode: str = "RGB", size: tuple[int, int] = (24, 20)) -> Image.Image:
    channels = len(Image.new(mode, (1, 1)).getbands())
    values = np.random.default_rng(number).integers(0, 256, (size[1], size[0], channels), dtype=np.uint8)
    return Image.frombytes(mode, size, values.tobytes())


def smooth(number: int, mode: str = "RGB", size: tuple[int, int] = (96, 80)) -> Image.Image:
    """Soft shapes, so that a picture with other edges or colours is far from it."""
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


def deep_png(values: np.ndarray, colour: int, interlaced: bool = False, share: float = 1) -> bytes:
    """A PNG of 16 bits, or 8, from [height, width, channels], with this share of its coded rows."""
    height, width, channels = values.shape
    assert channels == CHANNELS[colour]
    parts = [values[y::dy, x::dx] for y, x, dy, dx in ADAM7] if interlaced else [values]
    content = b"".join(rows(part) for part in parts if part.size)
    content = zlib.compress(content[: int(len(content) * share)])
    header = struct.pack(">IIBBBBB", width, height, 8 * values.itemsize, colour, 0, 0, interlaced)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", content) + chunk(b"IEND", b"")


def packaged_dicom(name: str) -> bytes:
    """A test file that comes with pydicom."""
    import pydicom

    return (Path(pydicom.__file__).parent / "data" / "test_files" / name).read_bytes()


# --- Colour profiles


def profile(tags: dict[bytes, bytes], space: bytes = b"RGB ", connection: bytes = b"XYZ ") -> bytes:
    """An ICC profile of version 2 of a device, with a secret wherever nothing that counts stands."""
    body, table, start = b"", b"", 132 + 12 * len(tags)
    for name, content in tags.items():
        table += struct.pack(">4sII", name, start + len(body), len(content))
        body += content + SECRET + bytes(-len(content + SECRET) % 4)
    header = struct.pack(">I", start + len(body)) + SECRET[:4] + b"\2\x10\0\0mntr" + space + connection + SECRET * 2
    header += b"acsp" + SECRET * 4 + struct.pack(">4I", 0, 0xF6D6, 0x10000, 0xD32D) + SECRET * 8
    return header + struct.pack(">I", len(tags)) + table + body


def matrix_profile(**others: bytes) -> bytes:
    """A profile of three primaries and a gamma, with other tags."""
    primaries = {b"wtpt": (0.9642, 1, 0.8249), b"rXYZ": (0.61, 0.31, 0.02), b"gXYZ": (0.2, 0.63, 0.07),
                 b"bXYZ": (0.15, 0.06, 0.74)}  # fmt: skip
    tags = {
        name: b"XYZ \0\0\0\0" + struct.pack(">3i", *(round(65536 * value) for value in values))
        for name, values in primaries.items()
    }
    tags |= dict.fromkeys((b"rTRC", b"gTRC", b"bTRC"), b"curv\0\0\0\0\0\0\0\1\2\x33")
    return profile(tags | {name.encode(): content for name, content in others.items()})


def table_profile(points: int) -> bytes:
    """A profile whose colours stand in a table of points x points x points."""
    red, green, blue = np.meshgrid(*[np.linspace(0, 1, points)] * 3, indexing="ij")
    lab = np.stack([(red + green + blue) / 3, 0.5 + (red - green) / 4, 0.5 + (green - blue) / 4], axis=-1)
    values = (lab * 0xFF00).astype(">u2").tobytes()
    ends = struct.pack(">2H", 0, 0xFFFF) * 3
    matrix = struct.pack(">9i", *(65536 * np.eye(3, dtype=int)).ravel())
    table = b"mft2\0\0\0\0\3\3" + bytes((points, 0)) + matrix + struct.pack(">2H", 2, 2) + ends + values + ends
    return profile({b"A2B0": table, b"desc": b"text" + SECRET}, connection=b"Lab ")


def with_profile(data: bytes, profile: bytes, name: bytes = b"ICC") -> bytes:
    """A PNG with a colour profile."""
    return with_chunks(data, chunk(b"iCCP", name + b"\0\0" + zlib.compress(profile)))
