"""Tells the files that a command wrote to a folder from everything else there, and deletes nothing else.

Commands that replace an earlier result use it: what they find in a folder and did not write belongs to its user.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True)
class Contents:
    """What lies in a folder, by names relative to it.

    Attributes:
        own: files that the command wrote; they may be deleted.
        occupied: names that the command writes to, where something lies that it did not write, or that was changed.
        other: everything else. It stays.
    """

    own: list[str] = field(default_factory=list)
    occupied: list[str] = field(default_factory=list)
    other: list[str] = field(default_factory=list)


def files_below(folder: Path) -> list[str]:
    """The names of all files below a folder, sorted.

    Links, mount points and folders that may not be read are not entered: they are named like files.
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
    """Deletes files of a folder, in this order, and then the folders below it that they leave empty.

    The folder itself stays, whatever it is: a link, a mount point.
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
    """The name of the first place that is the folder or lies below it, through links too; None where there is none.

    Args:
        places: paths, by what a message calls them.
    """
    root = folder.resolve()
    for name, place in places.items():
        path = Path(place).resolve()
        if path == root or root in path.parents:
            return name
    return None


def user_places() -> dict[str, Path]:
    """The folders that no command may empty, by name; see `held_in`."""
    return {"the working directory": Path.cwd(), "your home folder": Path.home()}


def some(names: Iterable[str], shown: int = 3) -> str:
    """The first few names, and how many more there are."""
    listed = list(names)
    more = f" and {len(listed) - shown} more" if len(listed) > shown else ""
    return ", ".join(listed[:shown]) + more
