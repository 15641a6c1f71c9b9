"""Is this image, is this text fit to become a row? Each answer is the thing itself or the reason why not."""

from __future__ import annotations

import hashlib
import io
import json
from dataclasses import asdict, dataclass
from pathlib import Path, PurePosixPath, PureWindowsPath

from PIL import Image

from hub_datasets.schema import RawRecord, Reason

ALLOWED_FORMATS = ("JPEG", "PNG")
SIGNATURES = (b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff")
MAX_IMAGE_BYTES = 256 * 1024 * 1024  # a larger file is not read at all


@dataclass(frozen=True, slots=True)
class Problem:
    """Why an image or a text cannot be used."""

    code: Reason
    message: str


@dataclass(frozen=True, slots=True)
class CheckedImage:
    """An image that was decoded to its last pixel.

    Attributes:
        path: the file, links resolved.
        sha256: of the file's bytes, in hexadecimal digits.
        width, height: in pixels.
    """

    path: Path
    sha256: str
    width: int
    height: int


def check_image(root: Path, name: str, max_pixels: int) -> CheckedImage | Problem:
    """Checks that `name` is an image below `root` and decodes it whole.

    Args:
        root: the folder of the source; no path and no link may lead out of it.
        name: path below the root, as the source gives it.
        max_pixels: width times height above which an image is not decoded.
    """
    path = resolve_inside(root, name)
    if path is None:
        return Problem(Reason.IMAGE_OUTSIDE_ROOT, f"{name!r} does not lie inside the source's folder")
    try:
        if not name or not path.is_file():  # also false for a folder, a pipe or a device
            return Problem(Reason.IMAGE_MISSING, f"no file {name!r}")
        size = path.stat().st_size
        if size > MAX_IMAGE_BYTES:
            return Problem(Reason.IMAGE_TOO_LARGE, f"{name!r} has {size:,} bytes, the limit is {MAX_IMAGE_BYTES:,}")
        data = path.read_bytes()
    except OSError as error:
        return Problem(Reason.IMAGE_UNREADABLE, f"{name!r} cannot be read: {error.strerror}")
    decoded = decode(data, max_pixels)
    if isinstance(decoded, Problem):
        return Problem(decoded.code, f"{name!r} {decoded.message}")
    width, height = decoded
    return CheckedImage(path, hashlib.sha256(data).hexdigest(), width, height)


def resolve_inside(root: Path, name: str) -> Path | None:
    """The path `name` below `root`, links resolved; None for anything that is or leads outside, on any system."""
    windows = PureWindowsPath(name)
    if "\0" in name or "://" in name or PurePosixPath(name).is_absolute() or windows.drive or windows.root:
        return None
    if ".." in windows.parts:  # Windows parts are split at both kinds of slash
        return None
    try:
        path = (root / name).resolve()
    except (OSError, RuntimeError):  # links that form a loop
        return None
    return path if path.is_relative_to(root.resolve()) else None


def decode(data: bytes, max_pixels: int) -> tuple[int, int] | Problem:
    """Decodes an image to its last pixel; returns (width, height) or what is wrong with it."""
    if not data.startswith(SIGNATURES):
        return Problem(Reason.IMAGE_FORMAT, f"is no image in an allowed format ({', '.join(ALLOWED_FORMATS)})")
    try:
        with Image.open(io.BytesIO(data), formats=ALLOWED_FORMATS) as image:
            width, height = image.size
            if width * height > max_pixels:
                return Problem(Reason.IMAGE_TOO_LARGE, f"has {width} x {height} pixels, the limit is {max_pixels:,}")
            if image.mode.startswith(("I", "F")):  # a conversion to RGB would cut all values above 255 to white
                return Problem(Reason.IMAGE_FORMAT, "is 16-bit; convert it to 8 bits through a window first")
            image.load()
    except Image.DecompressionBombError as error:
        return Problem(Reason.IMAGE_TOO_LARGE, f"is too large to decode: {error}")
    except Exception as error:  # Pillow's decoders raise a dozen types on broken data, SyntaxError among them
        return Problem(Reason.IMAGE_UNREADABLE, f"is cut off or damaged: {error}")
    return width, height


def check_writable(record: RawRecord) -> Problem | None:
    """Checks that everything a record holds can be written as JSON and read again by other programs."""
    try:
        content = json.dumps(asdict(record), ensure_ascii=False, allow_nan=False)  # ValueError for NaN and infinity
        content.encode()  # UnicodeEncodeError for one half of a surrogate pair
        json.loads(content, parse_int=check_integer)
    except (ValueError, RecursionError) as error:
        return Problem(Reason.MALFORMED_ROW, f"cannot be kept as JSON in UTF-8: {error}")
    return None


def check_integer(digits: str) -> None:
    """Raises ValueError for an integer that needs more than 64 bits: `datasets` writes it and cannot read it."""
    if not -(2**63) <= int(digits) < 2**64:
        raise ValueError(f"the integer {digits:.30} does not fit in 64 bits")


def check_text(record: RawRecord, min_chars: int, max_chars: int) -> Problem | None:
    """Checks what a record says: the bounds hold for the text of a pair, an answer ("No", "是") must only be there.

    Args:
        min_chars, max_chars: the text of a pair must be longer than the first and shorter than the second.
    """
    if record.text is None:
        empty = [name for name in ("question", "answer") if not getattr(record, name)]
        return Problem(Reason.TEXT_EMPTY, f"the {' and the '.join(empty)} is empty") if empty else None
    length = len(record.text)
    if length == 0:
        return Problem(Reason.TEXT_EMPTY, "the text is empty")
    if length <= min_chars:
        return Problem(Reason.TEXT_SHORT, f"{length} characters, more than {min_chars} are needed: {record.text!r}")
    if length >= max_chars:
        return Problem(Reason.TEXT_LONG, f"{length:,} characters, fewer than {max_chars:,} are allowed")
    return None
