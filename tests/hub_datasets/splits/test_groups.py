"""Checks groups against plain sets over random graphs, splits that depend only on a group's name, and filled gaps."""

from __future__ import annotations

import random
from collections import defaultdict

import pytest

from hub_datasets.schema import SPLITS
from hub_datasets.splits.groups import (
    Fractions,
    Groups,
    by_stratum,
    count_splits,
    fill_gaps,
    key_digest,
    key_kind,
    memory_line,
    name_order,
    read_memory,
    remembered_split,
    split_of,
)


def grouped(rows: list[list[int]], size: int) -> list[set[int]]:
    """The components of `Groups`, by their smallest key."""
    groups, found = Groups(size), defaultdict(set)
    for keys in rows:
        groups.connect(keys)
    for key in range(size):
        found[groups.root(key)].add(key)
    return sorted(found.values(), key=min)


def components(rows: list[list[int]], size: int) -> list[set[int]]:
    """The same with sets that are merged until none share a key."""
    found = [{key} for key in range(size)]
    for keys in rows:
        touched = [component for component in found if component & set(keys)]
        found = [component for component in found if component not in touched] + [set().union(*touched)]
    return sorted(found, key=min)


def random_rows(rng: random.Random, size: int) -> list[list[int]]:
    return [[rng.randrange(size) for _ in range(rng.randint(1, 4))] for _ in range(rng.randrange(size))]


@pytest.mark.parametrize("seed", range(60))
def test_groups_are_the_connected_components(seed):
    rng = random.Random(seed)
    size = rng.choice([1, 5, 20, 120])
    rows = random_rows(rng, size)
    assert grouped(rows, size) == components(rows, size)


@pytest.mark.parametrize("seed", range(30))
def test_the_order_of_rows_and_keys_makes_no_difference(seed):
    rng = random.Random(seed)
    rows = random_rows(rng, 60)
    shuffled = [rng.sample(keys, len(keys)) for keys in rng.sample(rows, len(rows))]
    assert grouped(rows, 60) == grouped(shuffled, 60)


def test_a_long_chain_is_one_group():
    chain = [[n, n + 1] for n in range(20_000)]
    assert len(grouped(chain, 20_001)) == len(grouped(chain[::-1], 20_001)) == 1


def test_a_million_keys_take_little_memory():
    groups = Groups(1_000_000)
    groups.connect(range(1_000_000))
    assert groups.root(999_999) == groups.root(0)
    assert groups._parent.itemsize * len(groups._parent) == 8_000_000


def test_a_group_is_named_after_its_patient_then_its_study_then_its_image():
    keys = ["s/mystery:0", "image:0", "image:1", "s/conversation:1", "s/study:1", "t/patient:9", "s/patient:10"]
    assert sorted(keys, key=name_order) == [
        "s/patient:10", "t/patient:9", "s/study:1", "image:0", "image:1", "s/conversation:1", "s/mystery:0",
    ]  # fmt: skip


def test_the_kind_of_a_key_whose_value_holds_the_signs_that_keys_are_made_of():
    assert key_kind("image:9f") == "image"
    assert key_kind("s/patient:study:1/image:2") == "patient"


# --- Splits


NAMES = [f"pad_ufes_20/patient:PAT_{n}" for n in range(40_000)]


def test_fractions_are_met_over_many_groups():
    counts = count_splits(split_of(name, Fractions(validation=0.05, test=0.1)) for name in NAMES)
    assert list(counts) == ["train", "validation", "test"] and sum(counts.values()) == 40_000
    # Five standard deviations of a binomial count.
    assert abs(counts["validation"] - 2000) < 5 * (40_000 * 0.05 * 0.95) ** 0.5
    assert abs(counts["test"] - 4000) < 5 * (40_000 * 0.1 * 0.9) ** 0.5


def test_by_default_a_twentieth_is_for_validation_and_nothing_for_test():
    counts = count_splits(split_of(name, Fractions()) for name in NAMES)
    assert set(counts) == {"train", "validation"}
    assert abs(counts["validation"] - 2000) < 220


def test_the_test_set_stays_when_validation_changes():
    def held_for_test(validation: float) -> set[str]:
        return {name for name in NAMES[:5000] if split_of(name, Fractions(validation, test=0.2)) == "test"}

    assert held_for_test(0.05) == held_for_test(0.0) == held_for_test(0.5) != set()


def test_a_larger_share_keeps_what_it_had():
    def held_out(validation: float) -> set[str]:
        return {name for name in NAMES[:5000] if split_of(name, Fractions(validation)) == "validation"}

    assert held_out(0.05) < held_out(0.06) < held_out(0.5)


def test_the_split_of_a_name_is_the_same_for_ever():
    """A published test set must not move with a new version of this code."""
    fractions = Fractions(validation=0.3, test=0.3)
    letters = {"train": "t", "validation": "v", "test": "x"}
    splits = [letters[split_of(f"pad_ufes_20/patient:PAT_{n}", fractions)] for n in range(12)]
    assert "".join(splits) == "txvtttvtvvxt"


def test_shares_of_the_three_splits():
    assert [round(Fractions(0.05, 0.2).of(split), 9) for split in SPLITS] == [0.75, 0.05, 0.2]


# --- Every source and language in every split


def strata_of(groups: dict[str, list[str]]) -> dict[tuple[str, str], set[str]]:
    return by_stratum((source, "en", group) for source, names in groups.items() for group in names)


def missing_in(strata: dict, splits: dict[str, str], fractions: Fractions) -> dict[tuple[str, str], list[str]]:
    """What is missing in each stratum, counted plainly."""
    found = {}
    for stratum, groups in strata.items():
        there = {splits[group] for group in groups}
        if missing := [split for split in SPLITS if fractions.of(split) > 0 and split not in there]:
            found[stratum] = missing
    return found


def reported(gaps: list[dict]) -> dict[tuple[str, str], list[str]]:
    return {(gap["source"], gap["language"]): gap["missing"] for gap in gaps}


@pytest.mark.parametrize("seed", range(60))
def test_a_source_that_shares_no_group_is_in_every_split_where_it_has_groups_enough(seed):
    rng = random.Random(seed)
    fractions = Fractions(rng.choice([0, 0.05, 0.2, 0.4]), rng.choice([0, 0.1, 0.3]))
    groups = {source: [f"{source}/patient:{n}" for n in range(rng.choice([1, 2, 3, 5, 12, 40]))] for source in "abc"}
    strata = strata_of(groups)
    splits = {name: split_of(name, fractions) for names in groups.values() for name in names}
    before = dict(splits)
    gaps = fill_gaps(strata, splits, set(), fractions)
    assert reported(gaps) == missing_in(strata, splits, fractions)
    for gap in gaps:
        for split in gap["missing"]:
            assert gap["groups"] * fractions.of(split) < 1
        assert gap["groups"] == len(groups[gap["source"]]) and gap["why"] == "it has too few groups"
    for stratum, names in strata.items():
        moved = [name for name in names if splits[name] != before[name]]
        assert len(moved) <= len(SPLITS) - 1 and {splits[name] for name in moved} <= set(
            missing_in({stratum: names}, before, fractions).get(stratum, ())
        )


@pytest.mark.parametrize("seed", range(60))
def test_strata_that_share_groups_and_groups_that_may_not_move(seed):
    """Whatever is missing in the end is reported, and what was filled for one stratum is not taken from another."""
    rng = random.Random(seed)
    fractions = Fractions(rng.choice([0.05, 0.2, 0.4]), rng.choice([0, 0.1, 0.3]))
    names = [f"s/patient:{n}" for n in range(rng.choice([3, 6, 12, 40]))]
    strata = {
        (source, language): set(rng.sample(names, rng.randint(1, len(names))))
        for source in "ab"
        for language in ("en", "zh")
    }
    splits = {name: rng.choice(SPLITS) if rng.random() < 0.3 else split_of(name, fractions) for name in names}
    fixed = {name for name in names if rng.random() < rng.choice([0, 0.2, 0.9])}
    before, held = dict(splits), set(fixed)
    missing_before = missing_in(strata, splits, fractions)
    gaps = fill_gaps(strata, splits, fixed, fractions)
    missing = missing_in(strata, splits, fractions)
    assert reported(gaps) == missing
    assert all(splits[name] == before[name] for name in held)
    for stratum, splits_missing in missing.items() if "train" in before.values() else ():
        assert set(splits_missing) <= set(missing_before.get(stratum, ())), "a gap was made"


def test_the_group_that_moves_depends_on_the_names_alone():
    names = [f"s/patient:{n}" for n in range(30)]
    results = []
    for order in (names, names[::-1]):
        splits = dict.fromkeys(order, "train")
        assert fill_gaps(strata_of({"s": order}), splits, set(), Fractions(0.1, 0.1)) == []
        results.append({name: split for name, split in splits.items() if split != "train"})
    assert results[0] == results[1] and sorted(results[0].values()) == ["test", "validation"]


def test_too_few_groups_are_reported():
    splits = {"s/patient:0": "train", "s/patient:1": "train"}
    assert fill_gaps(strata_of({"s": list(splits)}), splits, set(), Fractions(0.05, 0.5)) == [
        {"source": "s", "language": "en", "groups": 2, "missing": ["validation"], "why": "it has too few groups"}
    ]
    assert sorted(splits.values()) == ["test", "train"]


def test_groups_that_may_not_move_are_reported():
    splits = {f"s/patient:{n}": "train" for n in range(40)}
    gaps = fill_gaps(strata_of({"s": list(splits)}), splits, set(splits), Fractions(0.1))
    assert gaps == [
        {"source": "s", "language": "en", "groups": 40, "missing": ["validation"], "why": "all are taken"}
    ]  # fmt: skip
    assert set(splits.values()) == {"train"}


@pytest.mark.parametrize("groups", [1, 2, 3, 10])
@pytest.mark.parametrize("fractions", [Fractions(0.05), Fractions(0.4, 0.4), Fractions(0.9), Fractions(0, 0.99)])
def test_train_is_never_empty(groups, fractions):
    """Nobody can train on a dataset without it, however the hashes fall."""
    names = [f"s/patient:{n}" for n in range(groups)]
    for held_out in [split for split in ("validation", "test") if fractions.of(split)]:
        splits = dict.fromkeys(names, held_out)
        gaps = fill_gaps(strata_of({"s": names}), splits, set(), fractions)
        assert "train" in splits.values()
        assert reported(gaps) == missing_in(strata_of({"s": names}), splits, fractions)


# --- What is remembered


@pytest.mark.parametrize("old", [["train", "test"], ["validation", "train"], ["test", "validation", "train", "test"]])
def test_train_wins_where_groups_that_were_apart_are_tied_together(old):
    assert remembered_split(old) == "train"


def test_without_train_the_validation_set_wins():
    assert remembered_split(["test", "validation"]) == "validation" and remembered_split(["test", "test"]) == "test"


def test_the_memory_does_not_tell_the_keys():
    line = memory_line(key_digest("pad_ufes_20/patient:PAT_46"), "validation")
    assert "PAT_46" not in line and line == f"{key_digest('pad_ufes_20/patient:PAT_46')} validation\n"
    assert line == memory_line(key_digest("pad_ufes_20/patient:PAT_46"), "validation")


def test_what_is_written_is_read_again():
    keys = {f"s/patient:{n}": SPLITS[n % 3] for n in range(100)} | {"s/patient:张": "test", "s/patient:\n": "train"}
    content = "".join(memory_line(key_digest(key), split) for key, split in keys.items()).encode("ascii")
    assert read_memory(content, "splits.txt") == {key_digest(key): split for key, split in keys.items()}


@pytest.mark.parametrize("line", ["0123456789abcdef", "0123456789abcdef valid", "012 train", "x", " train"])
def test_other_content_is_no_memory(line):
    content = memory_line(key_digest("image:0"), "train") + line
    with pytest.raises(ValueError, match=r"splits\.txt line 2 is not a key and a split"):
        read_memory(content.encode(), "splits.txt")


def test_a_memory_that_is_no_text():
    with pytest.raises(ValueError, match="ascii"):
        read_memory(b"\xff\xfe", "splits.txt")
