"""Writes out numbers, ranges, signs and units of clinical text that a tokenizer would otherwise merge or drop.

SigLIP's tokenizer deletes ASCII punctuation, so "1.5 cm" and "15 cm", "KL 2-3" and "KL 23", or "+ve" and "-ve" give the
same tokens. The rules below replace such marks by words before tokenization: by English words, or by Chinese words in
Chinese context. Each rule consists of a pattern and a constant replacement, and uses only regular-expression syntax
that Python and the `tokenizers` library interpret in the same way. `normalize_text` and `clinical_normalizers`
therefore give the same result, and the latter can be saved in a tokenizer.json, so that a stock tokenizer loaded from
the checkpoint applies the rules, too.
"""

from __future__ import annotations

import re
from functools import cache
from typing import Any

Rules = list[tuple[str, str]]  # pairs of a pattern and its constant replacement

# White space as in Python's str.split(), listed explicitly because the two regular-expression engines differ in \s.
SPACE = "[\t-\r\x1c-\x20\x85\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000]"
HAN = "一-鿿"
HAN_OR_MARK = HAN + "，。、；：（）"
DIGIT = "[0-9]"

# Chinese context of a mark: a Chinese character before the number to its left, or after the mark within the sentence.
# Lookbehinds must have a fixed length, so every supported length of a number is listed.
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


def make_rules(mark: str, english: str, chinese: str, *, left: str = "", right: str = "", gap: str = "") -> Rules:
    """Returns the rules for one mark: two that insert the Chinese word in Chinese context, then one for English.

    Args:
        mark: pattern of the mark.
        english: replacement in English context.
        chinese: replacement in Chinese context.
        left: lookarounds for the text before the mark.
        right: lookarounds for the text after the mark.
        gap: pattern of the spaces around the mark that are replaced together with it.
    """
    # This lookahead comes first, so that the costly lookbehinds run only at a mark.
    here = f"(?={gap}{mark})"
    whole = f"{gap}{mark}{gap}{right}"
    near = f"{here}{left}(?:{BEFORE_NUMBER}|{BEFORE_MARK}){whole}"
    return [(near, chinese), (f"{here}{left}{whole}{NEAR_AFTER}", chinese), (f"{here}{left}{whole}", english)]


def reject_repeated_mark(mark: str) -> tuple[str, str]:
    """Returns lookarounds that reject dates and versions, which repeat the mark: 2024-03-12, 1.2.3."""
    return rf"(?<!{mark}{DIGIT})(?<!{mark}{DIGIT}{{2}})", rf"(?!{DIGIT}{{1,4}}{mark}{DIGIT})"


AFTER_NUMBER = "(?<=[0-9])"
BEFORE_DIGIT = "(?=[0-9])"
NO_LETTER_AFTER = "(?![A-Za-z0-9])"
NO_LETTER_BEFORE = "(?<![A-Za-z0-9])"
# After a number with or without a unit: 2 cm x 3 cm, 5%-10%.
AFTER_QUANTITY = (
    f"(?:{AFTER_NUMBER}|(?<=[0-9][cm]m)|(?<=[0-9] [cm]m)|(?<=[0-9]HU)|(?<=[0-9]°)|(?<=[0-9][%％])|(?<=[0-9][{HAN}]))"
)
# Rejects a year with a month: 2024-03.
YEAR_MONTH = r"(?:(?<!19[0-9]{2})(?<!20[0-9]{2})|(?! ?[-–—] ?(?:0[1-9]|1[0-2])(?![0-9])))"
# Rejects the names of tumor markers: CA19-9, CA 15-3, CA72-4.
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


# ".5" becomes "0.5"; "Fig.5" and "1.5" stay unchanged.
LEADING_POINT = (r"(?<![0-9A-Za-z.])\.(?=[0-9])", "0.")


def build_character_rules() -> Rules:
    """Unifies variants of characters: white space, full-width forms, unit ligatures, variants of signs."""
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


def build_shorthand_rules() -> Rules:
    """Expands shorthand; replaces arrows and removes tags, which the rules for comparisons would otherwise match."""
    rules = [("(?:[-=]{1,2}>|[→⇒])", " to "), ("</?[A-Za-z][A-Za-z0-9]{0,15} ?/?>", " ")]
    for short, words in (
        ("[Ww]/[Oo]", "without"), ("[Ss]/[Pp]", "status post"), ("[Rr]/[Oo]", "rule out"), ("[Hh]/[Oo]", "history of"),
        ("[Cc]/[Ww]", "consistent with"), ("[Bb]/[Ll]", "bilateral"), ("[Ww]/(?= )", "with"),
    ):  # fmt: skip
        rules.append((f"{NO_LETTER_BEFORE}(?<!/){short}{NO_LETTER_AFTER}(?!/)", f" {words} "))
    return rules


def build_polarity_rules() -> Rules:
    """Writes out positive, negative, plus-minus, and degrees like +++."""
    rules = make_rules(r"[(（\[]\+[)）\]]", " positive ", "阳性", gap=" ?")
    rules += make_rules(r"[(（\[]-[)）\]]", " negative ", "阴性", gap=" ?")
    rules += [
        (rf"\+ ?[Vv][Ee]{NO_LETTER_AFTER}", " positive "),
        (rf"{NO_LETTER_BEFORE}- ?[Vv][Ee]{NO_LETTER_AFTER}", " negative "),
    ]
    rules += make_rules(r"(?:\+/-|\+-|±)", " plus or minus ", "正负")
    rules += [(r"\+{4}", " 4 plus "), (r"\+{3}", " 3 plus "), (r"\+{2}", " 2 plus ")]
    rules += [(r"(?<=[A-Za-z])\+(?![A-Za-z0-9])", " positive ")]  # ER+
    # "ER-" is negative at the end of a sentence or before another marker with a sign; "CT- and MR-guided" is not.
    rules += [(r"(?<=[A-Z0-9][A-Z0-9])-(?=/[A-Z0-9]{2,6}(?:-| positive| negative)(?![A-Za-z0-9]))", " negative ")]
    rules += [(r"(?<=[A-Z][A-Z0-9])-(?![^.)）。])(?!\.[0-9])", " negative ")]
    rules += [(r"\+", " plus ")]
    rules += [(SPACE + "+", " "), LEADING_POINT]  # needed again after the replacements above
    return rules


def build_comparison_rules() -> Rules:
    """Writes out less than, greater than, not equal to, and about."""
    rules = make_rules("(?:<=|=<|≤)", " less than or equal to ", "小于等于", gap=" ?")
    rules += make_rules("(?:>=|=>|≥)", " greater than or equal to ", "大于等于", gap=" ?")
    rules += make_rules("<", " less than ", "小于", gap=" ?")
    rules += make_rules(">", " greater than ", "大于", gap=" ?")
    rules += make_rules("≠", " not equal to ", "不等于", gap=" ?") + make_rules("[≈≅]", " about ", "约", gap=" ?")
    return rules


def build_product_and_range_rules() -> Rules:
    """Writes out products (2 x 3 cm) and ranges (2-3 cm), but not dates and names of tumor markers."""
    rules = make_rules("[xX×*]", " by ", "乘", left=AFTER_QUANTITY, right=BEFORE_DIGIT, gap=" ?")
    rules += [("(?<=[0-9])×", " times "), ("×", " by ")]
    before, _ = reject_repeated_mark("-")
    rules += make_rules(
        "[-–—~]",
        " to ",
        "至",
        left=AFTER_QUANTITY + f"(?:(?=[ –—~]|- )|(?<![0-9])|{before}(?!-[0-9]{{1,4}}-[0-9]))" + MARKER + YEAR_MONTH,
        right=BEFORE_DIGIT,
        gap=" ?",
    )
    rules += make_rules("~", " about ", "约", right=BEFORE_DIGIT)
    return rules


def build_decimal_rules() -> Rules:
    """Writes out decimal points (1.5) and removes thousands separators (1,500)."""
    before, after = reject_repeated_mark(r"\.")
    rules = make_rules(r"\.", " point ", "点", left=AFTER_NUMBER + before, right=BEFORE_DIGIT + after)
    rules += [("(?<=[0-9]),(?=[0-9]{3}(?![0-9]))", "")]
    return rules


def build_slash_rules() -> Rules:
    """Writes out rates (mg/dL) and fractions (1/2), and separates digits in dates, times, ratios and lists."""
    rules = [(f"{AFTER_RATE}/{PER}", " per ")]
    before, after = reject_repeated_mark("/")
    fraction = "(?<![A-Za-z][0-9])(?<![A-Za-z][0-9]{2})"  # not L4/5, T12/L1
    rules += [(f"(?=/){AFTER_NUMBER}{before}{fraction}/{BEFORE_DIGIT}{after}", " over ")]
    rules += [(" ?/ ?", " / ")]
    rules += [("(?<=[0-9])[-–—.:：](?=[0-9])", " "), ("(?<=[0-9]),(?=[0-9])", ", ")]  # dates, times, ratios, lists
    return rules


def build_unit_rules() -> Rules:
    """Writes out percent, degrees, micro units and powers, and separates numbers from their units."""
    rules = make_rules("%", " percent ", "％")
    rules += [
        ("‰", " per mille "),
        ("° ?C(?![A-Za-z])", " degrees celsius "),
        ("° ?F(?![A-Za-z])", " degrees fahrenheit "),
    ]
    rules += make_rules("°", " degrees ", "度")
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


def build_minus_and_space_rules() -> Rules:
    """Writes out minus signs and removes extra spaces; it runs last, because the other rules insert spaces."""
    rules = [(SPACE + "+", " "), ("(?<=[约为是于到至值在负])-(?=[0-9])", "负")]
    rules += [("(?:(?<=[ (（,，:：=])|(?<![^ ]))-(?=[0-9])", " minus "), (" (?=[,;，。、；：）)](?![0-9]))", "")]
    rules += [(SPACE + "+", " ")]
    return rules


# The rules in the order of their application.
RULES = [
    *build_character_rules(),
    *build_shorthand_rules(),
    *build_polarity_rules(),
    *build_comparison_rules(),
    *build_product_and_range_rules(),
    *build_decimal_rules(),
    *build_slash_rules(),
    *build_unit_rules(),
    *build_minus_and_space_rules(),
]


def normalize_text(text: str) -> str:
    """Writes out the marks of a clinical text: "1.5 x 2 cm, KL 2-3" becomes "1 point 5 by 2 cm, KL 2 to 3".

    The function is idempotent. Words, case and marks without a clinical meaning stay unchanged.
    """
    for pattern, replacement in compile_rules():
        text = pattern.sub(lambda _, constant=replacement: constant, text)
    return text.strip(" ")


@cache
def compile_rules() -> list[tuple[re.Pattern, str]]:
    """Returns the rules with compiled patterns."""
    return [(re.compile(pattern), replacement) for pattern, replacement in RULES]


def clinical_normalizers() -> list[Any]:
    """Returns the rules as `tokenizers` normalizers, to run before a tokenizer's own normalizer."""
    from tokenizers import Regex, normalizers

    steps = [normalizers.Replace(Regex(pattern), replacement) for pattern, replacement in RULES]
    return [*steps, normalizers.Strip()]
