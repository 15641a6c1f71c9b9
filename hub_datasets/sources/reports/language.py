"""Determines the language of a report from its name or, where no name is given, from the text."""

from __future__ import annotations

import re

NAMES = {
    "en": ("en", "eng", "english", "英文", "英语", "英語"),
    "zh": ("zh", "zho", "chi", "cmn", "cn", "chinese", "中文", "汉语", "漢語", "国语", "普通话"),
}
CODES = {name: code for code, names in NAMES.items() for name in names}
CHINESE = re.compile(r"[\u3400-\u4dbf\u4e00-\u9fff\U00020000-\U0003ffff]")
WORD = re.compile(r"[A-Za-zÀ-ɏ][A-Za-zÀ-ɏ0-9]*")
# Letters of what is neither: Cyrillic to Thai, Japanese syllables, Korean. Greek letters are signs in any report.
OTHER = re.compile(r"[\u0400-\u0fff\u3040-\u30ff\u31f0-\u31ff\uff66-\uff9d\u1100-\u11ff\uac00-\ud7af]")


def language_named(value: str) -> str | None:
    """`en` or `zh` for the names of both, however they are written (`en-US`, `zh_Hans`, `EN`, `Chinese`, `中文`).

    None for any other.
    """
    name = value.strip().casefold()
    return CODES.get(name) or CODES.get(re.split(r"[-_]", name, maxsplit=1)[0])


def language_of(text: str) -> str | None:
    """`zh` where a text has at least as many Chinese characters as words in Latin letters, `en` otherwise.

    None where a quarter or more of it is in another script (Japanese, Korean, Russian): it has to be named, and then
    is refused. Other languages in Latin letters cannot be told from English.
    """
    chinese, words = len(CHINESE.findall(text)), len(WORD.findall(text))
    if (other := len(OTHER.findall(text))) and other * 3 >= chinese + words:
        return None
    return "zh" if chinese and chinese >= words else "en"
