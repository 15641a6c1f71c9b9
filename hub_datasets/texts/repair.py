"""Repairs a text of a table: markup, text that was read in a wrong encoding, and placeholders for no text.

What is repaired is counted by kind in the report. What cannot be repaired keeps its broken characters, and the check of
texts (`validation.py`) rejects it.
"""

from __future__ import annotations

import re
import unicodedata

from hub_datasets.texts.markup import html_to_text, is_html, is_rtf, rtf_to_text, unescape_excel

LOST = "\ufffd"  # what a decoder puts in place of a byte that it cannot read
# UTF-8 that was read as Windows-1252 (bytes without a character there as Latin-1), for example `Ã¤` for `ä`.
BYTE_OF = {bytes([byte]).decode("cp1252", "ignore") or chr(byte): byte for byte in range(0x80, 0x100)}
BYTE_OF |= {chr(byte): byte for byte in range(0x80, 0xA0)}
LEADS = {2: range(0xC2, 0xE0), 3: range(0xE0, 0xF0), 4: range(0xF0, 0xF5)}


def one_of(numbers: range) -> str:
    """Returns a class of a regular expression with the characters of some bytes."""
    return "[" + "".join(re.escape(character) for character, byte in BYTE_OF.items() if byte in numbers) + "]"


FOLLOWING = one_of(range(0x80, 0xC0))
MISREAD = re.compile("|".join(f"{one_of(leads)}{FOLLOWING}{{{length - 1}}}" for length, leads in LEADS.items()))
# A letter before a quotation mark or dash that ends a word, such as `Ä“`, may be meant where nothing else is misread.
AMBIGUOUS = re.compile("[\xc2-\xdf][“”‘’„‚–—…•™›‹†‡][^a-zà-ÿ]?")
# What reports hold: Latin letters, Greek, Cyrillic, punctuation, signs, Chinese, Japanese and Korean. Other results are
# a coincidence: `ß“` at the end of a German quotation is valid UTF-8 for a letter of N'Ko.
PLAUSIBLE = re.compile(
    "[\x80-\u017f\u0192\u02c6\u02dc\u0300-\u04ff\u0590-\u06ff\u0e00-\u0e7f\u1e00-\u1eff\u2010-\u2044\u20ac\u2100-\u22ff\u2460-\u25ff"
    "\u3000-\u30ff\u3400-\u9fff\uac00-\ud7af\uff00-\uffef]+"
)
MOST_MARKUP = 100_000  # characters; a longer text is too long for a report, and markup can be costly to read
ROUNDS = 3  # a text may have been read wrongly more than once
# U+FFFD, saved as UTF-8 and read as GBK; and memory that was never written, read as GBK.
LOST_IN_GBK = re.compile("锟斤拷|烫烫烫|屯屯屯")
HIGH_LATIN = re.compile("[\xa0-\xff]")
LEFT_OVER, LETTERS, CHINESE = re.compile("[ÃÂ]|â€"), re.compile("[À-ÖØ-öø-ÿ]"), re.compile("[\u3400-\u9fff]")
MOST_HIGH_LATIN = 0.4  # share of the characters; French reports have 0.05

PLACEHOLDER = re.compile(r"[\W_]+")
NO_TEXT = """
na nan null nil none ditto idem pending unknown missing empty blank tbd todo undefined placeholder seereport
seethereport seereports seefullreport seeattached seeattachedreport seeabove seebelow seenote seetext seecomment
seecomments seeimpression seefindings asabove sameasabove notext noreport noreportavailable nodescription
notavailable notapplicable notreported notprovided notdictated reportnotavailable reportpending tobereported
loremipsum name ref value div0 num nd xxx xxxx siehebericht siehebefund sieheoben so keineangabe ka voirrapport
voircompterendu verinforme vedireferto verlaudo
無 无 没有 暂无 暂无报告 暂无描述 空 同上 同前 见报告 详见报告
请见报告 见上 见下 见上文 如上 见附件 见描述
未填 未填写 未写 未提供 未报告 无报告 无描述 无内容 待报告 待写 略 不详 未知
"""
PLACEHOLDERS = frozenset(NO_TEXT.split())


def repair(text: str) -> tuple[str, tuple[str, ...]]:
    """Returns the repaired text, empty for a placeholder, and the kinds of what was repaired, in the order above."""
    kinds = []
    text = text.strip().strip("\0").strip()  # columns of a fixed width are filled up with NUL
    if "_x" in text and (found := unescape_excel(text)) != text:
        text, kinds = found, [*kinds, "excel_escapes"]
    if len(text) <= MOST_MARKUP and is_rtf(text):
        text, kinds = rtf_to_text(text), [*kinds, "rtf"]
    if len(text) <= MOST_MARKUP and is_html(text) and (found := html_to_text(text)) != text:
        text, kinds = found, [*kinds, "html"]
    if (found := repair_encoding(text)) != text:
        kinds += [] if found.startswith(LOST) else ["encoding"]
        text = found
    if text and is_placeholder(text):
        text, kinds = "", [*kinds, "placeholder"]
    return text.strip(), tuple(kinds)


def repair_encoding(text: str) -> str:
    """Returns the text with UTF-8 that was read as Windows-1252 read again, also if that happened more than once.

    A text that is garbled and cannot be read again gets U+FFFD in its first place.
    """
    if text.isascii():
        return text
    given = text
    for _ in range(ROUNDS):
        if all(map(AMBIGUOUS.fullmatch, (one[0] + text[one.end() : one.end() + 1] for one in MISREAD.finditer(text)))):
            break
        found = MISREAD.sub(read_again, text)
        if found == text:
            break
        text = found
    shown = sum(not character.isspace() for character in text)
    garbled = LOST_IN_GBK.search(text) or len(HIGH_LATIN.findall(text)) > max(3, MOST_HIGH_LATIN * shown)
    if text != given:  # a byte of some characters was lost, so that they could not be read again
        garbled = (
            garbled or LEFT_OVER.search(text) or MISREAD.search(text) or (CHINESE.search(text) and LETTERS.search(text))
        )
    return LOST + text if garbled else text


def read_again(found: re.Match) -> str:
    """Returns the character that some bytes stand for in UTF-8; the characters unchanged if it is none of a report."""
    try:
        character = bytes(BYTE_OF[one] for one in found[0]).decode()
    except UnicodeDecodeError:
        return found[0]
    return character if PLAUSIBLE.fullmatch(character) else found[0]


def is_placeholder(text: str) -> bool:
    """Returns whether a text says only that there is none: `N/A`, `see report`, `#NAME?`, `-`, `同上`.

    Texts are compared by their letters and digits; one without any is a placeholder.
    """
    if len(text) > 40:
        return False
    letters = PLACEHOLDER.sub("", unicodedata.normalize("NFKC", text).casefold())
    return letters in PLACEHOLDERS or not letters
