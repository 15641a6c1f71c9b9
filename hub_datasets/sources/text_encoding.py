"""Decodes the bytes of a table: UTF-8, UTF-16, UTF-32, GB18030 or Windows-1252.

A byte order mark decides the encoding. Without one, a file is decoded as UTF-16 if its first characters are ASCII with
a zero beside each, and as UTF-8. If that fails, two encodings are tried that spreadsheet programs write, and nearly any
bytes are valid in both, so the result is accepted only if it reads like what they are for: GB18030, a superset of GBK
and GB2312, like Chinese; Windows-1252, a superset of Latin-1, like a language of Western Europe. No other encoding is
guessed. Text that was garbled before it was saved is repaired later (`texts/repair.py`).
"""

from __future__ import annotations

import codecs
import re

from hub_datasets.errors import BuildError

BYTE_ORDER_MARKS = (  # UTF-32 first: its mark begins with that of UTF-16
    (codecs.BOM_UTF32_LE, "UTF-32"),
    (codecs.BOM_UTF32_BE, "UTF-32"),
    (codecs.BOM_UTF16_LE, "UTF-16"),
    (codecs.BOM_UTF16_BE, "UTF-16"),
)
FIX = "save the file as UTF-8 (in Excel: 'CSV UTF-8') and run again"
# A byte that could not be decoded, kept as the code 0xDC00 + byte: a lone surrogate, which no sound text holds.
BROKEN = re.compile(r"[\udc80-\udcff]")
BROKEN_TO_END = re.compile(r"[\udc80-\udcff][^\n]*")
FOREIGN = re.compile(r"[^\x00-\x7f]")
PRIVATE = re.compile(r"[\x80-\x9f\ue000-\uf8ff]")  # GB18030 has codes for them, Chinese text does not use them
CHINESE = re.compile(r"[\u3400-\u4dbf\u4e00-\u9fff\U00020000-\U0003ffff]")
# What stands beside the characters in Chinese text: punctuation, full-width forms, signs of units and of numbers.
BESIDE = re.compile(r"[\u3000-\u303f\uff00-\uffef\u2010-\u2027\u2030-\u203b\u2100-\u22ff\u2460-\u25ff°±×÷·μαβγδ]")
LATIN_SIGNS = re.compile(r"[\xa0-\xff\u2010-\u22ff]")  # `°`, `é`, dashes, quotation marks, arrows
# The 3,755 everyday characters, level 1 of GB 2312, and those that no page of Chinese reports is without. Text in
# another encoding that happens to be valid GB18030 reads as the rare characters, or has none of the commonest.
EVERYDAY = frozenset(bytes(b for row in range(0xB0, 0xD8) for cell in range(0xA1, 0xFF) for b in (row, cell))
                     .decode("gb2312", "ignore"))  # fmt: skip
COMMONEST = frozenset(
    "的一是不了在有和见未上下左右中大小高低正常无明显影像胸肺心部双及性者清晰位于可约为示患检查病内结节光骨"
)
LEAST_CHINESE, LEAST_EVERYDAY, LEAST_COMMONEST = 0.8, 0.7, 0.05  # shares; Chinese reports have 0.99, 0.99 and 0.3
SHORT = 8  # characters; shares in shorter texts are meaningless
# The letters and signs of Windows-1252 that texts in Western Europe hold. Signs stand beside words, never inside one,
# unlike the letters of Polish or Turkish that other code pages have in their places; small letters are not followed by
# capital ones; and a text of Russian or Chinese bytes has hardly any other characters.
WESTERN_LETTERS = "ÀÁÂÃÄÅÆÇÈÉÊËÌÍÎÏÑÒÓÔÕÖØÙÚÛÜàáâãäåæçèéêëìíîïñòóôõöøùúûüßŒœŠšŽž"
WESTERN_SIGNS = "“”‘’‚„–—…•€™°±²³µ·×÷½¼¾«»¿¡§®©ªº´¨¹‹›‰†\xa0"
NEVER_INSIDE = "€™°±²³µ×÷½¼¾«»¿¡§®©ªº¨¹‹›‰†"
NOT_WESTERN = re.compile(
    rf"[^\x00-\x7f{WESTERN_LETTERS}{WESTERN_SIGNS}]"
    rf"|[a-zA-Z{WESTERN_LETTERS}][{NEVER_INSIDE}][a-z{WESTERN_LETTERS}]"
    rf"|[a-zß-ž][À-ÖØ-ÞŠŽŒ]|[{WESTERN_LETTERS}]{{3}}"
)
MOST_WESTERN = 0.25  # share of letters that are not ASCII; French and Portuguese have 0.05
UTF16_HEAD = 64  # bytes


def decode_text(data: bytes, name: str) -> str:
    """Returns the text of a file that must be valid from its first byte to its last.

    Raises BuildError, which names the byte, if it is not UTF-8, UTF-16 or UTF-32 with a byte order mark, or GB18030.
    """
    text = decode_lines(data, name)
    if BROKEN.search(text):
        raise undecodable(data, name)
    return text


def decode_lines(data: bytes, name: str) -> str:
    """Returns the text of a file of lines, in which a broken line must not affect the others.

    A broken line contains a lone surrogate (see `broken_byte`). Raises BuildError if more than half of the lines are
    broken, because the file is then in another encoding.
    """
    return decode_table(data, name)[0]


def decode_table(data: bytes, name: str) -> tuple[str, str]:
    """Returns the text of a file of lines, as `decode_lines` does, and the name of its encoding."""
    for mark, encoding in (*BYTE_ORDER_MARKS, *utf16_without_mark(data)):
        if data.startswith(mark):
            try:
                return data.decode(encoding), encoding
            except UnicodeDecodeError as error:
                raise BuildError(f"{name}: broken {encoding} at byte {error.start:,}; {FIX}") from None
    if data.count(0) > len(data) // 5:
        raise BuildError(f"{name}: no text, or UTF-16 without a byte order mark; {FIX}")
    text, encoding = data.decode("utf-8-sig", "surrogateescape"), "UTF-8"
    broken = count_broken(text)
    if broken and not data.startswith(codecs.BOM_UTF8):
        chinese = decode_gb18030(data)
        if reads_like_chinese(chinese) and count_broken(chinese) < broken:
            text, encoding, broken = chinese, "GB18030", count_broken(chinese)
        elif not FOREIGN.search(BROKEN.sub("", text)):  # a file with UTF-8 in it was not meant as Windows-1252
            western = data.decode("cp1252", "surrogateescape")
            if reads_like_western_text(western):
                text, encoding, broken = western, "Windows-1252", 0
    if broken and broken * 2 > sum(bool(line.strip()) for line in text.split("\n")):
        raise undecodable(data, name)
    return text, encoding


def utf16_without_mark(data: bytes) -> list[tuple[bytes, str]]:
    """Returns the byte order of UTF-16 that the zeros beside the first characters show, as an entry of a mark."""
    head = data[:UTF16_HEAD]
    for start, encoding in ((1, "UTF-16-LE"), (0, "UTF-16-BE")):
        zeros, others = head[start::2], head[1 - start :: 2]
        if len(head) >= 8 and zeros.count(0) * 4 >= len(zeros) * 3 and 0 not in others:
            return [(b"", encoding)]
    return []


def reads_like_western_text(text: str) -> bool:
    """Returns whether a text decoded as Windows-1252 is one of Western Europe, not of another encoding."""
    letters = sum(character.isalpha() for character in text)
    foreign = sum(character in WESTERN_LETTERS for character in text)
    return not NOT_WESTERN.search(text) and foreign <= MOST_WESTERN * letters


def decode_gb18030(data: bytes) -> str:
    """Returns the text with a lone surrogate in each broken line.

    No two-byte code ends in a line break, a comma, a semicolon, a tab or a quotation mark, so the lines and cells
    around a broken byte are intact.
    """
    lines = data.decode("gb18030", "surrogateescape").split("\n")
    for number, line in enumerate(lines):
        if is_doubtful(line) and not BROKEN.search(line):
            lines[number] = FOREIGN.sub(lambda found: chr(0xDC00 + found[0].encode("gb18030")[0]), line, count=1)
    return "\n".join(lines)


def is_doubtful(line: str) -> bool:
    """Returns whether a line that is valid GB18030 was probably meant as something else.

    If a byte was lost, the remaining bytes of the line are paired wrongly, into rare characters. And if one line in a
    Chinese file is UTF-8, a single character such as `°` reads as one common Chinese character.
    """
    characters = CHINESE.findall(line)
    if len(characters) >= SHORT:
        everyday = sum(map(EVERYDAY.__contains__, characters))
        return everyday < LEAST_EVERYDAY * len(characters) or PRIVATE.search(line) is not None
    if characters:
        try:
            other = line.encode("gb18030", "surrogateescape").decode("utf-8")
        except UnicodeDecodeError:
            other = ""
        if other and not FOREIGN.search(LATIN_SIGNS.sub("", other)):
            return True
    return PRIVATE.search(line) is not None


def reads_like_chinese(text: str) -> bool:
    """Returns whether the valid lines of a text decoded as GB18030 are Chinese, not another encoding.

    Most non-ASCII characters must be Chinese characters or punctuation; most of the Chinese characters must be common
    ones, and at least one, or a twentieth, among the most common.
    """
    sound = "\n".join(line for line in text.split("\n") if not BROKEN.search(line))
    foreign, beside, characters = (len(kind.findall(sound)) for kind in (FOREIGN, BESIDE, CHINESE))
    everyday = sum(character in EVERYDAY for character in sound)
    commonest = sum(character in COMMONEST for character in sound)
    return (
        characters + beside >= LEAST_CHINESE * foreign
        and everyday >= LEAST_EVERYDAY * characters
        and commonest >= max(1, LEAST_COMMONEST * characters)
    )


def count_broken(text: str) -> int:
    """Returns the number of lines with a byte that could not be decoded."""
    return sum(1 for _ in BROKEN_TO_END.finditer(text))  # not by lines: a list of them takes as much as the text


def broken_byte(text: str) -> str:
    """Returns the first byte that could not be decoded, as `0xE9`; empty if there is none."""
    broken = BROKEN.search(text)
    return f"0x{ord(broken[0]) - 0xDC00:02X}" if broken else ""


def undecodable(data: bytes, name: str) -> BuildError:
    """Returns the error for a file in none of the supported encodings."""
    places = []
    for encoding in ("UTF-8", "GB18030"):
        try:
            data.decode(encoding)
            places.append(f"{encoding} (as which it is valid, but does not read like Chinese)")
        except UnicodeDecodeError as error:
            places.append(f"{encoding} (byte {error.start:,} is 0x{data[error.start]:02X})")
    return BuildError(f"{name}: not {' and not '.join(places)}; {FIX}")
