"""Which rows must stay together, and which split does a group belong to?

A group is a connected component: records that share a patient, a study or an image, directly or through others. Its
split is a hash of the group's name, so it depends neither on the order of the rows nor on the other groups.
"""

from __future__ import annotations

import hashlib
from collections.abc import Hashable, Iterable
from dataclasses import dataclass

# A group is named after the key that is least likely to change when rows are added: its patient before its images.
KIND_ORDER = ("patient", "study", "image")


class Groups:
    """Connected components over group keys (`patient:PAT_46`), by union-find with path splitting."""

    def __init__(self) -> None:
        self._parent: dict[str, str] = {}

    def connect(self, keys: Iterable[str]) -> None:
        """Puts all the keys into one component."""
        keys = iter(keys)
        first = self._root(next(keys))
        for key in keys:
            self._parent[self._root(key)] = first

    def names(self) -> dict[str, str]:
        """The name of its component for every key: the smallest key of the steadiest kind in it."""
        best: dict[str, str] = {}
        for key in self._parent:
            root = self._root(key)
            best[root] = min(best.get(root, key), key, key=name_order)
        return {key: best[self._root(key)] for key in self._parent}

    def _root(self, key: str) -> str:
        parent = self._parent.setdefault(key, key)
        while parent != key:
            grandparent = self._parent[parent]
            self._parent[key] = grandparent
            key, parent = parent, grandparent
        return key


def name_order(key: str) -> tuple[Hashable, ...]:
    """Sorts keys of the form `source/kind:value` by kind, then by text."""
    kind = key.split("/", 1)[-1].split(":", 1)[0]
    return (KIND_ORDER.index(kind) if kind in KIND_ORDER else len(KIND_ORDER), key)


@dataclass(frozen=True, slots=True)
class Fractions:
    """The share of groups in each split; what is left is `train`."""

    validation: float = 0.05
    test: float = 0.0


def split_of(group_id: str, fractions: Fractions) -> str:
    """The split of a group: `test`, `validation` or `train`, by the group's hash.

    The hash lies in [0, 1); the test set takes its lowest part and validation the next, so the test set stays the
    same when the share of validation changes.
    """
    position = int.from_bytes(hashlib.sha256(group_id.encode()).digest()[:8]) / 2**64
    if position < fractions.test:
        return "test"
    if position < fractions.test + fractions.validation:
        return "validation"
    return "train"
