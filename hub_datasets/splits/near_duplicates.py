"""Finds pairs of perceptual hashes that differ in few bits, without comparing all pairs.

If two hashes differ in at most d bits and the bits are divided into at least d + 1 bands, at least one band is equal in
both (the pigeonhole principle). So only hashes that share a band are compared, and no pair is missed.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

HASH_BITS = 256
NEAR_DISTANCE = 15  # bits; tests/benchmarks/dataset/near_duplicates.py measures what it finds and what it keeps apart
LEAST_BANDS = 16  # so that a band has at most 16 bits
SMALL = 1024  # hashes; as many are compared each with each
ROWS_AT_ONCE = 1 << 12


def near_duplicates(hashes: np.ndarray, distance: int = NEAR_DISTANCE) -> np.ndarray:
    """Returns edges between hashes that differ in at most `distance` bits, enough to connect every cluster.

    Two hashes are connected, directly or through others, exactly if a chain of such pairs leads from one to the other.
    Not every pair of a cluster is an edge: a thousand equal images have 999 edges. A hash of zeros
    (`hashing.NO_STRUCTURE`) has no edge.

    Args:
        hashes: [N, 32], uint8, one `perceptual_hash` in each row.
        distance: in bits, 0 to 255.

    Returns:
        [M, 2], int64: row numbers i < j, sorted.

    Raises:
        ValueError: the array or the distance is invalid.
    """
    hashes = np.ascontiguousarray(hashes)
    if hashes.dtype != np.uint8 or hashes.ndim != 2 or hashes.shape[1] * 8 != HASH_BITS:
        raise ValueError(f"expected uint8 [N, {HASH_BITS // 8}], found {hashes.dtype} {list(hashes.shape)}")
    if not 0 <= distance < HASH_BITS:
        raise ValueError(f"distance is {distance}; expected 0 to {HASH_BITS - 1}")
    rows, copies = collapse(hashes.view(np.uint64))
    search = Search(hashes[rows].view(np.uint64), distance)
    search.find(np.arange(len(rows)))
    edges = np.concatenate([copies, *(np.sort(rows[edges], axis=1) for edges in search.edges)])
    return edges[np.lexsort((edges[:, 1], edges[:, 0]))]


def collapse(words: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns the first row of each distinct nonzero hash, and an edge [first, copy] for each other row."""
    rows = np.flatnonzero(words.any(axis=1))
    if len(rows) == 0:
        return rows, np.empty((0, 2), np.int64)
    rows = rows[np.lexsort(words[rows].T)]  # a stable sort: of equal hashes the first row stays first
    new = np.ones(len(rows), bool)
    new[1:] = (words[rows[1:]] != words[rows[:-1]]).any(axis=1)
    first = rows[new][np.cumsum(new) - 1]
    return rows[new], np.stack([first[~new], rows[~new]], axis=1)


class Search:
    """The search among distinct hashes.

    Attributes:
        edges: arrays [M, 2] of what was found.
    """

    def __init__(self, words: np.ndarray, distance: int) -> None:
        self.words = words  # [N, 4], uint64
        self.distance = distance
        self.edges: list[np.ndarray] = []
        self._parent = np.arange(len(words))  # a forest: hashes with the same root are connected

    def find(self, rows: np.ndarray) -> None:
        """Connects the clusters among some rows."""
        if len(rows) <= SMALL:
            self._compare(rows, np.array([len(rows)]))
            return
        keys, word = self._bands(rows)
        sizes = [group_sizes(key) for key in keys]
        if 2 * sum(int(size @ size) for size in sizes) > len(rows) ** 2:  # the bands do not tell these apart
            self._compare(rows, np.array([len(rows)]), word)
            return
        for key, size in zip(keys, sizes, strict=True):
            ordered = rows[np.argsort(key, kind="stable")]
            small = size <= SMALL
            self._compare(ordered[np.repeat(small, size)], size[small], word)
            for end, count in zip(np.cumsum(size)[~small], size[~small], strict=True):
                group = ordered[end - count : end]
                if np.ptp(self._roots(group)):
                    self.find(group)  # equal in this band; its other bits are divided into new bands

    def _bands(self, rows: np.ndarray) -> tuple[np.ndarray, int]:
        """Returns the value of each row in each band [bands, rows], and the most selective of the 4 words."""
        ones = np.zeros(HASH_BITS, np.int64)
        for bits in self._bits(rows):
            ones += bits.sum(axis=1, dtype=np.int64)
        spread = np.minimum(ones, len(rows) - ones)
        columns = np.argsort(spread, kind="stable")[::-1]
        columns = columns[spread[columns] > 0]  # two rows differ in no other bit
        count = max(self.distance + 1, LEAST_BANDS)
        bands = [columns[band::count] for band in range(count)]  # so that each tells about as many apart
        keys = np.zeros((count, len(rows)), np.uint16)
        start = 0
        for bits in self._bits(rows):
            end = start + bits.shape[1]
            for key, band in zip(keys[:, start:end], bands, strict=True):
                for column in band:
                    key <<= 1
                    key |= bits[column]
            start = end
        return keys, int(spread.reshape(4, -1).sum(axis=1).argmax())

    def _bits(self, rows: np.ndarray) -> Iterator[np.ndarray]:
        """Yields the bits of some rows at a time, [256, rows]."""
        for start in range(0, len(rows), ROWS_AT_ONCE):
            part = self.words[rows[start : start + ROWS_AT_ONCE]]
            yield np.ascontiguousarray(np.unpackbits(part.view(np.uint8), axis=1).T)

    def _compare(self, rows: np.ndarray, sizes: np.ndarray, word: int = 0) -> None:
        """Compares each row with each other of its group; `rows` holds the groups of these sizes one after another.

        All rows are compared with the one `step` places further on, for each step. A single word of four rules out
        nearly all of them.
        """
        step, found, waiting = 1, [], 0
        while len(rows):
            if step & (step - 1) == 0 or waiting > ROWS_AT_ONCE:
                self._connect(found)
                found, waiting = [], 0
            if step & (step - 1) == 0:  # what was found often makes further steps needless
                rows, sizes = self._unfinished(rows, sizes, step)
                left = np.repeat(np.cumsum(sizes), sizes) - np.arange(len(rows))  # rows to the end of the group
                values = self.words[rows, word]
            near = np.bitwise_count(values[step:] ^ values[:-step]) <= self.distance
            near &= left[:-step] > step
            places = np.flatnonzero(near)
            if len(places):
                found.append((rows[places], rows[places + step]))
                waiting += len(places)
            step += 1

    def _unfinished(self, rows: np.ndarray, sizes: np.ndarray, step: int) -> tuple[np.ndarray, np.ndarray]:
        """Drops the groups without two rows that are `step` apart, and those that are already connected."""
        keep = sizes > step
        rows, sizes = rows[np.repeat(keep, sizes)], sizes[keep]
        if len(rows) == 0:
            return rows, sizes
        starts = np.cumsum(sizes) - sizes
        roots = self._roots(rows)
        keep = np.minimum.reduceat(roots, starts) != np.maximum.reduceat(roots, starts)
        return rows[np.repeat(keep, sizes)], sizes[keep]

    def _connect(self, found: list[tuple[np.ndarray, np.ndarray]]) -> None:
        """Adds the pairs that are near and not yet connected as edges."""
        if not found:
            return
        pairs = np.concatenate(found, axis=1).T
        pairs = pairs[self._roots(pairs[:, 0]) != self._roots(pairs[:, 1])]
        differing = np.bitwise_count(self.words[pairs[:, 0]] ^ self.words[pairs[:, 1]]).sum(axis=1, dtype=np.int64)
        pairs = pairs[differing <= self.distance]
        if len(pairs) == 0:
            return
        self.edges.append(pairs)
        while len(pairs):  # of two roots the larger gets the smaller as its parent, until all pairs have one root
            roots = np.sort(np.stack([self._roots(pairs[:, 0]), self._roots(pairs[:, 1])], axis=1), axis=1)
            apart = roots[:, 0] != roots[:, 1]
            pairs, roots = pairs[apart], roots[apart]
            self._parent[roots[:, 1]] = roots[:, 0]

    def _roots(self, rows: np.ndarray) -> np.ndarray:
        roots = self._parent[rows]
        while True:
            above = self._parent[roots]
            if np.array_equal(above, roots):
                break
            roots = self._parent[above]
        self._parent[rows] = roots
        return roots


def group_sizes(key: np.ndarray) -> np.ndarray:
    """Returns the number of rows for each value that occurs in a band, in the order of the values."""
    sizes = np.bincount(key)
    return sizes[sizes > 0]
