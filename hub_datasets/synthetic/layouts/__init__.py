"""Writes drawn images and their texts in the layouts of the real sources, with one module per source.

The `write` function of each module also breaks a few rows on purpose and returns them, so that a build can be tested
against the list.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from hub_datasets.records import Reason

if TYPE_CHECKING:
    from PIL import Image


@dataclass(slots=True)
class Written:
    """The result of writing a layout.

    Attributes:
        summary: one line with the numbers of rows and images.
        faults: the rows that are broken on purpose as (key, code); the key occurs in the `item` of that rejected record
            and in no other `item`.
        oddities: rows that a build accepts and has to treat specially, as (key, kind). The key is the path of an image
            in the folder with the kind `near_duplicate`, `turned` (rotated), `place` (has a GPS position) or `deep` (16
            bits), or the position of a row with the kind `phone_number` or `birth_date`.
    """

    summary: str = ""
    faults: list[tuple[str, Reason]] = field(default_factory=list)
    oddities: list[tuple[str, str]] = field(default_factory=list)


def allocate(total: int, shares: dict) -> list:
    """Return a list of `total` keys of `shares` in proportion to their shares, each at least once."""
    share_sum = sum(shares.values())
    counts = {key: max(1, int(total * share / share_sum)) for key, share in shares.items()}
    # The remainder of rounding goes to the largest shares, one each, which keeps the order by frequency.
    largest = sorted(shares, key=shares.get, reverse=True)
    for i in range(max(0, total - sum(counts.values()))):
        counts[largest[i % len(largest)]] += 1
    return [key for key, count in counts.items() for _ in range(count)]


def save_image(image: Image.Image, path: Path) -> None:
    """Write a PNG if the path ends in .png, otherwise a JPEG of quality 92."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".png":
        image.save(path, "PNG", compress_level=6)
    else:
        image.save(path, "JPEG", quality=92)
