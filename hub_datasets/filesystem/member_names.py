"""Recognizes archives by their names, and decodes the names of their members as they were meant.

A zip file stores names as bytes. A flag or an extra field marks UTF-8; without them, the encoding is that of the system
that packed the file: UTF-8 on macOS and Linux, GBK on a Chinese Windows, cp437 on an English or European one. It is
decided once for each archive, from all names together, because a single short name can be valid in all three.
"""

from __future__ import annotations

import re
import struct
import unicodedata
import zipfile
import zlib
from collections.abc import Sequence

SUFFIX = r"\.(?:zip|tar|tgz|tar\.gz)"
ARCHIVE = re.compile(rf"{SUFFIX}\Z", re.IGNORECASE | re.ASCII)
IN_ARCHIVE = re.compile(rf"{SUFFIX}(?=/)", re.IGNORECASE | re.ASCII)
ZIP = re.compile(r"\.zip\Z", re.IGNORECASE | re.ASCII)
GZIP = re.compile(r"\.(?:tgz|tar\.gz)\Z", re.IGNORECASE | re.ASCII)
UTF_8_FLAG = 0x800
UNICODE_PATH = 0x7075  # the extra field that holds a name in UTF-8, with a checksum of the name that it replaces
# Of two bytes each; what else GBK can express are rare characters, whose second byte is often an ASCII letter, as in
# cp437 text: `R\x94ntgen`.
COMMON_CHINESE = re.compile(rb"[\xb0-\xf7][\xa1-\xfe]")


def is_archive(name: str) -> bool:
    """Returns whether a name is that of an archive; the `._a.zip` that macOS leaves beside `a.zip` is not."""
    return ARCHIVE.search(name) is not None and not name.rpartition("/")[2].startswith("._")


def zip_names(infos: Sequence[zipfile.ZipInfo]) -> list[str]:
    """Returns the names of a zip file's members, with `/` between folders.

    Some programs write a backslash instead. The part after a NUL, which the standard library drops, is kept, so that
    the name can be refused.
    """
    raw = {place: info.orig_filename.encode("cp437") for place, info in enumerate(infos) if has_unknown_encoding(info)}
    marked = {place: name for place, data in raw.items() if (name := unicode_path(infos[place].extra, data))}
    encoding = name_encoding([data for place, data in raw.items() if place not in marked]) or "cp437"
    names = []
    for place, info in enumerate(infos):
        name = info.orig_filename
        if place in raw:
            name = marked.get(place) or raw[place].decode(encoding)
        names.append(name.replace("\\", "/"))
    return names


def has_unknown_encoding(info: zipfile.ZipInfo) -> bool:
    """Returns whether the standard library had to guess a member's name; it takes cp437, which has every byte."""
    return not info.flag_bits & UTF_8_FLAG and not info.orig_filename.isascii()


def unicode_path(extra: bytes, raw: bytes) -> str:
    """Returns the name in the extra field for it; empty if there is none, or it belongs to another name."""
    while len(extra) >= 4:
        kind, length = struct.unpack_from("<HH", extra)
        content, extra = extra[4 : 4 + length], extra[4 + length :]
        if kind == UNICODE_PATH and content[:1] == b"\1" and content[1:5] == struct.pack("<I", zlib.crc32(raw)):
            try:
                return content[5:].decode("utf-8")
            except UnicodeDecodeError:
                return ""
    return ""


def name_encoding(names: Sequence[bytes]) -> str:
    """Returns `utf-8` or `gbk` if all names are in it; empty if neither fits, or all names are ASCII."""
    unclear = [name for name in names if not name.isascii()]
    if not unclear:
        return ""
    if all(is_valid(name, "utf-8") for name in unclear):
        return "utf-8"
    return "gbk" if all(is_valid(name, "gbk") for name in unclear) and is_chinese(b"/".join(unclear)) else ""


def is_valid(name: bytes, encoding: str) -> bool:
    try:
        name.decode(encoding)
    except UnicodeDecodeError:
        return False
    return True


def is_chinese(text: bytes) -> bool:
    """Returns whether text in GBK has only Chinese among its non-ASCII characters, most of which are common."""
    characters = [character for character in text.decode("gbk") if not character.isascii()]
    if not all(unicodedata.east_asian_width(character) in "WF" for character in characters):
        return False
    return 2 * sum(COMMON_CHINESE.fullmatch(character.encode("gbk")) is not None for character in characters) >= len(
        characters
    )


def tar_names(names: Sequence[str]) -> list[str]:
    """Returns the names of a tar file's members, which were decoded from UTF-8 with surrogates for invalid bytes."""
    raw = [name.encode("utf-8", "surrogateescape") for name in names]
    if name_encoding(raw) == "gbk":
        names = [data.decode("gbk") for data in raw]
    return [re.sub(r"\A(?:\./+)+", "", name.replace("\\", "/")) for name in names]
