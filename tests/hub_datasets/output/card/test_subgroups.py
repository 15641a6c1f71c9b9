"""Checks the subgroups of patients that the card counts."""

from __future__ import annotations

import pytest

from hub_datasets.output.card.subgroups import MOST, OTHERS, Subgroups, age_band, skin_type, subgroups_of
from tests.hub_datasets.hand_made import report


@pytest.mark.parametrize(
    ("value", "band"),
    [(0, "under 20"), ("19.9", "under 20"), ("20", "20 to 39"), (59, "40 to 59"), ("055Y", "40 to 59"),
     ("60岁", "60 to 79"), ("80.0", "80 and over"), (130, "80 and over"), (131, "unknown"), (-1, "unknown"),
     ("", "unknown"), ("UNK", "unknown"), ("nan", "unknown"), ("inf", "unknown"), (None, "unknown"), ("6M", "unknown")],
)  # fmt: skip
def test_an_age_band(value, band):
    assert age_band(value) == band


@pytest.mark.parametrize(("value", "shown"), [("2.0", "type 2"), (6, "type 6"), ("7", "unknown"), ("2.5", "unknown")])
def test_a_skin_type(value, shown):
    assert skin_type(value) == shown


@pytest.mark.parametrize(
    ("metadata", "sex"),
    [({"gender": "FEMALE"}, "female"), ({"PatientSex": " M "}, "male"), ({"性别": "女"}, "female"),
     ({"sex": None}, "unknown"), ({"sex": "", "gender": "male"}, "male"),
     ({"sex": "other"}, "unknown"), ({}, "unknown"), ({"sex": 1}, "unknown")],
)  # fmt: skip
def test_a_sex(metadata, sex):
    assert subgroups_of(report(1, metadata=metadata))["sex"] == sex


def test_rows_by_source_kind_value_and_split():
    counted = Subgroups()
    for number, (age, split) in enumerate([("61", "train"), ("61", "test"), ("15", "train"), ("", "validation")]):
        counted.add(report(number, metadata={"age": age}, body_part="chest"), split)
    assert counted.found() == {
        "medical_reports": {
            "age": {"under 20": {"train": 1}, "60 to 79": {"train": 1, "test": 1}, "unknown": {"validation": 1}},
            "body_part": {"chest": {"train": 2, "validation": 1, "test": 1}},
        }
    }
    assert list(counted.found()["medical_reports"]["age"]) == ["under 20", "60 to 79", "unknown"]


def test_values_beyond_the_most_frequent_are_counted_together():
    counted = Subgroups()
    for number in range(2 * MOST):
        for _ in range(number + 1):
            counted.add(report(number, body_part=f"place {number}"), "train")
    found = counted.found()["medical_reports"]["body_part"]
    assert len(found) == MOST + 1 and found[OTHERS] == {"train": sum(range(1, MOST + 1))}
    assert sum(counts["train"] for counts in found.values()) == sum(range(1, 2 * MOST + 1))
