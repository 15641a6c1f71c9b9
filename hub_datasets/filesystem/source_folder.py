"""Reads the files of a source folder on this machine or at an fsspec address, including those in archives.

Names are paths relative to the folder, with `/` as separator. An archive (zip, tar, tar.gz) is treated as a folder with
the archive's name: `images/imgs_part_1.zip/imgs_part_1/PAT_1.png`. Files outside the folder cannot be read, unless
links to them are to be followed.
"""

from __future__ import annotations

import hashlib
import io
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, BinaryIO

from hub_datasets.errors import BuildError, printable
from hub_datasets.filesystem import storage
from hub_datasets.filesystem.archives import Archives
from hub_datasets.filesystem.backends import open_store
from hub_datasets.filesystem.local_store import OUTSIDE, LocalStore, hub_snapshot
from hub_datasets.filesystem.member_names import is_archive
from hub_datasets.filesystem.parquet.table import OpenTables, ParquetTable, cell_of
from hub_datasets.filesystem.zip_archive import Unreadable
from hub_datasets.records import Reason

MAX_FILE_BYTES = 256 * 1024 * 1024  # a larger file is not read at all
# What names must not contain, on any operating system: NUL, an address, a root, a drive, `..` (Windows ignores dots and
# blanks at the end of a name). A backslash is treated as a slash.
UNSAFE = re.compile(r"\0|://|\A[/\\]|\A[A-Za-z]:|(?:\A|[/\\])\.\.[. ]*(?:[/\\]|\Z)")


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
            nanoseconds, the CRC-32 of a zip file's member, the tar file and the place in it of a tar file's, or the
            version that a store reports.
    """

    name: str
    size: int
    version: str


def is_unsafe(name: str) -> bool:
    """Returns whether a name leads out of its folder, or could on some operating system."""
    return UNSAFE.search(name) is not None


def shown_file(address: str, name: str) -> str:
    """Returns how messages name a file at an address, or the address itself."""
    return storage.shown(address) + (f"/{printable(name)}" if name else "")


class Folder:
    """The files of a source by their names. It can be sent to another process, which opens the files for itself.

    Attributes:
        address: as the user gave it: a path, an address such as `s3://bucket/folder`, or an archive. For the folder of
            a repository in a Hub cache it is that of its snapshot.
        label: the name that distinguishes the folder from others of its source; empty if it is the only one.
        follow_links: whether links are followed wherever they lead.
        scratch: folder in which archives are unpacked that cannot be read at any place, for example a tar.gz; a
            temporary folder of the process where it does not exist.
        failures: number of reads that failed although the file exists, for example without permission or in a damaged
            zip file; such a cause can be repaired without a change of `state`.
    """

    def __init__(self, address: str | os.PathLike, follow_links: bool = False, scratch: str = ""):
        """Raises BuildError where an address names a store that is not known or not installed."""
        self.address = hub_snapshot(os.fspath(address))
        self.follow_links = follow_links
        self.label = ""
        self._store = open_store(self.address, follow_links)
        self._reset({}, scratch)

    def _reset(self, signatures: dict[str, tuple], scratch: str) -> None:
        self.failures = 0
        self._tables = OpenTables()
        self._archives = Archives(self._store, partial(shown_file, self.address), is_unsafe, signatures)
        self.scratch = scratch
        self._files: list[File] | None = None
        self._by_name: dict[str, File] = {}
        self._linked: list[str] = []

    def __getstate__(self) -> dict[str, Any]:
        names = ("address", "label", "follow_links", "_store")
        given = {name: getattr(self, name) for name in names}
        return given | {"signatures": self._archives.signatures, "scratch": self.scratch}

    def __setstate__(self, state: dict[str, Any]) -> None:
        signatures, scratch = state.pop("signatures"), state.pop("scratch")
        vars(self).update(state)
        self._reset(signatures, scratch)

    @property
    def scratch(self) -> str:
        return self._archives.place

    @scratch.setter
    def scratch(self, folder: str) -> None:
        self._archives.place = folder

    def __repr__(self) -> str:
        return f"Folder({self.named()!r})"

    def named(self, name: str = "") -> str:
        """Returns how messages name the folder, or a file in it: on one line and without secrets."""
        return shown_file(self.address, name)

    def labeled(self, name: str) -> str:
        """Returns the name of an item or an image, after the folder's label if it has one."""
        return f"{self.label}/{name}" if self.label else name

    def holds(self, other: Folder) -> bool:
        """True where another folder is this one or inside it, by whatever names the two are given."""
        return self._store.holds(other._store)

    def files(self) -> Sequence[File]:
        """Returns all files, sorted by name. Archives are folders, and links to folders are not followed by default.

        A name that cannot be read, for example a link that leads outside, is listed as well, and `read` raises the
        reason. The list is cached; `state` refreshes it. Raises BuildError if a folder or an archive cannot be read.
        """
        if self._files is None:
            self._list()
        return self._files

    def linked_folders(self) -> Sequence[str]:
        """Returns the links to folders that are not followed."""
        self.files()
        return self._linked

    def why_not_followed(self) -> str:
        """Returns what the report says about `linked_folders`."""
        if self.follow_links:
            return "a link to a folder that contains it, or that was read by several other links"
        return "a link to a folder; --follow_links reads it"

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
            BuildError: its archive is truncated, or has changed since it was listed.
        """
        if UNSAFE.search(name):
            raise FolderError(Reason.IMAGE_OUTSIDE_ROOT, f"{name!r} {OUTSIDE}")
        try:
            if (cell := cell_of(name)) and (table := self.table(cell[0])):
                return table.read(cell[1], cell[2], limit)
            if found := self._archives.find(name):
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

    def stays(self, name: str) -> bool:
        """Returns whether a file that was read can be read again at little cost: see `read_again`.

        It is on this machine, by itself or in an archive that was not unpacked, and no cell of a table.
        """
        return isinstance(self._store, LocalStore) and not cell_of(name) and not self._archives.is_unpacked(name)

    def read_again(self, name: str) -> bytes:
        """Returns the bytes of a file that `read` has returned before. The caller must compare them.

        Raises FolderError if it cannot be read any more.
        """
        try:
            if found := self._archives.find(name):
                archive, member = found
                return archive.read(member, MAX_FILE_BYTES)
            return self._store.read_again(name, MAX_FILE_BYTES)
        except (OSError, Unreadable):
            raise FolderError(Reason.IMAGE_UNREADABLE, f"{name!r} has changed") from None

    def read_start(self, name: str, size: int) -> bytes:
        """Returns at most the first `size` bytes of a file. Raises what `read` raises."""
        if UNSAFE.search(name):
            raise FolderError(Reason.IMAGE_OUTSIDE_ROOT, f"{name!r} {OUTSIDE}")
        try:
            with self.open(name) as file:
                return file.read(size)
        except Unreadable as error:
            raise FolderError(error.code, f"{name!r} {error.message}") from None
        except OSError as error:
            message = f"{name!r} cannot be read: {error.strerror or type(error).__name__}"
            raise FolderError(Reason.IMAGE_UNREADABLE, message) from None

    def open(self, name: str) -> BinaryIO:
        """Opens a file for reading at any place; one in an archive is held in memory.

        Raises Unreadable and OSError if it cannot be read, and BuildError as `read` does.
        """
        if UNSAFE.search(name):
            raise Unreadable(Reason.IMAGE_OUTSIDE_ROOT, OUTSIDE)
        if found := self._archives.find(name):
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
                elif is_archive(name) or not name:  # the folder itself is one
                    self._archives.forget(name)
                    files += (File(*member) for member in self._archives.members(name))
                else:
                    files.append(File(name, size, version))
        except OSError as error:
            raise BuildError(f"{self.named(error.filename or '')}: cannot be listed: {error.strerror}") from None
        files.sort(key=lambda file: file.name)
        self._linked.sort()
        self._files = files
        self._by_name = {file.name: file for file in files}
