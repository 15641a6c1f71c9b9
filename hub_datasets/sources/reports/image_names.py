"""Finds the files that tables name: by path, by the end of a path of another machine, by name, number, or DICOM key.

A name is found only where one file can be meant. The rules, the most exact first:

1. the path below the folder, or below the table's folder;
2. the same without regard to case, to the form of Unicode (macOS writes `é` as two characters) and to `\\` or `/`;
3. the longest end of a path that is the whole path of a file below one of these two folders
   (`/data/reports/images/1.png` is `images/1.png`), or a path that is the end of one file's path (`1.png` is
   `images/1.png`);
4. a path with its beginning replaced, where the first rows of the table all agree on it (`learn`);
5. the same for a name without its suffix, and for a number without its leading zeros (`7`, `7.0`: `0007.png`).

If the table's own folder, below the top, holds images, only that folder is searched: `1.png` in `test/metadata.csv` is
not `train/1.png`. Two files that fit equally are ambiguous.
"""

from __future__ import annotations

import functools
import posixpath
import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping

from hub_datasets.filesystem.image_suffixes import IMAGE_SUFFIXES, best_kind, common_end, folded, is_image, stem_of
from hub_datasets.records import Problem, Reason

DICOM_SUFFIXES = (".dcm", ".dicom", ".dic")
LIST = ", ".join(IMAGE_SUFFIXES)
WHOLE_NUMBER = re.compile(r"0*([0-9]{1,18})(?:\.0+)?")
QUOTED = re.compile(r"\A(['\"])(.*)\1\Z", re.DOTALL)
DRIVE = re.compile(r"\A[A-Za-z]:|\A[A-Za-z][A-Za-z0-9+.-]*://[^/]*")


class Images:
    """The files of a folder, found by the names that tables give them.

    Attributes:
        names: of all files.
        by_stem: the images by their base names without suffix, in all folders.
        keys: returns the images by keyword and value of their DICOM headers, which are read when a table needs them.
    """

    def __init__(self, names: Iterable[str], keys: Callable[[], Mapping[tuple[str, str], list[str]]] = dict):
        """Indexes the names of a folder's files.

        Args:
            keys: reads the headers of its DICOM files.
        """
        self.names = set(names)
        self.keys = functools.cache(keys)
        self.by_stem: dict[str, list[str]] = defaultdict(list)
        self._by_base: dict[str, list[str]] = defaultdict(list)
        self._by_folded_stem: dict[str, list[str]] = defaultdict(list)
        self._by_number: dict[str, list[str]] = defaultdict(list)
        self._with_images: set[str] = set()  # folders with an image in them or below
        self._find = functools.lru_cache(1024)(self._find_once)  # a row's name is searched more than once
        self._folders = functools.cache(lambda name: [folded(part) for part in name.split("/")[:-1]])
        self._moved: dict[str, tuple[list[str], list[str]]] = {}  # of a table: a beginning of its paths, and ours
        for name in sorted(self.names):
            self._by_base[folded(posixpath.basename(name))].append(name)
            if not is_image(name):
                continue
            stem = stem_of(name)
            self.by_stem[stem].append(name)
            self._by_folded_stem[folded(stem)].append(name)
            if stem.isdecimal() and stem.isascii() and len(stem) <= 18:
                self._by_number[stem.lstrip("0") or "0"].append(name)
            folder = posixpath.dirname(name)
            while folder and folder not in self._with_images:
                self._with_images.add(folder)
                folder = posixpath.dirname(folder)

    def find(self, path: str, table: str) -> str | Problem:
        r"""Returns the file that a table names by its path, by the end of its path, by its name, number or stem.

        A path without a file is returned unchanged, so that the check of the image reports it as missing or outside.
        """
        return path if path in self.names else self._find(path, table)

    def _find_once(self, path: str, table: str) -> str | Problem:
        for given in (path, path.strip().replace("\\", "/")):
            for start in ("", posixpath.dirname(table)):
                name = posixpath.normpath(posixpath.join(start, given)) if given else ""
                if name in self.names:
                    return name
        parts = parts_of(path)
        found = self._search(parts, posixpath.dirname(table))
        if found is None and table in self._moved:
            theirs, ours = self._moved[table]
            name = "/".join(ours + parts[len(theirs) :])
            found = name if parts[: len(theirs)] == theirs and name in self.names else None
        return path if found is None else found

    def learn(self, paths: Iterable[str], table: str) -> None:
        """Learns the beginning that all paths of a table have on another machine, and what it is in this folder.

        A common end alone would not do: with `p10/1.png` missing, it would find `p11/1.png`.
        """
        pairs = set()
        for parts in map(parts_of, paths):
            names = self._by_base.get(folded(parts[-1]), []) if len(parts) > 1 else []
            ends = {name: common_end(name.split("/"), parts) for name in names}
            best = [name for name in names if ends[name] == max(ends.values())]
            if len(best) != 1 or ends[best[0]] < 2:
                return
            ours = best[0].split("/")[: -ends[best[0]]]
            pairs.add((tuple(parts[: -ends[best[0]]]), tuple(ours)))
        if len(pairs) == 1:
            theirs, ours = pairs.pop()
            self._moved[table] = (list(theirs), list(ours))
            self._find.cache_clear()

    def has(self, path: str, table: str) -> bool:
        """Returns whether a table's cell names one file."""
        found = self.find(path, table)
        return isinstance(found, str) and found in self.names

    def _search(self, parts: list[str], home: str) -> str | Problem | None:
        if not parts:
            return None
        base = folded(parts[-1])
        found = self._fitting(self._by_base.get(base, []), parts, home)
        stem, suffix = posixpath.splitext(base)
        if not found and suffix in DICOM_SUFFIXES:  # the pictures were converted, the table was not
            found = best_kind(self._fitting(self._by_folded_stem.get(stem, []), parts, home))
        elif not found and suffix not in IMAGE_SUFFIXES:
            found = best_kind(self._fitting(self._by_folded_stem.get(base, []), parts, home))
            if not found and (number := WHOLE_NUMBER.fullmatch(base)):
                found = best_kind(self._fitting(self._by_number.get(number[1], []), parts[-1:], home))
        if len(found) > 1:
            message = f"{'/'.join(parts)!r} is ambiguous: {found[0]!r} or {found[1]!r}; give the path, or remove one"
            return Problem(Reason.MALFORMED_ROW, f"{message} of them")
        return found[0] if found else None

    def _fitting(self, names: list[str], parts: list[str], home: str) -> list[str]:
        """Returns the files of some with the same base name that a path can mean: those with the longest common end.

        The end must be the whole path of the file, below the folder or below `home`, or the whole path that is given.
        """
        inside = f"{home}/" if home in self._with_images else ""
        given = [folded(part) for part in parts[:-1]]
        fitting: dict[int, list[str]] = defaultdict(list)
        for name in names:
            if not name.startswith(inside):
                continue
            folders = self._folders(name)
            same = common_end(folders, given)
            whole = same == len(folders) or same == len(given)
            if home and name.startswith(f"{home}/"):
                whole = whole or same == len(folders) - home.count("/") - 1
            if whole:
                fitting[same].append(name)
        best = fitting[max(fitting)] if fitting else []
        exact = [name for name in best if posixpath.basename(name) == parts[-1]]
        return exact or best

    def find_stem(self, stem: str) -> str | Problem:
        """Returns the image whose name without its suffix is `stem`, in any folder.

        PNG is preferred to JPEG, and JPEG to DICOM; two files of the same kind are ambiguous.
        """
        best = best_kind(self.by_stem.get(stem, []))
        if not best:
            return Problem(Reason.IMAGE_MISSING, f"no image {stem!r} with one of the suffixes {LIST}")
        if len(best) > 1:
            message = f"{stem!r} is ambiguous: {best[0]!r} or {best[1]!r}; give the path, or remove one of them"
            return Problem(Reason.MALFORMED_ROW, message)
        return best[0]

    def find_key(self, keyword: str, value: str) -> list[str] | Problem:
        """Returns the DICOM files whose header has a value, for example all of one AccessionNumber."""
        keys = self.keys()
        found = keys.get((keyword, value.strip()), [])
        if not found and (number := WHOLE_NUMBER.fullmatch(value.strip())):
            found = keys.get((f"#{keyword}", number[1]), [])
        return found or Problem(Reason.IMAGE_MISSING, f"no DICOM file with the {keyword} {value.strip()!r:.80}")


def parts_of(path: str) -> list[str]:
    """Returns the parts of a path without drive, `.` and `..`; none for a path that names no file."""
    given = DRIVE.sub("", QUOTED.sub(r"\2", path.strip()).replace("\\", "/"))
    if "\0" in given or len(given) > 4096:
        return []
    parts = [part for part in posixpath.normpath(given).split("/") if part and part not in (".", "..")] if given else []
    return parts if not given.endswith("/") else []
