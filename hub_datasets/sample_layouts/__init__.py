"""Lays drawn images and their texts out as the real sources do: one file a source, each with a `write`.

Every `write` also breaks a few rows on purpose and returns them, so that a build can be tested against the list.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from hub_datasets.schema import Reason

if TYPE_CHECKING:
    from PIL import Image


@dataclass(slots=True)
class Written:
    """What a layout wrote.

    Attributes:
        summary: a line that says how much.
        faults: the rows that it broke on purpose as (key, code); the key is found in the `item` of the rejected record
            and in no other one's.
        oddities: what a build accepts and must see to, as (key, kind): the path of an image below the folder that is a
            `near_duplicate` of another, `turned` and from a `place`, or `deep`, and the place of a row with a
            `phone_number` or a `birth_date`.
    """

    summary: str = ""
    faults: list[tuple[str, Reason]] = field(default_factory=list)
    oddities: list[tuple[str, str]] = field(default_factory=list)


def portions(total: int, shares: dict) -> list:
    """Return `total` keys of `shares`, each as often as its share of the sum says and at least once."""
    whole = sum(shares.values())
    counts = {key: max(1, int(total * share / whole)) for key, share in shares.items()}
    # What rounding left over goes to the largest shares, one each, so that the order stays theirs.
    largest = sorted(shares, key=shares.get, reverse=True)
    for turn in range(max(0, total - sum(counts.values()))):
        counts[largest[turn % len(largest)]] += 1
    return [key for key, count in counts.items() for _ in range(count)]


def save(image: Image.Image, path: Path) -> None:
    """Write a PNG, or a JPEG of quality 92, by the name's ending."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".png":
        image.save(path, "PNG", compress_level=6)
    else:
        image.save(path, "JPEG", quality=92)
