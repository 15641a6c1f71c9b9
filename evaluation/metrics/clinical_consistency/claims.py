"""Reads from a medical text which findings it states, denies or doubts, with their side, severity and size."""

from __future__ import annotations

import bisect
import re
import unicodedata
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache

from .chinese_characters import simplified
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

PRESENT, ABSENT, UNCERTAIN = "present", "absent", "uncertain"

_LONGEST_SENTENCE = 300  # characters; a longer one is read in pieces, which bounds the time for a text
_SENTENCE_END = re.compile(r"(?<=[.;!?])\s+|(?<=[;!?])|(?<=[^\d\s])\.(?=[^\d\s])|[。\n]")
_CHINESE = re.compile("[\u4e00-\u9fff]")

_LIST_END = re.compile(r"(?<![a-z])(?:and|or|nor)(?![a-z])|[及和与或]")
_AFTER_LIST = re.compile(r"\s*,(?!\s*(?:and|or|nor)(?![a-z]))")
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
        sizes: its measurements.
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
    grade: int | None = None
    sides: set[str] = field(default_factory=set)
    severity: float | None = None
    sizes: list[Size] = field(default_factory=list)


@lru_cache(maxsize=1 << 14)
def read_claims(text: str) -> tuple[Claim, ...]:
    """Returns the claims of a text, in the order of their first mention; empty for a text without a known finding."""
    claims: list[Claim] = []
    for sentence in _sentences(_normalized(text)):
        for mention in _read_sentence(sentence):
            _add(claims, _claim_of(mention))
    return tuple(claims)


def _normalized(text: str) -> str:
    """Returns a text in lower case, with simplified characters, one width and no contractions."""
    text = simplified(unicodedata.normalize("NFKC", text)).lower().replace("’", "'")
    text = "".join(" " if "\ue000" <= char <= "\uf8ff" else char for char in text)  # these are the marks here
    text = re.sub(r"(?<=[a-z])n't\b", " not", text.replace("can't", "cannot")).replace("can not", "cannot")
    text = re.sub(r"(?<![a-z])([lr])t\.?(?= )", lambda match: {"l": "left", "r": "right"}[match[1]], text)
    text = re.sub(r"(?<=\d),(?=\d{3}(?!\d))", "", text)
    text = re.sub(r"(?<=\d),(?=\d{1,2}\s*(?:[x×*-]\s*\d+(?:[.,]\d+)?\s*){0,2}[cm]m(?![a-z]))", ".", text)  # 0,5 cm
    if _CHINESE.search(text):
        text = re.sub(r"(?<!\d),|,(?!\d)", "，", text)  # NFKC has made it the comma of a list
    return text


def _sentences(text: str) -> list[str]:
    pieces: list[str] = []
    for part in _SENTENCE_END.split(text):
        sentence = " ".join((part or "").split())
        start = 0
        while len(sentence) - start > _LONGEST_SENTENCE:
            window = sentence[start : start + _LONGEST_SENTENCE]
            # After the last comma of the second half, otherwise after its last space.
            cut = (
                max(map(window.rfind, ",，"))
                if max(map(window.rfind, ",，")) >= len(window) // 2
                else window.rfind(" ")
            )
            length = cut + 1 if cut >= len(window) // 2 else len(window)
            pieces.append(window[:length])
            start += length
        if sentence[start:].strip():
            pieces.append(sentence[start:])
    return pieces


def _read_sentence(sentence: str) -> list[_Mention]:
    mentions, marked = _mark_findings(sentence)
    if not mentions:
        return []
    marked, sides, severities, sizes = mark_details(marked)
    marked = mark_cues(marked)
    if REPEAT in marked:
        marked = _repeat(marked, mentions)
    _set_statuses(marked, mentions)

    def mention_at(place: int) -> _Mention:
        return mentions[ord(marked[place]) - FIRST]

    places = [place for place, char in enumerate(marked) if _is_found(char)]
    attach(marked, SIDE, places, lambda number, place: mention_at(place).sides.update(sides[number]))
    attach(marked, SEVERITY, places, lambda number, place: setattr(mention_at(place), "severity", severities[number]))
    attach(marked, SIZE, places, lambda number, place: mention_at(place).sizes.append(sizes[number]))
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


def _repeat(marked: str, mentions: list[_Mention]) -> str:
    """Replaces "none" by a denial of the finding before it."""
    parts: list[str] = []
    last: _Mention | None = None
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
        denied, doubted = set(), set()
        for place, char in enumerate(clause):
            ahead = [one for one in found if one > place]
            if char in (NO, MAYBE) or (char in (NO_EITHER, MAYBE_EITHER) and ahead):
                reached = _ahead(clause, place, ahead)
            elif char in (WAS_NOT, WAS_MAYBE, NO_EITHER, MAYBE_EITHER):
                reached = _back(clause, place, found)
            else:
                continue
            (denied if char in (NO, NO_EITHER, WAS_NOT) else doubted).update(reached)
        for place in found:
            mention = mentions[ord(clause[place]) - FIRST]
            status = ABSENT if place in denied else UNCERTAIN if place in doubted else PRESENT
            if UNSURE in clause or mention.grade == 1:  # grade 1 is called doubtful
                status = UNCERTAIN
            flipped = mention.inverted != (FLIP in clause)
            mention.status = {PRESENT: ABSENT, ABSENT: PRESENT}.get(status, status) if flipped else status


def _ahead(clause: str, place: int, ahead: list[int]) -> list[int]:
    """Returns the findings that a cue reaches forward: up to the next cue of its kind or the verb of a new one."""
    reached: list[int] = []
    ended = False
    for one in ahead:
        between = clause[place + 1 : one]
        step = clause[reached[-1] + 1 : one] if reached else ""
        if ended and _AFTER_LIST.match(step):  # without A, B or C, D is present
            break
        ended = ended or bool(_LIST_END.search(step))
        if any(char in (NO, MAYBE, YES) for char in between) or _COPULA.search(between):
            break
        if WAS in between and reached:
            break
        reached.append(one)
    return reached


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
    severity = mention.severity
    if mention.grade is not None and mention.grade >= 2:
        severity = MODERATE + mention.grade - 3  # grade 2 is called mild, 3 moderate, 4 severe
    sides = set(mention.sides) if mention.kind != "enlargement" or mention.organ in ("kidney", "lymph_node") else set()
    if mention.status == ABSENT:
        # "No nodule in both lungs" and "no nodule" say the same, and what is absent has no severity.
        severity, sides = None, set() if len(sides) == 2 else sides
    details = {(side, severity) for side in sides} or {("", severity)}
    sizes = () if mention.status == ABSENT else tuple(sorted(mention.sizes))
    return Claim(mention.kind, mention.organ, mention.status, frozenset(details), sizes)


def _add(claims: list[Claim], new: Claim) -> None:
    """Adds a claim, or its details to the same claim of an earlier mention."""
    for place, old in enumerate(claims):
        same = (old.kind, old.status) == (new.kind, new.status)
        if same and (old.organ == new.organ or not old.organ or not new.organ):
            details = _merged(old.details | new.details)
            sizes = tuple(sorted({*old.sizes, *new.sizes}))
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
            f"{size.bound}{' x '.join(f'{number:g}' for number in size.numbers)} {size.unit}" for size in claim.sizes
        ]
        lines.append(f"{finding}: " + ", ".join(filter(None, [claim.status, *details, *sizes])))
    return lines
