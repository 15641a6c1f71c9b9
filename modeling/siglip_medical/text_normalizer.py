"""What a clinical text means, in words: numbers, ranges, signs and units that a tokenizer would merge or drop.

SigLIP's tokenizer deletes ASCII punctuation, so that "1.5 cm" and "15 cm", "KL 2-3" and "KL 23", "+ve" and "-ve" give
the same tokens. The rules below write such marks out before tokenising, in English, or in Chinese where Chinese words
stand near. Each rule is a pattern and a constant, in the part of the language of regular expressions that Python and
the `tokenizers` library read alike: so `normalize_text` and `clinical_normalizers`, which a tokenizer.json can hold,
do the same, and a stock tokenizer opened from a checkpoint normalises too.
"""

from __future__ import annotations

import re
from functools import cache
from typing import Any

Rules = list[tuple[str, str]]  # a pattern, and the constant that takes its place

# White space as Python's str.split() sees it; spelt out, for the two engines draw different lines.
SPACE = "[\t-\r\x1c-\x20\x85\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000]"
HAN = "一-鿿"
HAN_OR_MARK = HAN + "，。、；：（）"
DIGIT = "[0-9]"

# Chinese words stand near: before the number in front of a mark, or after it within the sentence.
NUMBERS = [
    DIGIT,
    DIGIT + "{2}",
    DIGIT + "{3}",
    r"[0-9]\.[0-9]",
    r"[0-9]{2}\.[0-9]",
    r"[0-9]\.[0-9]{2}",
    r"[0-9]{2}\.[0-9]{2}",
]
BEFORE_NUMBER = "(?:" + "|".join(f"(?<=[{HAN_OR_MARK}]{gap}{number})" for gap in ("", " ") for number in NUMBERS) + ")"
BEFORE_MARK = f"(?:(?<=[{HAN_OR_MARK}])|(?<=[{HAN_OR_MARK}] ))"
NEAR_AFTER = rf"(?=(?:[^.。;；{HAN}]|\.(?=[0-9])){{0,24}}[{HAN}，。、；：])"


def rule(mark: str, english: str, chinese: str, *, left: str = "", right: str = "", gap: str = "") -> Rules:
    """Two rules for one mark: the Chinese word where Chinese is near, else the English one.

    Args:
        mark: pattern of the mark itself.
        left, right: what must or must not stand beside it, as lookarounds.
        gap: pattern of the space around the mark that goes with it.
    """
    here = f"(?={gap}{mark})"  # first, so that little is tried where no mark is
    whole = f"{gap}{mark}{gap}{right}"
    near = f"{here}{left}(?:{BEFORE_NUMBER}|{BEFORE_MARK}){whole}"
    return [(near, chinese), (f"{here}{left}{whole}{NEAR_AFTER}", chinese), (f"{here}{left}{whole}", english)]


def chain(mark: str) -> tuple[str, str]:
    """Lookarounds that refuse a date or a version, which has the same mark twice: 2024-03-12, 1.2.3."""
    return rf"(?<!{mark}{DIGIT})(?<!{mark}{DIGIT}{{2}})", rf"(?!{DIGIT}{{1,4}}{mark}{DIGIT})"


AFTER_NUMBER = "(?<=[0-9])"
BEFORE_DIGIT = "(?=[0-9])"
NO_LETTER_AFTER = "(?![A-Za-z0-9])"
NO_LETTER_BEFORE = "(?<![A-Za-z0-9])"
# a number with its unit: 2 cm x 3 cm, 5%-10%
AFTER_QUANTITY = (
    f"(?:{AFTER_NUMBER}|(?<=[0-9][cm]m)|(?<=[0-9] [cm]m)|(?<=[0-9]HU)|(?<=[0-9]°)|(?<=[0-9][%％])|(?<=[0-9][{HAN}]))"
)
YEAR_MONTH = r"(?:(?<!19[0-9]{2})(?<!20[0-9]{2})|(?! ?[-–—] ?(?:0[1-9]|1[0-2])(?![0-9])))"  # 2024-03
# CA19-9, CA 15-3, CA72-4: names of tumour markers, not ranges
MARKER = "(?<![Cc][Aa][0-9]{2})(?<![Cc][Aa] [0-9]{2})"
RATES = "(?:[Mm]g|[µμu]g|[Mm]l|mL|kg|IU|mmol|mol|cells|beats)"
AFTER_RATE = (
    "(?:" + "|".join(f"(?<={unit})" for unit in ("mg", "ug", "µg", "μg", "ml", "mL", "kg", "IU", "mol")) + "|(?<=次))"
)
PER = "(?=(?:d[Ll]|m[Ll]|[Ll]|min|h|hr|kg|day|d|s|sec|m2|分|天|日)(?![A-Za-z]))"

FULL_WIDTH = [
    (chr(0xFEE0 + code), chr(code))
    for code in [*range(0x30, 0x3A), *range(0x41, 0x5B), *range(0x61, 0x7B), *map(ord, "+-./<=>~*")]
]


# ".5" is a number, too; "Fig.5" and "1.5" are not meant
LEADING_POINT = (r"(?<![0-9A-Za-z.])\.(?=[0-9])", "0.")


def forms() -> Rules:
    """One character for each thing: full-width forms, ligatures of units, variants of signs."""
    rules = [(SPACE + "+", " "), (" (?![^ ])", "")]
    rules += FULL_WIDTH
    rules.append(LEADING_POINT)
    rules += [
        ("[−﹣]", "-"),
        ("℃", "°C"),
        ("℉", "°F"),
        ("㎜", "mm"),
        ("㎝", "cm"),
        ("㎡", "m²"),
        ("㎎", "mg"),
        ("㏄", "cc"),
    ]
    rules += [("μ", "µ"), ("[∼〜]", "~"), ("[✕✖╳]", "×"), ("[≦⩽]", "≤"), ("[≧⩾]", "≥")]
    return rules


def shorthand() -> Rules:
    """What is short for words; arrows and tags, which are no comparisons."""
    rules = [("(?:[-=]{1,2}>|[→⇒])", " to "), ("</?[A-Za-z][A-Za-z0-9]{0,15} ?/?>", " ")]
    for short, words in (
        ("[Ww]/[Oo]", "without"), ("[Ss]/[Pp]", "status post"), ("[Rr]/[Oo]", "rule out"), ("[Hh]/[Oo]", "history of"),
        ("[Cc]/[Ww]", "consistent with"), ("[Bb]/[Ll]", "bilateral"), ("[Ww]/(?= )", "with"),
    ):  # fmt: skip
        rules.append((f"{NO_LETTER_BEFORE}(?<!/){short}{NO_LETTER_AFTER}(?!/)", f" {words} "))
    return rules


def polarity() -> Rules:
    """Positive, negative, and how much of it."""
    rules = rule(r"[(（\[]\+[)）\]]", " positive ", "阳性", gap=" ?")
    rules += rule(r"[(（\[]-[)）\]]", " negative ", "阴性", gap=" ?")
    rules += [
        (rf"\+ ?[Vv][Ee]{NO_LETTER_AFTER}", " positive "),
        (rf"{NO_LETTER_BEFORE}- ?[Vv][Ee]{NO_LETTER_AFTER}", " negative "),
    ]
    rules += rule(r"(?:\+/-|\+-|±)", " plus or minus ", "正负")
    rules += [(r"\+{4}", " 4 plus "), (r"\+{3}", " 3 plus "), (r"\+{2}", " 2 plus ")]
    rules += [(r"(?<=[A-Za-z])\+(?![A-Za-z0-9])", " positive ")]  # ER+
    # ER-, at an end or before another marker with a sign; "CT- and MR-guided" is no negative CT
    rules += [(r"(?<=[A-Z0-9][A-Z0-9])-(?=/[A-Z0-9]{2,6}(?:-| positive| negative)(?![A-Za-z0-9]))", " negative ")]
    rules += [(r"(?<=[A-Z][A-Z0-9])-(?![^.)）。])(?!\.[0-9])", " negative ")]
    rules += [(r"\+", " plus ")]
    rules += [(SPACE + "+", " "), LEADING_POINT]  # as the words above leave them
    return rules


def comparisons() -> Rules:
    """Less, greater, about."""
    rules = rule("(?:<=|=<|≤)", " less than or equal to ", "小于等于", gap=" ?")
    rules += rule("(?:>=|=>|≥)", " greater than or equal to ", "大于等于", gap=" ?")
    rules += rule("<", " less than ", "小于", gap=" ?")
    rules += rule(">", " greater than ", "大于", gap=" ?")
    rules += rule("≠", " not equal to ", "不等于", gap=" ?") + rule("[≈≅]", " about ", "约", gap=" ?")
    return rules


def products_and_ranges() -> Rules:
    """2 x 3 cm, 2-3 cm; dates and names of markers are no ranges."""
    rules = rule("[xX×*]", " by ", "乘", left=AFTER_QUANTITY, right=BEFORE_DIGIT, gap=" ?")
    rules += [("(?<=[0-9])×", " times "), ("×", " by ")]
    before, _ = chain("-")
    rules += rule(
        "[-–—~]",
        " to ",
        "至",
        left=AFTER_QUANTITY + f"(?:(?=[ –—~]|- )|(?<![0-9])|{before}(?!-[0-9]{{1,4}}-[0-9]))" + MARKER + YEAR_MONTH,
        right=BEFORE_DIGIT,
        gap=" ?",
    )
    rules += rule("~", " about ", "约", right=BEFORE_DIGIT)
    return rules


def decimals() -> Rules:
    """1.5; and commas in thousands."""
    before, after = chain(r"\.")
    rules = rule(r"\.", " point ", "点", left=AFTER_NUMBER + before, right=BEFORE_DIGIT + after)
    rules += [("(?<=[0-9]),(?=[0-9]{3}(?![0-9]))", "")]
    return rules


def slashes() -> Rules:
    """Rates, fractions, alternatives; and what else stands between two digits."""
    rules = [(f"{AFTER_RATE}/{PER}", " per ")]
    before, after = chain("/")
    fraction = "(?<![A-Za-z][0-9])(?<![A-Za-z][0-9]{2})"  # not L4/5, T12/L1
    rules += [(f"(?=/){AFTER_NUMBER}{before}{fraction}/{BEFORE_DIGIT}{after}", " over ")]
    rules += [(" ?/ ?", " / ")]
    rules += [("(?<=[0-9])[-–—.:：](?=[0-9])", " "), ("(?<=[0-9]),(?=[0-9])", ", ")]  # dates, times, ratios, lists
    return rules


def units() -> Rules:
    """Percent, degrees, small units, powers; a space between number and unit."""
    rules = rule("%", " percent ", "％")
    rules += [
        ("‰", " per mille "),
        ("° ?C(?![A-Za-z])", " degrees celsius "),
        ("° ?F(?![A-Za-z])", " degrees fahrenheit "),
    ]
    rules += rule("°", " degrees ", "度")
    rules += [(rf"µ{letter}(?![A-Za-z])", f" {word} ") for letter, word in (("m", "micrometer"), ("g", "microgram"))]
    rules += [(r"µ[lL](?![A-Za-z])", " microliter "), ("µ(?=mol)", " micro"), ("µ", " micro ")]
    for unit in ("mm", "cm", "ml", "mL", "mg", "kg"):
        rules.append((f"(?<=[0-9]){unit}(?![A-Za-z])", f" {unit}"))
    lengths = "(?:(?<=[ 0-9][cmk]m)|(?<=[ 0-9]m))"
    rules += [("²", " squared "), ("³", " cubed ")]
    for digit, word in (("2", "squared"), ("3", "cubed")):
        rules.append((f"{lengths}\\^?{digit}(?![A-Za-z0-9])", f" {word} "))
    rules += [(r"\^(?=[0-9])", " to the ")]
    return rules


def minus_and_space() -> Rules:
    """Last, for the words above leave space before a sign."""
    rules = [(SPACE + "+", " "), ("(?<=[约为是于到至值在负])-(?=[0-9])", "负")]
    rules += [("(?:(?<=[ (（,，:：=])|(?<![^ ]))-(?=[0-9])", " minus "), (" (?=[,;，。、；：）)](?![0-9]))", "")]
    rules += [(SPACE + "+", " ")]
    return rules


# in the order in which they are applied
RULES = [
    *forms(),
    *shorthand(),
    *polarity(),
    *comparisons(),
    *products_and_ranges(),
    *decimals(),
    *slashes(),
    *units(),
    *minus_and_space(),
]


def normalize_text(text: str) -> str:
    """A clinical text with its marks written out: "1.5 x 2 cm, KL 2-3, <5%" -> "1 point 5 by 2 cm, KL 2 to 3, ...".

    Applied twice it changes nothing more. Words, letters' case and marks without a meaning of their own stay.
    """
    for pattern, replacement in compiled():
        text = pattern.sub(lambda _, constant=replacement: constant, text)
    return text.strip(" ")


@cache
def compiled() -> list[tuple[re.Pattern, str]]:
    return [(re.compile(pattern), replacement) for pattern, replacement in RULES]


def clinical_normalizers() -> list[Any]:
    """The same as `tokenizers` normalizers, to stand first in a tokenizer's own."""
    from tokenizers import Regex, normalizers

    steps = [normalizers.Replace(Regex(pattern), replacement) for pattern, replacement in RULES]
    return [*steps, normalizers.Strip()]
