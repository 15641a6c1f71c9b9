"""Applies a person's decisions about flagged rows: `medpairs build --review decisions.csv`.

    item,decision,text
    reports.csv line 3,replace,No pleural effusion.
    reports.csv line 9,reject,
    images/7.png,accept,

An item is written as in `review.jsonl`; other columns of that file (`source`, `in`, `kind`, `detail`) may stay, and
`source` is required where two sources have an item of the same name. `accept` says that the flags of an item were
looked at, `reject` takes the row or all rows of an image out, and `replace` gives the row another text, or a question
another answer. The file belongs to the sources, not to one build: every build applies it again.
"""

from __future__ import annotations

import csv
import io
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from hub_datasets.errors import BuildError, printable
from hub_datasets.filesystem import storage
from hub_datasets.records import RawRecord, Reason, Rejection
from hub_datasets.sources.text_encoding import decode_text
from hub_datasets.texts.validation import TextSettings, check_text

COLUMNS = ("item", "decision", "text")
REQUIRED = ("item", "decision")
ALSO = ("source", "in", "kind", "detail")  # columns of review.jsonl
DECISIONS = ("accept", "reject", "replace")
MAX_BYTES = 64 * 1024 * 1024
MARK = "reviewed"  # the field of a row's metadata


@dataclass(frozen=True, slots=True)
class Decision:
    """One row of the file.

    Attributes:
        place: where it is, for messages.
        source: the source that it is about; empty for any that has the item.
        text: the new text of `replace`.
    """

    place: str
    source: str
    item: str
    decision: str
    text: str


class Review:
    """The decisions of a file, and what became of them.

    Attributes:
        replaced: the new text of each row that got one, by (source, item).
    """

    def __init__(self, address: str = "", texts: TextSettings | None = None) -> None:
        """Reads the file; without an address there are no decisions.

        Args:
            texts: the bounds of texts, which a replacement must meet, too.

        Raises:
            BuildError: the file cannot be read, or a row has an unknown decision, lacks a text or contradicts another.
        """
        self.replaced: dict[tuple[str, str], str] = {}
        self._texts = texts or TextSettings()
        self._by_item: dict[str, list[Decision]] = defaultdict(list)
        self._sources: dict[str, set[str]] = defaultdict(set)  # where each decision's item was found, by place
        self._applied: dict[tuple[str, str], Decision] = {}
        self._effective: set[str] = set()  # places of decisions that changed a row or mark a flag
        for decision in read_decisions(address) if address else ():
            self._add(decision)

    def __bool__(self) -> bool:
        """Returns whether there are decisions."""
        return bool(self._by_item)

    def _add(self, new: Decision) -> None:
        for old in self._by_item[new.item]:
            if old.source and new.source and old.source != new.source:
                continue
            if (old.decision, old.text, old.source) != (new.decision, new.text, new.source):
                raise BuildError(f"{new.place}: {printable(new.item)} has another decision in {old.place}; keep one")
            return
        self._by_item[new.item].append(new)

    def find(self, source: str, item: str) -> Decision | None:
        """Returns the decision about an item of a source, and notes that the item exists."""
        for decision in self._by_item.get(item, ()):
            if decision.source in ("", source):
                self._sources[decision.place].add(source)
                return decision
        return None

    def decides(self, record: RawRecord) -> bool:
        """Returns whether there is a decision about a record or its image."""
        return any(self.find(record.source, name) for name in (record.item, record.image))

    def apply(self, record: RawRecord) -> RawRecord | Rejection:
        """Returns a record as it was decided about it or its image.

        Raises BuildError for a new text that a build would reject, and for a text for an image, which has none.
        """
        if not self._by_item:
            return record
        decision = self.find(record.source, record.item)
        of_image = self.find(record.source, record.image) if record.image != record.item else None
        if of_image and of_image.decision == "replace":
            raise BuildError(f"{of_image.place}: {printable(of_image.item)} is an image; replace the text of its rows")
        chosen = next((one for one in (decision, of_image) if one and one.decision == "reject"), decision)
        if chosen is None:
            return record
        self._applied[record.source, record.item] = chosen
        if chosen.decision == "accept":
            return record
        self._effective.add(chosen.place)
        if chosen.decision == "reject":
            place = chosen.place.removeprefix("--review ").rpartition("/")[2]  # reports do not name folders
            return Rejection(record.source, record.item, Reason.REVIEWED, f"rejected by a person in {place}")
        return self._with_text(record, chosen)

    def _with_text(self, record: RawRecord, decision: Decision) -> RawRecord:
        """Returns a record with another text, or another answer, also where its metadata repeat the old one."""
        name = "answer" if record.text is None else "text"
        old = getattr(record, name)
        metadata = {
            key: decision.text if isinstance(value, str) and value.strip() == old else value
            for key, value in record.metadata.items()
        }
        changed = replace(record, metadata=metadata | {MARK: "replaced"}, **{name: decision.text})
        if problem := check_text(changed, self._texts.min_chars, self._texts.max_chars):
            raise BuildError(f"{decision.place}: the new text cannot be used: {problem.message}")
        self.replaced[record.source, record.item] = decision.text
        return changed

    def note(self, source: str, item: str) -> None:
        """Notes that an item exists that no accepted record has."""
        self.find(source, item)

    def of_flag(self, source: str, item: str, where: str) -> str:
        """Returns the decision about a flag, which then has an effect; empty if there is none.

        Raises BuildError for a decision other than `accept` about the name of a folder.
        """
        decision = self.find(source, item) or self._applied.get((source, item))
        if decision is None:
            return ""
        if where == "folder" and decision.decision != "accept":
            raise BuildError(f"{decision.place}: {printable(item)} is a folder; rename it, or leave it out")
        self._effective.add(decision.place)
        return decision.decision

    def check(self) -> None:
        """Raises BuildError for a decision whose item no source has, or several have. For the end of a build."""
        for decision in self._all():
            found = self._sources.get(decision.place)
            if not found:
                raise BuildError(
                    f"{decision.place}: no row or image {printable(decision.item)!r} in these sources; write items as "
                    "in review.jsonl"
                )
            if len(found) > 1:
                names = " and ".join(sorted(found))
                raise BuildError(
                    f"{decision.place}: {names} both have {printable(decision.item)!r}; add a column source that says "
                    "which is meant"
                )

    def counts(self) -> dict[str, Any]:
        """Returns the number of decisions of each kind, and the items of those that changed and marked nothing."""
        count = Counter(decision.decision for decision in self._all())
        idle = [decision for decision in self._all() if decision.place not in self._effective]
        return {"decisions": {name: count[name] for name in DECISIONS if count[name]}, "idle": len(idle)}

    def _all(self) -> Iterator[Decision]:
        for decisions in self._by_item.values():
            yield from decisions


def read_decisions(address: str) -> Iterator[Decision]:
    """Yields the rows of a CSV file. Raises BuildError, which names the row."""
    shown = storage.shown(address)
    size = storage.size(address)
    if size is None:
        raise BuildError(f"--review {shown}: no such file; name a CSV file with the columns {', '.join(COLUMNS)}")
    if size > MAX_BYTES:
        raise BuildError(f"--review {shown}: {size:,} bytes; at most {MAX_BYTES:,} are read")
    text = decode_text(storage.read(address), f"--review {shown}")
    first = text.split("\n", 1)[0]
    delimiter = max(",;\t", key=first.count)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    try:
        header = [cell.strip().casefold() for cell in next(reader, [])]
        check_header(f"--review {shown} line 1", header)
        for cells in reader:
            if any(cell.strip() for cell in cells):
                yield decision_of(f"--review {shown} line {reader.line_num}", header, cells)
    except csv.Error as error:
        raise BuildError(f"--review {shown} line {reader.line_num}: not valid CSV ({error})") from None


def check_header(place: str, header: list[str]) -> None:
    """Raises BuildError for a column that is missing, repeated or unknown."""
    expected = f"expected {', '.join(COLUMNS)}"
    if missing := [name for name in REQUIRED if name not in header]:
        raise BuildError(f"{place}: no column {' and '.join(missing)}; {expected}")
    if unknown := [name for name in header if name not in (*COLUMNS, *ALSO)]:
        raise BuildError(f"{place}: unknown column {', '.join(map(repr, unknown))}; {expected}")
    if len(set(header)) < len(header):
        raise BuildError(f"{place}: a column occurs more than once; {expected}")


def decision_of(place: str, header: list[str], cells: list[str]) -> Decision:
    """Returns the decision in a row. Raises BuildError if there is none."""
    if len(cells) != len(header):
        raise BuildError(f"{place}: {len(cells)} cells; the header has {len(header)}")
    row = dict(zip(header, cells, strict=True))
    item, decision, text = row["item"].strip(), row["decision"].strip().casefold(), row.get("text", "").strip()
    if not item:
        raise BuildError(f"{place}: no item; write items as in review.jsonl")
    if decision not in DECISIONS:
        raise BuildError(f"{place}: decision {row['decision']!r}; expected one of {', '.join(DECISIONS)}")
    if decision == "replace" and not text:
        raise BuildError(f"{place}: replace requires a text; to take the row out, decide reject")
    if decision != "replace" and text:
        raise BuildError(f"{place}: {decision} has no text; leave the column text empty, or decide replace")
    return Decision(place, row.get("source", "").strip(), item, decision, text)
