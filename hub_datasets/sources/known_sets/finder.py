"""Finds the image that a row names by a path, a bare name or an ID, wherever it is in the folder."""

from __future__ import annotations

import posixpath
import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterable

from hub_datasets.filesystem.source_folder import is_unsafe
from hub_datasets.records import Problem, Reason

# In the order in which they are preferred where several have one stem.
IMAGE_SUFFIXES = (
    ".png", ".jpg", ".jpeg", ".dcm", ".dicom", ".tif", ".tiff", ".bmp", ".webp", ".gif", ".jp2"
)  # fmt: skip
ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:(?!\\)")
IMAGE_FOLDERS = ("images", "image", "imgs", "img")


def is_image(name: str) -> bool:
    """Returns whether a name has the suffix of an image."""
    return name.lower().endswith(IMAGE_SUFFIXES)


def stem_of(path: str) -> str:
    """Returns the name of an image without its folders and its suffix."""
    base = posixpath.basename(path)
    return posixpath.splitext(base)[0] if is_image(base) else base


def folded(text: str) -> str:
    """Returns a name as names are compared: Windows and macOS change its case and its accents."""
    return unicodedata.normalize("NFC", text).casefold()


class Finder:
    """The images of a folder.

    Attributes:
        names: of all images, sorted.
    """

    def __init__(self, names: Iterable[str]):
        self.names = dict.fromkeys(sorted(name for name in names if is_image(name)))
        self._by_base: dict[str, list[str]] = defaultdict(list)
        self._by_stem: dict[str, list[str]] = defaultdict(list)
        for name in self.names:
            self._by_base[folded(posixpath.basename(name))].append(name)
            self._by_stem[folded(stem_of(name))].append(name)

    def find(self, path: str, table: str = "") -> str | Problem:
        """Returns the image of a path below the folder or the table's folder, of a bare name, or of an ID.

        A path of another computer is matched by its longest end that exists here. A path that names nothing is
        returned as it is, so that the check of the image reports it as missing or outside.
        """
        given = path.strip().removeprefix("file://").replace("\\", "/")
        if ADDRESS.match(given) and not re.match(r"[A-Za-z]:/", given):
            message = f"{given[:80]!r} is an address, which is not fetched; download the image into the folder"
            return Problem(Reason.IMAGE_MISSING, message)
        above = posixpath.dirname(table)
        for start in ("", above, *(posixpath.join(above, name) for name in IMAGE_FOLDERS), *IMAGE_FOLDERS):
            name = posixpath.normpath(posixpath.join(start, given)) if given else ""
            if name in self.names:
                return name
        if is_unsafe(given.lstrip("/")) and not re.match(r"[A-Za-z]:/", given):
            return given
        found = self._by_base.get(folded(posixpath.basename(given)))
        if found is None and not is_image(given):
            found = self._best_suffix(self._by_stem.get(folded(posixpath.basename(given)), []))
        return self._one_of(found, given, above) if found else given

    def has(self, identifier: str) -> bool:
        """Returns whether an image has this name, with its suffix or without."""
        base = folded(posixpath.basename(identifier))
        return base in self._by_base or base in self._by_stem

    def _best_suffix(self, names: list[str]) -> list[str]:
        ranks = [IMAGE_SUFFIXES.index(posixpath.splitext(name)[1].lower()) for name in names]
        return [name for name, rank in zip(names, ranks, strict=True) if rank == min(ranks)]

    def _one_of(self, names: list[str], given: str, above: str) -> str | Problem:
        """Returns the name that shares the longest end with a path; of several, the one below the table's folder."""
        wanted = folded(given).split("/")[:-1]
        ends = {name: common_end(wanted, folded(name).split("/")[:-1]) for name in names}
        best = [name for name in names if ends[name] == max(ends.values())]
        if len(best) > 1 and above:
            best = [name for name in best if name.startswith(f"{above}/")] or best
        if len(best) > 1:
            message = f"{given!r} is ambiguous: {best[0]!r} or {best[1]!r}; give the path, or remove one of them"
            return Problem(Reason.MALFORMED_ROW, message)
        return best[0]


def common_end(one: list[str], other: list[str]) -> int:
    """Returns how many of the last folders of two paths are equal."""
    count = 0
    for first, second in zip(reversed(one), reversed(other), strict=False):
        if first != second:
            break
        count += 1
    return count
