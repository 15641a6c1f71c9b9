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
# Letters of other scripts: Cyrillic to Thai, Japanese syllables, Korean. Greek letters are symbols in any report.
OTHER = re.compile(r"[\u0400-\u0fff\u3040-\u30ff\u31f0-\u31ff\uff66-\uff9d\u1100-\u11ff\uac00-\ud7af]")


def language_named(value: str) -> str | None:
    """Returns `en` or `zh` for a name of English or Chinese (`en-US`, `zh_Hans`, `Chinese`, `中文`), else None."""
    name = value.strip().casefold()
    return CODES.get(name) or CODES.get(re.split(r"[-_]", name, maxsplit=1)[0])


def language_by_majority(text: str) -> str | None:
    """Returns `zh` if a text has at least as many Chinese characters as words in Latin letters, else `en`.

    Return None if a quarter or more of it is in another script (Japanese, Korean, Russian): such a report is rejected,
    not labeled. Other languages in Latin letters cannot be distinguished from English.

    The metrics have rules of their own (`detect_language` in `evaluation/metrics`), because they decide how a text is
    split into words and never reject one: one Chinese character is enough in a short answer, and a tenth of the
    characters in a report. They cannot share this function: a metric is uploaded to the Hub without this package.
    """
    chinese, words = len(CHINESE.findall(text)), len(WORD.findall(text))
    if (other := len(OTHER.findall(text))) and other * 3 >= chinese + words:
        return None
    return "zh" if chinese and chinese >= words else "en"
