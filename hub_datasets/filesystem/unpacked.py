"""Unpacks compressed archives once, to files that can be read at any place: a tar.gz, or a zip file packed in another.

The files lie in the build's cache, or in a temporary folder of this process, and are removed with it. Several processes
of a machine share them. Size is limited by what was read to make them, and by the free space of the disk.
"""

from __future__ import annotations

import atexit
import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterable
from functools import cache
from pathlib import Path

from hub_datasets.errors import BuildError

FREE_BYTES = 256 * 1024 * 1024  # of the disk that are left to others
CHECKED_BYTES = 64 * 1024 * 1024  # written between two looks at the free space


def unpacked_file(place: str, key: str, shown: str, chunks: Iterable[bytes]) -> Path:
    """Returns a file with these bytes; if another process has already written it, `chunks` are not read.

    Args:
        place: a folder for such files; where it does not exist, a temporary folder of this process is used.
        key: identifies the content.
        shown: how an error names the archive.
        chunks: the content. What reading them raises is raised here, and no file is left.

    Raises:
        BuildError: the disk has too little space.
    """
    from filelock import FileLock

    folder = Path(place) if place and Path(place).is_dir() else temporary_folder(os.getpid())
    path = folder / hashlib.blake2b(key.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()
    with FileLock(path.with_suffix(".lock")):
        if not path.exists():
            part = path.with_suffix(".part")
            try:
                write(part, shown, chunks)
                part.rename(path)
            finally:
                part.unlink(missing_ok=True)
    return path


def write(path: Path, shown: str, chunks: Iterable[bytes]) -> None:
    """Writes the chunks. Raises BuildError when the disk is nearly full."""
    until_check = 0
    with path.open("wb") as file:
        for chunk in chunks:
            if until_check <= 0:
                if (free := shutil.disk_usage(path.parent).free) < FREE_BYTES:
                    raise BuildError(
                        f"{shown}: too little space to unpack it, {free:,} bytes are free in {path.parent}; free some "
                        "space, use a --cache_dir on another disk, or unpack it yourself"
                    )
                until_check = CHECKED_BYTES
            file.write(chunk)
            until_check -= len(chunk)


@cache
def temporary_folder(process: int) -> Path:
    """Returns a folder that is removed when this process ends; a forked process makes its own."""
    folder = Path(tempfile.mkdtemp(prefix="medpairs-"))
    atexit.register(lambda: os.getpid() == process and shutil.rmtree(folder, ignore_errors=True))
    return folder
