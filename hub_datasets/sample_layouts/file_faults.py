"""What becomes of image files on their way into a collection: cut off, damaged, shrunk, sent through a phone.

Each function writes or changes one file, always in the same way.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import ExifTags, Image

THUMBNAIL_SIDE = 4  # pixels; a build wants 8
SCAN_SIDE = 8192  # pixels; 67 million in all, a build decodes 64 million
DEEP_MAX = 4095  # the values of a detector of 12 bits, in a file of 16
BLOCK = 64  # bytes that a bad disk loses
# What must be done to an upright picture so that the orientation of EXIF sets it right again.
TURNED = {3: Image.Transpose.ROTATE_180, 6: Image.Transpose.ROTATE_90, 8: Image.Transpose.ROTATE_270}
# The point of the ocean that is farthest from all land: nobody lives there.
PLACE = {
    ExifTags.GPS.GPSLatitudeRef: "S",
    ExifTags.GPS.GPSLatitude: (48.0, 52.0, 36.0),
    ExifTags.GPS.GPSLongitudeRef: "W",
    ExifTags.GPS.GPSLongitude: (123.0, 23.0, 36.0),
}


def cut_short(path: Path, share: float = 0.6) -> None:
    """Cut a file off after a share of its bytes, as an interrupted download does."""
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])


def damage(path: Path) -> None:
    """Overwrite a block in the middle of a file with zeros, as a bad disk does; its length stays."""
    data = bytearray(path.read_bytes())
    middle = len(data) // 2
    data[middle : middle + BLOCK] = bytes(BLOCK)
    path.write_bytes(data)


def save_thumbnail(image: Image.Image, path: Path) -> None:
    """Write what a viewer shows in its list of files under the name of the image itself."""
    image.resize((THUMBNAIL_SIDE, THUMBNAIL_SIDE)).save(path)


def save_animation(image: Image.Image, path: Path) -> None:
    """Write a PNG with two pictures, the second one darker, as a series is exported."""
    image.save(path, save_all=True, append_images=[image.point(lambda value: value * 0.8)])


def save_scan(path: Path) -> None:
    """Write the scan of a film of which nothing is seen, with far more pixels than a film has to show."""
    Image.new("1", (SCAN_SIDE, SCAN_SIDE)).save(path)


def save_phone_photograph(image: Image.Image, path: Path, orientation: int) -> None:
    """Write a picture as a phone does: turned, with the orientation that sets it right in EXIF, and the place."""
    exif = Image.Exif()
    exif[ExifTags.Base.Make] = "Phone"
    exif[ExifTags.Base.Orientation] = orientation
    exif.get_ifd(ExifTags.IFD.GPSInfo).update(PLACE)
    path.parent.mkdir(parents=True, exist_ok=True)
    image.transpose(TURNED[orientation]).save(path, exif=exif, quality=92)


def save_deep(picture: np.ndarray, path: Path) -> None:
    """Write float (height, width), 0 to 1, as a PNG of 16 bits with the values of a detector of 12."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.rint(np.clip(picture, 0, 1) * DEEP_MAX).astype(np.uint16)).save(path, "PNG")


def brightened(image: Image.Image) -> Image.Image:
    """Return the same picture a little brighter, as another export of it is."""
    return image.point(lambda value: min(255, value * 1.04 + 6))
