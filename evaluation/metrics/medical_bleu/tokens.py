"""Finds the language of a text, folds widths and scripts, and splits texts into words for ROUGE-L."""

from __future__ import annotations

import re
import unicodedata

from .chinese_characters import simplified

# A text with at least this share of characters of a script, not counting white space, is of its language. The share is
# low because one Chinese character corresponds to a Latin word of several letters ("MRI T2 加权"), and because an
# English text that is taken for Chinese loses nothing: both tokenizers treat Latin words alike.
MIN_SHARE = 0.1

# CJK ideographs without punctuation, because full-width brackets do not make an English text Chinese.
IDEOGRAPHS = "\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
# Scripts that are found in the order of this table. Kana comes before ideographs, because Japanese has both.
SCRIPTS = {
    "ja": re.compile("[\u3040-\u30ff\uff66-\uff9f]"),
    "ko": re.compile("[\uac00-\ud7a3\u1100-\u11ff\u3130-\u318f]"),
    "th": re.compile("[\u0e00-\u0e7f]"),
    "zh": re.compile(f"[{IDEOGRAPHS}]"),
}
# Characters of scripts without spaces between words, and of Korean, whose particles are written onto the words, are
# words by themselves; so BLEU counts them.
_ALONE = f"{IDEOGRAPHS}\u3040-\u30ff\uac00-\ud7a3\u0e00-\u0e7f"
WORDS = re.compile(rf"[{_ALONE}]|[^\W_{_ALONE}]+")

FOLDINGS = ("none", "width", "width+script")
# NFKC turns full-width letters, digits and most punctuation into those of ASCII, but not these.
_PUNCTUATION = str.maketrans(
    {"。": ".", "、": ",", "｡": ".", "「": '"', "」": '"', "“": '"', "”": '"', "‘": "'", "’": "'"}
)


def detect_language(text: str) -> str:
    """Returns `ja`, `ko`, `th` or `zh` if at least a tenth of the visible characters are of its script, else `en`.

    A Japanese text without kana is taken for Chinese.
    """
    visible = "".join(text.split())
    for language, script in SCRIPTS.items():
        if visible and len(script.findall(visible)) >= MIN_SHARE * len(visible):
            return language
    return "en"


def fold(text: str, folding: str) -> str:
    """Returns a text without differences of writing that have no meaning.

    Args:
        text: any text.
        folding: `none`; `width` for Unicode's NFKC and ASCII punctuation, so that full-width and half-width characters
            are equal; `width+script` also writes traditional Chinese characters as simplified ones, by the table in
            `chinese_characters.py`.

    Raises:
        ValueError: the folding is unknown.
    """
    if folding not in FOLDINGS:
        raise ValueError(f"folding is {folding!r}. Use one of {', '.join(FOLDINGS)}.")
    if folding == "none":
        return text
    folded = unicodedata.normalize("NFKC", text).translate(_PUNCTUATION)
    return simplified(folded) if folding == "width+script" else folded


def words_of(text: str) -> list[str]:
    """Returns the words of a text in lower case, without punctuation; a Chinese character is a word.

    For texts in ASCII these are the tokens of the package `rouge_score` without stemming. A text of punctuation and
    symbols alone, for example "+", consists of its visible characters.
    """
    return WORDS.findall(text.lower()) or list("".join(text.lower().split()))
