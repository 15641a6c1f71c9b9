"""Checks the tables of classification, alignment and groups of patients, also of records that are damaged."""

from __future__ import annotations

import pytest

from model_cards.model_card import model_card
from model_cards.results import RETRIEVAL, EvaluationResult
from model_cards.tables.classification_tables import (
    METHODS,
    alignment_table,
    classification_tables,
    subgroup_table,
    text_of_details,
)
from tests.model_cards.all_controls import all_controls
from tests.model_cards.test_model_card import SUMMARIES

KNEE = {
    "classes": ["Normal", "Mild", "Severe"],
    "ordered": True,
    "images": 40,
    "patients": 31,
    "methods": [
        {"name": "chance", "metrics": {"balanced_accuracy": [1 / 3, 1 / 3, 1 / 3]}, "note": ""},
        {
            "name": "linear_probe",
            "metrics": {"balanced_accuracy": [0.75, 0.6, 0.9], "quadratic_kappa": [0.5, None, None]},
            "note": "fitted on 90 images of train",
        },
    ],
    "differences": [
        {"of": "linear_probe", "to": "metadata", "metrics": {"quadratic_kappa": [0.25, 0.125, 0.5]}},
        {"of": "linear_probe", "to": "base_linear_probe", "metrics": {"quadratic_kappa": [-0.25, -0.5, -0.125]}},
        {"of": "zero_shot_en", "to": "metadata", "metrics": {"quadratic_kappa": [0.1, -0.1, 0.3]}},
        {"of": "zero_shot_zh", "to": "metadata", "metrics": {"quadratic_kappa": [0.1, None, None]}},
    ],
    "notes": ["said by the record"],
}
GROUPS = [
    {"attribute": "sex", "group": "female", "patients": 40, "rows": 50, "metrics": {
        "linear_probe": {"value": 0.5, "low": 0.25, "high": 0.75, "patients": 35, "rows": 40}}},
    {"attribute": "sex", "group": "ma|le", "patients": 29, "rows": 31, "metrics": {
        "linear_probe": {"note": "too few to test", "patients": 29, "rows": 31}}},
]  # fmt: skip


def result_of(**more) -> EvaluationResult:
    return EvaluationResult("me/model", RETRIEVAL, "me/data", "pairs", "test", 40, {"recall_at_5": 0.5}, **more)


def test_a_table_per_source_with_controls_and_verdicts():
    ((title, lines, notes),) = classification_tables(result_of(classification={"knee_xray": KNEE}))
    assert title == "knee_xray: 3 grades, 40 images, 31 patients or scans"
    assert lines == [
        ["classified by", "quadratic kappa", "balanced accuracy"],
        ["chance", "–", "0.333 [0.333, 0.333]"],
        ["linear probe", "0.5", "0.750 [0.600, 0.900]"],
    ]
    assert notes[:2] == ["linear probe: fitted on 90 images of train", "said by the record"]
    assert [note.rpartition("; ")[2] if "; " in note else note.rpartition(": ")[2] for note in notes[2:]] == [
        "better", "worse", "not better, as far as these rows can tell", "too few patients for an interval",
    ]  # fmt: skip
    assert (
        "linear probe minus patient and site alone, no image, quadratic kappa: +0.250 [+0.125, +0.500]: better" in notes
    )


def test_small_groups_share_a_line_that_names_them():
    small = GROUPS[1] | {"group": "other", "patients": 1_000, "rows": 2_000}
    lines = subgroup_table(result_of(subgroups=[*GROUPS, small, GROUPS[0] | {"attribute": "age"}]))
    assert lines[2:] == [
        ["sex", "ma|le (29), other (1,000)", "–", "2,031", "too few to test"],
        ["age", "female", "40", "50", "0.500 [0.250, 0.750] (n = 35)"],
    ]


def test_groups_without_a_value_say_so():
    lines = subgroup_table(result_of(subgroups=GROUPS))
    assert lines == [
        ["", "group", "patients", "rows", METHODS["linear_probe"]],
        ["sex", "female", "40", "50", "0.500 [0.250, 0.750] (n = 35)"],
        ["sex", "ma|le (29)", "–", "31", "too few to test"],
    ]


def test_alignment_and_the_text_for_a_terminal():
    result = result_of(
        classification={"knee_xray": KNEE}, subgroups=GROUPS, alignment={"matching_auc": 0.75, "reliability": []}
    )
    assert alignment_table(result)[1:] == [["AUC of matched against mismatched (chance 0.5)", "0.75"]]
    text = text_of_details(result)
    for part in ("knee_xray: 3 grades", "too few to test", "| AUC of matched", "- said by the record"):
        assert part in text
    assert text_of_details(result_of()) == ""


@pytest.mark.parametrize(
    "damaged",
    [
        {"classification": {"a": None, "b": [1], "c": {"methods": 3}, "d": {"methods": [{"name": 1}, None]}}},
        {"classification": {"a": {"methods": [{"name": "x", "metrics": {"accuracy": ["<b>", 0, 1]}}]}}},
        {"subgroups": [{}, {"attribute": "sex", "group": 1, "metrics": {}}]},
        {"alignment": {"matching_auc": "high", "ece": None}},
    ],
)
def test_damaged_parts_are_left_out(damaged):
    result = result_of(**damaged)
    assert text_of_details(result) == ""


def test_the_card_has_the_tables_and_escapes_what_comes_from_data():
    controls = all_controls(task=RETRIEVAL)
    details = {"classification": {"<img src=x>": KNEE}, "subgroups": GROUPS, "alignment": {"matching_auc": 0.75}}
    result = result_of(controls=controls, **details)
    text = model_card("me/model", SUMMARIES["encoder"], [result], [])
    assert "linear probe" in text and "0.500 \\[0.250, 0.750\\]" in text and "ma\\|le" in text
    assert "\\<img" in text and "<img" not in text.replace("\\<", "")
