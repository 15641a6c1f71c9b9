"""Lists and reads the members of a zip file without unpacking it, and refuses members that could do harm.

Nothing in a zip file is trusted: neither its names, nor the sizes that it declares, nor that it does not change.
"""

from __future__ import annotations

import contextlib
import stat
import threading
import weakref
import zipfile
from collections.abc import Callable
from typing import BinaryIO

from hub_datasets.errors import BuildError, one_line
from hub_datasets.records import Reason

# A member of more than RATIO_BYTES with a higher compression ratio is refused as a zip bomb. Texts of repeated rows
# reach a ratio of about 50; photographs, PNG and JPEG hardly exceed 1.
MAX_RATIO = 200
RATIO_BYTES = 8 * 1024 * 1024
CHUNK = 1024 * 1024
UTF_8_NAME = 0x800
ENCRYPTED = 0x1


class Unreadable(Exception):
    """The reason why a file cannot be read: a `code`, and a `message` that follows the file's name."""

    def __init__(self, code: Reason, message: str):
        super().__init__(code, message)
        self.code = code
        self.message = message


class Archive:
    """An open zip file; several threads may read it at once.

    Attributes:
        members: name, size in bytes and CRC-32 of every file in it, including those that `read` refuses.
    """

    def __init__(self, file: BinaryIO, place: str, refuse: Callable[[str], bool]):
        """Reads the directory of a zip file.

        Args:
            file: open for reading in bytes.
            place: how an error names the file.
            refuse: returns whether a name must not be read.

        Raises:
            BuildError: the file is truncated, or is not a zip file.
        """
        self._lock = threading.Lock()
        try:
            self._zip = zipfile.ZipFile(file)
            found = [(member_name(info), info) for info in self._zip.infolist()]
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
                message = "occurs more than once in its zip file, so the name is ambiguous"
                self._refused[name] = Unreadable(Reason.IMAGE_UNREADABLE, message)
            elif not name or refuse(name) or stat.S_ISLNK(info.external_attr >> 16):
                self._refused[name] = Unreadable(Reason.IMAGE_OUTSIDE_ROOT, "is outside its zip file")
            elif info.flag_bits & ENCRYPTED:
                message = "is encrypted; unpack the zip file with its password"
                self._refused[name] = Unreadable(Reason.IMAGE_UNREADABLE, message)
            self._infos[name] = info
        self.members = [(name, info.file_size, info.CRC) for name, info in self._infos.items()]

    def read(self, name: str, limit: int) -> bytes:
        """Returns the bytes of a member, checked against its CRC-32. Raises Unreadable if it cannot be read."""
        info = self._infos.get(name)
        if info is None:
            raise Unreadable(Reason.IMAGE_MISSING, "is not in its zip file")
        if refused := self._refused.get(name):
            raise Unreadable(refused.code, refused.message)
        if info.file_size > limit:
            message = f"has {info.file_size:,} bytes, the limit is {limit:,}"
            raise Unreadable(Reason.IMAGE_TOO_LARGE, message)
        if info.file_size > max(RATIO_BYTES, MAX_RATIO * info.compress_size):
            ratio = info.file_size // max(1, info.compress_size)
            message = f"has a compression ratio of {ratio:,}:1, the limit is {MAX_RATIO}:1 (possible zip bomb)"
            raise Unreadable(Reason.IMAGE_TOO_LARGE, message)
        data = bytearray()
        try:
            with self._lock, self._zip.open(info) as member:
                # never more than the declared size comes out; where more was packed, the CRC-32 does not fit
                while chunk := member.read(CHUNK):
                    data += chunk
        except NotImplementedError:
            message = "has an unsupported compression method; unpack the zip file"
            raise Unreadable(Reason.IMAGE_UNREADABLE, message) from None
        except Exception as error:  # as above
            raise Unreadable(Reason.IMAGE_UNREADABLE, f"cannot be unpacked: {one_line(error)}") from None
        if len(data) != info.file_size:
            message = f"has {len(data):,} bytes instead of {info.file_size:,}"
            raise Unreadable(Reason.IMAGE_UNREADABLE, message)
        return bytes(data)


def member_name(info: zipfile.ZipInfo) -> str:
    """Returns the name of a member as it was meant.

    Some programs write UTF-8 without the flag for it, and some write a backslash between folders. The part after a NUL,
    which the standard library drops, is kept, so that the name can be refused.
    """
    name = info.orig_filename
    if not info.flag_bits & UTF_8_NAME and not name.isascii():
        with contextlib.suppress(UnicodeError):
            name = name.encode("cp437").decode("utf-8")
    return name.replace("\\", "/")
