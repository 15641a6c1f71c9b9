"""Takes the texts of one row of a table: repairs them, joins findings and impression, and tells their languages."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from hub_datasets.records import Problem, Reason
from hub_datasets.schema import UNDETERMINED
from hub_datasets.sources.reports.column_names import CHINESE_HEADINGS, ENGLISH_HEADINGS
from hub_datasets.sources.reports.columns import CHINESE_HEADER, Roles, TextColumns
from hub_datasets.sources.reports.image_names import Images
from hub_datasets.sources.reports.label_texts import in_words, label_text
from hub_datasets.sources.reports.language import CHINESE, Majority, detect, language_named
from hub_datasets.texts.repair import repair

HEADING = re.compile(
    r"\s*(?:findings?|impressions?|影像所见|影像诊断|检查所见|诊断意见|conclusions?)\s*[:：]", re.IGNORECASE
)
ENOUGH = 5000  # texts of a folder by which the language of most is known
SHOWN_LANGUAGES = "a name or an ISO 639-1 code such as en, zh, de, es or ja"


@dataclass(slots=True)
class Reading:
    """What the rows of one folder share while they are read.

    Attributes:
        images: the files.
        majority: the language of most texts; in the first pass it is counted, in the second used.
        repaired: number of repaired cells of the present table by kind.
    """

    images: Images
    majority: Majority = field(default_factory=Majority)
    counting: bool = True
    repaired: Counter[str] = field(default_factory=Counter)

    def count(self, language: str) -> None:
        """Counts the language of a text in the first pass."""
        if self.counting:
            self.majority.add(language)


@dataclass(frozen=True, slots=True)
class Said:
    """The text of a row in one language, the columns it is from, and what distinguishes it from the row's others."""

    text: str
    language: str
    columns: tuple[str, ...]
    mark: str = ""


class UnusableRow(Exception):
    """Raised for a row of which nothing can be used."""

    def __init__(self, message: str | Problem):
        super().__init__(message)
        self.problem = message if isinstance(message, Problem) else Problem(Reason.MALFORMED_ROW, message)


def texts_of_row(row: dict[str, Any], roles: Roles, reading: Reading) -> list[Said]:
    """Returns the text of a row in each of its languages; one that is empty if it has none."""
    found: list[Said] = []
    for columns in roles.texts:
        said, used = said_in(row, columns, reading)
        if said:
            named = "" if columns.language == CHINESE_HEADER else columns.language
            language = find_language(row, said, roles, named, reading)
            found.append(Said(said, language, used, columns.language))
    if not found and not roles.texts:
        words = in_words(label_of_row(row, roles))
        return [Said(*(label_text(words) if words else ("", UNDETERMINED)), ())]
    if not found:
        return [Said("", UNDETERMINED, tuple(roles.texts[0].names()))]
    distinct: list[Said] = []
    for said in found:  # a Chinese header beside an English one is another language only if its texts are
        repeated = any(said.text == other.text for other in distinct)
        if repeated or (said.mark == CHINESE_HEADER and any(said.language == other.language for other in distinct)):
            continue
        distinct.append(said)
    if len(distinct) == 1:
        return [Said(distinct[0].text, distinct[0].language, distinct[0].columns)]
    languages = Counter(said.language for said in distinct)
    marks = [said.language if languages[said.language] == 1 else " + ".join(said.columns) for said in distinct]
    return [Said(said.text, said.language, said.columns, mark) for said, mark in zip(distinct, marks, strict=True)]


def said_in(row: dict[str, Any], columns: TextColumns, reading: Reading) -> tuple[str, tuple[str, ...]]:
    """Returns the text in some columns, repaired, and the columns it is from.

    Findings and impression are joined under their headings. Raises UnusableRow for a cell that is not a text.
    """
    cells: dict[str, tuple[str, str]] = {}
    for kind in ("text", "findings", "impression"):
        name = getattr(columns, kind)
        value = row.get(name) if name else None
        if value is None:
            continue
        if not isinstance(value, str):
            raise UnusableRow(f"no text in the column {name}")
        text, kinds = repair(value)
        reading.repaired.update(kinds)
        if text:
            cells[kind] = text, name
    if "text" in cells:
        return cells["text"][0], (cells["text"][1],)
    if len(cells) < 2:
        return next(((text, (name,)) for text, name in cells.values()), ("", ()))
    (findings, first), (impression, second) = cells["findings"], cells["impression"]
    headings = CHINESE_HEADINGS if CHINESE.search(findings + impression) else ENGLISH_HEADINGS
    parts = [
        text if HEADING.match(text) else f"{heading}{text}"
        for heading, text in zip(headings, (findings, impression), strict=True)
    ]
    return ("" if headings is CHINESE_HEADINGS else " ").join(parts), (first, second)


def find_language(row: dict[str, Any], text: str, roles: Roles, named: str, reading: Reading) -> str:
    """Returns the language of a text: as its column's name says, as the row says, or as the text shows.

    What a name says is not taken against the script of the text: `text_zh` may not have been translated yet. Raises
    UnusableRow for the name of no language.
    """
    value = row.get(roles.language) if roles.language and not named else None
    if value is not None and not (isinstance(value, str) and not value.strip()):
        language = language_named(value) if isinstance(value, str) else None
        if language is None:
            raise UnusableRow(f"language {value!r:.80}; expected {SHOWN_LANGUAGES}")
        if language != UNDETERMINED:
            reading.count(language)
            return language
    if reading.counting and reading.majority.decided.total() >= ENOUGH:
        return UNDETERMINED  # the records of the first pass are only counted
    found = detect(text)
    if named and (found == UNDETERMINED or has_script(text, named)):
        return named
    if found == UNDETERMINED and not reading.counting:
        return reading.majority.language()
    reading.count(found)
    return found


def has_script(text: str, language: str) -> bool:
    """Returns whether a text can be of a language by its script, which decides Chinese, Japanese and Korean only."""
    if language not in ("zh", "ja", "ko"):
        return not CHINESE.search(text)
    return re.search("[\u3040-\u9fff\uac00-\ud7af]", text) is not None


def label_of_row(row: dict[str, Any], roles: Roles) -> str:
    """Returns the label of a row, on one line; empty if it has none."""
    value = row.get(roles.label) if roles.label else None
    return " ".join(str(value).split()) if isinstance(value, (str, int, float)) else ""
