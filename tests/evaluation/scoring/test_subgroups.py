"""Checks which groups of patients are found, and that small ones have no value and none are ranked."""

from __future__ import annotations

import json

import numpy as np
import pytest
from datasets import Dataset

from evaluation.scoring.subgroups import (
    FEWEST,
    TOO_FEW,
    age_band,
    attributes_of,
    normalized,
    read_metadata,
    subgroup_scores,
)


def rows_of(metadata: list, **columns) -> Dataset:
    texts = [found if isinstance(found, str) else json.dumps(found) for found in metadata]
    return Dataset.from_dict({"metadata": texts, **columns})


def test_attributes_of_pad_ufes_20_and_of_dicom():
    rows = rows_of(
        [
            {"gender": "FEMALE", "age": "53", "fitspatrick": "4.0", "region": "FACE"},
            {"Patient Sex": "M", "PatientAge": "007Y", "InstitutionName": "North", "Manufacturer": "A"},
            {"sex": "UNK", "age": 81, "fitzpatrick": 0, "site": "South", "scanner": "B"},
        ],
        body_part=["face", None, "arm"],
        modality=["CT", "CT", "CT"],
    )
    found = attributes_of(rows)
    assert found == {
        "sex": ["female", "male", ""],
        "age": ["40 to 59", "under 18", "80 and over"],
        "site": ["", "North".lower(), "south"],
        "scanner": ["", "a", "b"],
        "body part": ["face", "", "arm"],
    }
    assert attributes_of(rows, [0, 2], single=True)["skin type"] == ["4", ""]
    assert attributes_of(rows, single=True)["modality"] == ["ct"] * 3


def test_columns_of_a_dataset_of_others():
    rows = Dataset.from_dict({"Sex": ["f", "m"], "patient_age": ["20", "30"]})
    assert attributes_of(rows) == {"sex": ["female", "male"]}  # both ages are in one band


def test_an_attribute_with_a_value_per_row_is_no_group():
    assert attributes_of(rows_of([{"scanner": f"unit {number}"} for number in range(60)])) == {}


@pytest.mark.parametrize(
    "text",
    ["", "no JSON", "[1, 2]", "[" * 100_000, '{"sex": ' + "9" * 5000 + "}", '{"sex": "' + "m" * 200_000 + '"}', "null"],
)
def test_metadata_that_cannot_be_read_is_unknown(text):
    assert attributes_of(rows_of([text, {"sex": "f"}]), single=True) == {"sex": ["", "female"]}
    assert isinstance(read_metadata(text), dict) and read_metadata(None) == read_metadata(3) == {}


@pytest.mark.parametrize(
    ("text", "band"),
    [("0", "under 18"), ("17", "under 18"), ("18", "18 to 39"), ("39.9", "18 to 39"), ("006m", "under 18"),
     ("60", "60 to 79"), ("045y", "40 to 59"), ("80", "80 and over"), ("131", ""), ("-3", ""), ("old", ""), ("", "")],
)  # fmt: skip
def test_age_bands(text, band):
    assert age_band(text) == band


def test_values_are_normalized():
    assert [normalized("skin type", value) for value in ("IV", "Type 2", "4.0", "0", 7, None)] == [
        "4",
        "2",
        "4",
        "",
        "",
        "",
    ]
    assert [normalized("sex", value) for value in ("女", "Woman", " M ", True, float("nan"))] == ["female"] * 2 + [
        "male",
        "",
        "",
    ]
    assert normalized("site", "A\x1b[31m\nB") == "a [31m b"


def test_groups_have_values_with_intervals_or_none():
    random = np.random.default_rng(0)
    size = 200
    sex = ["female"] * 150 + ["male"] * (FEWEST - 1) + [""] * (50 - FEWEST + 1)
    right = list((random.random(size) < 0.7).astype(float))
    patients = [f"patient {row}" for row in range(size)]
    found = subgroup_scores({"sex": sex}, {"accuracy": right}, patients)
    assert [(one["group"], one["patients"]) for one in found] == [("female", 150), ("male", 29), ("unknown", 21)]
    female, male, unknown = (one["metrics"]["accuracy"] for one in found)
    assert female["value"] == pytest.approx(np.mean(right[:150])) and female["low"] < female["value"] < female["high"]
    assert female["high"] - female["low"] == pytest.approx(2 * 1.96 * (0.7 * 0.3 / 150) ** 0.5, rel=0.15)
    assert male == {"patients": 29, "rows": 29, "note": TOO_FEW} and unknown["note"] == TOO_FEW


def test_patients_and_not_rows_are_counted():
    """One hundred rows of ten patients are too few."""
    groups = [f"patient {row % 10}" for row in range(100)]
    (found,) = subgroup_scores({"site": ["north"] * 100}, {"accuracy": [1.0] * 100}, groups)
    assert (found["patients"], found["rows"]) == (10, 100) and "value" not in found["metrics"]["accuracy"]


def test_rows_that_are_not_counted():
    scores = [1.0] * 40 + [None] * 40
    (found,) = subgroup_scores({"site": ["a"] * 80}, {"x": scores, "y": [None] * 80}, [str(row) for row in range(80)])
    assert found["rows"] == 80 and found["metrics"]["x"]["rows"] == 40 and "y" not in found["metrics"]
    assert found["metrics"]["x"]["value"] == 1 and 0.9 < found["metrics"]["x"]["low"] < 1


def test_groups_are_in_the_order_of_their_names_and_not_of_their_values():
    bands = ["80 and over", "under 18", "18 to 39", "40 to 59"]
    column = [band for band in bands for _ in range(40)]
    scores = [float(place) / 3 for place in range(4) for _ in range(40)]
    found = subgroup_scores({"age": column}, {"x": scores}, [str(row) for row in range(160)])
    assert [one["group"] for one in found] == ["under 18", "18 to 39", "40 to 59", "80 and over"]
