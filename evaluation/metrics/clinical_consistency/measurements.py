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
}  # fmt: skip
_WORDS = "one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen"
NUMBERS = {word: number for number, word in enumerate(_WORDS.split(), start=1)}
NUMBERS |= {word: number for number, word in enumerate("一二三四五六七八九十", start=1)} | {"两": 2}

_NUMBER = rf"(?:\d+(?:\.\d+)?|(?<!\d)\.\d+|(?<![a-z])(?:{'|'.join(NUMBERS)}))"
_UNIT = rf"(?:{'|'.join(sorted(map(re.escape, UNITS), key=len, reverse=True))})(?![a-z])"
_BETWEEN = r"\s*-?(?:[x×*~–-]|to|by|至|到)\s*"
_BELOW, _ABOVE = (
    r"(?:<|≤|less than|smaller than|below|under|小于|不足|不到)",
    r"(?:>|≥|more than|greater than|larger than|above|over|大于|超过)",
)
QUANTITY = re.compile(
    rf"(?P<bound>{_BELOW}|{_ABOVE})?\s*(?P<numbers>{_NUMBER}\s*-?(?:{_UNIT})?(?:{_BETWEEN}{_NUMBER}\s*-?(?:{_UNIT})?){{0,2}})"
    rf"(?<=[a-z%升米分])|百分之\s*(?P<share>\d+(?:\.\d+)?)"
)
_PART = re.compile(rf"({_NUMBER})\s*-?({_UNIT})?")


class Size(NamedTuple):
    """A quantity: what it measures, its numbers in the smallest unit, the largest first, and "<" or ">" or ""."""

    unit: str
    numbers: tuple[float, ...]
    bound: str = ""


def size_of(match: re.Match[str]) -> Size | None:
    """Returns the quantity that `QUANTITY` matched; None if it has no unit."""
    if match["share"]:
        return Size("%", (float(match["share"]),))
    parts = _PART.findall(match["numbers"])
    unit, factor = UNITS.get(parts[-1][1], ("", 0.0))
    if not unit:
        return None
    numbers = []
    for number, own in parts:  # 4 x 3 cm: the first number shares the unit of the last
        _, factor_here = UNITS.get(own, (unit, factor))
        numbers.append(float(NUMBERS.get(number, number)) * factor_here)
    bound = match["bound"] or ""
    return Size(
        unit, tuple(sorted(numbers, reverse=True)), ("<" if re.fullmatch(_BELOW, bound) else ">") if bound else ""
    )
