"""Marks folders of synthetic files and recognizes them, so that they need no license and the card says "synthetic".

`medpairs sample` writes a marker file into the folders that it creates. The marker is valid only for the files that it
was written for: a folder to which other files are added is no longer synthetic.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

from hub_datasets.filesystem.source_folder import Folder, FolderError

MARKER = "SYNTHETIC.txt"
MARKER_TEXT = """These images and texts are synthetic. They were drawn by `medpairs sample`, for trials and tests only.
SHA-256 of the names and sizes of these files: {digest}
"""


def write_marker(path: Path) -> Path:
    """Writes the marker for the present files of the folder `path` and returns `path`."""
    (path / MARKER).unlink(missing_ok=True)
    (path / MARKER).write_text(MARKER_TEXT.format(digest=compute_digest(Folder(path))), encoding="utf-8")
    return path


def is_synthetic(folder: Folder) -> bool:
    """Returns whether the folder has a marker that matches its files."""
    if not folder.has(MARKER):
        return False
    try:
        # Only the digest at the end is compared: samples of earlier versions have a different text before it.
        return folder.read(MARKER).split()[-1:] == [compute_digest(folder).encode()]
    except FolderError:
        return False


def compute_digest(folder: Folder) -> str:
    """Returns the SHA-256 of the names and sizes of a folder's files, without the marker."""
    digest = hashlib.sha256()
    for file in folder.files():
        if file.name != MARKER:
            digest.update(f"{file.name}\0{file.size}\n".encode(errors="surrogateescape"))
    return digest.hexdigest()
