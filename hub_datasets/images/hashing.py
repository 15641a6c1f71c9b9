"""Computes two hashes of a decoded image: one for exact duplicates and one for near-duplicates.

`pixel_hash` is equal only for equal pixels. `perceptual_hash` differs in few bits for pictures that look the same;
`near_duplicates.py` finds such pairs among many images.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pyarrow as pa
import xxhash
from PIL import Image

PERCEPTUAL_HASH_BYTES = 32
STRIP_BYTES = 1 << 20  # pixels are hashed in strips that fit in the processor's cache
SIDE = 64  # an image is averaged to SIDE x SIDE gray values
FREQUENCIES = 16  # of its cosine transform, the FREQUENCIES x FREQUENCIES lowest are kept
NOISE = 0.05  # gray levels; smaller amplitudes are noise: rounding to 8 bits alone makes waves of 0.01
LEAST_STRUCTURE = 128  # waves above the noise; with fewer of them pictures are too plain to be told apart
NO_STRUCTURE = bytes(PERCEPTUAL_HASH_BYTES)  # the perceptual hash of a plain image; near to no other
DEEP_MODES = ("I", "F")  # and I;16, I;16B, ...: more than 8 bits for a pixel


def cosines() -> np.ndarray:
    """Returns the lowest frequencies of the orthonormal cosine transform (DCT-II) of SIDE values, one per row."""
    positions = (2 * np.arange(SIDE) + 1) * np.pi / (2 * SIDE)
    matrix = np.cos(np.outer(np.arange(FREQUENCIES), positions)) * np.sqrt(2 / SIDE)
    matrix[0] /= np.sqrt(2)
    return matrix.astype(np.float32)


COSINES = cosines()


def pixel_hash(image: Image.Image) -> bytes:
    """Returns 16 bytes over the size and pixels, equal for a picture in gray, in RGB and with an opaque alpha.

    Transparency is included if there is any, and pixels of more than 8 bits with all their bits. XXH3 is fast and not
    cryptographic; that is enough, because a forged duplicate would gain no more than a real one.
    """
    if image.mode.startswith(DEEP_MODES):
        return strips_hash(image, image.mode, lambda strip: strip)
    opaque = strips_hash(image, "RGB", plain)
    return opaque or strips_hash(image, "RGBA", lambda strip: to_mode(strip, "RGBA"))


def strips_hash(image: Image.Image, mode: str, convert: Callable[[Image.Image], Image.Image]) -> bytes:
    """Returns the hash of the strips of an image, converted one by one; None if one of them gets another mode."""
    digest = xxhash.xxh3_128(f"{mode} {image.width} {image.height}".encode())
    rows = max(1, STRIP_BYTES // (4 * max(1, image.width)))
    for top in range(0, image.height, rows):
        bottom = min(top + rows, image.height)
        whole = bottom - top == image.height  # most images are one strip, which need not be copied
        strip = convert(image if whole else image.crop((0, top, image.width, bottom)))
        if strip.mode != mode:
            return b""
        digest.update(strip.tobytes())
    return digest.digest()


def plain(image: Image.Image) -> Image.Image:
    """Returns the same picture in RGB, or in RGBA if a pixel is transparent."""
    if image.has_transparency_data:
        image = to_mode(image, "RGBA")
        if image.getchannel("A").getextrema() != (255, 255):
            return image
    return to_mode(image, "RGB")


def without_opaque_alpha(image: Image.Image) -> Image.Image:
    """Converts RGBA to RGB if all pixels are opaque; both hashes are the same, and faster.

    The result shares the memory of a small image: Pillow keeps RGB in four bytes for each pixel, too.
    """
    if image.mode != "RGBA":
        return image
    try:
        pixels = pa.array(image)  # a view, [height * width] of 4 bytes
    except ValueError:  # Pillow keeps a large image in several parts
        return image.convert("RGB") if image.getchannel("A").getextrema() == (255, 255) else image
    if pixels.flatten().to_numpy()[3::4].min(initial=255) < 255:
        return image
    return Image.fromarrow(pixels, "RGB", image.size)


def to_mode(image: Image.Image, mode: str) -> Image.Image:
    """Returns `image.convert(mode)` for every mode; of LAB, which requires a color profile, the lightness is used."""
    if image.mode == "LAB":
        image = image.getchannel("L")
    elif image.mode in ("La", "RGBa"):  # premultiplied alpha converts to the same without it only
        image = image.convert(image.mode.upper())
    return image if image.mode == mode else image.convert(mode)


def perceptual_hash(image: Image.Image) -> bytes:
    """Returns 32 bytes: for each of the 256 lowest frequencies of the gray picture, whether it exceeds their median.

    Pictures that look the same differ in few bits, whatever their size, coding, brightness and contrast; different
    pictures, mirrored ones too, differ in about half. A picture with too little structure to be distinguished from
    others, for example a plain black one, gets NO_STRUCTURE.
    """
    return thumbnail_hash(gray_thumbnail(image))


def gray_thumbnail(image: Image.Image) -> np.ndarray:
    """Returns the gray picture averaged to [SIDE, SIDE], uint8."""
    if image.mode != "RGB":  # an RGB image is cheaper to turn gray when it is small
        image = to_mode(image, "L")
    return np.asarray(image.resize((SIDE, SIDE), Image.Resampling.BILINEAR, reducing_gap=2.0).convert("L"))


def thumbnail_hash(thumbnail: np.ndarray) -> bytes:
    """Returns the `perceptual_hash` of the image with this `gray_thumbnail`."""
    spectrum = COSINES @ thumbnail.astype(np.float32) @ COSINES.T
    if np.count_nonzero(np.abs(spectrum) > NOISE * SIDE / 2) < LEAST_STRUCTURE:  # amplitude 1: coefficient SIDE / 2
        return NO_STRUCTURE
    spectrum = np.round(spectrum, 1)  # what only rounding errors tell apart becomes equal, on every machine
    return np.packbits(spectrum > np.median(spectrum)).tobytes()
