"""Did this project draw the files of a folder? Then anybody may share them, and the card says that they are synthetic.

`sample_sources.py` leaves a mark in the folders that it makes. It holds for the files that it was made for: a folder
that somebody has added data of his own to is no longer synthetic.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

from hub_datasets.folder import Folder, FolderError

MARK = "SYNTHETIC.txt"
WORDS = "Drawn by hub_datasets/sample_sources.py: synthetic images and texts, for trying out and testing only."


def write_mark(path: Path) -> Path:
    """Marks the folder `path` as it is now; returns it."""
    (path / MARK).unlink(missing_ok=True)
    (path / MARK).write_text(mark_of(Folder(path)), encoding="utf-8")
    return path


def is_synthetic(folder: Folder) -> bool:
    """True where the mark fits the files that are there."""
    if not folder.has(MARK):
        return False
    try:
        return folder.read(MARK) == mark_of(folder).encode()
    except FolderError:
        return False


def mark_of(folder: Folder) -> str:
    """The mark for the names and sizes of a folder's files."""
    digest = hashlib.sha256()
    for file in folder.files():
        if file.name != MARK:
            digest.update(f"{file.name}\0{file.size}\n".encode(errors="surrogateescape"))
    return f"{WORDS}\nOf these files: {digest.hexdigest()}\n"
