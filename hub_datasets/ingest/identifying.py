"""Collects what the tables and DICOM headers of a folder tell about its patients, and searches each patient's texts.

What is known is kept in the catalog, which is as private as the folder, and not in memory: tables may be long. Its
owners are the patient, whose other rows are searched as well, and, where no patient is named, the row or the image.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Collection, Iterable, Iterator
from dataclasses import asdict
from typing import Any

from hub_datasets.ingest.catalog import Catalog, to_json
from hub_datasets.privacy.column_names import kind_by_name
from hub_datasets.privacy.column_values import ColumnProfile, kind_of_value, known_values, leaves, text_of
from hub_datasets.records import Flag, RawRecord, decoded
from hub_datasets.sources.base import Source
from hub_datasets.texts.identifiers import find_identifiers
from hub_datasets.texts.known_identifiers import Known, find_known, is_searchable

TABLES = """
CREATE TABLE columns (name PRIMARY KEY, total, kinds);
CREATE TABLE known (owner, kind, value, origin, PRIMARY KEY (owner, kind, value)) WITHOUT ROWID;
"""
MOST_KNOWN = 1000  # values of one patient that are searched for
AT_ONCE = 1000  # records that are held in memory
PATIENT = "patient:"


def find_flags(record: RawRecord, source: Source) -> list[Flag]:
    """Returns the flags for a person to review in a record's texts and, for private data, in its metadata.

    Columns that identify by their name are not searched: they are not published. Nor are the names of files and
    folders of private data, of which only hashes are (`privacy/publication.py`).
    """
    flags = [flag for text in texts_of(record) for flag in (*find_identifiers(text), *find_tokens(text))]
    if source.redistributable:  # its fields and names are already public
        return flags
    for column, value in leaves(record.metadata):
        if (text := text_of(value)) and not kind_by_name(column):
            kinds = [flag.kind for flag in find_identifiers(text)]
            kinds += [kind] if (kind := kind_of_value(text)) not in ("", "uid", "file_name") else []
            flags += [Flag(kind, f"in the column {column}", column) for kind in dict.fromkeys(kinds)]
    return flags


def find_tokens(text: str) -> list[Flag]:
    """Returns a flag for words that Llama's tokenizer reads as control tokens, which can end or change a training."""
    place = text.find("<|")
    return [Flag("control_token", f"at character {place + 1}")] if place >= 0 else []


class Identifying:
    """Notes the metadata of the records of a private source while they are read."""

    def __init__(self, catalog: Catalog) -> None:
        self._database = catalog.database
        self._database.executescript(TABLES)
        self._profile = ColumnProfile()

    def add(self, seq: int, record: RawRecord) -> None:
        """Notes the columns of a record, and the values by which its patient's texts are searched."""
        self._profile.add(record.metadata)
        note_known(self._database, owners(record.groups) or [f"row:{seq}"], known_values(record.metadata))

    def finish(self) -> None:
        """Writes the counts of the columns."""
        self._database.executemany("INSERT INTO columns VALUES (?, ?, ?)", self._profile.rows())


def note_known(database: sqlite3.Connection, owned_by: Iterable[str], known: Iterable[Known]) -> None:
    """Adds values to those by which the texts of some owners are searched."""
    values = [one for one in known if is_searchable(one)]
    rows = ((owner, one.kind, one.value, one.origin) for owner in owned_by for one in values)
    database.executemany("INSERT OR IGNORE INTO known VALUES (?, ?, ?, ?)", rows)


def owners(groups: Iterable[str]) -> list[str]:
    """Returns the keys of the patients among the keys of a record."""
    return [key for key in groups if key.startswith(PATIENT)]


def note_headers(catalog: Catalog, images: Iterable[dict[str, Any]]) -> None:
    """Notes what the headers of examined images tell (`known`: kind, value and origin of each)."""
    for image in images:
        if image.get("known"):
            keys = owners(json.loads(image["groups"])) or [f"image:{image['name']}"]
            note_known(catalog.database, keys, (Known(*one) for one in image["known"]))


def flag_known(catalog: Catalog) -> None:
    """Adds a flag to every record for each place of its texts that names its patient."""
    database = catalog.database
    if not database.execute("SELECT 1 FROM known").fetchone():
        return
    records = """SELECT seq, records.image, record, records.flags, images.groups FROM records
        JOIN images ON images.name = records.image WHERE record IS NOT NULL AND seq > ? ORDER BY seq LIMIT ?"""
    search = "SELECT DISTINCT kind, value, origin FROM known WHERE owner IN (SELECT value FROM json_each(?)) LIMIT ?"
    last = 0
    while rows := database.execute(records, (last, AT_ONCE)).fetchall():  # a table must not change while it is read
        for seq, image, content, flags, groups in rows:
            record = decoded(content)
            keys = [*owners(record.groups), *owners(json.loads(groups or "[]")), f"row:{seq}", f"image:{image}"]
            known = [Known(*row) for row in database.execute(search, (to_json(keys), MOST_KNOWN))]
            if found := [flag for text in texts_of(record) for flag in find_known(text, known)]:
                noted = json.loads(flags) + [asdict(flag) for flag in found]
                database.execute("UPDATE records SET flags = ? WHERE seq = ?", (to_json(noted), seq))
            last = seq


def texts_of(record: RawRecord) -> Iterator[str]:
    """Yields the texts of a record that are published."""
    yield from filter(None, (record.text, record.question, record.answer))


def column_rows(catalog: Catalog) -> list[tuple[str, int, str]]:
    """Returns what `Identifying` noted of the columns; empty for a source that is not private."""
    has = catalog.database.execute("SELECT 1 FROM sqlite_master WHERE name = 'columns'").fetchone()
    return catalog.database.execute("SELECT name, total, kinds FROM columns ORDER BY rowid").fetchall() if has else []


def flagged_records(catalog: Catalog, hidden: Collection[str]) -> Iterator[tuple[int, list[str]]]:
    """Yields (seq, kinds) of each record with a flag of its own or of its image, except for columns that are hidden."""
    query = """SELECT seq, records.flags, images.flags FROM records JOIN images ON images.name = records.image
        WHERE record IS NOT NULL AND images.code IS NULL
        AND (records.flags != '[]' OR coalesce(images.flags, '[]') != '[]') ORDER BY seq"""
    for seq, *flags in catalog.database.execute(query):
        found = [Flag(**flag) for part in flags if part for flag in json.loads(part)]
        if kinds := sorted({flag.kind for flag in found if flag.column not in hidden}):
            yield seq, kinds
