"""Finds patients, studies and images that are in more than one split, in the rows that are about to be written."""

from __future__ import annotations

from collections import Counter, defaultdict
from typing import Any

from hub_datasets.errors import BuildError
from hub_datasets.schema import SPLITS
from hub_datasets.splits.assignment import ITEM, OFFICIAL_SPLIT, Decisions
from hub_datasets.splits.groups import key_kind

NAMED = 10  # leaks that the report names, for each kind

# key, its records' splits
SHARED_KEYS = """SELECT keys.id, keys.key, group_concat(DISTINCT split) FROM record_keys
    JOIN keys ON keys.id = record_keys.key JOIN accepted ON accepted.id = owner GROUP BY keys.id"""
# the two pictures of a pair in the table `near` or `scans`, and the splits of the records of both
PAIRS = """SELECT first, second, group_concat(DISTINCT split) FROM {}
    JOIN accepted ON accepted.first_key = first OR accepted.first_key = second GROUP BY first, second"""
PICTURES = {"near_duplicate": "near", "scan": "scans"}  # kind of leak: table of its pairs
EXAMPLES = f"""SELECT split, min(accepted.id), record ->> {ITEM} FROM accepted JOIN record_keys ON owner = accepted.id
    WHERE key = ? GROUP BY split"""


def find_leaks(decisions: Decisions) -> dict[str, Any]:
    """Counts the pictures, near-duplicates, scans, patients, studies, ... that are in more than one split.

    Returns:
        `checked`: number of keys of each kind; `leaks`: number of those in more than one split; `examples`: some of
        them by name.
    """
    checked: Counter[str] = Counter({"image": 0, "near_duplicate": 0, "patient": 0, "study": 0})
    leaks: Counter[str] = Counter()
    examples: dict[str, list[str]] = defaultdict(list)
    decisions.database.execute("CREATE INDEX IF NOT EXISTS by_first_key ON accepted (first_key)")
    shared = ((kind_of(key), (number,), key, splits) for number, key, splits in decisions.database.execute(SHARED_KEYS))
    alike = (
        (kind, pair, "two pictures", splits)
        for kind, table in PICTURES.items()
        for *pair, splits in decisions.database.execute(PAIRS.format(table))
    )
    for found in (shared, alike):
        for kind, numbers, name, splits in found:
            checked[kind] += 1
            if "," in splits:
                leaks[kind] += 1
                if len(examples[kind]) < NAMED:
                    examples[kind].append(f"{name}: {describe_splits(decisions, numbers)}")
    return {
        "checked": dict(checked),
        "leaks": {kind: leaks[kind] for kind in checked},
        "examples": [example for kind in checked for example in examples[kind]],
    }


def kind_of(key: str) -> str:
    """Returns the kind of a key: `image` for a picture, `image_number` for an image ID of the source."""
    kind = key_kind(key)
    return "image_number" if kind == "image" and not key.startswith("image:") else kind


def describe_splits(decisions: Decisions, keys: tuple[int, ...] | list[int]) -> str:
    """Returns the first record in each split that has one of the keys, by name."""
    found: dict[str, str] = {}
    for key in keys:
        for split, _, item in decisions.database.execute(EXAMPLES, (key,)):
            found.setdefault(split, item)
    return ", ".join(f"{split} has {found[split]}" for split in SPLITS if split in found)


def refuse_leaks(found: dict[str, Any]) -> None:
    """Raises BuildError, which names the leaks, if there are any."""
    if total := sum(found["leaks"].values()):
        kinds = ", ".join(f"{kind} {number:,}" for kind, number in found["leaks"].items() if number)
        names = "\n  ".join(found["examples"][:NAMED])
        raise BuildError(
            f"{total:,} leaks between splits ({kinds}); nothing was written. Build without "
            f"--keep_splits, or report this as a bug.\n  {names}"
        )


def official_leaks(decisions: Decisions) -> dict[str, dict[str, int]]:
    """Returns what the sources' own splits would put in both training and test, by source.

    Returns:
        for each source with splits of its own: its `images`, those in `several` of its splits, its `test_rows`, and
        those whose picture is in its training split, too.
    """
    report = {}
    for name, stages in decisions.sources.items():
        pictures: dict[int, set[str]] = defaultdict(set)
        rows: Counter[tuple[int, str]] = Counter()
        query = "SELECT first_key, record ->> ? FROM accepted WHERE stage = ?"
        for stage in stages:
            for picture, split in decisions.database.execute(query, (OFFICIAL_SPLIT, stage)):
                if split:
                    pictures[picture].add(split)
                    rows[picture, split] += 1
        if pictures:
            tests = [(picture, count) for (picture, split), count in rows.items() if split == "test"]
            report[name] = {
                "images": len(pictures),
                "images_in_several_files": sum(len(splits) > 1 for splits in pictures.values()),
                "test_rows": sum(count for _, count in tests),
                "test_rows_seen_in_train": sum(count for picture, count in tests if "train" in pictures[picture]),
            }
    return report
