"""Decides which records become rows and assigns their splits, over the catalogs of all sources, on disk.

Duplicate and conflicting records of a picture are resolved first. Then all records that share a patient, a study, a
picture or a near-duplicate form a group, and each group is assigned to a split.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

from hub_datasets.errors import BuildError
from hub_datasets.ingest import joined_records
from hub_datasets.ingest.catalog import IMAGE_COLUMNS, connect, printable, to_json
from hub_datasets.ingest.ingest import Stage
from hub_datasets.privacy.publication import Publication
from hub_datasets.records import RawRecord, Reason, Rejection, decoded, encoded
from hub_datasets.sources.conflicts import drop_repeats
from hub_datasets.splits.groups import (
    Fractions,
    Groups,
    by_stratum,
    conversation_of,
    count_splits,
    fill_gaps,
    gaps_left,
    group_keys,
    key_digest,
    memory_line,
    name_order,
    remembered_split,
    split_of,
)
from hub_datasets.splits.review import Review

ONE_IMAGE = "accepted.pixels || ' ' || accepted.language"  # a picture may lie in several files
ONE_PICTURE = "accepted.first_key"
ONE_CONVERSATION = "coalesce(accepted.conversation, accepted.id)"
IN_STAGES = "stage IN (SELECT value FROM json_each(?))"
# Places in the JSON of a record.
ITEM, TEXT, GROUPS, OFFICIAL_SPLIT = map(RawRecord.__slots__.index, ("item", "text", "groups", "official_split"))
# A record with a text is a pair by itself; the questions of a picture share a caption.
ONE_CAPTION = f"CASE WHEN has_text THEN accepted.id ELSE {ONE_IMAGE} END"
AT_ONCE = 500  # records that are written together
KEYS_HELD = 1000
STAGE_SHIFT = 40  # a record's number is its stage's number, shifted, and its place there: sorted as they were read
TABLES = f"""
CREATE TABLE accepted (id INTEGER PRIMARY KEY, stage INTEGER, language, image, conversation, record,
    {", ".join(IMAGE_COLUMNS)}, has_text INTEGER, first_key INTEGER, split);
CREATE TABLE rejections (id INTEGER PRIMARY KEY, stage INTEGER, item, code, message);
CREATE TABLE keys (id INTEGER PRIMARY KEY, key UNIQUE, root INTEGER);
CREATE TABLE record_keys (owner INTEGER, key INTEGER);
CREATE TABLE near (first INTEGER, second INTEGER);
CREATE TABLE scans (first INTEGER, second INTEGER);
CREATE TABLE groups (root INTEGER PRIMARY KEY, name, split);
"""
ACCEPTED = f"INSERT INTO accepted VALUES ({', '.join('?' * (len(IMAGE_COLUMNS) + 9))})"


@dataclass(frozen=True, slots=True)
class Accepted:
    """A record that becomes a row, as it is published (`privacy/publication.py`).

    Attributes:
        stage: the stage that it comes from.
        image: the image's columns in the catalog.
        path: the image's path below its folder, which is not published.
    """

    record: RawRecord
    stage: Stage
    image: dict[str, Any]
    group_id: str
    split: str
    path: str


class Decisions:
    """The tables of a build.

    Attributes:
        stages: one per folder; the stages of one source follow each other.
        sources: the numbers of the stages of each source, by the source's name.
        publication: what is published of private sources.
    """

    def __init__(
        self, path: Path, stages: list[Stage], turns: str = "single", publication: Publication | None = None
    ) -> None:
        """Makes the tables in the file `path`; `turns` is one of TURNS."""
        self.stages = stages
        self.publication = publication or Publication()
        self.sources: dict[str, list[int]] = {}
        for number, stage in enumerate(stages):
            self.sources.setdefault(stage.source.name, []).append(number)
        self.turns = turns
        self._remembered: dict[str, str] = {}
        self.database = connect(path)
        self.database.executescript(TABLES)
        self._waiting: list[tuple] = []  # accepted records and keys that are written together
        self._ties: list[tuple[int, int]] = []
        self._orders = 0  # temporary tables
        self._keys: dict[str, int] = {}  # the numbers of some keys, because records of a picture share them

    def settle(
        self,
        settings: Mapping[str, str],
        review: Review | None = None,
        dropped: Mapping[int, Mapping[int, str]] | None = None,
    ) -> None:
        """Accepts or rejects every record of every source.

        Args:
            settings: the values of the sources' own options (`Source.choices`).
            review: a person's decisions, which come first.
            dropped: why records are left out because they are flagged, by stage and seq (`--drop_flagged`).
        """
        review = review or Review()
        for name, numbers in self.sources.items():
            stages = {number: self.stages[number] for number in numbers}
            for number, seq, rejection in joined_records.rejections(stages):
                self._reject(number, seq, rejection)
                review.note(name, rejection.item)
            settle = stages[numbers[0]].source.settle or drop_repeats
            for _, members in groupby(joined_records.records_by_picture(stages), key=lambda member: member[0]):
                group, flagged = [], []
                for found in members:
                    _, number, seq, record, _, _ = found
                    is_open = dropped and seq in dropped.get(number, {}) and not review.decides(record)
                    (flagged if is_open else group).append(found)
                for _, number, seq, record, _, _ in flagged:
                    self._reject(number, seq, Rejection(name, record.item, Reason.FLAGGED, dropped[number][seq]))
                places: dict[str, list[tuple[int, int, RawRecord, dict, str | None]]] = {}
                for _, *found in group:
                    places.setdefault(found[2].item, []).append(tuple(found))
                kept, records = [], []
                left_out = [
                    key
                    for _, n, _, record, image, _ in flagged
                    for key in group_keys(record, image, stages[n].folder.label)
                ]
                for _, number, seq, record, image, content in group:
                    decided = review.apply(record)
                    if isinstance(decided, Rejection):
                        places[record.item].remove((number, seq, record, image, content))
                        self._reject(number, seq, decided)
                        left_out += group_keys(record, image, stages[number].folder.label)
                    else:
                        records.append(decided)
                for settled in settle(records, dict(settings)) if records else ():
                    number, seq, record, image, content = places[settled.item].pop(0)
                    if isinstance(settled, Rejection):
                        self._reject(number, seq, settled)
                        left_out += group_keys(record, image, stages[number].folder.label)
                    else:
                        kept.append(self._accept(number, seq, settled, image, content if settled is record else None))
                if kept:  # the patient of a copy that is left out is in the picture, too
                    self._tie(kept[0], left_out)
                if lost := [item for item, left in places.items() if left]:
                    raise AssertionError(f"{name}: settle gave no answer for {lost[:3]}")
        self._write_accepted()
        self.refuse_empty()
        self.database.executescript(
            "CREATE INDEX by_key ON record_keys (key); CREATE INDEX by_picture ON accepted (pixels);"
            "CREATE INDEX by_owner ON record_keys (owner);"
        )

    def refuse_empty(self) -> None:
        """Raises BuildError, which names the first rejection, if no record is accepted."""
        if not self.database.execute("SELECT 1 FROM accepted").fetchone():
            query = "SELECT count(*), item, message, min(id) FROM rejections"  # the columns are those of the lowest id
            count, item, message, _ = self.database.execute(query).fetchone()
            example = f", the first is {item}: {message}" if count else ""
            raise BuildError(f"no row was accepted; {count:,} were rejected{example}")

    def _accept(
        self, stage: int, seq: int, record: RawRecord, image: dict[str, Any], content: str | None = None
    ) -> int:
        """Accepts a record; `content` is the record in JSON, if that is known."""
        number = (stage << STAGE_SHIFT) + seq
        keys = group_keys(record, image, self.stages[stage].folder.label)
        place = (number, stage, record.language, record.image, conversation_of(record, self.turns, image["pixels"]))
        told = (content or encoded(record), *image.values(), record.text is not None)
        self._waiting.append((*place, *told, self._key(keys[0]), None))
        self._tie(number, keys)
        if len(self._waiting) >= AT_ONCE:
            self._write_accepted()
        return number

    def _tie(self, number: int, keys: list[str]) -> None:
        self._ties += [(number, self._key(key)) for key in keys]

    def _write_accepted(self) -> None:
        """Writes the records and keys that are waiting."""
        self.database.executemany(ACCEPTED, self._waiting)
        self.database.executemany("INSERT INTO record_keys VALUES (?, ?)", self._ties)
        self._waiting.clear()
        self._ties.clear()

    def _reject(self, stage: int, seq: int, rejection: Rejection) -> None:
        self.reject((stage << STAGE_SHIFT) + seq, stage, rejection)

    def reject(self, number: int, stage: int, rejection: Rejection) -> None:
        """Adds the rejection of the record with a number."""
        values = (number, stage, rejection.item, str(rejection.code))
        self.database.execute("INSERT INTO rejections VALUES (?, ?, ?, ?, ?)", (*values, printable(rejection.message)))

    def _key(self, key: str) -> int:
        if key not in self._keys:
            if len(self._keys) >= KEYS_HELD:
                self._keys.clear()
            known = self.database.execute("SELECT id FROM keys WHERE key = ?", (key,)).fetchone()
            insert = "INSERT INTO keys (key) VALUES (?)"
            self._keys[key] = known[0] if known else self.database.execute(insert, (key,)).lastrowid
        return self._keys[key]

    def find_near_duplicates(self, distance: int) -> dict[str, int]:
        """Finds accepted pictures that are near-duplicates; returns their numbers for the report."""
        import numpy as np

        from hub_datasets.splits.near_duplicates import near_duplicates

        query = """SELECT keys.id, perceptual FROM accepted JOIN keys ON keys.id = first_key
            GROUP BY first_key ORDER BY keys.id"""
        keys, hashes = [], bytearray()
        for key, perceptual in self.database.execute(query):
            keys.append(key)
            hashes += bytes.fromhex(perceptual)
        table = np.frombuffer(bytes(hashes), np.uint8).reshape(len(keys), -1)
        edges = near_duplicates(table, distance) if len(keys) > 1 else np.empty((0, 2), np.int64)
        groups, members = Groups(len(keys)), set()
        for first, second in edges.tolist():
            groups.connect((first, second))
            members |= {first, second}
        pairs = ((keys[first], keys[second]) for first, second in edges.tolist())
        self.database.executemany("INSERT INTO near VALUES (?, ?)", pairs)
        sizes = Counter(groups.root(member) for member in members)
        found = {"images": len(members), "clusters": len(sizes), "largest": max(sizes.values(), default=0)}
        return {"distance": distance, "pairs": len(edges), **found}

    def make_groups(self) -> None:
        """Connects the keys of each record, of near-duplicates and of slices of a scan, and names every group."""
        (count,) = self.database.execute("SELECT coalesce(max(id), 0) FROM keys").fetchone()
        groups = Groups(count + 1)
        query = "SELECT first_key, key FROM record_keys JOIN accepted ON accepted.id = owner"
        for first, key in self.database.execute(query):
            groups.connect((first, key))
        for first, second in self.database.execute("SELECT * FROM near UNION ALL SELECT * FROM scans"):
            groups.connect((first, second))
        self.database.executemany(
            "UPDATE keys SET root = ? WHERE id = ?", ((groups.root(key), key) for key in range(1, count + 1))
        )
        self.database.create_function("name_order", 1, lambda key: "{:02d} {}".format(*name_order(key)))
        self.database.execute(
            "INSERT INTO groups (root, name) SELECT root, substr(min(name_order(key)), 4) FROM keys GROUP BY root"
        )

    def assign_splits(self, fractions: Fractions, split_by: str, memory: Mapping[str, str]) -> dict[str, Any]:
        """Assigns a split to every group, and to every record that of its group or the source's own.

        Args:
            split_by: `group`, or `official` for the source's own splits if it has any.
            memory: splits of an earlier build by key digest, see `splits.read_memory`.

        Returns:
            `coverage`: gaps that are left; `moved`: groups whose keys the earlier build had in several splits;
            `kept`: number of groups that the earlier build knew; `groups`: number of all groups.
        """
        self._remembered = dict(memory)
        splits, fixed, moved = {}, set(), []
        query = "SELECT name, key FROM groups JOIN keys ON keys.root = groups.root ORDER BY name"
        for name, members in groupby(self.database.execute(query), key=lambda row: row[0]):
            old = [memory[digest] for _, key in members if (digest := self.digest(key)) in memory] if memory else []
            splits[name] = remembered_split(old) if old else split_of(name, fractions)
            if old:
                fixed.add(name)
            if len(set(old)) > 1:
                moved.append(name)
        kept = len(fixed)
        query = """SELECT DISTINCT stage, language, name FROM accepted JOIN keys ON keys.id = first_key
            JOIN groups ON groups.root = keys.root"""
        strata = by_stratum((self.stages[stage].source.name, *rest) for stage, *rest in self.database.execute(query))
        gaps = fill_gaps(strata, splits, fixed, fractions)
        self.database.execute("CREATE INDEX by_name ON groups (name)")
        self.database.executemany(
            "UPDATE groups SET split = ? WHERE name = ?", ((split, name) for name, split in splits.items())
        )
        self.database.execute(
            """UPDATE accepted SET split = (SELECT groups.split FROM keys JOIN groups ON groups.root = keys.root
            WHERE keys.id = first_key)"""
        )
        if split_by == "official":
            query = "UPDATE accepted SET split = coalesce(nullif(record ->> ?, ''), split)"
            self.database.execute(query, (OFFICIAL_SPLIT,))
            gaps = self._official_gaps(strata, fractions)
        return {"coverage": gaps, "moved": moved, "kept": kept, "groups": len(splits)}

    def _official_gaps(self, strata: Mapping[tuple[str, str], set[str]], fractions: Fractions) -> list[dict]:
        """Returns the missing splits where rows have the splits of their sources."""
        counts: dict[tuple[str, str], Counter[str]] = defaultdict(Counter)
        own = set()
        query = """SELECT stage, language, split, count(*), sum(record ->> ? != '') FROM accepted
            GROUP BY stage, language, split"""
        for stage, language, split, rows, official in self.database.execute(query, (OFFICIAL_SPLIT,)):
            stratum = (self.stages[stage].source.name, language)
            counts[stratum][split] += rows
            if official:
                own.add(stratum)
        gaps = gaps_left(strata, counts, fractions)
        why = {"why": "its own splits have none"}
        return [gap | why if (gap["source"], gap["language"]) in own else gap for gap in gaps]

    # --- read when rows are made

    def accepted(self, stage: int, together: str = "accepted.id", by_picture: bool = False) -> Iterator[list[Accepted]]:
        """Yields the accepted records of a stage in the order of its folder.

        Args:
            together: a value by which records are listed together, such as ONE_IMAGE, each list in place of its first.
            by_picture: whether all lists of questions about one picture follow each other, in place of the first one,
                so that a Parquet file stores the picture once. A list of texts may have several pictures.
        """
        first = f"min(accepted.id) OVER (PARTITION BY {together}, accepted.split)"
        of_picture = "min(accepted.id) OVER (PARTITION BY first_key, accepted.split)"
        order = f"CASE WHEN has_text THEN {first} ELSE {of_picture} END" if by_picture else first
        # Numbers are sorted first, because whole records take much longer. The table stays until `close`: SQLite drops
        # none while anything else is read.
        table = f"ordered_{self._orders}"
        ordered = f"""CREATE TEMP TABLE {table} AS SELECT {first} AS first, accepted.id AS id
            FROM accepted WHERE stage = ? ORDER BY {order}, first, accepted.id"""
        query = f"""SELECT first, record, name, accepted.split, {", ".join(IMAGE_COLUMNS)} FROM {table}
            CROSS JOIN accepted USING (id) CROSS JOIN keys ON keys.id = first_key
            CROSS JOIN groups ON groups.root = keys.root ORDER BY {table}.rowid"""
        self._orders += 1
        self.database.execute(ordered, (stage,))
        for _, rows in groupby(self.database.execute(query), key=lambda row: row[0]):
            yield [self._published(stage, *columns) for _, *columns in rows]

    def _published(self, number: int, content: str, group: str, split: str, *columns: Any) -> Accepted:
        stage, record = self.stages[number], decoded(content)
        image = dict(zip(IMAGE_COLUMNS, columns, strict=True))
        image["groups"] = self.publication.groups(record.source, image["groups"])
        path = record.image.removeprefix(stage.folder.labeled(""))
        return Accepted(self.publication.record(record), stage, image, self.publication.key(group), split, path)

    def rejections(self, stage: int) -> Iterator[Rejection]:
        """Yields the rejections of a stage in the order of its folder."""
        query = "SELECT item, code, message FROM rejections WHERE stage = ? ORDER BY id"
        for item, code, message in self.database.execute(query, (stage,)):
            yield Rejection(self.stages[stage].source.name, item, Reason(code), message)

    def count(self, table: str, stage: int) -> int:
        """Returns the number of rows of a stage in the table `accepted` or `rejections`."""
        return self.database.execute(f"SELECT count(*) FROM {table} WHERE stage = ?", (stage,)).fetchone()[0]

    def count_images(self, stages: list[int]) -> int:
        """Returns the number of distinct pictures among the accepted records of some stages."""
        query = f"SELECT count(DISTINCT pixels) FROM accepted WHERE {IN_STAGES}"
        return self.database.execute(query, (to_json(stages),)).fetchone()[0]

    def count_keys(self, stages: list[int], kind: str) -> int:
        """Returns the number of distinct keys of a kind, such as `patient`, in the accepted records of some stages."""
        query = f"""SELECT count(DISTINCT record_keys.key) FROM record_keys JOIN accepted ON accepted.id = owner
            JOIN keys ON keys.id = record_keys.key WHERE {IN_STAGES} AND keys.key LIKE ?"""
        return self.database.execute(query, (to_json(stages), f"%/{kind}:%")).fetchone()[0]

    def count_groups(self) -> dict[str, int]:
        """Returns the number of groups with records in each split."""
        query = "SELECT DISTINCT root, split FROM accepted JOIN keys ON keys.id = first_key"
        return count_splits(split for _, split in self.database.execute(query))

    def memory(self) -> Iterator[str]:
        """Yields the lines from which the next build keeps these splits: the digest of a key, and its split.

        The lines of an earlier build are kept, so that rows that disappear and return have their former splits.
        """
        query = """SELECT key, split FROM keys JOIN groups ON groups.root = keys.root
            WHERE key NOT LIKE '%/conversation:%'"""  # which changes with its texts
        now = {self.digest(key): split for key, split in self.database.execute(query)}
        yield from (memory_line(key, split) for key, split in sorted((self._remembered | now).items()))

    def digest(self, key: str) -> str:
        """Returns what is remembered of a key: of a private source, the digest of its keyed hash."""
        return key_digest(self.publication.key(key))

    def close(self) -> None:
        self.database.close()
