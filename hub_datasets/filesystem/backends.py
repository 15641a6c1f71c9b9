"""Lists and reads the files of a folder on this machine or in a store that fsspec can open.

Both backends have the same methods, which take names below their root. `source_folder.py` has already refused names
that could lead out of the folder.
"""

from __future__ import annotations

import errno
from collections.abc import Iterator
from typing import Any, BinaryIO

from hub_datasets.errors import BuildError
from hub_datasets.filesystem import storage
from hub_datasets.filesystem.local_store import LocalStore
from hub_datasets.filesystem.member_names import is_archive
from hub_datasets.filesystem.zip_archive import Unreadable
from hub_datasets.records import Reason

# Fields of a store that change with the content of a file; each store has some of them.
VERSION_KEYS = (
    "ETag", "etag", "md5", "md5Hash", "sha256", "blob_id", "oid", "generation", "version_id",
    "LastModified", "last_modified", "mtime", "modified", "updated", "created",
)  # fmt: skip


def open_store(address: str, follow_links: bool = False) -> LocalStore | RemoteStore:
    """Returns the store of an address. Raises BuildError if fsspec cannot open it."""
    if storage.is_remote(address):
        return RemoteStore(address)
    return LocalStore(str(storage.local_path(address)), follow_links)


class RemoteStore:
    """The files at an address that fsspec can open. Each process opens the address for itself."""

    def __init__(self, address: str):
        self._address = address
        self._connect()
        self.is_archive = is_archive(self.name) and self._info("") is not None

    def _connect(self) -> None:
        from fsspec.core import url_to_fs

        self.name = storage.without_query(self._address)  # a signature would follow the suffix of the file
        self._archives: dict[str, tuple] = {}
        try:
            self._system, root = url_to_fs(self._address)
        except Exception as error:  # an unknown scheme, a package that is not installed, an invalid name
            reason = storage.describe_error(error, self._address)
            raise BuildError(f"{storage.shown(self._address)}: cannot be opened: {reason}") from None
        self.root = root.rstrip("/")

    def __getstate__(self) -> dict[str, Any]:
        return {"address": self._address, "is_archive": self.is_archive}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self._address, self.is_archive = state["address"], state["is_archive"]
        self._connect()

    def holds(self, other: LocalStore | RemoteStore) -> bool:
        """Returns whether another root is this one or below it, even if a disk is mounted in two places."""
        if not isinstance(other, RemoteStore) or self._system != other._system:
            return False
        return f"{other.root}/".startswith(f"{self.root}/")

    def walk(self) -> Iterator[tuple[str, int, str, bool]]:
        """Yields (name, size, version, whether it is a link to a folder) in no particular order. Raises OSError."""
        self._system.invalidate_cache()
        self._archives.clear()
        if self.is_archive:
            yield "", 0, "", False
            return
        try:
            found = self._system.find(self.root, detail=True)
        except Exception as error:  # each store has its own error types, and their messages may contain a key
            raise OSError(errno.EIO, f"the store answered with {type(error).__name__}", "") from None
        for path, info in found.items():
            if path.startswith(f"{self.root}/"):
                yield path[len(self.root) + 1 :], info.get("size") or 0, version(info), False

    def read(self, name: str, limit: int) -> bytes:
        """Returns the bytes of a file. Raises Unreadable and OSError."""
        info = self._info(name)
        if info is None:
            raise Unreadable(Reason.IMAGE_MISSING, "does not exist")
        size = info.get("size")
        if size is not None and size > limit:
            raise Unreadable(Reason.IMAGE_TOO_LARGE, f"has {size:,} bytes, the limit is {limit:,}")
        try:
            with self._system.open(self._path(name), "rb") as file:
                data = file.read(limit + 1)
        except Exception as error:
            raise OSError(errno.EIO, f"the store answered with {type(error).__name__}") from None
        if len(data) > limit:
            raise Unreadable(Reason.IMAGE_TOO_LARGE, f"has more bytes than the limit of {limit:,}")
        return data

    def open(self, name: str) -> BinaryIO:
        """A file, open for reading. Raises OSError."""
        try:
            return self._system.open(self._path(name), "rb")
        except Exception as error:
            raise OSError(errno.EIO, f"the store answered with {type(error).__name__}") from None

    def signature(self, name: str) -> tuple | None:
        """Returns what changes with a file, its size first, as it was when first asked for; None if it is no file."""
        if name not in self._archives:
            info = self._info(name)
            if info is None:
                return None
            self._archives[name] = (info.get("size"), version(info))
        return self._archives[name]

    def _path(self, name: str) -> str:
        return f"{self.root}/{name}" if name else self.root

    def _info(self, name: str) -> dict[str, Any] | None:
        """Returns what the store reports about a file; None if it does not exist. Raises OSError."""
        try:
            info = self._system.info(self._path(name))
        except (FileNotFoundError, NotADirectoryError):
            return None
        except Exception as error:
            raise OSError(errno.EIO, f"the store answered with {type(error).__name__}") from None
        return info if info.get("type") == "file" else None


def version(info: dict[str, Any]) -> str:
    """Returns all that a store reports about a file that changes with its content."""
    return " ".join(str(info[key]) for key in VERSION_KEYS if info.get(key))
