"""Says which groups changed their split since the earlier build, and why.

A group changes its split where new rows connect old groups of different splits: a patient of the training split and an
image of the test split turn out to belong together.
"""

from __future__ import annotations

from collections import Counter, defaultdict, deque
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from hub_datasets.ingest.catalog import to_json
from hub_datasets.schema import SPLITS
from hub_datasets.splits.assignment import ITEM, STAGE_SHIFT, Decisions
from hub_datasets.splits.groups import key_kind

PAIRS = {"near": "two images look alike", "scans": "two images are slices of one scan"}  # what a row of a table says


def moved_groups(decisions: Decisions, memory: Mapping[str, str], names: Sequence[str]) -> Iterator[dict[str, Any]]:
    """Yields for each group that changed its split what it is and why.

    Args:
        memory: the splits of the earlier build by key digest.
        names: the groups, from `Decisions.assign_splits`.

    Yields:
        `group`; `split`; `was`: number of its keys by their split in the earlier build; `why`; `rows`: (stage, item) of
        the rows that connect them.
    """
    if names:
        indices = ("by_root ON keys (root)", *(f"{table}_by_first ON {table} (first)" for table in PAIRS))
        decisions.database.executescript("".join(f"CREATE INDEX IF NOT EXISTS {index};" for index in indices))
    query = "SELECT keys.id, key, split FROM groups JOIN keys ON keys.root = groups.root WHERE name = ?"
    for name in names:
        found = decisions.database.execute(query, (name,)).fetchall()
        kinds = {number: key_kind(key) for number, key, _ in found}
        old = {number: memory[digest] for number, key, _ in found if (digest := decisions.digest(key)) in memory}
        was = Counter(old.values())
        why, rows = explain(decisions, kinds, old)
        yield {
            "group": name,
            "split": found[0][2],
            "was": {split: was[split] for split in SPLITS if was[split]},
            "why": why,
            "rows": rows,
        }


def explain(
    decisions: Decisions, kinds: Mapping[int, str], old: Mapping[int, str]
) -> tuple[str, list[tuple[int, str]]]:
    """Returns how two keys of different old splits are connected, and the rows that do it.

    Args:
        kinds: the kind of each key of a group, by its number.
        old: the split of those that the earlier build knew.
    """
    neighbors = links(decisions, list(kinds))
    start = next(key for key in kinds if key in old)
    path = shortest(neighbors, start, {key for key in old if old[key] != old[start]})
    items = dict(items_of(decisions, [link for _, link, _ in path if isinstance(link, int)]))
    said, rows = [], []
    for before, link, after in path:
        ends = [f"{kinds[key]} of {old[key]}" if key in old else f"new {kinds[key]}" for key in (before, after)]
        if isinstance(link, int):
            rows.append((link >> STAGE_SHIFT, items[link]))
            said.append(f"a row has the {ends[0]} and the {ends[1]}")
        else:
            said.append(f"{PAIRS[link]}, the {ends[0]} and the {ends[1]}")
    return "; ".join(said), list(dict.fromkeys(rows))


def links(decisions: Decisions, keys: list[int]) -> dict[int, list[tuple[int | str, int]]]:
    """Returns for each key what connects it to which other: the number of a record, or the table of a pair."""
    inside = "IN (SELECT value FROM json_each(?))"
    owners: dict[int, list[int]] = defaultdict(list)
    for owner, key in decisions.database.execute(
        f"SELECT owner, key FROM record_keys WHERE key {inside} ORDER BY owner",  # noqa: S608 (a constant)
        (to_json(keys),),
    ):
        owners[owner].append(key)
    found: dict[int, list[tuple[int | str, int]]] = defaultdict(list)
    for owner, members in owners.items():
        for key in members:
            found[key] += [(owner, other) for other in members if other != key]
    for table in PAIRS:
        for pair in decisions.database.execute(
            f"SELECT first, second FROM {table} WHERE first {inside}",  # noqa: S608 (a name of PAIRS)
            (to_json(keys),),
        ):
            for key, other in (pair, pair[::-1]):
                found[key].append((table, other))
    return found


def shortest(
    neighbors: Mapping[int, list[tuple[int | str, int]]], start: int, ends: set[int]
) -> list[tuple[int, int | str, int]]:
    """Returns the shortest way from a key to one of others, as (key, link, next key)."""
    came: dict[int, tuple[int, int | str]] = {}
    waiting, seen = deque([start]), {start}
    while waiting:
        key = waiting.popleft()
        if key in ends:
            way = []
            while key != start:
                before, link = came[key]
                way.append((before, link, key))
                key = before
            return way[::-1]
        for link, other in neighbors.get(key, ()):
            if other not in seen:
                seen.add(other)
                came[other] = (key, link)
                waiting.append(other)
    return []


def items_of(decisions: Decisions, owners: list[int]) -> Iterator[tuple[int, str]]:
    """Yields the number and the item of some accepted records."""
    query = "SELECT id, record ->> ? FROM accepted WHERE id IN (SELECT value FROM json_each(?))"
    yield from decisions.database.execute(query, (ITEM, to_json(owners)))
