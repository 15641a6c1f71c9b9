"""Opens the archives among a store's files by name, and keeps them open: zip, tar and tar.gz, also one in another.

What is packed without compression, a tar file, or a stored zip file in another, is read at its place. What is
compressed as a whole is unpacked once to a file (`unpacked.py`).
"""

from __future__ import annotations

import errno
import hashlib
import io
import os
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import BinaryIO

from hub_datasets.errors import BuildError
from hub_datasets.filesystem.backends import RemoteStore
from hub_datasets.filesystem.local_store import LocalStore
from hub_datasets.filesystem.member_names import GZIP, IN_ARCHIVE, ZIP, is_archive
from hub_datasets.filesystem.tar_archive import TarArchive, gunzip
from hub_datasets.filesystem.unpacked import unpacked_file
from hub_datasets.filesystem.zip_archive import MAX_RATIO, OUTSIDE_ARCHIVE, RATIO_BYTES, Unreadable, ZipArchive
from hub_datasets.records import Reason

MAX_OPEN_ARCHIVES = 64
MAX_DEPTH = 2  # archives in each other
Archive = ZipArchive | TarArchive


@dataclass(frozen=True, slots=True)
class Opened:
    """An open archive.

    Attributes:
        reopen: opens the file of its members once more.
        unpacked: whether that file is a copy that was unpacked from another archive or from gzip.
    """

    archive: Archive
    reopen: Callable[[], BinaryIO]
    unpacked: bool = False


class Archives:
    """The archives of one store, open in one process.

    Attributes:
        place: folder for what has to be unpacked; see `unpacked_file`.
        signatures: by the name of a file of the store: what identified its content when it was first opened.
    """

    def __init__(
        self,
        store: LocalStore | RemoteStore,
        named: Callable[[str], str],
        refuse: Callable[[str], bool],
        signatures: dict[str, tuple],
    ):
        """Opens nothing yet.

        Args:
            named: returns how messages name a file.
            refuse: returns whether a member's name must not be read.
            signatures: those of another process.
        """
        self._store, self._named, self._refuse, self.place = store, named, refuse, ""
        self.signatures = signatures
        self._unpacked: dict[str, dict[str, int]] = {}  # bytes of each archive, by the outermost archive and its name
        self.close()

    def close(self) -> None:
        """Forgets the open archives, which belong to one process; each is closed when its last reader is done."""
        self._open: dict[str, Opened] = {}
        self._lock = threading.RLock()
        self._process = os.getpid()

    def forget(self, name: str) -> None:
        """Forgets an archive of the store, whose file may have changed, and those in it."""
        self.signatures.pop(name, None)
        self._unpacked.pop(name, None)
        for known in [known for known in self._open if known == name or known.startswith(f"{name}/") or not name]:
            del self._open[known]

    def members(self, name: str) -> Iterator[tuple[str, int, str]]:
        """Yields (name, size, version) of the files in an archive of the store and in the archives in it.

        If the archive itself cannot be read, for example a link that leads outside, its own name is yielded.

        Raises:
            BuildError: an archive, or one in it, is damaged or refused, or more than MAX_DEPTH are in each other.
        """
        try:
            opened = self.open(name)
        except Unreadable:
            opened = None
        if opened is None:
            yield name, 0, ""
            return
        yield from self._members(name, name, opened, 1)

    def _members(self, outermost: str, name: str, opened: Opened, depth: int) -> Iterator[tuple[str, int, str]]:
        before = f"{name}/" if name else ""
        for member, size, version in opened.archive.members:
            if not is_archive(member):
                yield before + member, size, version
                continue
            if depth == MAX_DEPTH:
                raise BuildError(
                    f"{self._named(before + member)}: an archive {MAX_DEPTH + 1} levels deep, at most {MAX_DEPTH} are "
                    "read; unpack the outermost archive"
                )
            try:
                inner = self._open_inner(outermost, opened, name, member)
            except Unreadable as error:
                place = self._named(before + member)
                raise BuildError(f"{place}: this inner archive {error.message}; unpack it, or remove it") from None
            yield from self._members(outermost, before + member, inner, depth + 1)

    def find(self, name: str) -> tuple[Archive, str] | None:
        """Returns the innermost archive that contains a name, and the name in it; None for a name in no archive.

        Raises Unreadable if an archive on the way to it cannot be read, and BuildError as `open` does.
        """
        found = self._find(name)
        return found and (found[0].archive, found[1])

    def is_unpacked(self, name: str) -> bool:
        """Returns whether a name is in an archive that is not read where it is, but was unpacked; raises as `find`."""
        found = self._find(name)
        return found is not None and found[0].unpacked

    def _find(self, name: str) -> tuple[Opened, str] | None:
        if self._store.is_archive:
            return self._innermost("", self.open(""), name)
        for match in IN_ARCHIVE.finditer(name):
            outermost = name[: match.end()]
            opened = self.open(outermost) if is_archive(outermost) else None
            if opened:  # and not a folder that is named like an archive
                return self._innermost(outermost, opened, name[match.end() + 1 :])
        return None

    def _innermost(self, outermost: str, opened: Opened, name: str) -> tuple[Opened, str]:
        """Returns the archive that contains a name: this one, or one in it; and the name there. Raises Unreadable."""
        if self._refuse(name):
            raise Unreadable(Reason.IMAGE_OUTSIDE_ROOT, OUTSIDE_ARCHIVE)
        for match in IN_ARCHIVE.finditer(name):
            inner = name[: match.end()]
            if is_archive(inner) and opened.archive.has(inner):
                found, name = self._open_inner(outermost, opened, outermost, inner), name[match.end() + 1 :]
                if self._refuse(name):
                    raise Unreadable(Reason.IMAGE_OUTSIDE_ROOT, OUTSIDE_ARCHIVE)
                return found, name
        return opened, name

    def open(self, name: str) -> Opened | None:
        """Returns an archive of the store; None if there is no such file.

        Raises:
            Unreadable: it is outside the folder.
            BuildError: it is damaged, or was replaced since it was first opened.
        """
        if self._process != os.getpid():  # a forked process would share its parent's place in the file
            self.close()
        signature = self._store.signature(name)
        if signature is None:
            return None
        if self.signatures.setdefault(name, signature) != signature:
            raise BuildError(
                f"{self._named(name)}: the archive changed while it was read; run again when it is complete"
            )
        with self._lock:
            if (opened := self._open.get(name)) is None:
                key = f"{signature} {name}"
                opened = self._keep(name, name or self._store.name, partial(self._store.open, name), key)
        return opened

    def _open_inner(self, outermost: str, outer: Opened, name: str, member: str) -> Opened:
        """Returns an archive that is a member of another, `name`. Raises Unreadable and BuildError."""
        inner = f"{name}/{member}" if name else member
        with self._lock:
            if (opened := self._open.get(inner)) is None:
                size, version = next(found[1:] for found in outer.archive.members if found[0] == member)
                key = f"{self.signatures[outermost]} {inner} {version}"
                if stored := outer.archive.stored(member):
                    opened = self._keep(inner, member, lambda: Part(outer.reopen(), *stored), key, outer.unpacked)
                else:
                    self._count_unpacked(outermost, inner, size)
                    reopen = self._unpacker(inner, key, outer.archive.chunks(member))
                    opened = self._keep(inner, member, reopen, key, unpacked=True)
        return opened

    def _keep(
        self, name: str, suffixed: str, reopen: Callable[[], BinaryIO], key: str, unpacked: bool = False
    ) -> Opened:
        """Opens an archive and keeps it open. The suffix of `suffixed` names its kind."""
        if GZIP.search(suffixed):
            unpacked = True
            reopen = self._unpacker(name, f"{key} tar", gunzip(reopen, self._named(name)))
        kind = ZipArchive if ZIP.search(suffixed) else TarArchive
        version = hashlib.blake2b(key.encode("utf-8", "surrogatepass"), digest_size=8).hexdigest()
        opened = Opened(kind(reopen(), self._named(name), self._refuse, version), reopen, unpacked)
        if len(self._open) >= MAX_OPEN_ARCHIVES:
            del self._open[next(iter(self._open))]
        self._open[name] = opened
        return opened

    def _unpacker(self, name: str, key: str, chunks: Iterator[bytes]) -> Callable[[], BinaryIO]:
        """Unpacks an archive to a file, and returns a function that opens the file."""
        path = unpacked_file(self.place, f"{self._store.root} {key}", self._named(name), chunks)
        return lambda: path.open("rb")

    def _count_unpacked(self, outermost: str, name: str, size: int) -> None:
        """Refuses an archive whose members overlap, and together grow without limit. Raises BuildError."""
        sizes = self._unpacked.setdefault(outermost, {})
        sizes[name] = size
        if sum(sizes.values()) > max(RATIO_BYTES, MAX_RATIO * int(self.signatures[outermost][0] or 0)):
            raise BuildError(
                f"{self._named(outermost)}: the archives in it grow to more than {MAX_RATIO} times its size (possible "
                "zip bomb); unpack it yourself if you trust it"
            )


class Part(io.RawIOBase):
    """A part of a file as a file of its own."""

    def __init__(self, file: BinaryIO, start: int, size: int):
        self._file, self._start, self._size, self._position = file, start, size, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self._size}[whence]
        if base + offset < 0:
            raise OSError(errno.EINVAL, "a place before the start")
        self._position = base + offset
        return self._position

    def read(self, size: int = -1) -> bytes:
        left = max(0, self._size - self._position)
        size = left if size is None or size < 0 else min(size, left)
        self._file.seek(self._start + self._position)
        data = self._file.read(size)
        self._position += len(data)
        return data

    def close(self) -> None:
        self._file.close()
        super().close()
