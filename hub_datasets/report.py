"""What was read, and what became of it: the tally of each source, `report.json` and `rejections.jsonl`.

Every number that the dataset card shows comes from the report.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path

from hub_datasets.schema import Ignored, RawRecord, Rejection, Source
from hub_datasets.validation import CheckedImage

# `sample_sources.py` leaves this file in the folders it makes, so that a card can say that the data is synthetic.
SYNTHETIC_MARK = "SYNTHETIC.txt"


@dataclass(slots=True)
class Accepted:
    """A record that passed every check, with what the checks and the grouping found out."""

    record: RawRecord
    image: CheckedImage
    group_id: str = ""
    split: str = ""


@dataclass(slots=True)
class Tally:
    """What became of everything that was read from one source."""

    source: Source
    folder: Path
    read: int = 0
    accepted: list[Accepted] = field(default_factory=list)
    rejections: list[Rejection] = field(default_factory=list)
    ignored: list[Ignored] = field(default_factory=list)


def make_report(tallies: list[Tally], rows: dict[str, dict[str, list[dict]]], settings: dict, fingerprint: str) -> dict:
    """The content of `report.json`.

    Args:
        rows: by config and split.
        settings: the flags that decide which rows are accepted and where they go.
        fingerprint: of all rows, see `rows.fingerprint`.
    """
    splits = {config: {split: len(part) for split, part in by_split.items()} for config, by_split in rows.items()}
    return {
        "sources": {tally.source.name: source_report(tally) for tally in tallies},
        "splits": splits,
        "rows_by": {config: count_by(by_split) for config, by_split in rows.items()},
        "groups": count_groups(tallies),
        "settings": settings,
        "fingerprint": fingerprint,
    }


def source_report(tally: Tally) -> dict:
    """One source: how many were read, accepted and rejected. Raises AssertionError if one of them got lost."""
    rejected = Counter(str(rejection.code) for rejection in tally.rejections)
    if len(tally.accepted) + rejected.total() != tally.read:
        raise AssertionError(f"{tally.source.name}: accepted and rejected do not add up to the records read")
    return {
        "title": tally.source.title,
        "homepage": tally.source.homepage,
        "licence": tally.source.licence,
        "citation": tally.source.citation,
        "synthetic": (tally.folder / SYNTHETIC_MARK).exists(),
        "read": tally.read,
        "accepted": len(tally.accepted),
        "rejected": dict(sorted(rejected.items())),
        "images": len({accepted.image.sha256 for accepted in tally.accepted}),
        "ignored": [f"{ignored.item}: {ignored.why}" for ignored in tally.ignored],
    }


def count_by(by_split: dict[str, list[dict]]) -> dict[str, dict[str, dict[str, int]]]:
    """Rows by the value of a column: `{column: {value: {split: rows}}}`."""
    counts: dict[str, dict[str, dict[str, int]]] = {}
    for column in ("source_dataset", "language", "category"):
        counted = Counter((row[column], split) for split, part in by_split.items() for row in part)
        counts[column] = {value: {} for value, _ in sorted(counted)}
        for (value, split), number in sorted(counted.items()):
            counts[column][value][split] = number
    return counts


def count_groups(tallies: Iterable[Tally]) -> dict[str, int]:
    """The number of groups in each split."""
    pairs = {(accepted.group_id, accepted.split) for tally in tallies for accepted in tally.accepted}
    return dict(sorted(Counter(split for _, split in pairs).items()))


def write_rejections(path: Path, tallies: Iterable[Tally]) -> None:
    """One JSON a line for each rejection, in the order in which they were met."""
    with path.open("w", encoding="utf-8", errors="backslashreplace") as file:  # a name may not be UTF-8
        for tally in tallies:
            for rejection in tally.rejections:
                file.write(json.dumps(asdict(rejection), ensure_ascii=False) + "\n")


def summary(report: dict) -> str:
    """The report as a few lines to read: one a source, one a config."""
    lines = []
    for name, counts in report["sources"].items():
        reasons = ", ".join(f"{code} {number:,}" for code, number in counts["rejected"].items())
        ignored = len(counts["ignored"])
        lines.append(
            f"{name}: read {counts['read']:,}, accepted {counts['accepted']:,}"
            + f" ({reasons})" * bool(reasons)
            + f"; ignored {ignored:,}" * bool(ignored)
        )
    for config, splits in report["splits"].items():
        lines.append(f"{config}: " + ", ".join(f"{split} {rows:,}" for split, rows in splits.items()))
    return "\n".join(lines)
