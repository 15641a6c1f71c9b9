"""Removes metadata from JPEG and PNG files without decoding them, so that their pixels do not change.

Files are split at the borders of their segments (JPEG) and chunks (PNG). Only what a decoder needs is kept: pixels,
tables, color (gamma, palette, transparency), significant bits and pixel density. Everything else is removed, including
unknown segments and chunks: that no personal data is known to occur in one today is not a reason to publish it. The ICC
profile is removed as well and returned, so that the pixels can be converted to sRGB.

JPEG has no checksums, so neither this module nor a decoder can detect damage inside its coded pixels. PNG has a
checksum in every chunk; those of the kept chunks are verified.
"""

from __future__ import annotations

import base64
import json
import re
import struct
import zlib
from collections.abc import Collection
from dataclasses import dataclass, field

JPEG_START = b"\xff\xd8\xff"
JPEG_END = b"\xff\xd9"
PNG_START = b"\x89PNG\r\n\x1a\n"
PNG_END = b"\0\0\0\0IEND\xaeB`\x82"

MARKER = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")  # in coded pixels FF 00 is a byte FF, and FF D0 to D7 are restarts
STANDALONE = {0x01, *range(0xD0, 0xD9)}  # markers without a length: TEM, RST0 to RST7, SOI
MAX_SCANS = 500  # each scan decodes the whole image again; programs write about ten
FRAMES = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}  # SOF0 to SOF15: the codes between are DHT, JPG and DAC

COLOR_CHUNKS = {  # name: its maximum number of bytes; a longer chunk is not valid
    b"cHRM": 32, b"gAMA": 4, b"sRGB": 1, b"sBIT": 4, b"tRNS": 256, b"bKGD": 6, b"pHYs": 9, b"cICP": 4, b"mDCV": 24,
    b"cLLI": 8,
}  # fmt: skip
CRITICAL_CHUNKS = (b"IHDR", b"PLTE", b"IDAT", b"IEND")
REMOVED_CHUNKS = {
    b"tEXt": "text", b"zTXt": "text", b"iTXt": "text", b"eXIf": "EXIF", b"tIME": "time",
    b"iCCP": "ICC profile",
    b"acTL": "animation", b"fcTL": "animation", b"fdAT": "animation",
}  # fmt: skip
ICC_START = b"ICC_PROFILE\0"  # of each segment of a JPEG; the number of its part and the count of all parts follow
MAX_ICC_BYTES = 8 * 1024 * 1024  # the largest profiles in use, of presses, have 3
XMP_KEY = b"XML:com.adobe.xmp\0"
ORIENTATION, GPS = 0x0112, 0x8825  # EXIF tags
UPRIGHT = {  # the orientation of EXIF: what sets it right, as a name in PIL.Image.Transpose
    2: "FLIP_LEFT_RIGHT", 3: "ROTATE_180", 4: "FLIP_TOP_BOTTOM", 5: "TRANSPOSE", 6: "ROTATE_270", 7: "TRANSVERSE",
    8: "ROTATE_90",
}  # fmt: skip
INTEGERS = {1: "B", 3: "H", 4: "I"}  # EXIF types
XMP_ORIENTATION = re.compile(rb'tiff:Orientation(?:\s*=\s*["\']|>)\s*([1-8])\s*["\'<]')


@dataclass(slots=True)
class Coding:
    """The structure of an image file.

    Attributes:
        format: `JPEG` or `PNG`.
        width, height: in pixels, of the largest image that the headers announce; 0 without a header.
        bits: for each channel of a pixel.
        color_type: of a PNG's pixels, as its header numbers it: 0 for gray without transparency.
        animated: whether a PNG contains several pictures. The further pictures of a JPEG are `removed`.
        orientation: EXIF orientation, 1 to 8; 1 for upright.
        cut_off: the file ends before its end mark.
        damage: any other fault; empty if there is none.
        removed: what `edits` remove: "EXIF", "GPS", "comment", ..., each once.
        edits: (start, end, replacement) in bytes, which leave only the pixels.
        profile: the ICC profile that `edits` remove, empty if it cannot be decompressed; None without one.
    """

    format: str
    width: int = 0
    height: int = 0
    bits: int = 0
    color_type: int = 0
    animated: bool = False
    orientation: int = 1
    cut_off: bool = False
    damage: str = ""
    removed: dict[str, None] = field(default_factory=dict)  # a set that keeps its order
    edits: list[tuple[int, int, bytes]] = field(default_factory=list)
    profile: bytes | None = None

    def remove(self, what: str, start: int, end: int, replacement: bytes = b"") -> None:
        self.removed[what] = None
        self.edits.append((start, end, replacement))


def edited(data: bytes, coding: Coding) -> bytes:
    """Returns `data` after the edits."""
    return with_edits(data, coding.edits)


def with_edits(data: bytes, edits: Collection[tuple[int, int, bytes]]) -> bytes:
    """Returns `data` with the bytes from each start to its end replaced; the same object without edits."""
    if not edits:
        return data
    view, parts, position = memoryview(data), [], 0
    for start, end, replacement in sorted(edits):
        parts += (view[position:start], replacement)
        position = end
    return b"".join((*parts, view[position:]))


def edits_to_json(edits: Collection[tuple[int, int, bytes]]) -> str:
    """Returns edits in JSON, with the replacements in Base64; empty without edits."""
    return json.dumps([[start, end, base64.b64encode(new).decode()] for start, end, new in edits]) if edits else ""


def edits_from_json(content: str) -> list[tuple[int, int, bytes]]:
    """Returns the edits that `edits_to_json` wrote."""
    return [(start, end, base64.b64decode(new)) for start, end, new in json.loads(content)] if content else []


def read_coding(data: bytes) -> Coding | None:
    """Follows the segments or chunks of a file to its end; None if it is neither JPEG nor PNG. Raises nothing."""
    if data.startswith(JPEG_START):
        return read_jpeg(data)
    if data.startswith(PNG_START):
        return read_png(data)
    return None


def read_jpeg(data: bytes) -> Coding:
    """Jumps from segment to segment; only coded pixels are searched for the next marker."""
    coding, exif, xmp = Coding("JPEG"), b"", b""
    profile: list[bytes] = []
    position, size, scans = 2, len(data), 0
    while scans <= MAX_SCANS:
        if data[position : position + 1] != b"\xff":  # decoders skip such bytes, so anything could hide there
            found = MARKER.search(data, position)
            if found is None:
                break
            coding.remove("unused bytes", position, found.start())
            position = found.start()
        start = position
        while data[position + 1 : position + 2] == b"\xff":  # any number of FF may stand before a marker
            position += 1
        if position + 2 > size:
            break
        marker = data[position + 1]
        position += 2
        if marker == 0xD9:
            if position < size:
                coding.remove(after_the_end(coding), position, size)
            note_orientation_and_gps(coding, exif, xmp)
            return coding
        if marker in STANDALONE or marker == 0:
            continue
        length = int.from_bytes(data[position : position + 2], "big")
        end = position + length
        if length < 2 or end > size:
            break
        if 0xE0 <= marker <= 0xEF or marker == 0xFE:
            content = data[position + 2 : end]
            if marker == 0xE1 and content.startswith(b"Exif\0"):
                exif += content[6:]  # long EXIF continues in further segments
            elif marker == 0xE1 and content.startswith(b"http://ns.adobe.com/xap/"):
                xmp += content
            elif marker == 0xE2 and content.startswith(ICC_START):
                profile.append(content[len(ICC_START) :])
                coding.profile = b"".join(part[2:] for part in sorted(profile))
            judge_segment(coding, marker, content, start, end)
        elif marker in FRAMES and length >= 8:
            bits, height, width = struct.unpack_from(">BHH", data, position + 2)
            coding.bits = max(coding.bits, bits)
            if width * height >= coding.width * coding.height:  # of two, a decoder may take either
                coding.width, coding.height = width, height
        position = end
        if marker == 0xDA:
            scans += 1
            found = MARKER.search(data, position)
            if found is None:
                break
            position = found.start()
    note_orientation_and_gps(coding, exif, xmp)
    coding.cut_off = not data.endswith(JPEG_END)
    many = f"it has more than {MAX_SCANS} scans"
    coding.damage = many if scans > MAX_SCANS else "a segment is longer than the rest of the file"
    return coding


def judge_segment(coding: Coding, marker: int, content: bytes, start: int, end: int) -> None:
    """Decides whether an application segment or comment, from byte `start` to `end`, is kept."""
    if marker == 0xE0 and content.startswith(b"JFIF\0") and len(content) >= 14:
        if len(content) > 14 or content[12:14] != b"\0\0":
            coding.remove("thumbnail", start, end, b"\xff\xe0\0\x10" + content[:12] + b"\0\0")
    elif marker == 0xE0 and content.startswith(b"JFXX\0"):
        coding.remove("thumbnail", start, end)
    elif marker == 0xE2 and content.startswith(ICC_START):
        coding.remove("ICC profile", start, end)
    elif marker == 0xEE and content.startswith(b"Adobe") and len(content) >= 12:  # how colors are coded
        if len(content) > 12:
            coding.remove("application data", start, end, b"\xff\xee\0\x0e" + content[:12])
    elif marker == 0xE1 and content.startswith(b"Exif\0"):
        coding.remove("EXIF", start, end)
    elif marker == 0xE1 and content.startswith(b"http://ns.adobe.com/"):
        coding.remove("XMP", start, end)
    elif marker == 0xE2 and content.startswith(b"MPF\0"):
        coding.remove("further pictures", start, end)
    elif marker == 0xED and content.startswith(b"Photoshop"):
        coding.remove("IPTC", start, end)
    else:
        coding.remove("comment" if marker == 0xFE else "application data", start, end)


def after_the_end(coding: Coding) -> str:
    """Describes what follows the end mark: the pictures listed by a multi-picture JPEG, or unknown data."""
    return "further pictures" if "further pictures" in coding.removed else "data after the end"


def read_png(data: bytes) -> Coding:
    """Jumps from chunk to chunk, and verifies the checksums of those that are kept."""
    coding, exif, xmp = Coding("PNG"), b"", b""
    view, position, size, pixels = memoryview(data), 8, len(data), False
    while position + 12 <= size:
        length, name = struct.unpack_from(">I4s", data, position)
        start, end = position, position + 12 + length
        if end > size:
            if not name.isalpha():  # truncation does not cause such a name
                coding.damage = f"{name!r} is not the name of a chunk"
            break
        if name in CRITICAL_CHUNKS or (length <= COLOR_CHUNKS.get(name, -1) and not pixels):
            if zlib.crc32(view[start + 4 : end - 4]) != int.from_bytes(data[end - 4 : end], "big"):
                coding.damage = coding.damage or f"the checksum of a chunk {name.decode()} is wrong"
        # Decoders must refuse unknown critical chunks, whose names start with a capital letter.
        elif not name.isalpha() or name[:1].isupper():
            coding.damage = coding.damage or f"it has a chunk {name!r}, which is not a chunk of PNG"
        else:
            content = data[start + 8 : end - 4] if name in REMOVED_CHUNKS else b""
            what = "XMP" if name == b"iTXt" and content.startswith(XMP_KEY) else REMOVED_CHUNKS.get(name, "other data")
            coding.remove(what, start, end)
            if name == b"eXIf":
                exif = exif or content
            elif name in (b"tEXt", b"zTXt") and content.startswith(b"Raw profile type exif\0"):
                exif = exif or raw_profile(name, content)
            elif what == "XMP":
                xmp = xmp or content
            elif name == b"iCCP":
                coding.profile = unpacked_profile(content)
            elif name == b"fdAT" or (name == b"acTL" and not pixels and content[:4] > b"\0\0\0\1"):
                coding.animated = True
        if (name == b"IHDR") != (start == 8):  # a second header would leave open which of the two is true
            coding.damage = coding.damage or "it does not have one header at its start"
        elif name == b"IHDR" and length == 13:
            header = struct.unpack_from(">IIBB", data, start + 8)
            coding.width, coding.height, coding.bits, coding.color_type = header
        pixels = pixels or name == b"IDAT"
        position = end
        if name == b"IEND":
            if position < size:
                coding.remove("data after the end", position, size)
            note_orientation_and_gps(coding, exif, xmp)
            return coding
    note_orientation_and_gps(coding, exif, xmp)
    coding.cut_off = not data.endswith(PNG_END) and not coding.damage
    coding.damage = coding.damage or "a chunk is longer than the rest of the file"
    return coding


def raw_profile(name: bytes, content: bytes) -> bytes:
    """Decodes EXIF from a text chunk of ImageMagick: hexadecimal digits after three header lines."""
    text = content.split(b"\0", 1)[1]
    try:
        if name == b"zTXt":
            text = zlib.decompressobj().decompress(text[1:], 2**20)
        digits = b"".join(text.split(b"\n")[3:]).decode("ascii")
        return bytes.fromhex(digits).removeprefix(b"Exif\0\0")
    except (zlib.error, ValueError):
        return b""


def unpacked_profile(content: bytes) -> bytes:
    """Returns the profile in an iCCP chunk: a name, a NUL, the method 0, and zlib data; empty if it is damaged."""
    try:
        return zlib.decompressobj().decompress(content.partition(b"\0")[2][1:], MAX_ICC_BYTES)
    except zlib.error:
        return b""


def note_orientation_and_gps(coding: Coding, exif: bytes, xmp: bytes) -> None:
    """Stores in `coding` the orientation from EXIF, else from XMP, and whether either has a GPS position."""
    tags = exif_integers(exif)
    if GPS in tags or b"exif:GPS" in xmp:
        coding.removed["GPS"] = None
    orientation = tags.get(ORIENTATION, 0)
    if not orientation and (found := XMP_ORIENTATION.search(xmp)):
        orientation = int(found[1])
    coding.orientation = orientation if 1 <= orientation <= 8 else 1


def exif_integers(exif: bytes) -> dict[int, int]:
    """Returns {tag: value} of the integers in the first EXIF directory, as far as it can be read."""
    order = {b"II": "<", b"MM": ">"}.get(exif[:2])
    tags: dict[int, int] = {}
    if order is None:
        return tags
    try:
        (start,) = struct.unpack_from(order + "I", exif, 4)
        (count,) = struct.unpack_from(order + "H", exif, start)
        for entry in range(start + 2, start + 2 + 12 * count, 12):
            tag, kind = struct.unpack_from(order + "HH", exif, entry)
            if kind in INTEGERS:
                (tags[tag],) = struct.unpack_from(order + INTEGERS[kind], exif, entry + 8)
    except struct.error:
        pass  # it points outside of itself
    return tags
