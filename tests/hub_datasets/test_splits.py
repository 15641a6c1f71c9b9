"""Groups against a plain search over random graphs; splits that depend on nothing but the group's name."""

from __future__ import annotations

import random
from collections import defaultdict, deque

import pytest

from hub_datasets.splits import Fractions, Groups, name_order, split_of


def grouped(rows: list[list[str]]) -> dict[str, str]:
    groups = Groups()
    for keys in rows:
        groups.connect(keys)
    return groups.names()


def components(rows: list[list[str]]) -> set[frozenset[str]]:
    """The connected components, by breadth-first search."""
    neighbours: dict[str, set[str]] = defaultdict(set)
    for keys in rows:
        for key in keys:
            neighbours[key].update(keys)
    left, found = set(neighbours), set()
    while left:
        queue = deque([left.pop()])
        component = set(queue)
        while queue:
            for key in neighbours[queue.popleft()] - component:
                component.add(key)
                queue.append(key)
        left -= component
        found.add(frozenset(component))
    return found


def random_rows(rng: random.Random) -> list[list[str]]:
    kinds = ["s/patient", "t/patient", "s/study", "image", "t/image", "s/other"]
    size = rng.choice([3, 10, 40])
    key = lambda: f"{rng.choice(kinds)}:{rng.randrange(size)}"  # noqa: E731
    return [[key() for _ in range(rng.randint(1, 4))] for _ in range(rng.randrange(1, 80))]


@pytest.mark.parametrize("seed", range(150))
def test_groups_are_the_connected_components(seed):
    rows = random_rows(random.Random(seed))
    names = grouped(rows)
    by_name: dict[str, set[str]] = defaultdict(set)
    for key, name in names.items():
        by_name[name].add(key)
    assert {frozenset(keys) for keys in by_name.values()} == components(rows)
    assert all(name == min(keys, key=name_order) for name, keys in by_name.items())


@pytest.mark.parametrize("seed", range(30))
def test_the_order_of_rows_and_keys_makes_no_difference(seed):
    rng = random.Random(seed)
    rows = random_rows(rng)
    shuffled = [rng.sample(keys, len(keys)) for keys in rng.sample(rows, len(rows))]
    assert grouped(rows) == grouped(shuffled)


def test_a_long_chain_is_one_group():
    chain = [[f"image:{n}", f"image:{n + 1}"] for n in range(20_000)]
    assert set(grouped(chain).values()) == {"image:0"}
    assert set(grouped(chain[::-1]).values()) == {"image:0"}


def test_a_group_is_named_after_its_patient_then_its_study_then_its_image():
    assert grouped([["image:0", "s/study:1", "s/patient:9"]])["image:0"] == "s/patient:9"
    assert grouped([["image:0", "s/study:1"]])["image:0"] == "s/study:1"
    assert grouped([["image:1", "image:0"]])["image:1"] == "image:0"
    assert grouped([["image:1", "s/mystery:0"]])["s/mystery:0"] == "image:1"


def test_a_value_may_hold_the_signs_that_keys_are_made_of():
    assert grouped([["image:0", "s/patient:study:1/image:2"]])["image:0"] == "s/patient:study:1/image:2"


def test_names_stay_when_rows_are_added():
    rows = [[f"image:{n:04x}", f"s/patient:{n // 3}"] for n in range(300)]
    before = grouped(rows)
    # Further images of known patients, with hashes that sort before all others, and new patients.
    more = [[f"image:!{n}", f"s/patient:{n}"] for n in range(0, 200, 7)]
    after = grouped(more + rows)
    assert {key: after[key] for key in before} == before


# --- Splits


NAMES = [f"pad_ufes_20/patient:PAT_{n}" for n in range(40_000)]


def test_fractions_are_met_over_many_groups():
    counts = defaultdict(int)
    for name in NAMES:
        counts[split_of(name, Fractions(validation=0.05, test=0.1))] += 1
    # Five standard deviations of a binomial count.
    assert abs(counts["validation"] - 2000) < 5 * (40_000 * 0.05 * 0.95) ** 0.5
    assert abs(counts["test"] - 4000) < 5 * (40_000 * 0.1 * 0.9) ** 0.5


def test_by_default_a_twentieth_is_for_validation_and_nothing_for_test():
    splits = [split_of(name, Fractions()) for name in NAMES]
    assert set(splits) == {"train", "validation"}
    assert abs(splits.count("validation") - 2000) < 220


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
