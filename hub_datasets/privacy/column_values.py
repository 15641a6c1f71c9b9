"""Recognizes by its values what a column holds of a person, and gives the values by which texts are searched."""

from __future__ import annotations

import functools
import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from hub_datasets.privacy.column_names import HASHED, kind_by_name
from hub_datasets.texts.identifiers import find_spans
from hub_datasets.texts.known_identifiers import Known
from hub_datasets.texts.person_names import GIVEN_NAMES, KNOWN_NAME, NAME_WORD, NO_HEADING, NO_PERSON

MOST_COLUMNS = 1000  # that are told apart; objects may have a key for each row
LONGEST = 200  # characters of a value that can be an identifier by itself
COVERED = 0.7  # share of a value's characters that an identifier takes
MOSTLY = 0.5  # a column is of a kind if more of its values than this are
DEEPEST = 20  # levels of lists and objects inside others
TOO_MANY = "unrecognized"  # kind of the columns after the first MOST_COLUMNS, and of those with deeper values
SEARCHED = (
    "person_name", "staff_name", "phone_number", "email", "address", "record_number", "national_id", "insurance_number",
    "account", "device", "institution", "patient_id", "study_id", "uid",
)  # fmt: skip

STRANGER = rf"{NO_PERSON}{NO_HEADING}(?:{NAME_WORD}|[A-Z][A-Z'’-]{{1,30}})"
PERSON = re.compile(  # DOE^JANE; Smith, John A.; a common given name and one or two more words
    r"[^\W\d_][\w'’. -]{0,63}\^[\w'’. ^-]{0,100}"
    rf"|{STRANGER}, ?{STRANGER}(?: [A-Z]\.?)?"
    rf"|(?i:{GIVEN_NAMES}) (?:[A-Z]\.? )?{STRANGER}(?: {STRANGER})?|{STRANGER} (?i:{GIVEN_NAMES})"
    rf"|{KNOWN_NAME}"
)
FILE = re.compile(r"[^\n]{1,190}\.(?:png|jpe?g|dcm|dicom|tiff?|bmp|webp|gif|jp2|nii(?:\.gz)?)", re.IGNORECASE)
UID = re.compile(r"[0-2](?:\.\d{1,40}){5,20}")
NUMBER = re.compile(r"\d{7,18}|0\d{5,17}|[A-Z]{1,4}[-_]?\d{5,17}|[A-Z]{1,4}-\d{2,4}-\d{3,10}")


def leaves(value: Any, path: str = "", depth: int = 0) -> Iterator[tuple[str, Any]]:
    """Yields (column, value) of metadata: of lists each value, of objects the names joined by dots.

    A list or an object below DEEPEST levels is yielded as a value.
    """
    if isinstance(value, Mapping) and depth < DEEPEST:
        for name, inner in value.items():
            yield from leaves(inner, f"{path}.{name}" if path else str(name), depth + 1)
    elif isinstance(value, (list, tuple)) and depth < DEEPEST:
        for inner in value:
            yield from leaves(inner, path, depth + 1)
    else:
        yield path, value


def text_of(value: Any) -> str:
    """Returns a value as it would be written; empty for none, for what is true or false, and for lists and objects."""
    if value is None or isinstance(value, (bool, Mapping, list, tuple)):
        return ""
    return (value if isinstance(value, str) else str(value)).strip()


@functools.lru_cache(16384)  # most columns have few values
def kind_of_value(text: str) -> str:
    """Returns the kind of identifier that a value is as a whole; empty if it is none."""
    if not 2 <= len(text) <= LONGEST:
        return ""
    if FILE.fullmatch(text):
        return "file_name"
    if UID.fullmatch(text):
        return "uid"
    spans = find_spans(text)
    for kind in dict.fromkeys(kind for *_, kind in spans):
        if sum(end - start for start, end, found in spans if found == kind) >= COVERED * len(text):
            return kind
    if NUMBER.fullmatch(text):
        return "record_number"
    return "person_name" if PERSON.fullmatch(text) else ""


class ColumnProfile:
    """Counts for each column how many of its values are identifiers, by kind."""

    def __init__(self) -> None:
        self.totals: Counter[str] = Counter()
        self.kinds: dict[str, Counter[str]] = {}

    def add(self, metadata: Mapping[str, Any]) -> None:
        """Counts the values of a record's metadata; a column counts once per record."""
        seen: dict[str, Counter[str]] = {}
        for path, value in leaves(metadata):
            too_deep = bool(value) and isinstance(value, (Mapping, list, tuple))
            if not (text := text_of(value)) and not too_deep:
                continue
            name = path if path in self.kinds or len(self.kinds) < MOST_COLUMNS else ""
            self.kinds.setdefault(name, Counter())
            found = seen.setdefault(name, Counter())
            found[TOO_MANY if too_deep else "" if kind_by_name(path) else kind_of_value(text)] += 1
        for name, found in seen.items():
            self.totals[name] += 1
            self.kinds[name][TOO_MANY if TOO_MANY in found else found.most_common(1)[0][0]] += 1

    def rows(self) -> list[tuple[str, int, str]]:
        """Returns (column, number of records with a value, JSON of the numbers by kind)."""
        return [(name, self.totals[name], json.dumps(self.kinds[name])) for name in self.kinds]

    def read(self, rows: Iterable[tuple[str, int, str]]) -> None:
        """Adds what `rows` gave for another folder."""
        for name, total, kinds in rows:
            self.totals[name] += total
            self.kinds.setdefault(name, Counter()).update(json.loads(kinds))

    def identifying(self) -> dict[str, str]:
        """Returns the columns that identify, with what they hold; the key `` stands for those that were too many."""
        found = {}
        for name, kinds in sorted(self.kinds.items()):
            if not name or TOO_MANY in kinds:
                found[name] = TOO_MANY
            elif kind := kind_by_name(name) or key_kind(name):
                found[name] = kind
            else:
                kind = max(kinds, key=lambda kind: (kinds[kind], kind))
                if kind and kinds[kind] > MOSTLY * self.totals[name]:
                    found[name] = kind
        return found


def key_kind(path: str) -> str:
    """Returns the kind of identifier that a column's own name is, as keys of an object may be; numbers tell nothing."""
    kind = kind_of_value(path.rsplit(".", 1)[-1])
    return kind if kind not in ("", "date", "uid", "file_name") else ""


def known_values(metadata: Mapping[str, Any]) -> list[Known]:
    """Returns what the metadata of a row tells that identifies its patient."""
    found = []
    for path, value in leaves(metadata):
        if text := text_of(value):
            kind = kind_by_name(path) or kind_of_value(text)
            if kind in SEARCHED:
                found.append(Known(kind, text[:LONGEST], f"the column {path}"))
    return found


def is_hashed(kind: str) -> bool:
    """Returns whether the values of a kind are published as keyed hashes rather than left out."""
    return kind in HASHED
