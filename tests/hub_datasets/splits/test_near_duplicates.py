"""Checks that the edges connect the same clusters as a comparison of all pairs."""

from __future__ import annotations

import numpy as np
import pytest

from hub_datasets.splits import near_duplicates as module
from hub_datasets.splits.near_duplicates import NEAR_DISTANCE, near_duplicates
from tests.cases import few


def distances(hashes: np.ndarray) -> np.ndarray:
    return np.stack([np.bitwise_count(hashes ^ row).sum(axis=1, dtype=np.int64) for row in hashes])


def clusters(count: int, edges: np.ndarray) -> list[int]:
    """The smallest row of each row's cluster."""
    joined = np.eye(count, dtype=bool)
    joined[edges[:, 0], edges[:, 1]] = joined[edges[:, 1], edges[:, 0]] = True
    names = np.full(count, -1)
    for row in range(count):
        reached = np.zeros(count, bool)
        new = np.array([row] if names[row] < 0 else [], dtype=int)
        while len(new):
            reached[new] = True
            new = np.flatnonzero(joined[new].any(axis=0) & ~reached)
        names[reached] = row
    return names.tolist()


def expected(hashes: np.ndarray, distance: int) -> np.ndarray:
    """Every pair within the distance, plain images left out."""
    near = distances(hashes) <= distance
    plain = ~hashes.any(axis=1)
    near[plain] = near[:, plain] = False
    return np.argwhere(np.triu(near, 1))


def flip(hashes: np.ndarray, most: int, random: np.random.Generator) -> np.ndarray:
    """Each hash with up to `most` bits turned."""
    bits = np.unpackbits(hashes, axis=1)
    for row in bits:
        row[random.choice(256, random.integers(0, most + 1), replace=False)] ^= 1
    return np.packbits(bits, axis=1)


def random_hashes(random: np.random.Generator) -> np.ndarray:
    return random.integers(0, 256, (2000, 32), np.uint8)


def planted_clusters(random: np.random.Generator) -> np.ndarray:
    hashes = random_hashes(random)
    return np.concatenate([hashes, flip(hashes[:500], 24, random), flip(hashes[:300], 20, random), hashes[:100]])


def chains(random: np.random.Generator) -> np.ndarray:
    """Each a few bits from the one before: the ends are far apart and still one cluster."""
    hashes = [random_hashes(random)[:20]]
    for _ in range(100):
        hashes.append(flip(hashes[-1], 17, random))
    return np.concatenate(hashes)


def one_dense_cluster(random: np.random.Generator) -> np.ndarray:
    return flip(np.repeat(random_hashes(random)[:1], 3000, axis=0), 10, random)


def equal_in_most_bands(random: np.random.Generator) -> np.ndarray:
    """Half of the bytes are the same for all, the other half come from 3 values each."""
    hashes = random.integers(0, 3, (3000, 32), np.uint8) * 85
    hashes[:, ::2] = 170
    return hashes


def few_bits_vary(random: np.random.Generator) -> np.ndarray:
    """All lie in 20 bits, 15 of which may differ."""
    hashes = np.zeros((3000, 32), np.uint8)
    hashes[:, 5:7] = random.integers(0, 256, (3000, 2))
    hashes[:, 31] = random.integers(1, 16, 3000)
    return hashes


def one_bit_of_each_band(random: np.random.Generator) -> np.ndarray:
    """Neighbors of one hash at distances around the limit, the turned bits spread over the bands."""
    bits = np.unpackbits(np.repeat(random_hashes(random)[:1], 600, axis=0), axis=1)
    for number, row in enumerate(bits):
        row[(np.arange(number % 40) * 16 + number // 40) % 256] ^= 1
    return np.packbits(bits, axis=1)


def exactly_at_the_limit(random: np.random.Generator) -> np.ndarray:
    """Pairs of strangers with exactly 15 bits between them, and pairs with 16."""
    hashes = random_hashes(random)
    bits = np.unpackbits(hashes, axis=1)
    for number, row in enumerate(bits):
        row[random.choice(256, 15 + number % 2, replace=False)] ^= 1
    return np.concatenate([hashes, np.packbits(bits, axis=1)])


def sparse_and_plain(random: np.random.Generator) -> np.ndarray:
    """Few bits set, many hashes without any."""
    bits = (random.random((2500, 256)) < 0.02).astype(np.uint8)
    bits[::3] = 0
    return np.packbits(bits, axis=1)


MAKERS = [
    random_hashes,
    planted_clusters,
    chains,
    one_dense_cluster,
    equal_in_most_bands,
    few_bits_vary,
    one_bit_of_each_band,
    exactly_at_the_limit,
    sparse_and_plain,
]


@pytest.mark.parametrize("small", [50, *(pytest.param(small, marks=pytest.mark.slow) for small in (1, 1024))])
@pytest.mark.parametrize("make", MAKERS, ids=lambda make: make.__name__)
def test_parity_with_all_pairs(make, small, monkeypatch):
    """`small` 1 and 50 send these thousands down the ways that otherwise only large sets take."""
    monkeypatch.setattr(module, "SMALL", small)
    hashes = make(np.random.default_rng(7))
    edges = near_duplicates(hashes)
    assert clusters(len(hashes), edges) == clusters(len(hashes), expected(hashes, NEAR_DISTANCE))
    assert (edges[:, 0] < edges[:, 1]).all()
    between = np.bitwise_count(hashes[edges[:, 0]] ^ hashes[edges[:, 1]]).sum(axis=1, dtype=np.int64)
    assert (between <= NEAR_DISTANCE).all()


@pytest.mark.parametrize("distance", few([0, 1, 7, 16, 24, 40, 100, 255], 0, 24))
def test_parity_at_other_distances(distance, monkeypatch):
    monkeypatch.setattr(module, "SMALL", 50)
    hashes = planted_clusters(np.random.default_rng(distance))[:2600]
    assert clusters(2600, near_duplicates(hashes, distance)) == clusters(2600, expected(hashes, distance))


def test_the_planted_sets_have_something_to_find():
    random = np.random.default_rng(7)
    assert len(expected(planted_clusters(random), NEAR_DISTANCE)) > 500
    assert len(expected(exactly_at_the_limit(random), NEAR_DISTANCE)) == 1000
    assert len(expected(random_hashes(random), NEAR_DISTANCE)) == 0


def test_equal_hashes_are_a_star():
    hashes = np.full((1000, 32), 3, np.uint8)
    assert near_duplicates(hashes).tolist() == [[0, row] for row in range(1, 1000)]


def test_a_dense_cluster_does_not_list_all_its_pairs():
    hashes = one_dense_cluster(np.random.default_rng(1))
    assert len(near_duplicates(hashes)) < 10 * len(hashes)


def test_plain_images_have_no_edges():
    hashes = np.zeros((5, 32), np.uint8)
    hashes[4, 0] = 1
    assert near_duplicates(hashes).shape == (0, 2)


@pytest.mark.parametrize("count", [0, 1])
def test_nothing_to_compare(count):
    edges = near_duplicates(np.ones((count, 32), np.uint8))
    assert edges.shape == (0, 2)
    assert edges.dtype == np.int64


@pytest.mark.parametrize("hashes", [np.zeros((4, 32), np.int64), np.zeros((4, 8), np.uint8), np.zeros(32, np.uint8)])
def test_an_array_of_another_shape_is_refused(hashes):
    with pytest.raises(ValueError, match=r"expected uint8 \[N, 32\]"):
        near_duplicates(hashes)


@pytest.mark.parametrize("distance", [-1, 256])
def test_a_distance_that_is_none_is_refused(distance):
    with pytest.raises(ValueError, match=str(distance)):
        near_duplicates(np.zeros((4, 32), np.uint8), distance)
