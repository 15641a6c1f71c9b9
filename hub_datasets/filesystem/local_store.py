"""Lists and reads the files of a folder on this machine, and decides which links are followed.

A link that leads out of the folder is refused, with two exceptions: in a snapshot of a Hub cache, as `hf download`
leaves it, every file is a link to `blobs` of the same repository; and `--follow_links` allows all links.
"""

from __future__ import annotations

import errno
import os
import stat
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

from hub_datasets.errors import BuildError
from hub_datasets.filesystem import storage
from hub_datasets.filesystem.member_names import is_archive
from hub_datasets.filesystem.zip_archive import Unreadable
from hub_datasets.records import Reason

# Some operating systems lack some of these flags. Links are checked before they are followed, and pipes do not block.
OPEN_FLAGS = os.O_RDONLY | sum(getattr(os, flag, 0) for flag in ("O_BINARY", "O_CLOEXEC", "O_NOFOLLOW", "O_NONBLOCK"))
OUTSIDE = "is outside the source folder"
OUTSIDE_LINK = f"{OUTSIDE}: it is reached by a link; --follow_links allows that"
BLOBS, SNAPSHOTS, MAIN = "blobs", "snapshots", "refs/main"  # in the folder of a repository in a Hub cache
MAX_VISITS = 8  # of one folder that several links lead to; two links in each of 40 folders would make 2^40 names


class LocalStore:
    """The files in a folder of this machine, or an archive.

    Attributes:
        root: the real path.
        name: the path as it was given; its suffix tells the kind of an archive.
        is_archive: whether the root is an archive.
        follow_links: whether links may lead out of the folder, and links to folders are followed.
    """

    def __init__(self, path: str, follow_links: bool = False):
        self.root, self.name = os.path.realpath(path), path
        self.follow_links = follow_links
        self.is_archive = is_archive(path) and Path(self.root).is_file()
        self._blobs = hub_blobs(self.root)
        self._folders: dict[str, str] = {}  # of a name: its real path, which is allowed

    def __getstate__(self) -> dict[str, Any]:
        return {"given": (self.root, self.name, self.follow_links, self.is_archive)}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.root, self.name, self.follow_links, self.is_archive = state["given"]
        self._blobs, self._folders = hub_blobs(self.root), {}

    def walk(self) -> Iterator[tuple[str, int, str, bool]]:
        """Yields (name, size, version, whether it is a link to a folder) in no particular order. Raises OSError.

        A followed link to a folder yields the files behind it instead, under the name of the link.
        """
        if self.is_archive:
            yield "", 0, "", False
            return
        visits: Counter[str] = Counter()
        pending: list[tuple[str, str, tuple[str, ...]]] = [(self.root, "", ())]  # real path, name, path of each link
        while pending:
            path, before, trail = pending.pop()
            try:
                with os.scandir(path) as entries:
                    for entry in entries:
                        name = before + entry.name
                        if entry.is_dir(follow_symlinks=False):
                            pending.append((entry.path, f"{name}/", trail))
                        elif not entry.is_symlink():
                            status = entry.stat(follow_symlinks=False)
                            yield name, status.st_size, local_version(status), False
                        elif not leads_to_folder(entry):
                            yield self._link(entry, name)
                        elif self.follow_links and self._may_enter(entry, (*trail, path), visits):
                            pending.append((os.path.realpath(entry.path), f"{name}/", (*trail, path)))
                        else:
                            yield name, 0, "", True
            except OSError as error:
                raise OSError(error.errno, error.strerror, before) from None

    def _may_enter(self, link: os.DirEntry, trail: tuple[str, ...], visits: Counter[str]) -> bool:
        """Returns whether a link to a folder is followed: not to a folder that contains it, and not endlessly often."""
        target = os.path.realpath(link.path)
        if any(contains(target, path) for path in trail):
            return False
        visits[target] += 1
        return visits[target] <= MAX_VISITS

    def _link(self, entry: os.DirEntry, name: str) -> tuple[str, int, str, bool]:
        """Returns the entry of a link to a file: that of the file if it is allowed, else the name alone."""
        target = os.path.realpath(entry.path)
        try:
            if self._is_allowed(target):
                status = Path(target).stat()
                return name, status.st_size, local_version(status), False
        except OSError:  # it leads nowhere
            pass
        return name, 0, "link", False

    def holds(self, other: object) -> bool:
        """Returns whether another root is this one or below it, even if a disk is mounted in two places."""
        if not isinstance(other, LocalStore):
            return False
        place = Path(other.root)
        return any(above.samefile(self.root) for above in (place, *place.parents))

    def _is_allowed(self, path: str) -> bool:
        """Returns whether a real path may be read: inside the folder, or where its links may lead."""
        if self.follow_links or contains(self.root, path):
            return True
        return bool(self._blobs) and path != self._blobs and contains(self._blobs, path)

    def _folder(self, name: str) -> str:
        """Returns the real path of a folder, links resolved, with a final slash. Raises Unreadable if it is outside."""
        path = os.path.realpath(f"{self.root}/{name}")
        if not (self.follow_links or contains(self.root, path)):  # in a Hub cache only files are links
            raise Unreadable(Reason.IMAGE_OUTSIDE_ROOT, OUTSIDE_LINK)
        path = path.rstrip(os.sep) + os.sep
        if Path(path).is_dir():
            self._folders[name] = path
        return path

    def open(self, name: str) -> BinaryIO:
        """A file, open for reading. Raises Unreadable where there is none, or outside, and OSError."""
        if not name:  # the archive that is the folder
            return Path(self.root).open("rb")
        return os.fdopen(self._descriptor(name)[0], "rb")

    def read(self, name: str, limit: int) -> bytes:
        """Returns the bytes of a file. Raises Unreadable and OSError."""
        descriptor, size = self._descriptor(name)
        return read_all(descriptor, size, limit)

    def read_again(self, name: str, limit: int) -> bytes:
        """Returns the bytes of a file that `read` has returned before, without checking again where links lead.

        The caller must compare them with what was read before. Raises Unreadable and OSError.
        """
        descriptor = os.open(f"{self.root}/{name}", OPEN_FLAGS & ~getattr(os, "O_NOFOLLOW", 0))
        return read_all(descriptor, os.fstat(descriptor).st_size, limit)

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
                if not self._is_allowed(target):
                    raise Unreadable(Reason.IMAGE_OUTSIDE_ROOT, OUTSIDE_LINK) from None
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
        """Returns (size, time of the last change, inode) of a file; None if it is not a file inside the folder."""
        try:
            status = Path(f"{self.root}/{name}" if name else self.root).stat()
        except (OSError, ValueError):
            return None
        return (status.st_size, status.st_mtime_ns, status.st_ino) if stat.S_ISREG(status.st_mode) else None


def read_all(descriptor: int, size: int, limit: int) -> bytes:
    """Returns the bytes of an open file, and closes it. Raises Unreadable if they are more than `limit`, and OSError.

    Args:
        size: the number of bytes that the file is known to have.
    """
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


def contains(folder: str, path: str) -> bool:
    """Returns whether a real path is a folder's, or below it."""
    return path == folder or path.startswith(folder.rstrip(os.sep) + os.sep)


def local_version(status: os.stat_result) -> str:
    """Returns the times of the last change of content and inode: `cp -p` and `rsync -t` set back only the first."""
    return f"{status.st_mtime_ns} {status.st_ctime_ns}"


def leads_to_folder(link: os.DirEntry) -> bool:
    """Returns whether a link leads to a folder; false for a circular link."""
    try:
        return link.is_dir()
    except OSError:
        return False


def hub_blobs(root: str) -> str:
    """Returns the folder that a Hub snapshot's links lead to, for a real path in a snapshot; empty for other paths."""
    for place in (Path(root), *Path(root).parents):
        if place.parent.name == SNAPSHOTS:
            blobs = place.parent.parent / BLOBS
            return str(blobs) if blobs.is_dir() and not blobs.is_symlink() else ""
    return ""


def hub_snapshot(address: str) -> str:
    """Returns the snapshot to read, for the folder of a repository in a Hub cache; any other address is unchanged.

    Raises BuildError if there are several snapshots, and none is that of the branch `main`.
    """
    repository = storage.local_path(address)
    folder = repository / SNAPSHOTS
    if storage.is_remote(address) or not (folder.is_dir() and (repository / BLOBS).is_dir()):
        return address
    names = sorted(path.name for path in folder.iterdir() if path.is_dir())
    reference = repository / MAIN
    if len(names) > 1 and reference.is_file():
        names = [name for name in names if name == reference.read_bytes()[:200].decode("utf-8", "replace").strip()]
    if len(names) != 1:
        raise BuildError(
            f"{storage.shown(address)}: a repository of a Hub cache without one snapshot of `main`; give the snapshot: "
            f"{storage.shown(address)}/{SNAPSHOTS}/REVISION"
        )
    return str(folder / names[0])
