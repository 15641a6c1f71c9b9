"""Finds texts that seem to identify a patient: names, numbers, dates, addresses.

Findings are flagged for a person to review; nothing is changed or rejected. A flag gives the position and never the
text, so that a report does not spread what it warns of. Names are found only after a title or a label, after the word
"patient", or before an age and a sex (`known_identifiers.py` searches for those that are known), and no search of this
kind finds everything.
"""

from __future__ import annotations

import functools
import re
import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from hub_datasets.records import Flag
from hub_datasets.texts.name_rules import NAME_RULES

# Parts of expressions. Every repetition in them has a bound, so that no text takes long.
START = r"(?<![\d.])"  # of a number: not within a longer one, nor a part of 1.2.840.10008
END = r"(?!\d|\.\d)"
YEAR = r"(?:19|20)\d{2}"
MONTH = r"(?:0?[1-9]|1[0-2])"
DAY = r"(?:0?[1-9]|[12]\d|3[01])"
MONTH_DAY = r"(?:0[1-9]|1[0-2])(?:0[1-9]|[12]\d|3[01])"
MONTH_NAME = r"(?:Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec|JAN|FEB|MAR|APR|MAY|JUN|JUL|AUG|SEP|OCT|NOV|DEC)"
DATE = (  # with a day: a year alone may be told, and a month says little
    rf"(?:{START}{YEAR}\s?[-/.]\s?{MONTH}\s?[-/.]\s?{DAY}{END}"
    rf"|{START}{YEAR}\s?年\s?{MONTH}\s?月\s?{DAY}\s?[日号]"
    rf"|{START}{DAY}[-/.]{DAY}[-/.]{YEAR}{END}"
    rf"|(?<![\dA-Za-z./])\d\d/\d\d/\d\d(?![\d/])"
    rf"|\b{MONTH_NAME}[A-Za-z]{{0,6}}\.?\s{{0,2}}{DAY}(?:st|nd|rd|th)?,?\s{{1,2}}{YEAR}{END}"
    rf"|{START}{DAY}(?:st|nd|rd|th)?[\s-]{{1,2}}(?:of\s)?{MONTH_NAME}[A-Za-z]{{0,6}}\.?,?[\s-]{{1,2}}{YEAR}{END})"
)
SEPARATOR = r"[\s:：#.=]{0,5}"
NUMBER = r"[A-Za-z]{0,4}[-_]?\d[\dA-Za-z/_-]{2,23}"  # of a record
UNLABELED = r"(?<![A-Za-z\d_.:/=+×-])(?<!\d,)(?<!(?i:id): )(?<!(?i:id) )(?<![=×] )"
NO_UNIT = (
    r"(?![\w×]|[.,:/-]\d)(?!\s?(?:/|%|±|×|x\s?10|(?i:units?|iu|cells?|copies|voxels?|pixels?|hz|[kmgµun]?[glm]|mm|cm|ms|hu)"
    r"\b|[例个张万亿次]))"
)
PROVINCE = r"(?:1[1-5]|2[1-3]|3[1-7]|4[1-6]|5[0-4]|6[1-5]|71|8[1-3])"  # the first digits of a resident's number
CHECK_WEIGHTS = (7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2)  # of its other digits, GB 11643-1999


@dataclass(frozen=True, slots=True)
class Pattern:
    """A kind of identifier, with the expression that finds it.

    Attributes:
        words: lower-case words of which a text must contain one; they are fast to search for.
        digits: minimum number of consecutive digits, without letters between them, that a text must contain.
        check: verifies what the expression found.
    """

    kind: str
    expression: re.Pattern[str]
    words: tuple[str, ...] = ()
    digits: int = 0
    check: Callable[[str], bool] = bool


def one_of(*expressions: str) -> re.Pattern[str]:
    return re.compile("|".join(expressions))


def is_resident_number(found: str) -> bool:
    """Returns whether the last of 18 characters is the check digit; the 15-digit numbers before 1999 had none."""
    if len(found) == 15:
        return True
    total = sum(int(digit) * weight for digit, weight in zip(found, CHECK_WEIGHTS, strict=False))
    return "10X98765432"[total % 11] == found[-1].upper()


# A stretch of text that one of them has found is blank to those after it.
PATTERNS = (
    Pattern(
        "email",
        one_of(r"(?<![A-Za-z0-9._%+-])[A-Za-z0-9._%+-]{1,64}@[A-Za-z0-9-]{1,63}(?:\.[A-Za-z0-9-]{1,63}){1,6}"),
        words=("@", "＠"),
    ),
    Pattern("url", one_of(r"(?i:https?://|ftp://|\bwww\.)[^\s<>\"',;。、()]{3,2000}"), words=("://", "www.")),
    Pattern(
        "birth_date",
        one_of(
            r"(?i:\b(?:DOB|D\.O\.B|date of birth|birth\s?date|birthday|born(?: on)?)\b"
            r"|出生日期|出生年月日?|出生于|生日|生于)"
            rf"{SEPARATOR}(?:{DATE}|{YEAR}{MONTH_DAY}(?!\d)|{YEAR}\s?年\s?{MONTH}\s?月|{YEAR}[-/.]{MONTH}(?![\d/.-])"
            r"|\d{1,2}[-/.]\d{1,2}[-/.]\d{2}(?!\d))",
            rf"{DATE}\s?(?:出生|生(?!化))",
        ),
        words=("dob", "d.o.b", "birth", "born", "生"),
        digits=4,
    ),
    Pattern(
        "national_id",  # of residents of China
        one_of(
            rf"{START}{PROVINCE}\d{{4}}{YEAR}{MONTH_DAY}\d{{3}}[\dXx](?![\dA-Za-z])",
            rf"{START}{PROVINCE}\d{{6}}{MONTH_DAY}\d{{3}}{END}",
        ),
        digits=15,
        check=is_resident_number,
    ),
    Pattern(
        "national_id",  # Social Security numbers of the United States
        one_of(
            r"(?<![\d.-])(?!000|666|9)\d{3}-(?!00)\d{2}-(?!0000)\d{4}(?![\d-])",
            rf"\b(?i:SSN|social security (?:number|no)){SEPARATOR}\d{{9}}(?!\d)",
        ),
        digits=9,
    ),
    Pattern(
        "record_number",
        one_of(
            r"\b(?i:MRN|medical record(?: (?:number|no|id))?|(?:patient|hospital|case|chart|admission|study|exam)"
            rf" (?:number|no|id)|accession(?: (?:number|no|id))?){SEPARATOR}{NUMBER}",
            r"(?<![A-Za-z_-])(?<!(?i:image) )(?<!(?i:series) )(?<!(?i:question) )(?i:id)\s{0,3}[:=#]\s{0,3}"
            r"[A-Za-z]{0,4}[-_]?\d{5,18}(?!\w)",
            rf"(?:病历|病案|住院|门诊|就诊|检查|影像|登记|放射|病理|CT|MRI?|X线|X光)号码?[\s:：#.=为是]{{0,5}}{NUMBER}",
        ),
        words=("mrn", "record", " no", "id", "ｉｄ", "number", "accession", "号"),
        digits=3,
    ),
    Pattern(
        "phone_number",
        one_of(
            rf"{START}(?:\+?86[- ]?)?1[3-9]\d[- ]?\d{{4}}[- ]?\d{{4}}{END}",  # Chinese mobile
            rf"{START}\(?0[1-9]\d{{1,2}}(?:\)\s?|[- ])[2-9]\d{{2,3}}[- ]?\d{{4}}{END}",  # Chinese landline
            r"(?<![\d.-])(?:\+?1[-. ])?(?:\([2-9]\d{2}\)\s?|[2-9]\d{2}-)[2-9]\d{2}[- ]\d{4}(?![\d-])",  # United States
            rf"{START}(?:\+?1[-. ])?[2-9]\d{{2}}\.[2-9]\d{{2}}\.\d{{4}}{END}",
            r"(?<!\w)\+[1-9](?:[ ()-]{0,2}\d){7,14}(?!\d)",  # any country
            r"(?i:\b(?:tel|telephone|phone|mobile|cell|fax|pager)\b|电话|手机|联系方式|传真)[\s:：.=号码]{0,5}"
            r"[+(]?\d[\d ()-]{5,18}\d(?!\d)",
        ),
        digits=7,
    ),
    Pattern(
        "account",  # of a messenger
        one_of(
            r"(?i:\bwe-?chat|\bweixin|\bwhatsapp|\btelegram|微信)\s?(?i:号码?|id|no\.?|account)?\s{0,3}[:=]\s{0,3}"
            r"[A-Za-z0-9_+@.-]{4,29}[A-Za-z0-9_]",
            r"(?<![A-Za-z])(?i:qq)\s?(?:号码?)?\s{0,3}[:=]\s{0,3}\d{5,12}(?!\d)",
        ),
        words=("chat", "weixin", "whatsapp", "telegram", "微信", "qq"),
    ),
    Pattern("date", one_of(DATE), digits=4),
    *(Pattern("person_name", one_of(*rules), words=words) for words, rules in NAME_RULES),
    Pattern(
        "address",
        one_of(
            r"\b(?i:address|residence)\s{0,3}[:=]\s{0,3}[^\s:\0][^\n\0]{3,100}",
            r"\b(?i:lives at|living at|resides at|residing at)\s{1,2}[^\s:\0][^\n\0]{3,100}",
            r"(?<![\w.])\d{1,5}\s(?:[A-Z][a-z]{1,20}\s){1,3}(?:Street|Avenue|Road|Lane|Drive|Boulevard|Court)\b",
            r"(?:地址|住址|住所|籍贯)\s{0,3}[:：=为是]\s{0,3}[^\s:：\0][^\n\0]{2,100}",
            r"(?:家住|现住|居住于|住在)\s{0,3}[:：]?\s{0,3}[\u4e00-\u9fff]{2}[^\n\0,，。;；]{2,100}",
        ),
        words=(
            "address",
            "residence",
            " at ",
            "street",
            "avenue",
            "road",
            "lane",
            "drive",
            "boulevard",
            "court",
            "地址",
            "住址",
            "住所",
            "籍贯",
            "家住",
            "现住",
            "居住于",
            "住在",
        ),
    ),
    Pattern(
        "record_number",  # without a label: more digits than a finding has, or letters before them
        one_of(
            rf"{UNLABELED}(?:0\d{{5,11}}|[1-9]\d{{6,11}}){NO_UNIT}",
            rf"{UNLABELED}[A-Z]{{1,4}}[-_]?\d{{5,12}}{NO_UNIT}",
            rf"{UNLABELED}[A-Z]{{1,4}}-\d{{2,4}}-\d{{3,10}}{NO_UNIT}",
        ),
        digits=5,
    ),
)

REMEMBERED, SHORT = 5_000, 200  # texts that are remembered, and their characters at most: questions and answers repeat
CLAIMED = "\0"  # what stands in the place of a character that was found
DIGIT = re.compile(r"\d")
NEIGHBORS = re.compile(r"\d(?:(?:[^\w×]|[年月日]){0,3}\d){2,100}")  # three digits and more with little between them


def find_identifiers(text: str) -> list[Flag]:
    """Finds identifiers of persons: numbers, addresses, dates with a day, and names after a title or a label.

    Full-width characters and digits of other scripts are treated as plain ones. Positions are those in `text`, counted
    from 1.

    Returns:
        A flag for each place, in the order of the text. Its kind is one of `email`, `url`, `birth_date`,
        `national_id`, `record_number`, `phone_number`, `account`, `date`, `person_name` and `address`.
    """
    return [Flag(kind, place_of(start, end)) for start, end, kind in find_spans(text)]


def place_of(start: int, end: int) -> str:
    """Returns how a flag names a place of a text: positions from 1, the last one inclusive."""
    return f"characters {start + 1} to {end}"


def find_spans(text: str) -> Sequence[tuple[int, int, str]]:
    """Returns (start, end, kind) of what `find_identifiers` finds, in the order of the text."""
    return (remembered_spans if len(text) <= SHORT else search_spans)(text)


def search_spans(text: str) -> Sequence[tuple[int, int, str]]:
    """Returns what `find_spans` returns, without the memory of earlier texts."""
    patterns = possible_patterns(text)
    if patterns and not text.isascii():
        text = text.translate(plain_characters())
    found: list[tuple[int, int, str]] = []
    for pattern in patterns:

        def claim(match: re.Match[str], pattern: Pattern = pattern) -> str:
            if not pattern.check(match[0]):
                return match[0]
            found.append((*match.span(), pattern.kind))
            return CLAIMED * len(match[0])

        text = pattern.expression.sub(claim, text)
    return tuple(sorted(found))


remembered_spans = functools.lru_cache(maxsize=REMEMBERED)(search_spans)


def possible_patterns(text: str) -> list[Pattern]:
    """Returns the patterns whose words and digits occur in a text; usually none, which saves nearly all of the time."""
    lowered = text.lower()
    digits = max((len(DIGIT.findall(found)) for found in NEIGHBORS.findall(text)), default=0)
    return [
        pattern
        for pattern in PATTERNS
        if digits >= pattern.digits and (not pattern.words or any(word in lowered for word in pattern.words))
    ]


@functools.cache
def plain_characters() -> dict[int, str]:
    """Returns a table that maps digits of other scripts, full-width characters, dashes and spaces to plain ones."""
    table = {}
    for code in (*range(0x80, 0x3000), *range(0xA000, 0xD800), *range(0xF900, 0x20000)):
        character = chr(code)
        plain = unicodedata.normalize("NFKC", character)
        if character.isdecimal():
            table[code] = str(unicodedata.decimal(character))
        elif len(plain) == 1 and plain.isascii():  # one for one, so that positions stay
            table[code] = plain
        elif unicodedata.category(character) == "Pd":
            table[code] = "-"
    return table | {0x3000: " ", 0x2212: "-"}
