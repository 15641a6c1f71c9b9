"""Writes image files with the faults and irregularities of real ones: truncated, damaged, shrunk, rotated by a phone.

Each function writes or changes one file, always in the same way.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import ExifTags, Image

THUMBNAIL_SIDE = 4  # pixels; a build requires 8
SCAN_SIDE = 8192  # pixels, 67 million in total; a build decodes at most 64 million
MAX_12_BIT = 4095  # largest value of a 12-bit detector, stored in a 16-bit file
BAD_BLOCK = 64  # bytes that a defective disk loses
# From an EXIF orientation to the rotation of an upright image that this orientation undoes.
ROTATIONS = {3: Image.Transpose.ROTATE_180, 6: Image.Transpose.ROTATE_90, 8: Image.Transpose.ROTATE_270}
# Point Nemo, the point of the ocean that is farthest from land and therefore the address of no patient.
GPS_POSITION = {
    ExifTags.GPS.GPSLatitudeRef: "S",
    ExifTags.GPS.GPSLatitude: (48.0, 52.0, 36.0),
    ExifTags.GPS.GPSLongitudeRef: "W",
    ExifTags.GPS.GPSLongitude: (123.0, 23.0, 36.0),
}


def truncate_file(path: Path, share: float = 0.6) -> None:
    """Truncate a file to a share of its bytes, like an interrupted download."""
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])


def damage_file(path: Path) -> None:
    """Overwrite a block in the middle of a file with zeros, like a defective disk; its size stays the same."""
    data = bytearray(path.read_bytes())
    middle = len(data) // 2
    data[middle : middle + BAD_BLOCK] = bytes(BAD_BLOCK)
    path.write_bytes(data)


def save_thumbnail(image: Image.Image, path: Path) -> None:
    """Write a thumbnail under the name of the image itself, as some viewers export it."""
    image.resize((THUMBNAIL_SIDE, THUMBNAIL_SIDE)).save(path)


def save_animation(image: Image.Image, path: Path) -> None:
    """Write an animated PNG with two frames, the second one darker, like an exported series."""
    image.save(path, save_all=True, append_images=[image.point(lambda value: value * 0.8)])


def save_scan(path: Path) -> None:
    """Write an empty scan with more pixels than a build accepts."""
    Image.new("1", (SCAN_SIDE, SCAN_SIDE)).save(path)


def save_phone_photograph(image: Image.Image, path: Path, orientation: int) -> None:
    """Write a JPEG like a phone: rotated, with the EXIF orientation that undoes the rotation, and a GPS position."""
    exif = Image.Exif()
    exif[ExifTags.Base.Make] = "Phone"
    exif[ExifTags.Base.Orientation] = orientation
    exif.get_ifd(ExifTags.IFD.GPSInfo).update(GPS_POSITION)
    path.parent.mkdir(parents=True, exist_ok=True)
    image.transpose(ROTATIONS[orientation]).save(path, exif=exif, quality=92)


def save_16_bit(picture: np.ndarray, path: Path) -> None:
    """Write a float picture (height, width) from 0 to 1 as a 16-bit PNG with the values of a 12-bit detector."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.rint(np.clip(picture, 0, 1) * MAX_12_BIT).astype(np.uint16)).save(path, "PNG")


def brighten(image: Image.Image) -> Image.Image:
    """Return a slightly brighter copy of the image, like a second export."""
    return image.point(lambda value: min(255, value * 1.04 + 6))
