"""Lists and reads the members of a zip file without unpacking it, and refuses members that could do harm.

Nothing in a zip file is trusted: neither its names, nor the sizes that it declares, nor that it does not change.
"""

from __future__ import annotations

import stat
import struct
import threading
import weakref
import zipfile
from collections.abc import Callable, Iterator
from typing import BinaryIO

from hub_datasets.errors import BuildError, one_line
from hub_datasets.filesystem.member_names import zip_names
from hub_datasets.records import Reason

# A member of more than RATIO_BYTES with a higher compression ratio is refused as a zip bomb. Texts of repeated rows
# reach a ratio of about 50; photographs, PNG and JPEG hardly exceed 1.
MAX_RATIO = 200
RATIO_BYTES = 8 * 1024 * 1024
CHUNK = 1024 * 1024
ENCRYPTED = 0x1
LOCAL_HEADER_BYTES = 30  # before each member; its name and extra field follow
OUTSIDE_ARCHIVE = "is outside its archive"
TWICE = "occurs more than once in its archive, so the name is ambiguous"


class Unreadable(Exception):
    """The reason why a file cannot be read: a `code`, and a `message` that follows the file's name."""

    def __init__(self, code: Reason, message: str):
        super().__init__(code, message)
        self.code = code
        self.message = message


class ZipArchive:
    """An open zip file; several threads may read it at once.

    Attributes:
        members: name, size in bytes and version (the CRC-32) of every file in it, including those that `read` refuses.
    """

    def __init__(self, file: BinaryIO, place: str, refuse: Callable[[str], bool], version: str = ""):
        """Reads the directory of a zip file.

        Args:
            file: open for reading in bytes.
            place: how an error names the file.
            refuse: returns whether a name must not be read.
            version: not used; each member has a checksum.

        Raises:
            BuildError: the file is truncated, or is not a zip file.
        """
        self._lock = threading.Lock()
        self._file = file
        try:
            self._zip = zipfile.ZipFile(file)
            infos = self._zip.infolist()
            found = list(zip(zip_names(infos), infos, strict=True))
        except Exception as error:  # the parser raises a dozen types on broken bytes
            file.close()
            raise BuildError(
                f"{place}: truncated, or not a zip file ({one_line(error)}); download it again, or remove it from the "
                "folder"
            ) from None
        weakref.finalize(self, file.close)  # when the last thread that reads it is done
        self._infos: dict[str, zipfile.ZipInfo] = {}
        self._refused: dict[str, Unreadable] = {}
        for name, info in found:
            if name.endswith("/"):  # a folder
                continue
            if name in self._infos:
                self._refused[name] = Unreadable(Reason.IMAGE_UNREADABLE, TWICE)
            elif not name or refuse(name) or stat.S_ISLNK(info.external_attr >> 16):
                self._refused[name] = Unreadable(Reason.IMAGE_OUTSIDE_ROOT, OUTSIDE_ARCHIVE)
            elif info.flag_bits & ENCRYPTED:
                message = "is encrypted; unpack the zip file with its password"
                self._refused[name] = Unreadable(Reason.IMAGE_UNREADABLE, message)
            self._infos[name] = info
        self.members = [(name, info.file_size, f"{info.CRC:08x}") for name, info in self._infos.items()]

    def has(self, name: str) -> bool:
        return name in self._infos

    def read(self, name: str, limit: int) -> bytes:
        """Returns the bytes of a member, checked against its CRC-32. Raises Unreadable if it cannot be read."""
        if (info := self._checked(name)).file_size > limit:
            message = f"has {info.file_size:,} bytes, the limit is {limit:,}"
            raise Unreadable(Reason.IMAGE_TOO_LARGE, message)
        data = bytearray()
        with self._lock:
            for chunk in self.chunks(name):
                data += chunk
        return bytes(data)

    def chunks(self, name: str) -> Iterator[bytes]:
        """Yields the bytes of a member piece by piece; only one thread may do so. Raises Unreadable."""
        info = self._checked(name)
        size = 0
        try:
            with self._zip.open(info) as member:
                # never more than the declared size comes out; where more was packed, the CRC-32 does not fit
                while chunk := member.read(CHUNK):
                    size += len(chunk)
                    yield chunk
        except NotImplementedError:
            message = "has an unsupported compression method; unpack the zip file"
            raise Unreadable(Reason.IMAGE_UNREADABLE, message) from None
        except Exception as error:  # as above
            raise Unreadable(Reason.IMAGE_UNREADABLE, f"cannot be unpacked: {one_line(error)}") from None
        if size != info.file_size:
            message = f"has {size:,} bytes instead of {info.file_size:,}"
            raise Unreadable(Reason.IMAGE_UNREADABLE, message)

    def stored(self, name: str) -> tuple[int, int] | None:
        """Returns (first byte, number of bytes) of a member that is stored without compression; else None.

        Raises Unreadable if it is refused, or its header is damaged.
        """
        info = self._checked(name)
        if info.compress_type != zipfile.ZIP_STORED or info.compress_size != info.file_size:
            return None
        with self._lock:
            self._file.seek(info.header_offset)
            header = self._file.read(LOCAL_HEADER_BYTES)
        if len(header) != LOCAL_HEADER_BYTES or not header.startswith(b"PK\3\4"):
            raise Unreadable(Reason.IMAGE_UNREADABLE, "cannot be unpacked: it has no header")
        return info.header_offset + LOCAL_HEADER_BYTES + sum(struct.unpack_from("<HH", header, 26)), info.file_size

    def _checked(self, name: str) -> zipfile.ZipInfo:
        """Returns the entry of a member that may be read. Raises Unreadable for any other."""
        info = self._infos.get(name)
        if info is None:
            raise Unreadable(Reason.IMAGE_MISSING, "is not in its archive")
        if refused := self._refused.get(name):
            raise Unreadable(refused.code, refused.message)
        if info.file_size > max(RATIO_BYTES, MAX_RATIO * info.compress_size):
            ratio = info.file_size // max(1, info.compress_size)
            message = f"has a compression ratio of {ratio:,}:1, the limit is {MAX_RATIO}:1 (possible zip bomb)"
            raise Unreadable(Reason.IMAGE_TOO_LARGE, message)
        return info
