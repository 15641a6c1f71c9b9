"""Finds the sides, severities and sizes in a sentence, and decides to which of its findings each of them belongs.

The findings of the sentence are marks already, one character each (see `cues.py`). Each side, severity and size becomes
a mark, too, and belongs to the nearest finding.
"""

from __future__ import annotations

import bisect
import re
from collections.abc import Callable, Sequence

from .cues import CLAUSE, FOUND, SEVERITY, SIDE, SIZE
from .findings import ORGAN_WORD
from .measurements import QUANTITY, Size, size_of

LEFT, RIGHT = "left", "right"
MILD, MODERATE, SEVERE = 1.0, 2.0, 3.0  # what lies between two of them is halfway

# A comma or an "and" between a word and a finding counts as this many characters, the end of a clause as more.
_LIST_STEP, _CLAUSE_STEP = 20, 60
_STEP = re.compile(r"[,、及和与]|(?<![a-z])and(?![a-z])")
_CLAUSE_END = re.compile(rf"[，{CLAUSE}]|(?<![a-z])(?:but|while|with|without)(?![a-z])")
# Possessive, as 膝关节 is one organ or two, and a list of them would be tried in every way.
LIST_GLUE = re.compile(rf"(?:\s|[,、，及和与或]|and|or|nor|the|an?|[{SIDE}{SEVERITY}]|{ORGAN_WORD})*+")

_PAIRED = "lungs?|sides?|kidneys|knees|lower|upper|hemi\\w+|lobes|eyes|bases|apices"
# The right ventricle is no side of the body, and neither is what is right to say.
_NO_SIDE = r"(?![a-z])(?! (?:to|that|ventric|atri|heart|main))"
_SIDES = re.compile(
    r"(?P<both>(?<![a-z])(?:bilateral(?:ly)?|bi(?:apical|basilar|basal|hilar)|"
    rf"both(?= (?:\w+ )?(?:{_PAIRED})))(?![a-z])"
    r"|双侧?|两侧|两(?=[肺肾膝胸侧下上乳眼]))"
    rf"|(?P<left>(?<![a-z])left(?:-sided)?{_NO_SIDE}|左侧?(?!心[室房]))"
    rf"|(?P<right>(?<![a-z])right(?:-sided)?{_NO_SIDE}|右侧?(?!心[室房]))"
)

_MILD_WORDS = (
    r"mild(?:ly)?|slight(?:ly)?|minimal(?:ly)?|minor|small(?! bowel| intestin)|tiny|trace|minute|subtle|scant(?:y)?|"
    r"early(?:[- ]stage)?"
)
_SEVERE_WORDS = (
    r"severe(?:ly)?|marked(?:ly)?|extensive|massive(?:ly)?|large(?! bowel| intestin)|gross(?:ly)?|advanced|huge|"
    r"considerable|sizable|sizeable|pronounced|bulky|end[- ]stage"
)
_TO = r"(?: to |-to-| - |-|/)"
_MILD_ZH = rf"轻度|轻微|极?少量|[少稍]许|极?微量|较小|[较偏]轻|早期|[略稍](?=[增扩变])|轻|小(?={FOUND})"
_MODERATE_ZH = r"中度|中等量?|中量"
# 未见明显 and 明显变化 are no severity of a finding.
_SEVERE_ZH = (
    r"极?重度|严重|极?大量|巨大|较大|[较偏]重|晚期|(?<![无未])(?<!未见)(?<!没有)(?:明显|显著)(?!变化|改变)"
    rf"|大(?={FOUND})"
)
_SEVERITIES = re.compile(
    rf"(?<![a-z])(?:(?P<to_moderate>(?:mild|small){_TO}moderate)|(?P<to_severe>moderate{_TO}(?:severe|large))"
    rf"|(?P<mild>{_MILD_WORDS})|(?P<moderate>moderate(?:ly)?)|(?<!no )(?P<severe>{_SEVERE_WORDS}))(?![a-z])"
    r"(?: (?:degree|amount)(?: of)?)?"
    r"|(?P<to_moderate_zh>轻度?[-~至到]?中度)|(?P<to_severe_zh>中度?[-~至到]?重度)"
    rf"|(?P<mild_zh>{_MILD_ZH})|(?P<moderate_zh>{_MODERATE_ZH})|(?P<severe_zh>{_SEVERE_ZH})"
)
_SEVERITY_OF = {
    "mild": MILD,
    "to_moderate": (MILD + MODERATE) / 2,
    "moderate": MODERATE,
    "to_severe": (MODERATE + SEVERE) / 2,
    "severe": SEVERE,
}

_ROMAN = {"i": 1, "ii": 2, "iii": 3, "iv": 4}
# A grade of Kellgren and Lawrence names a finding and its severity in one.
GRADE = re.compile(
    r"(?:kellgren[- ]*(?:and |& )?lawrence|(?<![a-z])k[-/ ]?l)(?:[\s:,(]|classification|score|grading|分级|分期)*"
    r"(?:grade)?[\s:为是]*(?P<grade>[0-4]|iv|i{1,3})(?![a-z\d])\s*[级度]?\)?"
)


def grade_of(match: re.Match[str]) -> int:
    """Returns the grade, 0 to 4, that `GRADE` matched."""
    return _ROMAN.get(match["grade"]) or int(match["grade"])


def mark_details(marked: str) -> tuple[str, list[tuple[str, ...]], list[float], list[Size]]:
    """Replaces sides, severities and sizes by marks.

    Returns:
        the sentence, and in the order of their marks the sides (both for "bilateral"), severities and sizes.
    """
    sides: list[tuple[str, ...]] = []
    severities: list[float] = []
    sizes: list[Size] = []

    def mark_size(match: re.Match[str]) -> str:
        if size := size_of(match):
            sizes.append(size)
            return SIZE
        return match[0]

    def mark_side(match: re.Match[str]) -> str:
        sides.append((LEFT, RIGHT) if match["both"] else (match.lastgroup,))
        return SIDE

    def mark_severity(match: re.Match[str]) -> str:
        severities.append(_SEVERITY_OF[match.lastgroup.removesuffix("_zh")])
        return SEVERITY

    marked = QUANTITY.sub(mark_size, marked)
    marked = _SEVERITIES.sub(mark_severity, _SIDES.sub(mark_side, marked))
    return marked, sides, severities, sizes


def distance(between: str) -> int:
    """Returns how far apart two words are that have this text between them, in characters."""
    return len(between) + _LIST_STEP * len(_STEP.findall(between)) + _CLAUSE_STEP * len(_CLAUSE_END.findall(between))


def attach(marked: str, mark: str, places: Sequence[int], put: Callable[[int, int], None]) -> None:
    """Gives each mark of one kind to the nearest finding of the sentence.

    A side in front of a list belongs to all of the list, and sizes in a list ("4 mm and 9 mm") to one finding.

    Args:
        marked: the sentence.
        mark: `SIDE`, `SEVERITY` or `SIZE`.
        places: where the findings are in the sentence.
        put: is called with the number of the mark, from 0, and the place of its finding.
    """
    if not places:
        return
    previous: tuple[int, int] | None = None
    numbered = [place for place, char in enumerate(marked) if char == mark]
    for number, at in enumerate(numbered):
        next_one = bisect.bisect(places, at)
        options = []
        if next_one > 0:
            options.append((distance(marked[places[next_one - 1] + 1 : at]), 1, places[next_one - 1]))
        if next_one < len(places):
            options.append((distance(marked[at + 1 : places[next_one]]), 0, places[next_one]))
        target = min(options)[2]
        if mark == SIZE and previous and LIST_GLUE.fullmatch(marked[previous[0] + 1 : at]):
            target = previous[1]
        previous = (at, target)
        put(number, target)
        if mark == SIDE and target > at:
            for one in places[next_one + 1 :]:
                between = marked[target + 1 : one]
                if SIDE in between or not LIST_GLUE.fullmatch(between):
                    break
                put(number, one)
                target = one
