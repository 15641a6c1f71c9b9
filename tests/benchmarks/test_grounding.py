"""Checks the probe of the audit of targets, that its record is of today's rules, and the bar of the project."""

from __future__ import annotations

import json

import pytest

from hub_datasets.texts.grounding.audit import AUDITED
from hub_datasets.texts.grounding.rules import KINDS
from tests.benchmarks.dataset import grounding

BAR = 0.95
RATES = ("precision", "recall", "sentence_precision", "sentence_recall")


@pytest.mark.parametrize("language", AUDITED)
def test_the_probe(language):
    rows = grounding.read_probe(language)
    assert len(rows) >= 300 and len({row["text"] for row in rows}) == len(rows)
    assert 0.45 <= sum(not row["kinds"] for row in rows) / len(rows) <= 0.55
    assert {kind for row in rows for kind in row["kinds"]} == set(KINDS)
    assert {row["part"] for row in rows} == set(grounding.PARTS)


@pytest.mark.parametrize("language", AUDITED)
def test_the_audit_meets_the_bar(language):
    rows = grounding.read_probe(language)
    for chosen in (rows, *([row for row in rows if row["part"] == part] for part in grounding.PARTS)):
        measured = grounding.measure(chosen, language)
        assert min(measured[rate] for rate in RATES) >= BAR, measured


def test_the_record_is_of_these_rules(tmp_path):
    assert grounding.main(["--output", str(tmp_path / "result.json")]) == 0
    fresh, kept = (
        json.loads(path.read_text(encoding="utf-8"))["languages"]
        for path in (tmp_path / "result.json", grounding.RESULT)
    )
    for found in (*fresh.values(), *kept.values()):
        assert found.pop("milliseconds_per_sentence") < 10
    assert fresh == kept, "run tests/benchmarks/dataset/grounding.py"


def test_the_record_meets_what_the_project_promises():
    for found in json.loads(grounding.RESULT.read_text(encoding="utf-8"))["languages"].values():
        assert min(found["all"][rate] for rate in RATES) >= BAR
        assert found["milliseconds_per_sentence"] < 0.1


def test_wrong_and_missed_kinds_are_counted():
    rows = [
        {"text": "Unchanged.", "kinds": ["age"], "images": 1},
        {"text": "Clear.", "kinds": [], "images": 1},
        {"text": "A 5 mm cyst.", "kinds": ["measurement"], "images": 1},
    ]
    measured = grounding.measure(rows, "en")
    assert (measured["precision"], measured["recall"]) == (0.5, 0.5)
    assert (measured["sentence_precision"], measured["sentence_recall"]) == (1, 1)
    kinds = grounding.by_kind(rows, "en")
    assert kinds["age"] == {"sentences": 1, "precision": 0, "recall": 0} and kinds["measurement"]["recall"] == 1
