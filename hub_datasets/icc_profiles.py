"""What does a colour profile (ICC.1) say besides colours, and what is left of it without that?

A profile is built anew from the tags that turn its colours into others. Descriptions, copyright, names of devices,
dates and tags of programs are left out, and so is whatever stands between tags or behind them.
"""

from __future__ import annotations

import struct
import zlib

BROKEN, TEXT, UNKNOWN = "broken ICC profile", "ICC text", "ICC profile"  # what a report says was removed
HEADER = 128  # bytes
MAX_TAGS = 100
MAX_BYTES = 8 * 1024 * 1024  # the largest in use, of presses, have 3
PNG_NAME = b"ICC"  # of every profile
JPEG_START = b"ICC_PROFILE\0"  # of each segment; the number of its part, from 1, and the count of all parts follow
JPEG_PART = 65519  # bytes of a profile that fit into a segment
PLAIN_TAGS = {  # turn colours by matrices and curves: the types that they may have
    b"wtpt": b"XYZ ", b"bkpt": b"XYZ ", b"lumi": b"XYZ ", b"rXYZ": b"XYZ ", b"gXYZ": b"XYZ ", b"bXYZ": b"XYZ ",
    b"rTRC": b"curv para", b"gTRC": b"curv para", b"bTRC": b"curv para", b"kTRC": b"curv para",
    b"chad": b"sf32", b"cicp": b"cicp",
}  # fmt: skip
TABLE_TAGS = {kind + number for kind in (b"A2B", b"B2A", b"D2B", b"B2D") for number in (b"0", b"1", b"2", b"3")}
FIXED_LENGTHS = {b"XYZ ": 20, b"sf32": 44, b"cicp": 12}
CURVE_NUMBERS = (1, 3, 4, 5, 7)  # of a `para`, by its function
CLASSES = (b"mntr", b"scnr", b"prtr", b"spac")
NEEDED = {  # a profile without tables has all of these
    b"RGB ": {b"rXYZ", b"gXYZ", b"bXYZ", b"rTRC", b"gTRC", b"bTRC"},
    b"GRAY": {b"kTRC"},
}
D50 = struct.pack(">3I", 0xF6D6, 0x10000, 0xD32D)  # the illuminant of every profile
# An empty description and copyright, which every profile must have, of version 2 and of those after it.
NO_TEXTS = {
    2: (b"desc" + bytes(4) + b"\0\0\0\1" + bytes(80), b"text" + bytes(5)),
    4: (b"mluc" + bytes(8) + b"\0\0\0\x0c",) * 2,
}


def jpeg_profile(segments: list[bytes]) -> tuple[str, bytes]:
    """What is wrong with the segments of a JPEG's profile, without their markers, and what to write instead of all.

    The first is empty where they can stay. Raises nothing.
    """
    segments, count = sorted(segments, key=lambda segment: segment[12:13]), len(segments)
    try:
        if [segment[12:14] for segment in segments] != [bytes((number, count)) for number in range(1, count + 1)]:
            return BROKEN, b""
        profile = b"".join(segment[14:] for segment in segments)
        colours = colours_only(profile)
    except ValueError:  # also for more parts than a byte counts
        return BROKEN, b""
    if colours == profile:
        return "", b""
    parts = [colours[start : start + JPEG_PART] for start in range(0, len(colours), JPEG_PART)]
    new = b"".join(
        b"\xff\xe2" + struct.pack(">H", len(part) + 16) + JPEG_START + bytes((number, len(parts))) + part
        for number, part in enumerate(parts, 1)
    )
    return (TEXT if new else UNKNOWN), new


def png_profile(content: bytes) -> tuple[str, bytes]:
    """The same for what an iCCP chunk holds: a name, a NUL, the method 0, and the profile as zlib packs it."""
    name, _, packed = content.partition(b"\0")
    unpacking = zlib.decompressobj()
    try:
        profile = unpacking.decompress(packed[1:], MAX_BYTES)
        if packed[:1] != b"\0" or not unpacking.eof:
            return BROKEN, b""
        colours = colours_only(profile)
    except (zlib.error, ValueError):
        return BROKEN, b""
    if not colours:
        return UNKNOWN, b""
    if colours == profile and name == PNG_NAME and not unpacking.unused_data:
        return "", b""
    new = b"iCCP" + PNG_NAME + b"\0\0" + zlib.compress(colours)
    return TEXT, struct.pack(">I", len(new) - 4) + new + struct.pack(">I", zlib.crc32(new))


def colours_only(profile: bytes) -> bytes:
    """The profile without its texts; itself if it has none; empty where its colours cannot be told from the rest.

    Raises:
        ValueError: it is no ICC profile, or a damaged one.
    """
    if not HEADER + 4 <= len(profile) <= MAX_BYTES or profile[36:40] != b"acsp":
        raise ValueError("no ICC profile")
    if int.from_bytes(profile[:4], "big") != len(profile):
        raise ValueError("cut off, or followed by something else")
    (count,) = struct.unpack_from(">I", profile, HEADER)
    if count > MAX_TAGS or HEADER + 4 + 12 * count > len(profile):
        raise ValueError("its list of tags is longer than itself")
    tags: dict[bytes, bytes] = {}
    for entry in range(count):
        name, start, length = struct.unpack_from(">4sII", profile, HEADER + 4 + 12 * entry)
        if start + length > len(profile):
            raise ValueError("a tag lies outside")
        if name in PLAIN_TAGS or name in TABLE_TAGS:
            content = profile[start : start + length]
            if name in TABLE_TAGS and content[:4] not in (b"mft1", b"mft2"):
                return b""  # parts of it may stand anywhere
            if name in PLAIN_TAGS and content[:4] not in PLAIN_TAGS[name]:
                raise ValueError("a tag is of a type that it cannot have")
            tags[name] = exactly(content)
    space = profile[16:20]
    if (
        profile[12:16] not in CLASSES
        or profile[20:24] not in (b"XYZ ", b"Lab ")
        or space not in (b"RGB ", b"GRAY", b"CMYK")
        or not ({b"A2B0"} <= tags.keys() or NEEDED.get(space, {b"A2B0"}) <= tags.keys())
    ):
        return b""
    return assembled(profile, tags)


def exactly(content: bytes) -> bytes:
    """A tag's content as long as its type says. Raises ValueError where it is shorter."""
    kind = content[:4]
    try:
        if kind == b"curv":
            length = 12 + 2 * struct.unpack_from(">I", content, 8)[0]
        elif kind == b"para":
            length = 12 + 4 * CURVE_NUMBERS[struct.unpack_from(">H", content, 8)[0]]
        elif kind in (b"mft1", b"mft2"):
            inputs, outputs, points = content[8:11]
            ends, width, before = (256, 256), 1, 48
            if kind == b"mft2":
                ends, width, before = struct.unpack_from(">HH", content, 48), 2, 52
            length = before + width * (inputs * ends[0] + points**inputs * outputs + outputs * ends[1])
        else:
            length = FIXED_LENGTHS[kind]
    except (struct.error, IndexError, KeyError, ValueError):
        raise ValueError("a tag is damaged") from None
    if length > len(content):
        raise ValueError("a tag is cut off")
    return kind + bytes(4) + content[8:length]


def assembled(profile: bytes, tags: dict[bytes, bytes]) -> bytes:
    """A profile of these tags, with those fields of the other's header that matter to colours."""
    description, copyright = NO_TEXTS[2 if profile[8] < 4 else 4]
    tags = {b"desc": description, b"cprt": copyright, **tags}
    places: dict[bytes, int] = {}  # the same content is written once
    table, body, start = b"", b"", HEADER + 4 + 12 * len(tags)
    for name, content in tags.items():
        if content not in places:
            places[content] = start + len(body)
            body += content + bytes(-len(content) % 4)
            if len(body) > len(profile) + 256:
                raise ValueError("its tags overlap")
        table += struct.pack(">4sII", name, places[content], len(content))
    header = struct.pack(">I4x", start + len(body)) + profile[8:10] + bytes(2) + profile[12:24] + bytes(12) + b"acsp"
    header += bytes(24) + profile[64:68] + D50
    return header + bytes(HEADER - len(header)) + struct.pack(">I", len(tags)) + table + body
