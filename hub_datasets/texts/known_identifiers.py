"""Searches a text for what is known to identify its patient: names, numbers and addresses from a table or a DICOM file.

A general search finds a name only where the words around it tell that it is one. The name in the column `PatientName`
is found anywhere. Common words and eponyms that are family names, too (Long, White, Baker), count only beside another
part of the name.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from hub_datasets.records import Flag
from hub_datasets.texts.identifiers import place_of
from hub_datasets.texts.patient_ids import NOBODY, fold

NAMES = ("person_name", "staff_name")
WHOLE = ("email", "address", "institution", "url")  # searched as they are, in any case of letters
CJK = re.compile(r"[\u3400-\u4dbf\u4e00-\u9fff]")
PART = re.compile(r"[^\W\d_]+(?:['’-][^\W\d_]+)*")
LONGEST = 200  # characters of a value that is searched for
SHORTEST_DIGITS, SHORTEST_CODE = 5, 4  # of numbers without and with letters; shorter ones are found everywhere


def words(text: str) -> frozenset[str]:
    """Returns the words of a text."""
    return frozenset(text.split())


# Family and given names that are words of reports; in small letters, or where a sentence begins, they are these words.
WORDS = words(
    "april august best black blood bone bright brown church cook cross day dean doctor down drew early faith field "
    "foot forest france gamble grace gray green grey hand harm head heart heath hope iris joy june knee lake lane "
    "law little long love lung major male marsh may means miller miss moon moore mri normal north old page pat "
    "patient person pick pole pool post power price ray reed rich right rising root rose san sharp short singer "
    "skin small snow south spring steel stern stone strong sun summers swan swift test trunk van via von wall ward "
    "waters weak weaver wells west white will wise wood woods worth young and del der des den the los las bin ben "
    "dos und mrs mister prof jun sen unknown left view scan study image report"
)
# Those that are the names of signs and diseases; they count only beside another part of the name or after a title.
EPONYMS = words(
    "baker barrett bell bosniak bowen bowman chiari colles crohn ewing fox frank graham graves grave haglund hill "
    "hodgkin hounsfield jones kerley king kellgren lawrence looser martin osgood paget parkinson perthes schlatter "
    "schmorl virchow whipple wilson"
)
CHINESE_WORDS = words("明显 正常 清晰 高度 增大 显示 双侧 左侧 右侧 建议 复查 患者 可见 未见 光滑 清楚")


@dataclass(frozen=True, slots=True)
class Known:
    """A value that identifies a person.

    Attributes:
        kind: as of a flag.
        origin: where it is known from, for example `the column PatientName`; it does not repeat the value.
    """

    kind: str
    value: str
    origin: str


def is_searchable(known: Known) -> bool:
    """Returns whether a text can be searched for a value; placeholders and short numbers are found everywhere."""
    return next(expressions(known), None) is not None


def find_known(text: str, known: Iterable[Known]) -> list[Flag]:
    """Returns a flag for each place of a text that names one of the values, in the order of the text."""
    plain = unicodedata.normalize("NFKC", text)
    plain = plain if len(plain) == len(text) else text  # positions are those in the text
    found: dict[tuple[int, int], Flag] = {}
    for one in known:
        for expression in expressions(one):
            for match in expression.finditer(plain):
                start, end = match.span()
                if not any(start < other_end and other_start < end for other_start, other_end in found):
                    found[start, end] = Flag(one.kind, f"{place_of(start, end)}, as in {one.origin}")
    return [found[place] for place in sorted(found)]


def expressions(known: Known) -> Iterator[re.Pattern[str]]:
    """Yields the expressions that find a value, the longest first."""
    value = " ".join(unicodedata.normalize("NFKC", known.value).split())[:LONGEST]
    if not value or fold(value) in NOBODY:
        return
    if known.kind in NAMES:
        yield from of_name(value)
    elif known.kind in WHOLE:
        if len(value) >= SHORTEST_DIGITS:
            yield re.compile(
                rf"(?<!\w){re.escape(value)}(?!\w)" if value.isascii() else re.escape(value), re.IGNORECASE
            )
    elif known.kind == "phone_number":
        digits = re.findall(r"\d", value)
        if len(digits) >= SHORTEST_DIGITS:
            yield re.compile(r"(?<!\d)" + r"[\s().-]{0,2}".join(digits) + r"(?!\d)")
    elif is_code(value):
        yield re.compile(rf"(?<![^\W_]){re.escape(value)}(?![^\W_])", re.IGNORECASE)
        if (bare := value.lstrip("0")) != value and is_code(bare):
            yield re.compile(rf"(?<![^\W_])0{{0,8}}{re.escape(bare)}(?![^\W_])", re.IGNORECASE)


def is_code(value: str) -> bool:
    """Returns whether a number is long enough to be one person's: 12 and T2 are in many texts."""
    digits = sum(map(str.isdigit, value))
    if digits == len(value):
        return digits >= SHORTEST_DIGITS
    return digits >= 1 and len(value) >= SHORTEST_CODE


def of_name(value: str) -> Iterator[re.Pattern[str]]:
    """Yields the expressions of a name: all of it in either order, then each part that is not a common word."""
    if CJK.search(value):
        whole = "".join(CJK.findall(value))
        parts = [part for part in re.split(r"[^\u3400-\u4dbf\u4e00-\u9fff]+", value) if len(part) >= 2]
        given = [whole[1:]] if len(whole) == 3 else [whole[2:]] if len(whole) == 4 else []
        for part in dict.fromkeys([whole, *parts, *given]):
            if len(part) >= 2 and part not in CHINESE_WORDS:
                yield re.compile(re.escape(part))
    parts = [part for part in PART.findall(value) if not CJK.search(part)]
    long = [part for part in parts if len(part) >= 2]
    if len(long) >= 2:
        one_of = "|".join(map(re.escape, sorted(set(long), key=len, reverse=True)))
        between = r"(?:[,\s^.]{1,3}(?:[A-Za-z]\.?\s)?)"
        yield re.compile(rf"(?<!\w)(?:{one_of})(?:{between}(?:{one_of}))+(?!\w)", re.IGNORECASE)
    for part in dict.fromkeys(long):
        folded = part.casefold()
        if folded in WORDS or folded in EPONYMS:
            yield re.compile(rf"(?<!\w)(?:Mr|Mrs|Ms|Miss|Dr|Prof)\.?\s{{1,2}}(?i:{re.escape(part)})(?!\w)")
            if folded in WORDS:  # a capital within a sentence
                yield re.compile(rf"(?<=[a-z,] ){re.escape(part.capitalize())}(?!\w)")
        elif len(part) >= 3:  # in small letters it is some other word
            first = part[0].upper() if part[0].upper() != part[0].lower() else part[0]
            yield re.compile(rf"(?<!\w){re.escape(first)}(?i:{re.escape(part[1:])})(?!\w)")
