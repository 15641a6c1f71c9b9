"""Which images are the same picture, and which records say the same of the same image?

Two hashes of an image that is already decoded: `pixel_hash` is equal for equal pixels only, `perceptual_hash` is close
for pictures that look the same. `near_duplicates.py` finds the close ones among many.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import xxhash
from PIL import Image

from hub_datasets.records import RawRecord, Reason, Rejection

PERCEPTUAL_HASH_BYTES = 32
STRIP_BYTES = 1 << 18  # pixels are hashed in strips that fit in the processor's cache
SIDE = 64  # an image is averaged to SIDE x SIDE grey values
FREQUENCIES = 16  # of its cosine transform, the FREQUENCIES x FREQUENCIES lowest are kept
NOISE = 0.05  # grey levels; a wave of a smaller amplitude says nothing: 8-bit values make waves of 0.01 on their own
LEAST_STRUCTURE = 128  # waves above the noise; with fewer of them pictures are too plain to be told apart
NO_STRUCTURE = bytes(PERCEPTUAL_HASH_BYTES)  # the perceptual hash of a plain image; near to no other
NAMED = 5  # a rejection names as many other records
DEEP_MODES = ("I", "F")  # and I;16, I;16B, ...: more than 8 bits for a pixel


def cosines() -> np.ndarray:
    """The lowest frequencies of the orthonormal cosine transform (DCT-II) of SIDE values, one in each row."""
    positions = (2 * np.arange(SIDE) + 1) * np.pi / (2 * SIDE)
    matrix = np.cos(np.outer(np.arange(FREQUENCIES), positions)) * np.sqrt(2 / SIDE)
    matrix[0] /= np.sqrt(2)
    return matrix.astype(np.float32)


COSINES = cosines()


def pixel_hash(image: Image.Image) -> bytes:
    """16 bytes over the size and the pixels: equal for the same picture in grey, in RGB and with an opaque alpha.

    Transparency counts where there is any; pixels of more than 8 bits count with all their bits. XXH3 is a fast hash,
    and no proof against forgers: who could forge a copy of a picture could as well put in the copy.
    """
    if image.mode.startswith(DEEP_MODES):
        return strips_hash(image, image.mode, lambda strip: strip)
    opaque = strips_hash(image, "RGB", plain)
    return opaque or strips_hash(image, "RGBA", lambda strip: to_mode(strip, "RGBA"))


def strips_hash(image: Image.Image, mode: str, convert: Callable[[Image.Image], Image.Image]) -> bytes:
    """The hash of the strips of an image, each converted by itself; nothing if one of them gets another mode."""
    digest = xxhash.xxh3_128(f"{mode} {image.width} {image.height}".encode())
    rows = max(1, STRIP_BYTES // (4 * max(1, image.width)))
    for top in range(0, image.height, rows):
        strip = convert(image.crop((0, top, image.width, min(top + rows, image.height))))
        if strip.mode != mode:
            return b""
        digest.update(strip.tobytes())
    return digest.digest()


def plain(image: Image.Image) -> Image.Image:
    """The same picture in RGB, or in RGBA where a pixel is transparent."""
    if image.has_transparency_data:
        image = to_mode(image, "RGBA")
        if image.getchannel("A").getextrema() != (255, 255):
            return image
    return to_mode(image, "RGB")


def without_opaque_alpha(image: Image.Image) -> Image.Image:
    """RGB instead of RGBA where all pixels are opaque: both hashes are the same of it, and faster."""
    if image.mode == "RGBA" and image.getchannel("A").getextrema() == (255, 255):
        return image.convert("RGB")
    return image


def to_mode(image: Image.Image, mode: str) -> Image.Image:
    """`image.convert(mode)` for every mode: of LAB, which needs a colour profile, the lightness is taken."""
    if image.mode == "LAB":
        image = image.getchannel("L")
    elif image.mode in ("La", "RGBa"):  # premultiplied alpha converts to the same without it only
        image = image.convert(image.mode.upper())
    return image if image.mode == mode else image.convert(mode)


def perceptual_hash(image: Image.Image) -> bytes:
    """32 bytes, one bit for each of the 256 lowest frequencies of the grey picture: is it above their median?

    Pictures that look the same differ in few bits, whatever their size, coding, brightness and contrast; different
    pictures, mirrored ones too, differ in about half. A picture with too little structure to be told from others,
    such as a plain black one, gets NO_STRUCTURE.
    """
    if image.mode != "RGB":  # an RGB image is cheaper to turn grey when it is small
        image = to_mode(image, "L")
    small = image.resize((SIDE, SIDE), Image.Resampling.BILINEAR, reducing_gap=2.0).convert("L")
    spectrum = COSINES @ np.asarray(small, dtype=np.float32) @ COSINES.T
    if np.count_nonzero(np.abs(spectrum) > NOISE * SIDE / 2) < LEAST_STRUCTURE:  # amplitude 1: coefficient SIDE / 2
        return NO_STRUCTURE
    spectrum = np.round(spectrum, 1)  # what only rounding errors tell apart becomes equal, on every machine
    return np.packbits(spectrum > np.median(spectrum)).tobytes()


def drop_repeats(records: list[RawRecord], settings: dict[str, str]) -> Iterator[RawRecord | Rejection]:
    """Yields the records of one image, each statement once; a repeated one becomes a rejection that names the first.

    The first one gets the groups of its repeats: all of them must stay in one split.

    Args:
        records: all records of one source whose images have the same pixels.
        settings: the source's own choices; none matters here.
    """
    first: dict[tuple, RawRecord] = {}
    settled: list[RawRecord | Rejection] = []
    for record in records:
        kept = first.setdefault((record.language, record.text, record.question, record.answer), record)
        if kept is record:
            settled.append(record)
            continue
        kept.groups = tuple(dict.fromkeys(kept.groups + record.groups))
        if record.image == kept.image:
            code, message = Reason.DUPLICATE_ROW, f"says the same of the same image as {kept.item}"
        else:
            code, message = Reason.DUPLICATE_IMAGE, f"says the same of a copy of the image as {kept.item}"
        settled.append(Rejection(record.source, record.item, code, message))
    yield from settled  # only now: a record's groups are complete when all have been seen


def one_label(records: list[RawRecord], settings: dict[str, str]) -> Iterator[RawRecord | Rejection]:
    """Like `drop_repeats`, for sources whose category is a diagnosis: an image can have one only.

    Where the categories differ nobody can say which is right: all the records are rejected, each naming the others.

    Args:
        records: all records of one source whose images have the same pixels.
        settings: the source's own choices; none matters here.
    """
    if len({record.category for record in records}) == 1:
        yield from drop_repeats(records, settings)
        return
    for record in records:
        others = [f"{other.item} is {other.category}" for other in records if other.category != record.category]
        named = "; ".join(others[:NAMED]) + (f"; and {len(others) - NAMED} more" if len(others) > NAMED else "")
        message = f"the same image is {record.category} here and another category elsewhere: {named}"
        yield Rejection(record.source, record.item, Reason.CONFLICTING_LABELS, message)
