"""Reads the files of a source folder on this machine or at an fsspec address, including those in zip files.

Names are paths relative to the folder, with `/` as separator. A zip file is treated as a folder with the zip file's
name: `images/imgs_part_1.zip/imgs_part_1/PAT_1.png`. Files outside the folder cannot be read.
"""

from __future__ import annotations

import hashlib
import io
import os
import re
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, BinaryIO

from hub_datasets.errors import BuildError, printable
from hub_datasets.filesystem import storage
from hub_datasets.filesystem.backends import OUTSIDE, ZIP, open_store
from hub_datasets.filesystem.parquet.table import OpenTables, ParquetTable, cell_of
from hub_datasets.filesystem.zip_archive import Archive, Unreadable
from hub_datasets.records import Reason

MAX_FILE_BYTES = 256 * 1024 * 1024  # a larger file is not read at all
MAX_OPEN_ZIPS = 64
# What names must not contain, on any operating system: NUL, an address, a root, a drive, `..` (Windows ignores dots and
# blanks at the end of a name). A backslash is treated as a slash.
UNSAFE = re.compile(r"\0|://|\A[/\\]|\A[A-Za-z]:|(?:\A|[/\\])\.\.[. ]*(?:[/\\]|\Z)")
IN_ZIP = re.compile(r"\.zip(?=/)", re.IGNORECASE | re.ASCII)


class FolderError(Exception):
    """The reason why a file cannot be read: a `code`, and a `message` with the name as the source gives it."""

    def __init__(self, code: Reason, message: str):
        super().__init__(code, message)  # both, so that the error survives the way between processes
        self.code = code
        self.message = message

    def __str__(self) -> str:
        return self.message


@dataclass(frozen=True, slots=True)
class File:
    """A file of a folder.

    Attributes:
        name: below the folder, `/` between the parts.
        size: in bytes, unpacked.
        version: changes with the content: the times of the last change of the content and of the inode in
            nanoseconds, the CRC-32 of a zip file's member, or the version that a store reports.
    """

    name: str
    size: int
    version: str


def is_unsafe(name: str) -> bool:
    """Returns whether a name leads out of its folder, or could on some operating system."""
    return UNSAFE.search(name) is not None


def is_zip(name: str) -> bool:
    """Returns whether a name is that of a zip file; the `._a.zip` that macOS leaves beside `a.zip` is not."""
    return name[-len(ZIP) :].lower() == ZIP and not name.rpartition("/")[2].startswith("._")


class Folder:
    """The files of a source by their names. It can be sent to another process, which opens the files for itself.

    Attributes:
        address: as the user gave it: a path, an address such as `s3://bucket/folder`, or a zip file.
        label: the name that distinguishes the folder from others of its source; empty if it is the only one.
        failures: number of reads that failed although the file exists, for example without permission or in a damaged
            zip file; such a cause can be repaired without a change of `state`.
    """

    def __init__(self, address: str | os.PathLike):
        """Raises BuildError where an address names a store that is not known or not installed."""
        self.address = os.fspath(address)
        self.label = ""
        self._store = open_store(self.address)
        self._reset({})

    def _reset(self, zips: dict[str, tuple]) -> None:
        self.failures = 0
        self._tables = OpenTables()
        self._zips = zips  # by name: the signature of each zip file when it was first seen
        self._close()
        self._files: list[File] | None = None
        self._by_name: dict[str, File] = {}
        self._linked: list[str] = []

    def _close(self) -> None:
        """Closes the open zip files, which belong to one process."""
        self._archives: dict[str, Archive] = {}
        self._lock = threading.Lock()
        self._pid = os.getpid()

    def __getstate__(self) -> dict[str, Any]:
        return {"address": self.address, "label": self.label, "store": self._store, "zips": self._zips}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.address, self.label, self._store = state["address"], state["label"], state["store"]
        self._reset(state["zips"])

    def __repr__(self) -> str:
        return f"Folder({self.named()!r})"

    def named(self, name: str = "") -> str:
        """Returns how messages name the folder, or a file in it: on one line and without secrets."""
        return storage.shown(self.address) + (f"/{printable(name)}" if name else "")

    def labeled(self, name: str) -> str:
        """Returns the name of an item or an image, after the folder's label if it has one."""
        return f"{self.label}/{name}" if self.label else name

    def holds(self, other: Folder) -> bool:
        """True where another folder is this one or inside it, by whatever names the two are given."""
        return self._store.holds(other._store)

    def files(self) -> Sequence[File]:
        """Returns all files, sorted by name. Links to folders are not followed, and zip files are folders.

        A name that cannot be read, for example a link that leads outside, is listed as well, and `read` raises the
        reason. The list is cached; `state` refreshes it. Raises BuildError if a folder or a zip file cannot be read.
        """
        if self._files is None:
            self._list()
        return self._files

    def linked_folders(self) -> Sequence[str]:
        """Returns the links to folders, which are not followed."""
        self.files()
        return self._linked

    def has(self, name: str) -> bool:
        """Returns whether a name is in the list of files."""
        self.files()
        return name in self._by_name

    def state(self) -> str:
        """Lists the files again and returns a hexadecimal digest that is equal as long as no file has changed."""
        self._list()
        digest = hashlib.blake2b(digest_size=16)
        for file in self._files:
            line = f"{file.size} {file.version} {len(file.name)} {file.name}\n"
            digest.update(line.encode("utf-8", "surrogatepass"))
        return digest.hexdigest()

    def read(self, name: str, limit: int = MAX_FILE_BYTES) -> bytes:
        """Returns the bytes of a file.

        Raises:
            FolderError: it does not exist (IMAGE_MISSING), leads outside (IMAGE_OUTSIDE_ROOT), has more than `limit`
                bytes (IMAGE_TOO_LARGE) or cannot be read (IMAGE_UNREADABLE).
            BuildError: its zip file is truncated, or has changed since it was listed.
        """
        if UNSAFE.search(name):
            raise FolderError(Reason.IMAGE_OUTSIDE_ROOT, f"{name!r} {OUTSIDE}")
        try:
            if (cell := cell_of(name)) and (table := self.table(cell[0])):
                return table.read(cell[1], cell[2], limit)
            if found := self._in_zip(name):
                archive, member = found
                return archive.read(member, limit)
            return self._store.read(name, limit)
        except Unreadable as error:
            self.failures += error.code == Reason.IMAGE_UNREADABLE
            raise FolderError(error.code, f"{name!r} {error.message}") from None
        except OSError as error:
            self.failures += 1
            message = f"{name!r} cannot be read: {error.strerror or type(error).__name__}"
            raise FolderError(Reason.IMAGE_UNREADABLE, message) from None

    def read_start(self, name: str, size: int) -> bytes:
        """Returns at most the first `size` bytes of a file. Raises what `read` raises."""
        if UNSAFE.search(name) or self._store.is_zip or IN_ZIP.search(name):
            return self.read(name)[:size]
        try:
            with self._store.open(name) as file:
                return file.read(size)
        except Unreadable as error:
            raise FolderError(error.code, f"{name!r} {error.message}") from None
        except OSError as error:
            message = f"{name!r} cannot be read: {error.strerror or type(error).__name__}"
            raise FolderError(Reason.IMAGE_UNREADABLE, message) from None

    def open(self, name: str) -> BinaryIO:
        """Opens a file for reading at any place; one in a zip file is held in memory.

        Raises Unreadable and OSError if it cannot be read, and BuildError as `read` does.
        """
        if UNSAFE.search(name):
            raise Unreadable(Reason.IMAGE_OUTSIDE_ROOT, OUTSIDE)
        if found := self._in_zip(name):
            archive, member = found
            return io.BytesIO(archive.read(member, MAX_FILE_BYTES))
        return self._store.open(name)

    def table(self, name: str) -> ParquetTable | None:
        """Returns a Parquet file, open in this process; None if there is no such file, for example a folder.

        Raises BuildError if it is damaged.
        """
        return self._tables.get(name, self.open, self.named(name))

    def _list(self) -> None:
        files: list[File] = []
        self._linked = []
        try:
            for name, size, version, is_link in self._store.walk():
                if is_link:
                    self._linked.append(name)
                elif is_zip(name) or not name:  # the folder itself is one
                    files += self._members(name)
                else:
                    files.append(File(name, size, version))
        except OSError as error:
            raise BuildError(f"{self.named(error.filename or '')}: cannot be listed: {error.strerror}") from None
        files.sort(key=lambda file: file.name)
        self._linked.sort()
        self._files = files
        self._by_name = {file.name: file for file in files}

    def _members(self, zip_name: str) -> Iterator[File]:
        """Yields the files in a zip file; for a link that leads to none, its own name."""
        self._zips.pop(zip_name, None)
        self._archives.pop(zip_name, None)
        try:
            archive = self._archive(zip_name)
        except Unreadable:
            archive = None
        if archive is None:
            yield File(zip_name, 0, "")
            return
        before = f"{zip_name}/" if zip_name else ""
        for name, size, crc in archive.members:
            yield File(before + name, size, f"{crc:08x}")

    def _in_zip(self, name: str) -> tuple[Archive, str] | None:
        """Returns the zip file that contains a name, and the name inside it; None for a name in no zip file."""
        if self._store.is_zip:
            return self._archive(""), name
        for match in IN_ZIP.finditer(name):
            archive = self._archive(name[: match.end()]) if is_zip(name[: match.end()]) else None
            if archive:  # and no folder that is named like a zip file
                member = name[match.end() + 1 :]
                if is_unsafe(member):
                    raise Unreadable(Reason.IMAGE_OUTSIDE_ROOT, "is outside its zip file")
                return archive, member
        return None

    def _archive(self, name: str) -> Archive | None:
        """Returns the zip file of a name, open in this process; None if there is no such file.

        Raises BuildError if it is truncated, or was replaced since it was listed.
        """
        if self._pid != os.getpid():  # a forked process would share its parent's place in the file
            self._close()
        signature = self._store.signature(name)
        if signature is None:
            return None
        if self._zips.setdefault(name, signature) != signature:
            advice = "run again when it is complete"
            raise BuildError(f"{self.named(name)}: the zip file changed while it was read; {advice}")
        with self._lock:
            if (archive := self._archives.get(name)) is None:
                archive = Archive(self._store.open(name), self.named(name), is_unsafe)
                if len(self._archives) >= MAX_OPEN_ZIPS:
                    del self._archives[next(iter(self._archives))]  # closed when its last reader is done
                self._archives[name] = archive
        return archive
