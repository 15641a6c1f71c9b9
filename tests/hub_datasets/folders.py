"""Provides unsafe names, zip files of all kinds, and reading with a check, for the tests of folders."""

from __future__ import annotations

import io
import pickle
import struct
import zipfile
from pathlib import Path

from hub_datasets.filesystem.source_folder import Folder, FolderError
from hub_datasets.records import Reason
from tests.hub_datasets.layouts import png, write_files

OUTSIDE, MISSING = Reason.IMAGE_OUTSIDE_ROOT, Reason.IMAGE_MISSING
UNREADABLE, TOO_LARGE = Reason.IMAGE_UNREADABLE, Reason.IMAGE_TOO_LARGE
UNSAFE = [
    "../outside.png", "folder/../../outside.png", "folder/../image.png", "folder\\..\\..\\outside.png", "..", "a/..",
    "..\\outside.png", ".. /outside.png", "../", "folder/.. ./x",
    "/etc/hostname", "C:\\images\\1.png", "C:image.png", "c:/images/1.png",
    "\\\\server\\share\\1.png", "//server/share/1.png", "\\image.png", "\\\\?\\C:\\1.png",
    "file:///etc/hostname", "https://example.org/1.png", "s3://bucket/1.png", "image.png\0.txt", "\0",
]  # fmt: skip


def folder_with_outside(tmp_path: Path) -> Path:
    """A source's folder with two images, and an image outside of it."""
    write_files(tmp_path, {"outside.png": png(0), "outside/image.png": png(0)})
    return write_files(tmp_path / "root", {"image.png": png(1), "folder/image.png": png(2)})


def zipped(members: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as file:
        for name, data in members.items():
            file.writestr(name, data)
    return buffer.getvalue()


def sent(thing):
    """The same as another process gets it."""
    return pickle.loads(pickle.dumps(thing))  # noqa: S301


def names(folder: Folder) -> list[str]:
    return [file.name for file in folder.files()]


def code_of(folder: Folder | Path, name: str, **options) -> Reason | None:
    """Why a name is refused; the message names it as it was given, and nothing of this machine."""
    folder = folder if isinstance(folder, Folder) else Folder(folder)
    try:
        folder.read(name, **options)
    except FolderError as error:
        assert repr(name) in str(error) == error.message
        assert str(Path(folder.address).parent) not in str(error).replace(repr(name), "")
        return error.code
    return None


def read_all(folder: Folder) -> dict[str, bytes]:
    return {name: folder.read(name) for name in names(folder)}


def raw_zip(members: list[tuple[str, bytes]], flags: int = 0, method: int = 0, crc: int | None = None) -> bytes:
    """A zip file put together by hand, for what no program writes: stored bytes under names that are not changed."""
    body, directory = b"", b""
    for name, data in members:
        raw = name.encode()
        check = zipfile.crc32(data) if crc is None else crc
        fields = struct.pack("<HHHHHIIIHH", 20, flags, method, 0, 33, check, len(data), len(data), len(raw), 0)
        directory += b"PK\1\2" + struct.pack("<H", 20) + fields + struct.pack("<HHHII", 0, 0, 0, 0, len(body)) + raw
        body += b"PK\3\4" + fields + raw + data
    count = len(members)
    return body + directory + b"PK\5\6" + struct.pack("<HHHHIIH", 0, 0, count, count, len(directory), len(body), 0)
