"""Writes a text in one form, and cuts it into the sentences that are read one by one.

A sentence ends at its punctuation or at a blank line. The end of a line alone does not end it, because reports are
wrapped at a width ("No focal / consolidation."), unless the next line is an item of a list, a heading, or begins with
a capital letter.
"""

from __future__ import annotations

import itertools
import re
import unicodedata

from .chinese_characters import simplified
from .findings import FINDING, ORGAN

LONGEST_SENTENCE = 300  # characters; a longer one is read in pieces, which bounds the time for a text

_SENTENCE_END = re.compile(r"(?<=[.;!?])\s+|(?<=[;!?])|(?<=[^\d\s])\.(?=[^\d\s])|[。\n]")
_CHINESE = re.compile("[\u4e00-\u9fff]")

# ---- lines
_ITEM = re.compile(r"(?:[-–—*•·●▪◦+>]\s|[•·●▪◦]|\(?\d{1,2}[.)、:](?!\d)|[①-⑳]|\(?[一二三四五六七八九十]{1,2}[)、.])")
# A heading names a part of the report or an organ: "Heart: enlarged", "IMPRESSION:", 双肺：.
_HEADING = re.compile(r"(?:[A-Za-z][A-Za-z/&' -]{0,40}|[\u4e00-\u9fff、/]{1,10}):")
_OPEN_END = re.compile(
    r"(?:[,、，(/–-]|\b(?:no|not|and|or|nor|of|the|an?|with|without|in|on|at|to|for|from|by|is|are|was|were|be|been|has|"
    r"have|there|may|might|could|can|cannot|than|as|that|which|any|new|left|right|focal|acute|mild|moderate|severe|small"
    r"|large))$",
    re.IGNORECASE,
)
_OPEN_END_ZH = re.compile(
    r"(?:[未可仍已不另]见|[未没有无见示呈及和与或的伴在约为行性]|提示|考虑|[左右双两][侧肺肾膝]?|[轻中重]度|[少大]量|明显|异常|排除)$"
)
_OPEN_START = re.compile(r"[,.;:、，。；)]|(?:and|or|nor|of|with|in|on|at|is|are|was|were|to|for)\b", re.IGNORECASE)
_CLOSED_END = re.compile(r"[.;:!?。；：！？]$")
# Shortest line that is full, so that it may have been wrapped: of text without capital letters, and of Chinese.
_FULL_LINE, _FULL_LINE_ZH = 40, 30

# An abbreviation keeps its period in the middle of a sentence; "no." could be the end of one.
_ABBREVIATION = re.compile(
    r"(?<![A-Za-z])((?i:approx|vs|dr|mr|mrs|ms|prof|figs?|ca|cf|incl|max|min|diam|avg|bilat|e\.g|i\.e))\."
    r"(?=\s*[a-z\d(~<>\u4e00-\u9fff])",
)
_FRACTIONS = {"½": ".5", "¼": ".25", "¾": ".75", "⅓": ".33", "⅔": ".67", "⅛": ".125"}
_BARE_END = re.compile(r"(?:影|灶|征象?|等)?\s*(?:[,，。;、\n]|$)")


def normalized(text: str) -> str:
    """Returns a text in lower case, with simplified characters, one width and no contractions.

    Line ends are kept only where they end a sentence.
    """
    text = re.sub("[²³]", lambda match: {"²": "^2", "³": "^3"}[match[0]], text)  # NFKC makes cm² into cm2
    text = re.sub(
        rf"(?:(\d+)\s?)?([{''.join(_FRACTIONS)}])", lambda match: (match[1] or "0") + _FRACTIONS[match[2]], text
    )
    # NFKC makes the Chinese comma, which ends a clause, into that of a list.
    text = "，".join(unicodedata.normalize("NFKC", part) for part in text.split("，"))
    text = "".join(" " if "\ue000" <= char <= "\uf8ff" else char for char in text)  # these are the marks of the rules
    text = re.sub("[‐‑–−]", "-", text)
    text = _unwrapped(_ABBREVIATION.sub(lambda match: match[0].replace(".", ""), text))
    text = simplified(text).lower().replace("’", "'")
    text = re.sub(r"(?<=[a-z])n't\b", " not", text.replace("can't", "cannot")).replace("can not", "cannot")
    text = re.sub(r"(?<![a-z])([lr])t\.?(?= )", lambda match: {"l": "left", "r": "right"}[match[1]], text)
    text = re.sub(r"(?<=\d),(?=\d{3}(?!\d))", "", text)
    text = re.sub(r"(?<=\d),(?=\d{1,2}\s*(?:[x×*-]\s*\d+(?:[.,]\d+)?\s*){0,2}[cm]m(?![a-z]))", ".", text)  # 0,5 cm
    if not _CHINESE.search(text):
        return text.replace("，", ",")
    return re.sub(r"(?<!\d),|,(?!\d)", lambda match: "、" if _is_listed(text, match.end()) else "，", text)


def _is_listed(text: str, place: int) -> bool:
    """Returns whether a comma of a Chinese text is that of a list: behind it is a finding and nothing else.

    A finding that begins with its organ (胆囊结石) is a statement of its own; 肺炎 and other words of one part are not.
    """
    while place < len(text) and text[place] == " ":
        place += 1
    found, organ = FINDING.match(text, place), ORGAN.match(text, place)
    if organ is not None and len(organ[0]) > 1:
        return False
    return found is not None and _BARE_END.match(text, found.end()) is not None


def _unwrapped(text: str) -> str:
    """Returns the text with the ends of those lines removed that do not end a sentence."""
    text = re.sub(r"\r\n?|[\u2028\u2029\v\f]", "\n", text)
    if "\n" not in text:
        return text
    has_case = any(char.isupper() for char in text)
    lines = [" ".join(line.split()) for line in text.split("\n")]
    parts = [lines[0]]
    for before, line in itertools.pairwise(lines):
        if _continues(before, line, has_case):
            # Chinese has no spaces, and a word in two lines must be found.
            touching = _CHINESE.fullmatch(before[-1]) and _CHINESE.fullmatch(line[0])
            parts.append(f"{'' if touching else ' '}{line}")
        else:
            parts.append(f"\n{line}")
    return "".join(parts)


def _continues(before: str, line: str, has_case: bool) -> bool:
    """Returns whether a line continues the sentence of the line before it."""
    if not before or not line or _CLOSED_END.search(before) or _ITEM.match(line):
        return False
    if _OPEN_END.search(before) or _OPEN_START.match(line):
        return True
    if _HEADING.match(line):
        return False
    if "a" <= line[0].lower() <= "z" and has_case:
        word = re.match(r"[A-Za-z]+", line)[0]
        # A capital letter begins a new sentence; "COPD" may stand anywhere in one.
        return word.islower() or (len(word) > 1 and word.isupper() and len(before) >= _FULL_LINE)
    if _CHINESE.search(before):
        return len(before) >= _FULL_LINE_ZH or _OPEN_END_ZH.search(before) is not None
    # A line without a finding says nothing by itself.
    return len(before) >= _FULL_LINE or not FINDING.search(before.lower())


def sentences_of(text: str) -> list[str]:
    """Returns the sentences of a text that `normalized` has written, none longer than `LONGEST_SENTENCE`."""
    pieces: list[str] = []
    for part in _SENTENCE_END.split(text):
        sentence = " ".join((part or "").split())
        start = 0
        while len(sentence) - start > LONGEST_SENTENCE:
            window = sentence[start : start + LONGEST_SENTENCE]
            # After the last comma of the second half, otherwise after its last space.
            comma = max(map(window.rfind, ",，"))
            cut = comma if comma >= len(window) // 2 else window.rfind(" ")
            length = cut + 1 if cut >= len(window) // 2 else len(window)
            pieces.append(window[:length])
            start += length
        if sentence[start:].strip():
            pieces.append(sentence[start:])
    return pieces
