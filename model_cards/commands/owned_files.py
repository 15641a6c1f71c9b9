"""Distinguishes the files that a command wrote in a folder from all others, so that only those are deleted.

Commands that replace an earlier result use it: files that they did not write belong to the user.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True)
class Contents:
    """The files in a folder, by names relative to it.

    Attributes:
        own: files that the command wrote; they may be deleted.
        occupied: names that the command would write, but that belong to files it did not write or that were changed.
        other: all other files; they stay.
    """

    own: list[str] = field(default_factory=list)
    occupied: list[str] = field(default_factory=list)
    other: list[str] = field(default_factory=list)


def files_below(folder: Path) -> list[str]:
    """Returns the names of all files below a folder, sorted.

    Links, mount points and folders without read permission are not entered; they are listed like files.
    """
    found: list[str] = []

    def enter(place: Path, prefix: str) -> None:
        for entry in os.scandir(place):
            name = prefix + entry.name
            if not entry.is_dir(follow_symlinks=False) or os.path.ismount(entry.path):
                found.append(name)
                continue
            try:
                enter(Path(entry.path), f"{name}/")
            except PermissionError:
                found.append(name)

    if folder.is_dir():
        enter(folder, "")
    return sorted(found)


def remove_files(folder: Path, names: Iterable[str]) -> None:
    """Deletes files of a folder, in the given order, and then the subfolders that became empty.

    The folder itself stays, even if it is a link or a mount point.
    """
    parents: set[Path] = set()
    for name in names:
        path = folder / name
        path.unlink(missing_ok=True)
        parents |= {parent for parent in path.parents if folder in parent.parents}
    for parent in sorted(parents, key=lambda path: len(path.parts), reverse=True):
        if parent.is_dir() and not parent.is_symlink() and not any(parent.iterdir()):
            parent.rmdir()


def held_in(folder: Path, places: Mapping[str, str | Path]) -> str | None:
    """Returns the name of the first place that is the folder or is inside it, following links; None if there is none.

    Args:
        folder: the folder.
        places: paths, by their names for messages.
    """
    root = folder.resolve()
    for name, place in places.items():
        path = Path(place).resolve()
        if path == root or root in path.parents:
            return name
    return None


def user_places() -> dict[str, Path]:
    """Returns the folders that no command may empty, by name; see `held_in`."""
    return {"the working directory": Path.cwd(), "your home folder": Path.home()}


def some(names: Iterable[str], shown: int = 3) -> str:
    """Lists the first few names and the number of the remaining ones."""
    listed = list(names)
    more = f" and {len(listed) - shown} more" if len(listed) > shown else ""
    return ", ".join(listed[:shown]) + more
