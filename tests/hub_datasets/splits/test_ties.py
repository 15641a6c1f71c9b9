"""Checks when near-duplicates tie too much together, by planted hashes."""

from __future__ import annotations

import random

import pytest

from hub_datasets.errors import BuildError
from hub_datasets.splits.groups import Fractions
from hub_datasets.splits.ties import FEW, problem_of_ties, refuse_ties
from tests.hub_datasets.hand_made import decide, make_stage, report

PLAIN = Fractions(0.1)


def decisions_of(tmp_path, chain: int, alone: int, distance: int = 15, fractions: Fractions = PLAIN, **fields):
    """`chain` pictures of which each is near the next one, and `alone` others; each of a patient of its own."""
    rng = random.Random(0)
    bits = rng.getrandbits(256)
    images, records = {}, []
    for n in range(chain + alone):
        if n < chain:
            bits ^= sum(1 << place for place in rng.sample(range(256), 8))
        shown = bits if n < chain else rng.getrandbits(256)
        records.append(report(n, groups=(f"patient:{n}",), **fields))
        images[f"images/{n}.png"] = {"perceptual": shown.to_bytes(32).hex()}
    return decide(tmp_path / "d", make_stage(tmp_path / "s", records, images), distance=distance, fractions=fractions)[
        0
    ]


def near_pairs(decisions) -> int:
    return decisions.database.execute("SELECT count(*) FROM near").fetchone()[0]


def test_a_chain_through_more_than_a_tenth_is_refused(tmp_path):
    with pytest.raises(BuildError) as refused:
        refuse_ties(decisions_of(tmp_path, 30, 170), 15, PLAIN)
    said = str(refused.value)
    assert said.startswith(
        "--near_distance 15: near-duplicates tie 30 of 200 groups (patients, studies, scans, images)"
    )
    assert "lower --near_distance (0 joins equal hashes only), after a look at pairs, for example line " in said
    assert "\n" not in said


@pytest.mark.parametrize(("chain", "alone"), [(20, 180), (FEW, 5), (2, 0)])
def test_a_tenth_and_a_few_are_accepted(tmp_path, chain, alone):
    decisions = decisions_of(tmp_path, chain, alone)
    assert near_pairs(decisions) >= chain - 1  # there are ties to decide about
    assert problem_of_ties(decisions, 15, PLAIN) == ""


def test_groups_count_once_whatever_is_in_them(tmp_path):
    """30 pictures of one patient are one group, near or not."""
    rng = random.Random(0)
    bits = rng.getrandbits(256)
    records = [report(n, groups=(f"patient:{0 if n < 30 else n}",)) for n in range(100)]
    images = {
        f"images/{n}.png": {"perceptual": (bits if n < 30 else rng.getrandbits(256)).to_bytes(32).hex()}
        for n in range(100)
    }
    decisions, _ = decide(tmp_path / "d", make_stage(tmp_path / "s", records, images))
    assert near_pairs(decisions) >= 29 and problem_of_ties(decisions, 15, PLAIN) == ""


def test_equal_hashes_are_always_accepted(tmp_path):
    decisions = decisions_of(tmp_path, 30, 170)
    assert problem_of_ties(decisions, 15, PLAIN) and problem_of_ties(decisions, 0, PLAIN) == ""


def test_a_split_that_would_vanish_is_refused(tmp_path):
    """Pairs that halve 12 groups leave too few for a tenth; none of the ties is large."""
    rng = random.Random(0)
    records, images = [], {}
    for n in range(12):
        rng.seed(n // 2)
        records.append(report(n, groups=(f"patient:{n}",)))
        images[f"images/{n}.png"] = {"perceptual": rng.getrandbits(256).to_bytes(32).hex()}
    for seed in range(50):  # names of patients decide by their hash
        renamed = [report(n, groups=(f"patient:{seed}-{n}",)) for n in range(12)]
        decisions, _ = decide(
            tmp_path / f"d{seed}", make_stage(tmp_path / f"s{seed}", renamed, images), fractions=PLAIN
        )
        there = {one.split for (one,) in decisions.accepted(0)}
        if "validation" not in there:
            with pytest.raises(BuildError, match="tie 12 groups into 6, and validation would have no rows"):
                refuse_ties(decisions, 15, PLAIN)
            return
        assert problem_of_ties(decisions, 15, PLAIN) == ""
    raise AssertionError("no case found")
