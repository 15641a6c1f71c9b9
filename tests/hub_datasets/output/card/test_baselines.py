"""Checks the scores that the data alone give, against a plain calculation over the same rows."""

from __future__ import annotations

import random
from collections import Counter, defaultdict

import pytest

from hub_datasets.output.card.baselines import majority_scores, prior_scores, wilson
from hub_datasets.splits.groups import Fractions
from tests.hub_datasets.hand_made import decide, make_stage, question, source_of


def asked(seed: int) -> list:
    rng = random.Random(seed)
    records = []
    for number in range(120):
        record = question(number, number // 3, rng.choice(["en", "zh"]))
        record.question, record.answer = rng.choice(["Where?", " where? ", "What?", f"Q {number}"]), rng.choice("ABab")
        records.append(record)
    return records


@pytest.mark.parametrize("seed", range(5))
def test_the_question_prior(tmp_path, seed):
    records = asked(seed)
    stage = make_stage(tmp_path / "slake", records, source=source_of("slake"))
    decisions, _ = decide(tmp_path, stage, fractions=Fractions(0.2, 0.2))
    rows = [(one.split, one.record) for (one,) in decisions.accepted(0)]
    by_question, by_language = defaultdict(Counter), defaultdict(Counter)
    for split, record in rows:
        if split == "train":
            said = record.answer.strip().lower()
            by_question[record.language, record.question.strip().lower()][said] += 1
            by_language[record.language][said] += 1
    expected = defaultdict(list)
    for split, record in rows:
        if split != "train":
            known = by_question.get((record.language, record.question.strip().lower())) or by_language[record.language]
            guess = min(known, key=lambda answer: (-known[answer], answer))
            expected[record.language, split].append(guess == record.answer.strip().lower())
    found = {(one["language"], one["split"]): (one["rows"], one["correct"]) for one in prior_scores(decisions)}
    assert found == {key: (len(right), sum(right)) for key, right in expected.items()} and len(found) == 4
    assert 0 < sum(correct for _, correct in found.values()) < sum(rows for rows, _ in found.values())


def test_the_most_frequent_class_of_each_source():
    labels = {
        "knee/a": {"train": 5, "test": 1},
        "knee/b": {"train": 7, "validation": 2, "test": 3},
        "skin/a/b": {"train": 2, "test": 0},
        "skin/c": {"train": 1, "test": 4},
        "eyes/no": {"test": 9},
    }
    found = [(s["source"], s["split"], s["rule"], s["rows"], s["correct"]) for s in majority_scores(labels)]
    assert found == [
        ("knee", "validation", "most frequent class: b", 2, 2),
        ("knee", "test", "most frequent class: b", 4, 3),
        ("skin", "test", "most frequent class: a/b", 4, 0),
    ]


@pytest.mark.parametrize(
    ("correct", "rows", "low", "high"),
    # from the formula in Wilson (1927), as tables of it have them
    [(0, 10, 0.0, 0.2775), (10, 10, 0.7225, 1.0), (5, 10, 0.2366, 0.7634), (81, 263, 0.2553, 0.3662)],
)
def test_the_interval_of_wilson(correct, rows, low, high):
    assert wilson(correct, rows) == pytest.approx((low, high), abs=1e-4)


def test_no_scores_without_training_rows(tmp_path):
    record = question(1, 1)
    record.official_split = "test"
    stage = make_stage(tmp_path / "slake", [record], source=source_of("slake"))
    decisions, _ = decide(tmp_path, stage, split_by="official")
    assert list(prior_scores(decisions)) == [] == list(majority_scores({"a/b": {"test": 3}}))
