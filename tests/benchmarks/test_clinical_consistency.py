"""Checks the probe of clinical_consistency, that its record and README are of today's rules, and the bar."""

from __future__ import annotations

import json
import shutil

import pytest

from tests.benchmarks.evaluation import clinical_consistency

BAR = 0.95


@pytest.fixture(scope="module")
def record() -> dict:
    return json.loads(clinical_consistency.RESULT.read_text(encoding="utf-8"))


@pytest.mark.parametrize("language", clinical_consistency.LANGUAGES)
def test_the_probe(language):
    rows = clinical_consistency.read_probe(language)
    texts = [(row["reference"], row["same"], row.get("changed")) for row in rows]
    assert len(set(texts)) == len(rows) and {row["part"] for row in rows} == set(clinical_consistency.PARTS)
    for kind in clinical_consistency.KINDS:
        parts = [row["part"] for row in rows if row["kind"] == kind]
        assert len(parts) >= 32 and (parts.count("unusual"), parts.count("natural")) == (6, 4)
        assert abs(parts.count("held_out") - (len(parts) - 10) / 3) <= 1
    assert all(("changed" in row) == (row["kind"] != "paraphrase") for row in rows)
    assert all(len(set(filter(None, row))) == len(list(filter(None, row))) for row in texts)


def test_the_record_and_the_page_are_of_these_rules(tmp_path, record):
    page = shutil.copy(clinical_consistency.README, tmp_path)
    assert clinical_consistency.main(["--output", str(tmp_path / "result.json"), "--readme", page]) == 0
    fresh = json.loads((tmp_path / "result.json").read_text(encoding="utf-8"))
    for found in (*fresh["languages"].values(), *record["languages"].values()):
        assert found.pop("milliseconds_per_text") < 20
    assert fresh["languages"] == record["languages"], "run tests/benchmarks/evaluation/clinical_consistency.py"
    text = clinical_consistency.README.read_text(encoding="utf-8")
    assert (tmp_path / "README.md").read_text(encoding="utf-8") == text
    rows = [found["all"] for found in record["languages"].values()]
    assert f"{sum(found['rows'] for found in rows)} rows" in text
    assert f"{sum(found['rows'] - found['with_changed'] for found in rows)} paraphrases" in text
    parts = [found["parts"] for found in record["languages"].values()]
    assert f"first {sum(found[name]['rows'] for found in parts for name in ('tuning', 'held_out'))} rows" in text


@pytest.mark.parametrize("language", clinical_consistency.LANGUAGES)
def test_the_metric_separates_what_words_do_not(record, language):
    found = record["languages"][language]
    for part in ("tuning", "held_out"):
        assert found["parts"][part]["separated_clinical_consistency"] >= BAR
        assert found["parts"][part]["kept_clinical_consistency"] >= BAR
    assert found["parts"]["natural"]["separated_clinical_consistency"] >= 0.8
    for measured in (found["all"], found["parts"]["held_out"]):
        for other in ("bleu", "rouge_l"):
            assert measured[f"separated_{other}"] < 0.5 * measured["separated_clinical_consistency"]


def test_rouge_l_by_hand():
    assert clinical_consistency.rouge_l("No effusion seen", "no effusion") == 2 * 2 / 5
    assert clinical_consistency.rouge_l("未见积液", "可见积液") == 2 * 3 / 8
    assert clinical_consistency.rouge_l("a b c d", "b d a c") == 0.5 and clinical_consistency.rouge_l("", "") == 0


def test_a_row_is_separated_only_by_a_higher_score():
    rows = [
        {"reference": "No mass.", "same": "No tumor.", "changed": "Mass.", "kind": "negation", "part": "tuning"},
        {"reference": "No mass.", "same": "A mass is absent.", "kind": "paraphrase", "part": "tuning"},
    ]
    one, other = clinical_consistency.scored(rows, "en")
    assert one["separated"]["clinical_consistency"] is False and one["kept"]["clinical_consistency"] is False
    assert other["separated"] == {} and other["kept"]["clinical_consistency"] is True
    shares = clinical_consistency.shares([one, other])
    assert (shares["rows"], shares["with_changed"], shares["kept_clinical_consistency"]) == (2, 1, 0.5)
