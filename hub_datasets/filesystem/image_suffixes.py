"""Recognizes images by the suffixes of their names, and prefers one of several files with the same stem."""

from __future__ import annotations

import posixpath
import unicodedata

# The kinds of image in the order in which they are preferred where several have one stem.
IMAGE_SUFFIXES = (
    ".png", ".jpg", ".jpeg", ".dcm", ".dicom", ".dic", ".tif", ".tiff", ".bmp", ".webp", ".gif", ".jp2", ".j2k",
)  # fmt: skip


def is_image(name: str) -> bool:
    """Returns whether a name has the suffix of an image; `.png`, a hidden file, has none."""
    return bool(suffix_of(name))


def suffix_of(name: str) -> str:
    """Returns the suffix of an image in small letters; empty for the name of anything else."""
    suffix = posixpath.splitext(name)[1].lower()
    return suffix if suffix in IMAGE_SUFFIXES else ""


def stem_of(path: str) -> str:
    """Returns the name of an image without its folders and its image suffix."""
    base = posixpath.basename(path)
    return posixpath.splitext(base)[0] if is_image(base) else base


def best_kind(names: list[str]) -> list[str]:
    """Returns the files of the preferred kind among images with one stem."""
    rank = {name: IMAGE_SUFFIXES.index(suffix_of(name)) for name in names}
    return [name for name in names if rank[name] == min(rank.values())]


def folded(name: str) -> str:
    """Returns a name by which spellings of one name are equal: without case, in Unicode's composed form."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())


def common_end(first: list[str], second: list[str]) -> int:
    """Returns the number of equal last parts of two paths."""
    count = 0
    for one, other in zip(reversed(first), reversed(second), strict=False):
        if one != other:
            break
        count += 1
    return count
