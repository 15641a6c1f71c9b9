"""Checks the choice of rows by `--limit`."""

from __future__ import annotations

from collections import Counter

import pytest

from evaluation.scoring.sampling import stratified_rows

SOURCES = ["knee"] * 60 + ["slake"] * 30 + ["pad"] * 9 + ["one"]


def counts(limit: int, seed: int = 0) -> dict[str, int]:
    return Counter(SOURCES[row] for row in stratified_rows(SOURCES, limit, seed))


def test_each_source_has_its_share():
    assert counts(50) == {"knee": 30, "slake": 15, "pad": 4, "one": 1}
    assert counts(10) == {"knee": 5, "slake": 3, "pad": 1, "one": 1}
    assert counts(4) == {"knee": 1, "slake": 1, "pad": 1, "one": 1}


@pytest.mark.parametrize("limit", range(1, 103))
def test_as_many_rows_as_asked_for_in_their_order(limit):
    rows = stratified_rows(SOURCES, limit, 0)
    assert len(rows) == min(limit, 100) and rows == sorted(set(rows))


def test_the_seed_decides():
    assert stratified_rows(SOURCES, 20, 1) == stratified_rows(SOURCES, 20, 1) != stratified_rows(SOURCES, 20, 2)
    assert counts(20, 1) == counts(20, 2)
