"""Lists and reads the members of a tar file at their places in it, and refuses members that could do harm."""

from __future__ import annotations

import gzip
import io
import tarfile
import threading
import weakref
import zlib
from collections.abc import Callable, Iterator
from typing import BinaryIO

from hub_datasets.errors import BuildError, one_line
from hub_datasets.filesystem.member_names import tar_names
from hub_datasets.filesystem.zip_archive import (
    CHUNK,
    MAX_RATIO,
    OUTSIDE_ARCHIVE,
    RATIO_BYTES,
    TWICE,
    Unreadable,
)
from hub_datasets.records import Reason

BLOCK = tarfile.BLOCKSIZE
MAX_HEADER_BYTES = 1024 * 1024  # of a long name, or of attributes; tarfile would hold any size in memory


class TarArchive:
    """An open tar file without compression; several threads may read it at once.

    Attributes:
        members: name, size in bytes and version of every file in it, including those that `read` refuses.
    """

    def __init__(self, file: BinaryIO, place: str, refuse: Callable[[str], bool], version: str = ""):
        """Reads the headers of all members.

        Args:
            file: open for reading in bytes, and seekable.
            place: how an error names the file.
            refuse: returns whether a name must not be read.
            version: changes with the content of the file.

        Raises:
            BuildError: the file is truncated, or is not a tar file.
        """
        self._lock = threading.Lock()
        self._file = file
        self.version = version
        try:
            infos = list(read_headers(file))
        except Exception as error:  # the parser raises many types on broken bytes
            file.close()
            raise BuildError(
                f"{place}: truncated, or not a tar file ({one_line(error)}); download it again, or remove it from the "
                "folder"
            ) from None
        weakref.finalize(self, file.close)
        self._places: dict[str, tuple[int, int]] = {}
        self._refused: dict[str, Unreadable] = {}
        names = tar_names([info[0] for info in infos])
        for name, (_, kind, offset, size) in zip(names, infos, strict=True):
            if name in self._places:
                self._refused[name] = Unreadable(Reason.IMAGE_UNREADABLE, TWICE)
            elif not name or refuse(name):
                self._refused[name] = Unreadable(Reason.IMAGE_OUTSIDE_ROOT, OUTSIDE_ARCHIVE)
            elif kind == "link":
                message = "is a link, which is not followed in an archive; pack the file itself"
                self._refused[name] = Unreadable(Reason.IMAGE_OUTSIDE_ROOT, message)
            elif kind != "file":
                self._refused[name] = Unreadable(Reason.IMAGE_MISSING, "is not a regular file")
            self._places[name] = (offset, size)
        self.members = [(name, size, f"{version} {offset}") for name, (offset, size) in self._places.items()]

    def has(self, name: str) -> bool:
        return name in self._places

    def stored(self, name: str) -> tuple[int, int]:
        """Returns (first byte, number of bytes) of a member in the file. Raises Unreadable if it is refused."""
        if name not in self._places:
            raise Unreadable(Reason.IMAGE_MISSING, "is not in its archive")
        if refused := self._refused.get(name):
            raise Unreadable(refused.code, refused.message)
        return self._places[name]

    def read(self, name: str, limit: int) -> bytes:
        """Returns the bytes of a member. Raises Unreadable if it cannot be read."""
        offset, size = self.stored(name)
        if size > limit:
            raise Unreadable(Reason.IMAGE_TOO_LARGE, f"has {size:,} bytes, the limit is {limit:,}")
        with self._lock:
            self._file.seek(offset)
            data = self._file.read(size)
        if len(data) != size:
            raise Unreadable(Reason.IMAGE_UNREADABLE, f"has {len(data):,} bytes instead of {size:,}")
        return data


class BoundedReads(io.BufferedIOBase):
    """A file that refuses to return more than MAX_HEADER_BYTES at once, so that a header cannot fill the memory."""

    def __init__(self, file: BinaryIO):
        self._file = file

    def seek(self, offset: int, whence: int = 0) -> int:
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        return self._file.tell()

    def read(self, size: int = -1) -> bytes:
        if not 0 <= size <= MAX_HEADER_BYTES:
            raise tarfile.ReadError(f"a header of {size:,} bytes, the limit is {MAX_HEADER_BYTES:,}")
        return self._file.read(size)


def read_headers(file: BinaryIO) -> Iterator[tuple[str, str, int, int]]:
    """Yields (name, `file`, `link` or `other`, first byte, number of bytes) of each member that is not a folder.

    Raises an error for a file that is truncated or damaged, which the standard library takes for its end.
    """
    bounded = BoundedReads(file)
    end = 0
    with tarfile.open(fileobj=bounded, mode="r:", encoding="utf-8", errors="surrogateescape") as archive:
        while (info := archive.next()) is not None:
            archive.members = []  # which would be kept in memory
            end = archive.offset
            if info.isdir():
                continue
            kind = "link" if info.issym() or info.islnk() else "other"
            if info.isreg() and not info.issparse():
                kind = "file"
            yield info.name, kind, info.offset_data, info.size if kind == "file" else 0
    file.seek(end)
    if any(file.read(BLOCK)):
        raise tarfile.ReadError(f"damaged at byte {end:,}")


def gunzip(open_file: Callable[[], BinaryIO], place: str) -> Iterator[bytes]:
    """Yields the decompressed content of a gzip file. Raises BuildError if it is damaged, or a possible bomb."""
    written = 0
    try:
        with open_file() as file, gzip.GzipFile(fileobj=(counted := CountedReads(file))) as archive:
            while chunk := archive.read(CHUNK):
                written += len(chunk)
                if written > max(RATIO_BYTES, MAX_RATIO * counted.count):
                    raise BuildError(
                        f"{place}: compression ratio of more than {MAX_RATIO}:1 (possible bomb); unpack it yourself if "
                        "you trust it"
                    )
                yield chunk
    except (OSError, EOFError, zlib.error) as error:
        reason = one_line(error)
        raise BuildError(
            f"{place}: truncated, or not a tar.gz file ({reason}); download it again, or remove it from the folder"
        ) from None


class CountedReads(io.RawIOBase):
    """A file that counts the bytes that were read from it."""

    def __init__(self, file: BinaryIO):
        self._file = file
        self.count = 0

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        data = self._file.read(size)
        self.count += len(data)
        return data
