"""Compares two short answers by what they say, with this project's own rule `clinical`.

Two answers are equal if `exact` says so, or if they are the same after these steps:

1. Traditional Chinese characters become simplified ones; width, case and an introduction ("The answer is") go.
2. "Yes, there is." becomes yes, and 没有。 becomes no, unless the rest of the answer contradicts it ("No, there is a
   mass") or takes it back ("No, I cannot tell").
3. The answer is split into a list at commas, semicolons and "and"; its order counts only where an item is negated.
4. Quantities are written in one unit, without regard to spaces: 1.5cm and 15 mm, 10% and 10 percent.
5. "CT (computed tomography)" becomes CT if the bracket names the same thing.
6. Synonyms are replaced by one name, from the table in `clinical_words.py`.

What changes a finding stays different: numbers, units, comparisons, left and right, negations, hyper- and hypo-.
"""

from __future__ import annotations

import re
import unicodedata
from decimal import Decimal
from functools import lru_cache

from .chinese_characters import simplified
from .clinical_words import NO, SYNONYMS, UNITS, YES
from .plain_rules import exact, split_words

_INTRODUCTION = re.compile(
    r"(?:(?:so|therefore),? )?(?:the )?(?:(?:correct|final|right) )?answer(?: is|:| is:)\s*"
    r"|(?:it is|it's|this is|that is|these are|they are)\s+(?!not\b|no\b)|(?:最终)?答案(?:是|为|:)+|(?:这是|图中是)"
)
# What may follow a yes or a no that answers the question: punctuation, or a pronoun as in "yes it does".
_FIRST = re.compile(
    r"(?P<word>[a-z]+|[\u4e00-\u9fff]+)\s*(?P<rest>$|[.,;:!?。、(].*| [-–—] .*| (?:it|there|this|that|they)\b.*)",
    re.DOTALL,
)
_NEGATIONS = re.compile(r"\b(?:no|not|none|nor|never|without|absent|negative|cannot|nope)\b|n't\b|[不没无未否非]")
_AFFIRMATIONS = re.compile(r"\b(?:yes|yeah|yep)\b|(?:^|[,.;。、])\s*(?:是|有|对|包含|存在)")

# What a no cannot be followed by: something is there. "No, it is enlarged" is the answer to "Is the heart normal?".
_EXISTS = re.compile(
    r"\bthere(?: (?:is|are|was|were)|'s)\b"
    r"|\b(?:is|are|was|were) (?:\w+ )?(?:seen|visible|present|noted|identified|shown)\b"
    r"|\b(?:i|we) (?:can )?(?:see|note|find)\b|[可仍]见|见到|看到|发现|存在|显示有"
)
_NOTHING = re.compile(rf"{_NEGATIONS.pattern}|\b(?:nothing|neither)\b")
_CLAUSES = re.compile(r"[,.;:!?。、]|\b(?:but|and|however)\b|但是?|而")
_UNKNOWN = re.compile(
    r"\b(?:cannot|can't|can not|could not|couldn't|unable to|impossible to|hard to|difficult to)\b(?: \w+)? "
    r"(?:tell|say|determine|judge|decide|assess|answer|know|be sure|evaluate)\b"
    r"|\b(?:not|n't|am|is|it's) (?:sure|certain|know|uncertain|unclear|unsure)\b|\bdo(?: not|n't) know\b"
    r"|(?:无法|不能|难以|不好|不可)(?:确定|判断|判定|评估|看清|回答|辨别|肯定)|不确定|不清楚|不知道|看不清|说不清"
)

_LONGEST_ANSWER = 500  # characters; a longer text is no list of findings, and is compared as it is

# A slash separates items, but not the numbers of a blood pressure.
_SEPARATOR = re.compile(r"[,;、\n。]|(?<!\d)/|/(?!\d)|\band\b|&|以及|和|及|与")
_BRACKET = re.compile(r"([^()]+)\(([^()]+)\)")
_THOUSANDS = re.compile(r"(?<=\d),(?=\d{3}(?!\d))")
_COMPARISON = re.compile(r"([<>=≤≥≈±~])")
_NUMBER = re.compile(r"\d+(?:\.\d+)?")
_CHINESE_NUMBERS = {word: str(number) for number, word in enumerate("零一二三四五六七八九十")} | {"两": "2"}
_COUNTERS = ("个", "处", "枚")


def _unit_table() -> dict[str, tuple[str, Decimal]]:
    """Returns (unit, factor) for each spelling of a unit."""
    lines = [line.split("|") for line in UNITS.strip().splitlines()]
    return {name: (unit.strip(), Decimal(factor.strip())) for unit, factor, names in lines for name in names.split()}


_UNITS = _unit_table()
_DIGITS = r"(?:(?<![\w.)\]])-)?(?:(?<!\d)\d+(?:\.\d+)?|(?<![\d.])\.\d+)"  # with the sign of a negative number
_UNIT = rf"({'|'.join(sorted(map(re.escape, _UNITS), key=len, reverse=True))})(?![a-z\d^])"
_QUANTITY = re.compile(rf"({_DIGITS})\s*{_UNIT}")
_BETWEEN = r"\s*(?:[x×*,~–-]|to|and|至|到)\s*"
_SHARED_UNIT = re.compile(rf"((?:{_DIGITS}{_BETWEEN})+)(?={_DIGITS}\s*{_UNIT})")
_TIMES = re.compile(r"(?<=[\d%\w])\s*[x×*]\s*(?=\d)")
# A hyphen with a space on its left only is the sign of a negative number.
_RANGE = re.compile(r"(?<=[\d%\w])(?:\s*(?:[~–]|\bto\b|至|到)\s*|-|\s+-\s+)(?=\d)")


def _synonym_table() -> dict[tuple[str, ...], str]:
    """Returns the first name of a line for the words of each name on it."""
    lines = [line.split("|") for line in SYNONYMS.strip().splitlines()]
    return {tuple(split_words(name)): "_".join(split_words(names[0])) for names in lines for name in names}


_SYNONYMS = _synonym_table()
_LONGEST = max(map(len, _SYNONYMS))


def clinical(prediction: str, reference: str, language: str) -> float:
    """Returns 1 if both answers say the same by the steps of this module.

    The language counts for `exact` only: an answer in the other language is right if the table has it.
    """
    return float(exact(prediction, reference, language) == 1 or meaning(prediction) == meaning(reference) != ())


@lru_cache(maxsize=1 << 16)
def meaning(text: str) -> tuple[str, ...]:
    """Returns what an answer says, as a list of items that equal answers share; empty for an answer without words."""
    text = simplified(unicodedata.normalize("NFKC", text)).lower().strip()
    text = _INTRODUCTION.sub("", text, count=1) if _INTRODUCTION.match(text) else text
    if answer := yes_or_no(text):
        return (answer,)
    if len(text) > _LONGEST_ANSWER:
        return tuple(split_words(text))
    items_text = _quantities(text)
    items = [" ".join(words) for part in _SEPARATOR.split(items_text) if (words := _item(part))]
    # "No mass, effusion" is not "effusion, no mass": a negation can apply to what follows it.
    return tuple(items if _NEGATIONS.search(text) else sorted(items))


def yes_or_no(text: str) -> str:
    """Returns "yes" or "no" if a text, in lower case and simplified characters, is such an answer; otherwise "".

    The first word decides, and the rest may repeat the question: "Yes, there is a nodule." A rest that contradicts it
    makes the answer something else: "yes, there is no nodule", "no, yes", "no, there is a nodule"; and so does one that
    takes it back: "no, I cannot tell".
    """
    first = _FIRST.fullmatch(text)
    word, rest = (first["word"], first["rest"]) if first else ("", "")
    if word not in YES | NO or _UNKNOWN.search(rest):
        return ""
    if word in YES:
        return "" if _NEGATIONS.search(rest) else "yes"
    return "" if _AFFIRMATIONS.search(rest) or _says_that_something_is_there(rest) else "no"


def _says_that_something_is_there(text: str) -> bool:
    return any(_EXISTS.search(part) and not _NOTHING.search(part) for part in _CLAUSES.split(text))


def _item(text: str) -> list[str]:
    """Returns the words of one item of a list, with one name for synonyms and one unit per quantity."""
    if bracket := _BRACKET.fullmatch(text.strip(" .!?:")):
        outside, inside = map(_item, bracket.groups())
        if outside == inside:
            return outside
    text = _COMPARISON.sub(r" \1 ", text)
    words = [_plain(word) if _NUMBER.fullmatch(word) else word for word in split_words(text)]
    if len(words) > 1 and words[-1] in _COUNTERS:  # 两个 is 2
        words.pop()
    if len(words) == 1:
        words = [_CHINESE_NUMBERS.get(words[0], words[0])]
    return _one_name(words)


def _quantities(text: str) -> str:
    """Writes each quantity in one unit, also those that share the unit of the next one: 3 x 4 cm is 30 mm x 40 mm."""
    text = _THOUSANDS.sub("", text).replace("−", "-").replace("per cent", "percent")
    text = text.replace(">=", "≥").replace("<=", "≤")
    text = re.sub(r"(?<=m)\^(?=[23])", "", text)  # cm^2
    text = re.sub(r"百分之\s*(\d+(?:\.\d+)?)", r"\1%", text)
    text = _SHARED_UNIT.sub(lambda match: re.sub(_DIGITS, rf"\g<0> {match[2]}", match[1]), text)
    text = _TIMES.sub(" x ", text)
    text = _RANGE.sub(" - ", text)
    return _QUANTITY.sub(_in_one_unit, text)


def _in_one_unit(match: re.Match[str]) -> str:
    unit, factor = _UNITS[match[2]]
    return f" {_plain(str(Decimal(match[1]) * factor))} {unit} "


def _plain(number: str) -> str:
    """Writes a number without an exponent and without zeros at its end: 1.50 becomes 1.5."""
    text = f"{Decimal(number):f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def _one_name(words: list[str]) -> list[str]:
    """Replaces synonyms from the left, the longest first."""
    found, place = [], 0
    while place < len(words):
        for length in range(min(_LONGEST, len(words) - place), 0, -1):
            if name := _SYNONYMS.get(tuple(words[place : place + length])):
                found.append(name)
                break
        else:
            length = 1
            found.append(words[place])
        place += length
    return found
