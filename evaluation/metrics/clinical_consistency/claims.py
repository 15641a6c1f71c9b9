"""Reads from a medical text which findings it states, denies or doubts, with their side, severity and size."""

from __future__ import annotations

import bisect
import re
from collections import defaultdict
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TypeVar

from .cues import (
    CLAUSE,
    FIRST,
    FLIP,
    MAYBE,
    MAYBE_EITHER,
    MOST_FINDINGS,
    NO,
    NO_EITHER,
    REPEAT,
    SEVERITY,
    SIDE,
    SIZE,
    UNSURE,
    WAS,
    WAS_MAYBE,
    WAS_NOT,
    YES,
    mark_cues,
)
from .details import GRADE, LIST_GLUE, MODERATE, attach, distance, grade_of, mark_details
from .findings import FINDING, MOVED, NORMAL_MEANS, ORGAN, Name, names_of
from .measurements import Size
from .sentences import normalized, sentences_of

_Value = TypeVar("_Value")
PRESENT, ABSENT, UNCERTAIN = "present", "absent", "uncertain"

_LIST_END = re.compile(r"(?<![a-z])(?:and|or|nor)(?![a-z])|[及和与或]")
_AFTER_LIST = re.compile(r"\s*,(?!\s*(?:and|or|nor)(?![a-z]))")
# "and a ..." or ", with ..." begin a statement of their own; "no mass with calcification" is one thing.
_NEW_STATEMENT = re.compile(
    rf"\s*,?\s*and (?:an?|the) |(?:\s*, ?(?:but )?|\s*and )with(?![a-z])|\s*,?\s*(?:and|with) (?:an? )?{SEVERITY}"
    rf"|\s*with (?:an? )(?:{SIZE}|{SIDE}|[a-z]+ )"
)
_COMMA_AND = re.compile(r"\s*, ?and(?![a-z])")
_LONGEST_REPETITION = 40  # characters of a sentence without a finding that is read for "none on the left"
_COPULA = re.compile(r"(?<![a-z])(?:is|are|was|were)(?![a-z])")


@dataclass(frozen=True)
class Claim:
    """What a text says of one finding.

    Attributes:
        kind: the kind of finding.
        organ: its organ; empty for one that is not named or not needed.
        status: `present`, `absent` or `uncertain`.
        details: (side, severity) of each place where the finding is; the side is left, right or empty, the severity 1
            (mild) to 3 (severe) or None. A finding on both sides has two entries.
        sizes: its measurements; those of a finding on both sides name their side if the text does.
    """

    kind: str
    organ: str
    status: str
    details: frozenset[tuple[str, float | None]] = frozenset()
    sizes: tuple[Size, ...] = ()

    @property
    def sides(self) -> frozenset[str]:
        return frozenset(side for side, _ in self.details if side)

    @property
    def severities(self) -> frozenset[tuple[str, float]]:
        return frozenset((side, severity) for side, severity in self.details if severity is not None)


@dataclass
class _Mention:
    """A finding in a sentence, while its sentence is read."""

    name: Name
    kind: str
    organ: str
    inverted: bool
    status: str = PRESENT
    grade: float | None = None
    # With the places of their words in the sentence, which tell what belongs together.
    sides: list[tuple[int, tuple[str, ...]]] = field(default_factory=list)
    severities: list[tuple[int, float]] = field(default_factory=list)
    sizes: list[tuple[int, Size]] = field(default_factory=list)


@lru_cache(maxsize=1 << 14)
def read_claims(text: str) -> tuple[Claim, ...]:
    """Returns the claims of a text, in the order of their first mention; empty for a text without a known finding."""
    claims: list[Claim] = []
    last: _Mention | None = None
    for sentence in sentences_of(normalized(text)):
        for mention in _read_sentence(sentence, last):
            _add(claims, _claim_of(mention))
            last = mention
    return tuple(claims)


def _read_sentence(sentence: str, last: _Mention | None) -> list[_Mention]:
    """Returns the findings of a sentence; `last` is the one before it, which "none on the left" denies."""
    mentions, marked = _mark_findings(sentence)
    if not mentions and (last is None or len(sentence) > _LONGEST_REPETITION):
        return []
    marked, sides, severities, sizes = mark_details(marked)
    marked = mark_cues(marked)
    if REPEAT in marked:
        marked = _repeat(marked, mentions, last)
    if not mentions:
        return []
    _set_statuses(marked, mentions)

    def mention_at(place: int) -> _Mention:
        return mentions[ord(marked[place]) - FIRST]

    places = [place for place, char in enumerate(marked) if _is_found(char)]
    attach(marked, SIDE, places, lambda number, at, place: mention_at(place).sides.append((at, sides[number])))
    attach(
        marked,
        SEVERITY,
        places,
        lambda number, at, place: mention_at(place).severities.append((at, severities[number])),
    )
    attach(marked, SIZE, places, lambda number, at, place: mention_at(place).sizes.append((at, sizes[number])))
    return mentions


def _mark_findings(sentence: str) -> tuple[list[_Mention], str]:
    """Returns the findings of a sentence, and the sentence with one mark for each of them."""
    graded = [(match.start(), match.end(), match) for match in GRADE.finditer(sentence)]
    blank = GRADE.sub(lambda match: " " * len(match[0]), sentence)
    named = [(match.start(), match.end(), match) for match in FINDING.finditer(blank)]
    if not graded and not named:
        return [], sentence
    covered = FINDING.sub(lambda match: "\x00" * len(match[0]), blank)
    organs: dict[str, list[tuple[int, int]]] = defaultdict(list)
    for match in ORGAN.finditer(covered):
        organs[match.lastgroup].append(match.span())

    mentions: list[_Mention] = []
    parts: list[str] = []
    done = 0
    for start, end, match in sorted(graded + named, key=lambda one: one[0]):
        if match.re is GRADE:
            grade = grade_of(match)
            mention = _Mention(Name("osteoarthritis"), "osteoarthritis", "", grade == 0, grade=grade)
        else:
            mention = next(
                filter(None, (_named(name, sentence, start, end, organs) for name in names_of(match, blank))), None
            )
        if mention is None or len(mentions) >= MOST_FINDINGS:
            continue
        parts += [sentence[done:start], chr(FIRST + len(mentions))]
        mentions.append(mention)
        done = end
    return mentions, "".join([*parts, sentence[done:]])


def _named(
    name: Name, sentence: str, start: int, end: int, organs: Mapping[str, list[tuple[int, int]]]
) -> _Mention | None:
    """Returns the finding that a name stands for beside the organs of its sentence, None if it stands for none."""
    near = []
    for organ in name.organs:
        places = organs.get(organ, [])
        after = bisect.bisect(places, (start, start))  # of each kind of organ, only the nearest on each side counts
        near += [(distance(sentence[b:start]), organ) for _, b in places[max(after - 1, 0) : after]]
        near += [(distance(sentence[end:a]), organ) for a, _ in places[after : after + 1]]
    organ = min(near)[1] if near else ""
    if not organ and name.required:
        return None
    organ = MOVED.get((name.kind, organ), organ) or name.default
    kind = name.kind
    if kind == "abnormality" and name.inverted:
        kind = NORMAL_MEANS.get(organ, kind)
        if "size" in (text := sentence[start:end]) or "大小" in text:
            kind = "enlargement"
    return _Mention(name, kind, organ, name.inverted)


def _is_found(char: str) -> bool:
    return FIRST <= ord(char) < FIRST + MOST_FINDINGS


def _repeat(marked: str, mentions: list[_Mention], last: _Mention | None) -> str:
    """Replaces "none" by a denial of the finding before it, which may be the last one of an earlier sentence."""
    parts: list[str] = []
    for char in marked:
        if _is_found(char):
            last = mentions[ord(char) - FIRST]
        if char == REPEAT:
            if last is None or len(mentions) >= MOST_FINDINGS:
                continue
            mentions.append(_Mention(last.name, last.kind, last.organ, last.inverted))
            parts.append(NO)
            char = chr(FIRST + len(mentions) - 1)
        parts.append(char)
    return "".join(parts)


def _set_statuses(marked: str, mentions: list[_Mention]) -> None:
    for clause in marked.split(CLAUSE):
        found = [place for place, char in enumerate(clause) if _is_found(char)]
        normal = {place for place in found if mentions[ord(clause[place]) - FIRST].inverted}
        denied, doubted = set(), set()
        for place, char in enumerate(clause):
            ahead = [one for one in found if one > place]
            if char in (NO, MAYBE) or (char in (NO_EITHER, MAYBE_EITHER) and ahead):
                reached = _ahead(clause, place, ahead, normal)
            elif char in (WAS_NOT, WAS_MAYBE, NO_EITHER, MAYBE_EITHER):
                reached = _back(clause, place, found)
            else:
                continue
            (denied if char in (NO, NO_EITHER, WAS_NOT) else doubted).update(reached)
        for place in found:
            mention = mentions[ord(clause[place]) - FIRST]
            status = ABSENT if place in denied else UNCERTAIN if place in doubted else PRESENT
            if UNSURE in clause or 0 < (mention.grade or 0) < 2:  # grade 1 is called doubtful
                status = UNCERTAIN
            flipped = mention.inverted != (FLIP in clause)
            mention.status = {PRESENT: ABSENT, ABSENT: PRESENT}.get(status, status) if flipped else status


def _ahead(clause: str, place: int, ahead: list[int], normal: Collection[int]) -> list[int]:
    """Returns the findings that a cue reaches forward: up to the next cue of its kind or the verb of a new one.

    `normal` has the places of findings that are absent by their name, as in "no pneumonia with clear lungs".
    """
    reached: list[int] = []
    ended = False
    for one in ahead:
        between = clause[place + 1 : one]
        step = clause[reached[-1] + 1 : one] if reached else ""
        if ended and _AFTER_LIST.match(step):  # without A, B or C, D is present
            break
        if reached and one in normal:
            break
        if reached and _begins_anew(step, clause[one + 1 :], len(reached)):
            break
        ended = ended or bool(_LIST_END.search(step))
        if any(char in (NO, MAYBE, YES) for char in between) or _COPULA.search(between):
            break
        if WAS in between and reached:
            break
        reached.append(one)
    return reached


def _begins_anew(step: str, after: str, number: int) -> bool:
    """Returns whether what follows a denied finding is a new statement: "no fracture, and an effusion is seen".

    Args:
        step: the text between the denied finding and the next one.
        after: the text behind the next one.
        number: how many findings are denied already.
    """
    if _NEW_STATEMENT.match(step):
        return True
    verb = next((char for char in after if _is_found(char) or char in (WAS, WAS_NOT, WAS_MAYBE)), "")
    return number == 1 and _COMMA_AND.match(step) is not None and verb == WAS


def _back(clause: str, place: int, found: list[int]) -> list[int]:
    """Returns the findings that a cue reaches back: the last one before it, and the list that this one ends."""
    reached: list[int] = []
    for one in reversed([one for one in found if one < place]):
        between = clause[one + 1 : place]
        if reached and not LIST_GLUE.fullmatch(clause[one + 1 : reached[-1]]):
            break
        if not reached and any(char in (WAS, WAS_NOT, WAS_MAYBE) for char in between):
            break
        reached.append(one)
    return reached


def _claim_of(mention: _Mention) -> Claim:
    sided = mention.sides if mention.kind != "enlargement" or mention.organ in ("kidney", "lymph_node") else []
    sides = {side for _, both in sided for side in both}
    severity = mention.severities[-1][1] if mention.severities else None
    if mention.grade is not None and mention.grade >= 2:
        severity = MODERATE + mention.grade - 3  # grade 2 is called mild, 3 moderate, 4 severe
    if mention.status == ABSENT:
        # "No nodule in both lungs" and "no nodule" say the same, and what is absent has no severity.
        details = {(side, None) for side in sides} if len(sides) == 1 else {("", None)}
        return Claim(mention.kind, mention.organ, mention.status, frozenset(details))
    details = {(side, severity) for side in sides} or {("", severity)}
    if len(sides) == 2 and len(mention.severities) > 1:  # small on the left and large on the right
        own = {side: value for both, value in _by_side(mention.severities, sided) for side in both}
        details = {(side, own.get(side)) for side in sides}
    if len(sides) == 2 and len(mention.sizes) > 1:
        sizes = [size._replace(side=_only(both)) for both, size in _by_side(mention.sizes, sided)]
    else:
        sizes = [size._replace(side=_only(sides)) for _, size in mention.sizes]
    return Claim(mention.kind, mention.organ, mention.status, frozenset(details), tuple(sorted(sizes)))


def _by_side(
    values: list[tuple[int, _Value]], sided: list[tuple[int, tuple[str, ...]]]
) -> list[tuple[tuple[str, ...], _Value]]:
    """Returns values with their sides, which all stand behind them ("small on the left") or in front ("left 5 mm")."""
    single = [one for one in sided if len(one[1]) == 1]
    if not single:
        return [((), value) for _, value in values]
    if values[0][0] < single[0][0]:
        return [(next((side for place, side in single if place > at), single[-1][1]), value) for at, value in values]
    return [([side for place, side in single if place < at][-1], value) for at, value in values]


def _only(sides: Collection[str]) -> str:
    return next(iter(sides)) if len(sides) == 1 else ""


def _add(claims: list[Claim], new: Claim) -> None:
    """Adds a claim, or its details to the same claim of an earlier mention."""
    for place, old in enumerate(claims):
        same = (old.kind, old.status) == (new.kind, new.status)
        if same and (old.organ == new.organ or not old.organ or not new.organ):
            details = _merged(old.details | new.details)
            known = {*old.sizes, *new.sizes}
            # A size without a side is that of the same size with one.
            sided = {size._replace(side="") for size in known if size.side}
            sizes = tuple(sorted(known - sided))
            claims[place] = Claim(old.kind, old.organ or new.organ, old.status, details, sizes)
            return
    claims.append(new)


def _merged(details: frozenset[tuple[str, float | None]]) -> frozenset[tuple[str, float | None]]:
    """Joins the details of two mentions: "left effusion", and later "the effusion is small", is a small left one."""
    known = {side: {severity for other, severity in details if other == side} - {None} for side, _ in details}
    anywhere = known.pop("", set())
    if not known:
        return frozenset(("", severity) for severity in anywhere or {None})
    return frozenset((side, severity) for side, own in known.items() for severity in own or anywhere or {None})


def describe_claims(text: str) -> list[str]:
    """Returns the claims of a text in words, for example "effusion (pleura): present, left, severity 1, 15 mm"."""
    lines = []
    for claim in read_claims(text):
        finding = claim.kind.replace("_", " ") + (f" ({claim.organ.replace('_', ' ')})" if claim.organ else "")
        details = [
            " ".join([side, *([] if severity is None else [f"severity {severity:g}"])]).strip()
            for side, severity in sorted(claim.details, key=str)
        ]
        sizes = [
            f"{size.side if len(claim.sides) == 2 else ''} {size.bound}"
            f"{' x '.join(f'{number:g}' for number in size.numbers)} {size.unit}".strip()
            for size in claim.sizes
        ]
        lines.append(f"{finding}: " + ", ".join(filter(None, [claim.status, *details, *sizes])))
    return lines
