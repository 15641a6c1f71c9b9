"""Lists and reads the files of a folder on this machine or in a store that fsspec can open.

Both backends have the same methods, which take names below their root. `source_folder.py` has already refused names
that could lead out of the folder.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

from hub_datasets.errors import BuildError
from hub_datasets.filesystem import storage
from hub_datasets.filesystem.zip_archive import Unreadable
from hub_datasets.records import Reason

ZIP = ".zip"
# Fields of a store that change with the content of a file; each store has some of them.
VERSION_KEYS = (
    "ETag", "etag", "md5", "md5Hash", "sha256", "blob_id", "oid", "generation", "version_id",
    "LastModified", "last_modified", "mtime", "modified", "updated", "created",
)  # fmt: skip
# Some operating systems lack some of these flags. Links are checked before they are followed, and pipes do not block.
OPEN_FLAGS = os.O_RDONLY | sum(getattr(os, flag, 0) for flag in ("O_BINARY", "O_CLOEXEC", "O_NOFOLLOW", "O_NONBLOCK"))
OUTSIDE = "is outside the source folder"


def open_store(address: str) -> LocalStore | RemoteStore:
    """Returns the store of an address. Raises BuildError if fsspec cannot open it."""
    return RemoteStore(address) if storage.is_remote(address) else LocalStore(str(storage.local_path(address)))


class LocalStore:
    """The files in a folder of this machine, or a zip file."""

    def __init__(self, path: str):
        self.root = os.path.realpath(path)
        self.is_zip = path.lower().endswith(ZIP) and Path(self.root).is_file()
        self._folders: dict[str, str] = {}  # of a name: its real path, which lies inside

    def __getstate__(self) -> dict[str, Any]:
        return {"root": self.root, "is_zip": self.is_zip}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.root, self.is_zip, self._folders = state["root"], state["is_zip"], {}

    def walk(self) -> Iterator[tuple[str, int, str, bool]]:
        """Yields (name, size, version, whether it is a link to a folder) in no particular order. Raises OSError."""
        if self.is_zip:
            yield "", 0, "", False
            return
        pending = [(self.root, "")]
        while pending:
            path, before = pending.pop()
            try:
                with os.scandir(path) as entries:
                    for entry in entries:
                        name = before + entry.name
                        if entry.is_dir(follow_symlinks=False):
                            pending.append((entry.path, f"{name}/"))
                        elif not entry.is_symlink():
                            status = entry.stat(follow_symlinks=False)
                            yield name, status.st_size, local_version(status), False
                        elif leads_to_folder(entry):
                            yield name, 0, "", True
                        else:
                            yield self._link(entry, name)
            except OSError as error:
                raise OSError(error.errno, error.strerror, before) from None

    def _link(self, entry: os.DirEntry, name: str) -> tuple[str, int, str, bool]:
        """Returns the entry of a link to a file: that of the file if it is inside the folder, else the name alone."""
        target = os.path.realpath(entry.path)
        try:
            if self._is_inside(target):
                status = Path(target).stat()
                return name, status.st_size, local_version(status), False
        except OSError:  # it leads nowhere
            pass
        return name, 0, "link", False

    def holds(self, other: LocalStore | RemoteStore) -> bool:
        """Returns whether another root is this one or below it, even if a disk is mounted in two places."""
        if not isinstance(other, LocalStore):
            return False
        place = Path(other.root)
        return any(above.samefile(self.root) for above in (place, *place.parents))

    def _is_inside(self, path: str) -> bool:
        return path == self.root or path.startswith(self.root.rstrip(os.sep) + os.sep)

    def _folder(self, name: str) -> str:
        """Returns the real path of a folder, links resolved, with a final slash. Raises Unreadable if it is outside."""
        path = os.path.realpath(f"{self.root}/{name}")
        if not self._is_inside(path):
            raise Unreadable(Reason.IMAGE_OUTSIDE_ROOT, OUTSIDE)
        path = path.rstrip(os.sep) + os.sep
        if Path(path).is_dir():
            self._folders[name] = path
        return path

    def open(self, name: str) -> BinaryIO:
        """A file, open for reading. Raises Unreadable where there is none, or outside, and OSError."""
        if not name:  # the zip file that is the folder
            return Path(self.root).open("rb")
        return os.fdopen(self._descriptor(name)[0], "rb")

    def read(self, name: str, limit: int) -> bytes:
        """Returns the bytes of a file. Raises Unreadable and OSError."""
        descriptor, size = self._descriptor(name)
        try:
            if size > limit:
                raise Unreadable(Reason.IMAGE_TOO_LARGE, f"has {size:,} bytes, the limit is {limit:,}")
            data = os.read(descriptor, size + 1)
            while len(data) != size and len(data) <= limit:  # it changes while it is read, or comes in pieces
                more = os.read(descriptor, 1024 * 1024)
                if not more:
                    break
                data += more
        finally:
            os.close(descriptor)
        if len(data) > limit:
            raise Unreadable(Reason.IMAGE_TOO_LARGE, f"has more bytes than the limit of {limit:,}")
        return data

    def _descriptor(self, name: str) -> tuple[int, int]:
        """Returns (descriptor, size in bytes) of a regular file. Raises Unreadable and OSError."""
        above, _, base = name.rpartition("/")
        folder = self._folders.get(above)
        try:
            if folder is None:
                folder = self._folder(above)
            try:
                descriptor = os.open(folder + base, OPEN_FLAGS)
            except OSError as error:
                if error.errno not in (errno.ELOOP, errno.EMLINK):
                    raise
                target = os.path.realpath(folder + base)  # a link
                if not self._is_inside(target):
                    raise Unreadable(Reason.IMAGE_OUTSIDE_ROOT, OUTSIDE) from None
                descriptor = os.open(target, OPEN_FLAGS)
        except (FileNotFoundError, NotADirectoryError, UnicodeEncodeError):
            raise Unreadable(Reason.IMAGE_MISSING, "does not exist") from None
        except OSError as error:
            if error.errno in (errno.ELOOP, errno.EISDIR, errno.ENXIO):  # links in a circle, a folder, a pipe
                raise Unreadable(Reason.IMAGE_MISSING, "is not a regular file") from None
            raise
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            os.close(descriptor)
            raise Unreadable(Reason.IMAGE_MISSING, "is not a regular file")
        return descriptor, status.st_size

    def signature(self, name: str) -> tuple[int, int, int] | None:
        """What changes with a file: (inode, size, time of change); None if it is not a file inside the folder."""
        try:
            status = Path(f"{self.root}/{name}" if name else self.root).stat()
        except (OSError, ValueError):
            return None
        return (status.st_ino, status.st_size, status.st_mtime_ns) if stat.S_ISREG(status.st_mode) else None


def local_version(status: os.stat_result) -> str:
    """Returns the times of the last change of content and inode: `cp -p` and `rsync -t` set back only the first."""
    return f"{status.st_mtime_ns} {status.st_ctime_ns}"


def leads_to_folder(link: os.DirEntry) -> bool:
    """Returns whether a link leads to a folder; false for a circular link."""
    try:
        return link.is_dir()
    except OSError:
        return False


class RemoteStore:
    """The files at an address that fsspec can open. Each process opens the address for itself."""

    def __init__(self, address: str):
        self._address = address
        self._connect()
        name = storage.without_query(address)  # the signature of a signed address follows the name of the file
        self.is_zip = name.lower().endswith(ZIP) and self._info("") is not None

    def _connect(self) -> None:
        from fsspec.core import url_to_fs

        self._zips: dict[str, tuple] = {}
        try:
            self._system, root = url_to_fs(self._address)
        except Exception as error:  # an unknown scheme, a package that is not installed, an invalid name
            reason = storage.describe_error(error, self._address)
            raise BuildError(f"{storage.shown(self._address)}: cannot be opened: {reason}") from None
        self.root = root.rstrip("/")

    def __getstate__(self) -> dict[str, Any]:
        return {"address": self._address, "is_zip": self.is_zip}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self._address, self.is_zip = state["address"], state["is_zip"]
        self._connect()

    def holds(self, other: LocalStore | RemoteStore) -> bool:
        """Returns whether another root is this one or below it, even if a disk is mounted in two places."""
        if not isinstance(other, RemoteStore) or self._system != other._system:
            return False
        return f"{other.root}/".startswith(f"{self.root}/")

    def walk(self) -> Iterator[tuple[str, int, str, bool]]:
        """Yields (name, size, version, whether it is a link to a folder) in no particular order. Raises OSError."""
        self._system.invalidate_cache()
        self._zips.clear()
        if self.is_zip:
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
        """What changes with a file, as it was when first asked for; None if it is not a file."""
        if name not in self._zips:
            info = self._info(name)
            if info is None:
                return None
            self._zips[name] = (info.get("size"), version(info))
        return self._zips[name]

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
