"""Searches the files of a finished build for what is known of a patient, file, row or hash."""

from __future__ import annotations

import json
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from difflib import get_close_matches
from functools import cached_property
from typing import Any

from hub_datasets.errors import BuildError, printable
from hub_datasets.filesystem import storage
from hub_datasets.output.earlier_build import REPORT, read_json_if_valid
from hub_datasets.output.local_files import RECORDS
from hub_datasets.privacy.key_file import Hasher, key_path, read_key
from hub_datasets.privacy.publication import Publication, SourceColumns
from hub_datasets.schema import CONFIGS, SPLITS
from hub_datasets.sources import SOURCES
from hub_datasets.splits.groups import key_digest, read_memory
from hub_datasets.texts.patient_ids import patient_key, study_key

IN_BRACKETS = re.compile(r"\(([^()]*)\)\Z")  # `metadata.csv line 17 (PAT_46_881_939.png)`
NUMBERED = re.compile(r" image [0-9]+\Z")  # of a row with several images
PLAIN_KINDS = ("patient", "study", "lesion", "image")
CLOSE = 5  # similar names that are shown


@dataclass(slots=True)
class Findings:
    """What was found.

    Attributes:
        accepted, rejected, flags: lines of `records.jsonl`, `rejections.jsonl` and `review.jsonl`.
        copies: rejections that name an accepted row which was found, for example as the original of a copy.
        remembered: (kind of key, split) from `splits.txt`.
        rows: rows of the Parquet files, where there is no `records.jsonl`.
    """

    accepted: list[dict[str, Any]] = field(default_factory=list)
    rejected: list[dict[str, Any]] = field(default_factory=list)
    flags: list[dict[str, Any]] = field(default_factory=list)
    copies: list[dict[str, Any]] = field(default_factory=list)
    remembered: list[tuple[str, str]] = field(default_factory=list)
    rows: list[dict[str, Any]] = field(default_factory=list)

    def is_anything(self) -> bool:
        """Returns whether anything was found."""
        return bool(self.accepted or self.rejected or self.flags or self.remembered or self.rows)

    def lines(self, limit: int) -> Iterator[str]:
        """Yields what was found as lines, at most `limit` of each kind."""
        counts = Counter(line["split"] for line in (*self.accepted, *self.rows))
        counted = ", ".join(f"{split} {counts[split]:,}" for split in SPLITS if counts[split])
        yield f"accepted rows: {counted or 'none'}"
        yield from shortened((accepted_line(line) for line in self.accepted), len(self.accepted), limit)
        yield from shortened((row_line(line) for line in self.rows), len(self.rows), limit)
        if self.rejected:
            yield f"rejected rows: {len(self.rejected):,}"
            yield from shortened(map(rejected_line, self.rejected), len(self.rejected), limit)
        if self.copies:
            yield f"rejected because of these rows: {len(self.copies):,}"
            yield from shortened(map(rejected_line, self.copies), len(self.copies), limit)
        if self.flags:
            yield f"flags to review: {len(self.flags):,}"
            yield from shortened(map(flag_line, self.flags), len(self.flags), limit)
        for kind, split in self.remembered:
            rows = "" if self.accepted or self.rows else ", although it has no rows in this build"
            yield f"splits.txt keeps this {kind} in {split}{rows}"


def shortened(lines: Iterable[str], count: int, limit: int) -> Iterator[str]:
    """Yields the first lines, indented, and how many are left."""
    for number, line in enumerate(lines):
        if number == limit:
            yield f"  and {count - limit:,} more; --limit shows more"
            return
        yield f"  {line}"


def accepted_line(line: dict[str, Any]) -> str:
    return printable(f"{line['split']}: {line['source']} {line['item']}; image {line['image']}; group {line['group']}")


def row_line(row: dict[str, Any]) -> str:
    return printable(f"{row['split']}: {row['image_path']}; {row['config']}; group {row['group_id']}")


def rejected_line(line: dict[str, Any]) -> str:
    return printable(f"{line['code']}: {line['source']} {line['item']}: {line['message']}")


def flag_line(line: dict[str, Any]) -> str:
    decision = f" (decision: {line['decision']})" if line.get("decision") else ""
    return printable(f"{line['kind']} in the {line['in']} of {line['item']}: {line['detail']}{decision}")


class Wanted:
    """An ID as it may be written in the files of a build.

    Attributes:
        written: the ID as it was given.
        plain: the ID in lower case.
        hashed: keys of a patient and a study with this ID, as sources without plain IDs have them.
    """

    def __init__(self, name: str, publication: Publication | None = None) -> None:
        """Takes the ID, and what the dataset publishes of private sources, if their key is known."""
        self._publication = publication or Publication()
        self.written = name
        self.plain = name.casefold()
        self.hashed = [key for key in (patient_key(name), study_key(name)) if key]

    @cached_property
    def keys(self) -> dict[str, str]:
        """The digests of all keys that the ID may have in `splits.txt`: kind by digest."""
        found = {}
        for source in SOURCES:
            for key in (*self.hashed, *(f"{kind}:{self.written}" for kind in PLAIN_KINDS)):
                found[key_digest(self._publication.key(f"{source.name}/{key}"))] = key.partition(":")[0]
        found[key_digest(f"image:{self.plain}")] = "image"
        found[key_digest(self.written)] = self.written.rpartition("/")[2].partition(":")[0]
        return found

    def is_name(self, *names: str) -> bool:
        """Returns whether one of the names of a row is the ID."""
        return any(self.plain == name.casefold() for name in names)

    def is_item(self, item: str) -> bool:
        """Returns whether an item, the part before its bracket or in it, or its row of several images is the ID.

        An item may also be the path of an image.
        """
        if self.is_path(item):
            return True
        names = [item, NUMBERED.sub("", item)]
        if bracket := IN_BRACKETS.search(item):
            names += [bracket[1], *file_names(bracket[1]), item[: bracket.start()].rstrip()]
        return self.is_name(*names)

    def is_path(self, path: str) -> bool:
        """Returns whether the ID is a path, its last parts, its name without suffix, or a path that ends with it."""
        folded = path.casefold()
        is_part = folded.endswith(f"/{self.plain}") or self.plain.replace("\\", "/").endswith(f"/{folded}")
        return is_part or self.is_name(path, *file_names(path))

    def is_key(self, key: str) -> bool:
        """Returns whether a key, such as `patient:PAT_46`, is that of the ID."""
        return key in self.hashed or self.is_name(key, key.partition(":")[2])


def file_names(path: str) -> list[str]:
    """Returns the name of a file without its folders, with and without its suffix."""
    base = path.rpartition("/")[2]
    stem = base.rpartition(".")[0]
    return [base, stem] if stem else [base]


def find(dataset: str, name: str) -> Findings:
    """Searches the files of a build for an ID. Raises BuildError for a damaged file."""
    wanted = Wanted(name, publication_of(dataset))
    found = Findings()
    rejected: set[str] = set()  # items of rejected rows about the image
    memory = memory_of(dataset)
    found.remembered = list(dict.fromkeys((kind, memory[one]) for one, kind in wanted.keys.items() if one in memory))
    if storage.exists(storage.join(dataset, RECORDS)):
        for line in lines_of(dataset, RECORDS):
            if "rejected" not in line:
                found.accepted += [line] if is_accepted(wanted, line) else []
            elif wanted.is_path(line["image"]):
                rejected.add(line["item"])
    else:
        found.rows = list(parquet_rows(dataset, wanted))
    items = {line["item"] for line in found.accepted}
    named = ItemsIn(items)
    for line in lines_of(dataset, "rejections.jsonl"):
        if line["item"] in rejected or wanted.is_item(line["item"]):
            found.rejected.append(line)
        elif named.any(line["message"]):
            found.copies.append(line)
    images = {line["image"] for line in found.accepted}
    for line in lines_of(dataset, "review.jsonl"):
        if wanted.is_item(line["item"]) or line["item"] in items or line["item"] in images:
            found.flags.append(line)
    return found


class ItemsIn:
    """Finds items in messages by the words with which they begin, so that many items are searched for at once."""

    def __init__(self, items: Iterable[str]) -> None:
        self.by_start: dict[str, list[str]] = defaultdict(list)
        for item in items:
            self.by_start[item.split(" ", 1)[0]].append(item)

    def any(self, message: str) -> bool:
        """Returns whether a message names one of the items."""
        starts = {word.strip(",;:") for word in message.split()} & self.by_start.keys()
        return any(
            re.search(rf"(?<!\w){re.escape(item)}(?!\w)", message)
            for start in starts
            for item in self.by_start[start]
            if item in message
        )


def is_accepted(wanted: Wanted, line: dict[str, Any]) -> bool:
    """Returns whether a line of `records.jsonl` is about the ID."""
    image, group = line["image"], line["group"]
    if wanted.is_item(line["item"]) or any(map(wanted.is_key, (*line["keys"], *line["file_keys"]))):
        return True
    names = (
        f"{line['source']}/{image}", line.get("image_path", ""), group, line["pixels"], line["content"],
        f"image:{line['pixels']}",
    )  # fmt: skip
    return wanted.is_path(image) or wanted.is_name(*names)


def parquet_rows(dataset: str, wanted: Wanted) -> Iterator[dict[str, Any]]:
    """Yields the rows of both configs whose path, group or original fields have the ID."""
    import pyarrow.parquet as pq

    for config in CONFIGS:
        for file in storage.names_in(storage.join(dataset, config)):
            if not file.endswith(".parquet"):
                continue
            split = file.partition("-")[0]
            with storage.open_file(storage.join(dataset, config, file), "rb") as opened:
                columns = ["image_path", "group_id", "metadata"]
                for batch in pq.ParquetFile(opened).iter_batches(columns=columns):
                    for row in batch.to_pylist():
                        path, group = row["image_path"], row["group_id"]
                        names = [group, group.rpartition(":")[2]]
                        fields = json.loads(row["metadata"])
                        values = [str(value) for value in fields.values() if isinstance(value, str | int)]
                        is_hashed = group.partition("/")[2] in wanted.hashed
                        if is_hashed or wanted.is_path(path) or wanted.is_name(*names, *values):
                            yield row | {"split": split, "config": config}


def similar(dataset: str, name: str) -> list[str]:
    """Returns names of rows, images and patients that resemble an ID."""
    known: dict[str, str] = {}
    for file in (RECORDS, "rejections.jsonl"):
        for line in lines_of(dataset, file):
            names = [line["item"], *line.get("keys", ()), *(file_names(line["image"]) if "image" in line else ())]
            known |= {one.casefold(): one for one in names}
    part = [one for folded, one in known.items() if name.casefold() in folded][:CLOSE]
    return part or [known[one] for one in get_close_matches(name.casefold(), known, CLOSE)]


def publication_of(dataset: str) -> Publication:
    """Returns how the keys of private sources are published; as they are, where the key is not beside the dataset."""
    report = read_json_if_valid(storage.join(dataset, REPORT))
    private = report.get("privacy", {}).get("columns", {}) if isinstance(report, dict) else {}
    if not private or storage.is_remote(dataset) or not (path := key_path(dataset)).exists():
        return Publication()
    return Publication(Hasher(read_key(path)), {name: SourceColumns({}) for name in private})


def memory_of(dataset: str) -> dict[str, str]:
    """Returns the split of each key digest in `splits.txt`."""
    address = storage.join(dataset, "splits.txt")
    try:
        return read_memory(storage.read(address).partition(b"\n")[2], "splits.txt")
    except ValueError as error:
        raise BuildError(f"{storage.shown(address)}: {error}; build again") from None


def lines_of(dataset: str, name: str) -> Iterator[dict[str, Any]]:
    """Yields the lines of a JSONL file of a build; none if there is no such file."""
    address = storage.join(dataset, name)
    if not storage.exists(address):
        return
    with storage.open_file(address, "rb") as file:
        for number, line in enumerate(file, 1):
            try:
                yield json.loads(line)
            except ValueError:
                raise BuildError(f"{storage.shown(address)} line {number}: not valid JSON; build again") from None
