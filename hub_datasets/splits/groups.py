"""Groups rows that must stay together, and assigns a split to each group.

A group is a connected component: records that share a patient, a study or an image, directly or through other records.
Its split is derived from a hash of its name, so it depends neither on the order of the rows nor on other groups. Two
rules take precedence over the hash. A key (a patient, an image) keeps the split of an earlier build when rows are
added. And where a source and language would have no rows in a split although they have enough groups, the split gets
one.
"""

from __future__ import annotations

import hashlib
import json
from array import array
from collections import Counter, defaultdict
from collections.abc import Collection, Hashable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from hub_datasets.records import RawRecord
from hub_datasets.schema import SPLITS

# A group is named after the key that is least likely to change when rows are added: its patient before its images.
KIND_ORDER = ("patient", "study", "image")


class Groups:
    """Connected components over numbered keys, by union-find with path splitting: 8 bytes a key."""

    def __init__(self, size: int = 0) -> None:
        self._parent = array("q", range(size))

    def connect(self, keys: Iterable[int]) -> None:
        """Connects all the keys to one component."""
        keys = iter(keys)
        first = self.root(next(keys))
        for key in keys:
            self._parent[self.root(key)] = first

    def root(self, key: int) -> int:
        """Returns the number that all keys of a component share."""
        parents = self._parent
        parent = parents[key]
        while parent != key:
            grandparent = parents[parent]
            parents[key] = grandparent
            key, parent = parent, grandparent
        return key


def name_order(key: str) -> tuple[Hashable, ...]:
    """Returns the sort key of keys `source/kind:value`: by kind, then by text. A group is named after its first key."""
    kind = key_kind(key)
    return (KIND_ORDER.index(kind) if kind in KIND_ORDER else len(KIND_ORDER), key)


def key_kind(key: str) -> str:
    """Returns `patient` for `pad_ufes_20/patient:PAT_46`, and `image` for `image:9f...`."""
    return key.split("/", 1)[-1].split(":", 1)[0]


@dataclass(frozen=True, slots=True)
class Fractions:
    """The shares of groups in the validation and test splits; the rest is `train`."""

    validation: float = 0.05
    test: float = 0.0

    def of(self, split: str) -> float:
        return {"validation": self.validation, "test": self.test}.get(split, 1 - self.validation - self.test)


def split_of(group_id: str, fractions: Fractions) -> str:
    """Returns the split of a group: `test`, `validation` or `train`, from the group's hash.

    The hash is in [0, 1); the test split has the lowest part and validation the next, so that the test split does not
    change with the share of validation.
    """
    position = position_of(group_id)
    if position < fractions.test:
        return "test"
    if position < fractions.test + fractions.validation:
        return "validation"
    return "train"


def position_of(group_id: str) -> float:
    """Returns a number in [0, 1) that depends only on the name."""
    return int.from_bytes(hashlib.sha256(group_id.encode()).digest()[:8]) / 2**64


def remembered_split(old: Iterable[str]) -> str:
    """Returns the split of a group whose keys had these splits in an earlier build, usually the same one.

    New rows can connect two old groups. Then `train` takes precedence: a test row that is connected to a training row
    was not a fair test.
    """
    found = set(old)
    return next(split for split in SPLITS if split in found)


def fill_gaps(
    strata: Mapping[tuple[str, str], set[str]], splits: dict[str, str], fixed: set[str], fractions: Fractions
) -> list[dict]:
    """Moves single groups so that every source and language is in every split, if it has enough groups.

    A stratum has enough for a split when its groups times the split's share are at least 1. The group that moves is
    the one next in line by its hash in the split that has most of them; no group is moved that would leave a gap in
    this stratum or another. Independent of the shares, `train` has at least one group.

    Args:
        strata: the names of its groups for each (source, language).
        splits: the split of each group; changed here.
        fixed: groups that stay where they are; those that moved are added.

    Returns:
        the gaps that are left: `source`, `language`, `groups`, the splits `missing`, and `why`.
    """
    counts = {stratum: Counter(splits[group] for group in groups) for stratum, groups in strata.items()}

    def leaves_a_gap(group: str) -> bool:
        """Returns whether a group is the only one of a stratum in its split."""
        return any(counts[one][splits[group]] == 1 for one, members in strata.items() if group in members)

    def move(groups: Collection[str], split: str) -> None:
        """Moves one of the groups out of the split that has most of them."""
        count = Counter(splits[group] for group in groups)
        fullest = max(SPLITS, key=lambda name: (count[name], name == "train"))
        line = (group for group in groups if splits[group] == fullest)
        moved = min(line, key=lambda group: (position_of(f"{split} {group}"), group))
        for one, members in strata.items():
            if moved in members:
                counts[one][splits[moved]] -= 1
                counts[one][split] += 1
        splits[moved] = split
        fixed.add(moved)

    if "train" not in splits.values() and (movable := [group for group in splits if group not in fixed]):
        move([group for group in movable if not leaves_a_gap(group)] or movable, "train")
    for stratum, groups in sorted(strata.items()):
        for split in SPLITS:
            if not counts[stratum][split] and len(groups) * fractions.of(split) >= 1:
                movable = [group for group in groups if group not in fixed and not leaves_a_gap(group)]
                if movable:
                    move(movable, split)

    return gaps_left(strata, counts, fractions)


def gaps_left(
    strata: Mapping[tuple[str, str], set[str]],
    counts: Mapping[tuple[str, str], Mapping[str, int]],
    fractions: Fractions,
) -> list[dict]:
    """Returns the gaps in the form of `fill_gaps`: a stratum's splits that have a share but no groups."""
    gaps = []
    for (source, language), groups in sorted(strata.items()):
        missing = [split for split in SPLITS if fractions.of(split) > 0 and not counts[source, language].get(split)]
        if missing:
            why = "it has too few groups" if len(groups) < 1 / min(map(fractions.of, missing)) else "all are taken"
            gaps.append({"source": source, "language": language, "groups": len(groups), "missing": missing, "why": why})
    return gaps


def key_digest(key: str) -> str:
    """Returns what is remembered of a key: 16 hexadecimal digits.

    They do not hide the key: anyone who knows how keys are made can try them all, as with every hash of a short number.
    Keys of private sources are hashed with a secret before (`Publication.key`).
    """
    return hashlib.blake2b(key.encode(), digest_size=8).hexdigest()


def read_memory(content: bytes, name: str) -> dict[str, str]:
    """Returns the split of each key digest from the lines of `memory_line`. Raises ValueError for other content."""
    memory = {}
    for number, line in enumerate(content.decode("ascii").splitlines(), 1):
        key, _, split = line.partition(" ")
        if len(key) != 16 or split not in SPLITS:
            raise ValueError(f"{name} line {number} is not a key and a split")
        memory[key] = split
    return memory


def memory_line(digest: str, split: str) -> str:
    """Returns a line for `read_memory`: the digest of a key, and its split."""
    return f"{digest} {split}\n"


def count_splits(splits: Iterable[str]) -> dict[str, int]:
    """Returns the number of groups per split, in the order of SPLITS."""
    count = Counter(splits)
    return {split: count[split] for split in SPLITS if count[split]}


def by_stratum(members: Iterable[tuple[str, str, str]]) -> dict[tuple[str, str], set[str]]:
    """Returns the groups of each (source, language), from (source, language, group)."""
    strata: dict[tuple[str, str], set[str]] = defaultdict(set)
    for source, language, group in members:
        strata[source, language].add(group)
    return strata


def conversation_of(record: RawRecord, turns: str, pixels: str = "") -> str | None:
    """Returns the common key of the records of one conversation; None if the record is a conversation by itself."""
    if record.text is not None:
        shared = [record.conversation, record.language, record.text] if record.conversation else None
    else:
        shared = [pixels or record.image, record.language] if turns == "multi" else None
    return shared and json.dumps(shared, ensure_ascii=False)


def group_keys(record: RawRecord, image: dict[str, Any], label: str = "") -> list[str]:
    """Returns the keys that connect a record to others: its picture, and the keys of its source and file.

    Args:
        label: the label of its folder. The same conversation key in two folders is two conversations.
    """
    own = [*record.groups, *json.loads(image["groups"])]
    if record.conversation:
        own.append(f"conversation:{label and f'{label}/'}{record.conversation}")
    return [f"image:{image['pixels']}", *(f"{record.source}/{key}" for key in own)]
