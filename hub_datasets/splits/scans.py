"""Joins images that are slices of one scan, for sources whose image numbers follow the scans.

SLAKE names no patients, but its images were taken from volumes one after another, so that slices of one person have
close numbers. No perceptual hash finds them: neighboring slices differ in about 32 of 256 bits, as many different
pictures do. Two images are slices of one scan if

1. their numbers differ by at most NUMBERS, their series (the modality) and their sizes in pixels are equal, and their
   gray pictures of 64 x 64 pixels have a correlation above NEIGHBORS, or hashes that differ in at most BITS bits; or
2. their gray pictures have a correlation above SAME, whatever their numbers: one person's scan was used twice.

Rule 2 compares an image with the images up to some 1,000 places before it in the order of the numbers, which are all of
SLAKE's. `tests/benchmarks/dataset/scan_neighbors.py` measures what the rules join and what is left.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from hub_datasets.ingest.catalog import Catalog, to_json
from hub_datasets.records import RawRecord
from hub_datasets.splits.groups import Groups

if TYPE_CHECKING:
    from hub_datasets.splits.assignment import Decisions

NUMBERS = 3
NEIGHBORS = 0.9
BITS = 40
SAME = 0.96  # another way to make pictures small moves a correlation by 0.01: this keeps all above 0.97 together
BLOCK, BLOCKS = 256, 5  # rows that are compared at once, and blocks that are kept for it
SERIES, NUMBER = (RawRecord.__slots__.index(name) for name in ("scan_series", "scan_number"))  # places in the JSON


@dataclass(frozen=True, slots=True)
class Slice:
    """A picture with a place in the order of its source.

    Attributes:
        key: the number of its picture's key, see `Decisions`.
        place: the stage, and the name of the image there.
        series, number: `RawRecord.scan_series` and `RawRecord.scan_number`.
        size: width and height in pixels.
        perceptual: `hashing.perceptual_hash`.
    """

    key: int
    place: tuple[int, str]
    series: str
    number: int
    size: tuple[int, int]
    perceptual: bytes


def find_scans(decisions: Decisions) -> dict[str, Any]:
    """Writes the pairs of accepted pictures that are slices of one scan to the table `scans`; returns their numbers."""
    found: dict[str, Any] = {}
    for name, numbers in decisions.sources.items():
        if not decisions.stages[numbers[0]].source.scans:
            continue
        slices = read_slices(decisions, numbers)
        catalogs = {number: Catalog(decisions.stages[number].catalog) for number in numbers}
        pairs = list(slice_pairs(slices, lambda one, opened=catalogs: opened[one.place[0]].thumbnail(one.place[1])))
        for catalog in catalogs.values():
            catalog.close()
        keys = ((slices[first].key, slices[second].key) for first, second in pairs)
        decisions.database.executemany("INSERT INTO scans VALUES (?, ?)", keys)
        groups = Groups(len(slices))
        for pair in pairs:
            groups.connect(pair)
        sizes = Counter(groups.root(member) for member in {member for pair in pairs for member in pair})
        largest = max(sizes.values(), default=0)
        found[name] = {
            "images": len(slices), "joined": sizes.total(), "scans": len(sizes), "largest": largest,
        }  # fmt: skip
    return found


def read_slices(decisions: Decisions, stages: Sequence[int]) -> list[Slice]:
    """Returns the accepted pictures of a source that have a place in a scan, in the order of their numbers."""
    query = """SELECT min(id), first_key, stage, image, record ->> ? AS series, record ->> ? AS number, width, height,
        perceptual FROM accepted WHERE stage IN (SELECT value FROM json_each(?)) AND series != ''
        GROUP BY first_key, series, number ORDER BY number, first_key"""  # the other columns are those of the lowest id
    found = []
    rows = decisions.database.execute(query, (SERIES, NUMBER, to_json(list(stages))))
    for _, key, stage, image, series, number, *size, bits in rows:
        path = image.removeprefix(decisions.stages[stage].folder.labeled(""))
        found.append(Slice(key, (stage, path), series, number, tuple(size), bytes.fromhex(bits)))
    return found


def slice_pairs(slices: Sequence[Slice], thumbnail: Callable[[Slice], bytes]) -> Iterator[tuple[int, int]]:
    """Yields the places i < j in a sequence, sorted by number, of pairs that are slices of one scan.

    Args:
        thumbnail: returns the gray values of a picture, as many for each.
    """
    series = codes([one.series for one in slices])
    sizes = codes([one.size for one in slices])
    numbers = np.array([one.number for one in slices], np.int64)
    hashes = np.frombuffer(b"".join(one.perceptual for one in slices), np.uint64).reshape(len(slices), 4)
    earlier: deque[tuple[np.ndarray, np.ndarray]] = deque(maxlen=BLOCKS)
    for start in range(0, len(slices), BLOCK):
        rows = np.arange(start, min(start + BLOCK, len(slices)))
        pictures = np.stack([standardized(thumbnail(slices[row])) for row in rows])
        earlier.append((rows, pictures))
        for others, shown in earlier:
            correlation = shown @ pictures.T  # [earlier, these]
            first, second = np.nonzero(correlation > SAME)
            near = np.abs(numbers[others][:, None] - numbers[rows][None]) <= NUMBERS
            near &= series[others][:, None] == series[rows][None]
            near &= sizes[others][:, None] == sizes[rows][None]
            ones, twos = np.nonzero(near)
            alike = (correlation[ones, twos] > NEIGHBORS) | are_close(hashes[others[ones]], hashes[rows[twos]])
            first, second = np.concatenate([first, ones[alike]]), np.concatenate([second, twos[alike]])
            pairs = np.stack([others[first], rows[second]], axis=1)
            yield from map(tuple, np.unique(pairs[pairs[:, 0] < pairs[:, 1]], axis=0).tolist())


def codes(values: Sequence[Any]) -> np.ndarray:
    """Returns a number for each value, the same for equal ones."""
    known: dict[Any, int] = {}
    return np.array([known.setdefault(value, len(known)) for value in values], np.int64)


def standardized(gray: bytes) -> np.ndarray:
    """Returns gray values with mean 0 and norm 1, so that a product is a correlation; zeros for a plain picture."""
    values = np.frombuffer(gray, np.uint8).astype(np.float32)
    values -= values.mean()
    norm = np.linalg.norm(values)
    return values / norm if norm else values


def are_close(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Returns for each two hashes [N, 4] whether they differ in at most BITS bits; those of plain pictures do not."""
    close = np.bitwise_count(first ^ second).sum(axis=1, dtype=np.int64) <= BITS
    return close & first.any(axis=1) & second.any(axis=1)
