"""Decides what is published of private sources: no column that identifies, and hashes of IDs and names of files.

Private are the sources that must not be redistributed, which is the user's own data. Public sources keep the names and
fields that their publishers gave them: everybody has these files, users look rows up by them, and a hash would hide
nothing. So do synthetic folders, in which there is no person.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from hub_datasets.filesystem.image_suffixes import suffix_of
from hub_datasets.privacy.column_values import TOO_MANY, ColumnProfile, is_hashed, key_kind, text_of
from hub_datasets.privacy.key_file import Hasher
from hub_datasets.records import RawRecord
from hub_datasets.texts.patient_ids import patient_key, study_key


@dataclass(slots=True)
class SourceColumns:
    """What becomes of the columns of one source.

    Attributes:
        kinds: what each column that identifies holds; the others are published as they are.
        kept: columns that are published although they identify, because `--keep_columns` names them.
        totals: number of records with a value in each column.
    """

    kinds: dict[str, str]
    kept: frozenset[str] = frozenset()
    totals: Counter[str] = field(default_factory=Counter)

    @property
    def hidden(self) -> frozenset[str]:
        """Returns the columns that no row shows as they are, and those that were kept by name: none is to review."""
        return frozenset(self.kinds) | self.kept

    def kind(self, path: str) -> str:
        """Returns the kind by which a column is hashed or left out; empty if it is published as it is."""
        if not path or path in self.kept or any(path.startswith(f"{name}.") for name in self.kept):
            return ""
        return self.kinds.get(path if path in self.totals or "" not in self.kinds else "", "")

    def report(self) -> dict[str, Any]:
        """Returns the part of the report, which is published: names of columns, never values."""
        found: dict[str, Any] = {"left_out": {}, "hashed": {}, "kept": sorted(self.kept & self.kinds.keys())}
        for name, kind in self.kinds.items():
            if name not in self.kept:
                place = found["hashed" if is_hashed(kind) else "left_out"]
                shown = f"(named by a {key_kind(name)})" if key_kind(name) else name or "(others)"
                earlier = place.get(shown, {"records": 0})["records"]
                place[shown] = {"kind": kind, "records": earlier + self.totals[name]}
        return found


@dataclass(slots=True)
class Publication:
    """What is published of the records of all sources; without private sources everything.

    Attributes:
        columns: what becomes of the columns, by the name of each private source.
    """

    hasher: Hasher | None = None
    columns: dict[str, SourceColumns] = field(default_factory=dict)

    def is_private(self, source: str) -> bool:
        return source in self.columns

    def key(self, key: str) -> str:
        """Returns how the key of a group is published; `medical_reports/patient:<hash>` gets another hash.

        An image's key is the hash of the published pixels, and stays.
        """
        source, _, rest = key.partition("/")
        if not self.is_private(source):
            return key
        kind = rest.partition(":")[0]
        return f"{source}/{kind}:{self.hash('key', key)}"

    def hash(self, kind: str, value: str) -> str:
        if self.hasher is None:
            raise AssertionError("a private source without a key")
        return self.hasher.hash(kind, value)

    def image(self, source: str, name: str) -> str:
        """Returns the name under which an image is published: a hash and the suffix."""
        if not self.is_private(source):
            return name
        return self.hash("file", f"{source}/{name}") + suffix_of(name)

    def item(self, source: str, item: str) -> str:
        """Returns how the position of a record, which names files, is published."""
        return self.hash("item", f"{source}/{item}") if self.is_private(source) else item

    def label(self, source: str, label: str) -> str:
        """Returns how the label of a folder is published."""
        return self.hash("folder", f"{source}/{label}") if label and self.is_private(source) else label

    def record(self, record: RawRecord) -> RawRecord:
        """Returns a record as it is published."""
        source = record.source
        if not self.is_private(source):
            return record
        return replace(
            record,
            item=self.item(source, record.item),
            image=self.image(source, record.image),
            groups=tuple(self.group(source, key) for key in record.groups),
            metadata=self.metadata(source, record.metadata),
        )

    def group(self, source: str, key: str) -> str:
        """Returns how the key of a record, such as `patient:<hash>`, is published."""
        return self.key(f"{source}/{key}").partition("/")[2]

    def groups(self, source: str, groups: str) -> str:
        """Returns how the keys from an image's own header, a list in JSON, are published."""
        if not self.is_private(source):
            return groups
        return json.dumps([self.group(source, key) for key in json.loads(groups)])

    def metadata(self, source: str, metadata: Mapping[str, Any]) -> dict[str, Any]:
        """Returns the fields of a record without those that identify."""
        columns = self.columns[source]

        def shown(value: Any, path: str) -> Any:
            if path in columns.kept:
                return value
            if columns.kind(path) == TOO_MANY:
                return LEFT_OUT
            if isinstance(value, Mapping):
                inner = {name: (shown(part, f"{path}.{name}" if path else str(name))) for name, part in value.items()}
                return {name: part for name, part in inner.items() if part is not LEFT_OUT}
            if isinstance(value, (list, tuple)):
                parts = [shown(part, path) for part in value]
                return [part for part in parts if part is not LEFT_OUT] if parts else []
            kind = columns.kind(path)
            if not kind:
                return value
            return self.hashed(source, kind, text_of(value)) if is_hashed(kind) else LEFT_OUT

        return shown(metadata, "")

    def hashed(self, source: str, kind: str, text: str) -> str:
        """Returns the published form of an ID, which for a patient is that of the group; empty for a placeholder."""
        if not text:
            return ""
        if kind == "file_name":
            return self.image(source, text)
        if kind in ("patient_id", "study_id"):
            key = (patient_key if kind == "patient_id" else study_key)(text)
            return self.group(source, key).partition(":")[2] if key else ""
        return self.hash(kind, f"{source}/{text}")


LEFT_OUT = object()


def columns_of(profile: ColumnProfile, keep: Collection[str]) -> SourceColumns:
    """Returns what becomes of the columns of a source."""
    kinds = profile.identifying()
    return SourceColumns(
        kinds, frozenset(name for name in keep if name in profile.kinds or is_parent(name, profile)), profile.totals
    )


def is_parent(name: str, profile: ColumnProfile) -> bool:
    """Returns whether a name is that of an object that holds columns."""
    return any(column.startswith(f"{name}.") for column in profile.kinds)
