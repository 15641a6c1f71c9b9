"""Finds the image that a row names by a path, a bare name or an ID, wherever it is in the folder."""

from __future__ import annotations

import posixpath
import re
from collections import defaultdict
from collections.abc import Iterable

from hub_datasets.filesystem.image_suffixes import best_kind, common_end, folded, is_image, stem_of
from hub_datasets.filesystem.source_folder import is_unsafe
from hub_datasets.records import Problem, Reason

ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:(?!\\)")
IMAGE_FOLDERS = ("images", "image", "imgs", "img")


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
            found = best_kind(self._by_stem.get(folded(posixpath.basename(given)), []))
        return self._one_of(found, given, above) if found else given

    def has(self, identifier: str) -> bool:
        """Returns whether an image has this name, with its suffix or without."""
        base = folded(posixpath.basename(identifier))
        return base in self._by_base or base in self._by_stem

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
