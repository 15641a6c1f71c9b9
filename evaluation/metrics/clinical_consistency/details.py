"""Finds the sides, severities and sizes in a sentence, and decides to which of its findings each of them belongs.

The findings of the sentence are marks already, one character each (see `cues.py`). Each side, severity and size becomes
a mark, too, and belongs to the nearest finding.
"""

from __future__ import annotations

import bisect
import re
from collections.abc import Callable, Sequence

from .cues import CLAUSE, FOUND, NO, REPEAT, SEVERITY, SIDE, SIZE
from .findings import ORGAN_WORD
from .measurements import QUANTITY, Size, size_of

LEFT, RIGHT = "left", "right"
MILD, MODERATE, SEVERE = 1.0, 2.0, 3.0  # what lies between two of them is halfway

# A comma or an "and" between a word and a finding counts as this many characters, the end of a clause as more; a cue,
# which is a single mark, as a word.
_LIST_STEP, _CLAUSE_STEP, _CUE_STEP = 20, 60, 10
_CUE = re.compile(f"[{NO}-{CLAUSE}{REPEAT}]")
_STEP = re.compile(r"[,、及和与]|(?<![a-z])and(?![a-z])")
_FINDING = re.compile(FOUND)
_END = re.compile(f"[，{CLAUSE}]")
_CLAUSE_END = re.compile(rf"[，{CLAUSE}]|(?<![a-z])(?:but|while|with|without)(?![a-z])")
# Possessive, as 膝关节 is one organ or two, and a list of them would be tried in every way.
LIST_GLUE = re.compile(rf"(?:\s|[,、，及和与或]|and|or|nor|the|an?|[{SIDE}{SEVERITY}]|{ORGAN_WORD})*+")

_SIDES_AHEAD = re.compile(rf"(?:\s|[,，、及和与{CLAUSE}]|and|[{SIDE}{SEVERITY}{SIZE}]|{ORGAN_WORD})*+")
_ONLY_SIDES = re.compile(rf"(?:\s|[、及和与或{SIDE}{SEVERITY}{SIZE}]|and|or|the|on|约|为|{ORGAN_WORD})*+")

_PAIRED = "lungs?|sides?|kidneys|knees|lower|upper|hemi\\w+|lobes|eyes|bases|apices"
# The right ventricle is no side of the body, and neither is what is right to say.
_NO_SIDE = r"(?![a-z])(?! (?:to|that|ventric|atri|heart|main))"
_SIDES = re.compile(
    r"(?P<both>(?<![a-z])(?:bilateral(?:ly)?|bi(?:apical|basilar|basal|hilar)|"
    rf"both(?= (?:\w+ )?(?:{_PAIRED})))(?![a-z])"
    r"|双侧?|两侧|两(?=[肺肾膝胸侧下上乳眼]))"
    rf"|(?P<left>(?<![a-z])left(?:-sided|wards?)?{_NO_SIDE}|左侧?(?!心[室房]))"
    rf"|(?P<right>(?<![a-z])right(?:-sided|wards?)?{_NO_SIDE}|右侧?(?!心[室房]))"
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
_MILD_ZH = rf"轻度|轻微|极?少量|[少稍]许|极?微量|较小|[较偏]轻|早期|[略稍](?=[增扩变])|轻|量(?:较|很)?少|小(?={FOUND})"
_MODERATE_ZH = r"中度|中等量?|中量"
# 未见明显 and 明显变化 are no severity of a finding.
_SEVERE_ZH = (
    r"极?重度|严重|极?大量|巨大|较大(?!者)|[较偏]重|晚期|量(?:较|很)?[多大]"
    r"|(?<![无未不])(?<!未见)(?<!没有)(?<!变得)(?:明显|显著)"
    r"(?!变化|改变|吸收|好转|减[少小轻]|缩小|消散|消退|进展|增[多加]|加重|恶化|改善)"
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
_GRADE = r"(?:[0-4]|iv|i{1,3})(?![a-z\d])"


def _grades(number: str) -> str:
    """Returns the pattern of a grade or a range of them, in groups whose names end in `number`."""
    upper = rf"\s*(?:[-~/]|to|or|至|到|或)\s*(?P<upper{number}>{_GRADE})"
    return rf"(?P<grade{number}>{_GRADE})\s*[级度]?(?:{upper})?\s*[级度]?"


# A grade of Kellgren and Lawrence, or a range of them, names a finding and its severity in one; so does a grade beside
# the word osteoarthritis.
_ARTHRITIS = r"osteo-?arthr(?:itis|osis)|骨性?关节炎"
_IS_GRADE = r"(?=(?<![a-z])grades? |分级|[0-4iv至到~-]{1,9}\s?[级度])"  # 2 osteoarthritis views are no grade
GRADE = re.compile(
    r"(?:kellgren[- ]*(?:and |& )?lawrence|(?<![a-z])k[-/ ]?l)(?:[\s:,(=-]|classification|score|grading|分级|分期)*+"
    rf"(?:grades?)?[\s:为是-]*+{_grades('')}\)?"
    rf"|{_IS_GRADE}(?:grades? )?{_grades('_before')}\s?"
    rf"(?:(?:knee|tibiofemoral|patellofemoral|medial|lateral) )*(?:{_ARTHRITIS})"
    rf"|(?:{_ARTHRITIS})[,，]?\s?\(?{_IS_GRADE}(?:grades? |分级为?)?{_grades('_behind')}\)?"
)


def grade_of(match: re.Match[str]) -> float:
    """Returns the grade, 0 to 4, that `GRADE` matched; of a range, its middle."""
    grades = [_ROMAN.get(text) or int(text) for text in match.groupdict().values() if text]
    return sum(grades) / len(grades)


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
    steps = ((_STEP, _LIST_STEP), (_CLAUSE_END, _CLAUSE_STEP), (_CUE, _CUE_STEP))
    return len(between) + sum(step * len(pattern.findall(between)) for pattern, step in steps)


def attach(marked: str, mark: str, places: Sequence[int], put: Callable[[int, int, int], None]) -> None:
    """Gives each mark of one kind to the nearest finding of the sentence.

    A side in front of a list belongs to all of the list, and sizes in a list ("4 mm and 9 mm") to one finding.

    Args:
        marked: the sentence.
        mark: `SIDE`, `SEVERITY` or `SIZE`.
        places: where the findings are in the sentence.
        put: is called with the number of the mark, from 0, its place, and the place of its finding.
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
        if mark == SIDE and _is_of_another_clause(marked, at, target):
            continue
        if mark != SIDE and next_one > 0 and not _FINDING.search(_clause_around(marked, at)):
            target = places[next_one - 1]  # 血肿，厚约1cm，中线右移: a clause about the finding before it
        while mark != SIDE and next_one < len(places) - 1 and at < target and marked[target + 1 : target + 2] == " ":
            if places[next_one + 1] != target + 2:
                break
            next_one += 1  # 8 mm calcified granuloma: the second one is the noun
            target = places[next_one]
        if mark in (SEVERITY, SIZE) and (own := _of_a_later_side(marked, at, places[next_one:])) is not None:
            target = own
        elif mark == SIZE and previous and LIST_GLUE.fullmatch(marked[previous[0] + 1 : at]):
            target = previous[1]
        previous = (at, target)
        put(number, at, target)
        if mark == SIDE and target > at:
            for one in places[next_one + 1 :]:
                between = marked[target + 1 : one]
                if SIDE in between or not LIST_GLUE.fullmatch(between):
                    break
                put(number, at, one)
                target = one


def _is_of_another_clause(marked: str, at: int, target: int) -> bool:
    """Returns whether a side belongs to something unknown: "both hila are full, a nodule on the left"."""
    if not _END.search(marked, min(at, target), max(at, target)):
        return False
    return SIDE in _clause_around(marked, target) and not _ONLY_SIDES.fullmatch(_clause_around(marked, at))


def _clause_around(marked: str, place: int) -> str:
    start = max((end.end() for end in _END.finditer(marked, 0, place)), default=0)
    end = _END.search(marked, place)
    return marked[start : end.start() if end else len(marked)]


def _of_a_later_side(marked: str, at: int, ahead: Sequence[int]) -> int | None:
    """Returns the finding behind a list of sides that a severity or size stands in: "small left and large right".

    The list ends with the finding itself, so that a finding before it is not meant.
    """
    if not ahead:
        return None
    between = marked[at + 1 : ahead[0]]
    return ahead[0] if _SIDES_AHEAD.fullmatch(between) and between.count(SIDE) > 1 else None
