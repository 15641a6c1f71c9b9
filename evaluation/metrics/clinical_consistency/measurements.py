"""Reads sizes and other quantities from a text: numbers with a unit, in one unit per kind of quantity."""

from __future__ import annotations

import re
from typing import NamedTuple

# Unit: what it measures, and how many of the smallest unit it is.
UNITS = {
    "mm": ("mm", 1.0), "millimeter": ("mm", 1.0), "millimeters": ("mm", 1.0), "millimetre": ("mm", 1.0),
    "millimetres": ("mm", 1.0), "毫米": ("mm", 1.0), "cm": ("mm", 10.0), "centimeter": ("mm", 10.0),
    "centimeters": ("mm", 10.0), "centimetre": ("mm", 10.0), "centimetres": ("mm", 10.0), "厘米": ("mm", 10.0),
    "公分": ("mm", 10.0), "ml": ("ml", 1.0), "cc": ("ml", 1.0), "milliliters": ("ml", 1.0), "millilitres": ("ml", 1.0),
    "毫升": ("ml", 1.0), "liter": ("ml", 1000.0), "liters": ("ml", 1000.0), "litre": ("ml", 1000.0),
    "litres": ("ml", 1000.0), "升": ("ml", 1000.0), "%": ("%", 1.0), "percent": ("%", 1.0), "hu": ("hu", 1.0),
    "mm2": ("mm2", 1.0), "mm^2": ("mm2", 1.0), "sq mm": ("mm2", 1.0), "square millimeters": ("mm2", 1.0),
    "平方毫米": ("mm2", 1.0), "cm2": ("mm2", 100.0), "cm^2": ("mm2", 100.0), "sq cm": ("mm2", 100.0),
    "square centimeters": ("mm2", 100.0), "平方厘米": ("mm2", 100.0), "mm3": ("ml", 0.001), "mm^3": ("ml", 0.001),
    "立方毫米": ("ml", 0.001), "cm3": ("ml", 1.0), "cm^3": ("ml", 1.0), "cubic centimeters": ("ml", 1.0),
    "立方厘米": ("ml", 1.0),
}  # fmt: skip
_WORDS = (
    "one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen "
    "eighteen nineteen"
)
_TENS = "twenty thirty forty fifty sixty seventy eighty ninety"
_ENGLISH = {word: number for number, word in enumerate(_WORDS.split(), start=1)}
_ENGLISH |= {word: number for number, word in zip(range(20, 100, 10), _TENS.split(), strict=True)}
_DIGITS_ZH = {word: number for number, word in enumerate("零一二三四五六七八九")} | {"两": 2, "〇": 0}
_SIGN = r"(?:(?<![\da-z.)%])[-−–]\s?|minus |负)"

_NUMBER = (
    rf"(?:{_SIGN}?(?:\d+ \d/\d{{1,2}}(?![\d/])|(?<![\d/])\d/\d{{1,2}}(?![\d/])|(?<![\d.])\d+(?:\.\d+)?|(?<!\d)\.\d+)"
    rf"|(?<![a-z])(?:(?:{'|'.join(_TENS.split())})[ -](?:{'|'.join(_WORDS.split()[:9])})|{'|'.join(_ENGLISH)})(?![a-z])"
    rf"|(?<![{''.join(_DIGITS_ZH)}十百])[{''.join(_DIGITS_ZH)}十百]+(?:点[{''.join(_DIGITS_ZH)}]+)?|半)"
)
_UNIT = rf"(?:{'|'.join(sorted(map(re.escape, UNITS), key=len, reverse=True))})(?![a-z\d^])"
_BETWEEN = r"\s*-?(?:[x×*~–-]|to|by|至|到)\s*"
_BELOW, _ABOVE = (
    r"(?:<|≤|less than|smaller than|below|under|小于|不足|不到)",
    r"(?:>|≥|more than|greater than|larger than|above|over|大于|超过)",
)
QUANTITY = re.compile(
    rf"(?:(?P<bound>{_BELOW}|{_ABOVE})\s*)?"
    rf"(?P<numbers>{_NUMBER}\s*-?(?:{_UNIT})?(?:{_BETWEEN}{_NUMBER}\s*-?(?:{_UNIT})?){{0,2}})"
    rf"(?<=[a-z%升米分23])|百分之\s*(?P<share>\d+(?:\.\d+)?|[{''.join(_DIGITS_ZH)}十]+)"
)
_PART = re.compile(rf"({_NUMBER})\s*-?({_UNIT})?")


class Size(NamedTuple):
    """A quantity.

    Attributes:
        unit: the smallest unit of what it measures: mm, mm2, ml, % or hu.
        numbers: in this unit, the largest first.
        bound: "<", ">", or "" for a plain number.
        side: the side that it belongs to, if its finding is on both sides; otherwise "".
    """

    unit: str
    numbers: tuple[float, ...]
    bound: str = ""
    side: str = ""


def number_of(text: str) -> float:
    """Returns the number that digits, English or Chinese words stand for: 1 1/2, twenty-five, 十五, 一点五."""
    text = text.strip()
    if sign := re.match(rf"{_SIGN}", text):
        return -number_of(text[sign.end() :])
    if "/" in text:
        *whole, fraction = text.split()
        above, below = map(int, fraction.split("/"))
        return float(*whole or [0]) + (above / below if below else 0.0)
    if re.fullmatch(r"\d*\.?\d+", text):
        return float(text)
    if text == "半":
        return 0.5
    if text[0] in _DIGITS_ZH or text[0] in "十百":
        return _chinese_number(text)
    return float(sum(_ENGLISH[word] for word in re.split("[ -]", text)))


def _chinese_number(text: str) -> float:
    whole, _, decimals = text.partition("点")
    total, digit = 0, 0
    for char in whole:
        if char in _DIGITS_ZH:
            digit = 10 * digit + _DIGITS_ZH[char]
        else:
            total, digit = total + (digit or 1) * {"十": 10, "百": 100}[char], 0
    places = "".join(str(_DIGITS_ZH[char]) for char in decimals)
    return float(f"{total + digit}.{places or 0}")


def size_of(match: re.Match[str]) -> Size | None:
    """Returns the quantity that `QUANTITY` matched; None if it has no unit."""
    if match["share"]:
        return Size("%", (number_of(match["share"]),))
    parts = _PART.findall(match["numbers"])
    unit, factor = UNITS.get(parts[-1][1], ("", 0.0))
    if not unit:
        return None
    numbers = []
    for number, own in parts:  # 4 x 3 cm: the first number shares the unit of the last
        _, factor_here = UNITS.get(own, (unit, factor))
        value = number_of(number) * factor_here
        numbers.append(value if unit == "hu" else abs(value))  # a size has no sign: in "- 5 mm" it is a dash
    bound = match["bound"] or ""
    return Size(
        unit, tuple(sorted(numbers, reverse=True)), ("<" if re.fullmatch(_BELOW, bound) else ">") if bound else ""
    )
