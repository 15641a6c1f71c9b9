"""Checks the probe of planted identifiers on a few persons, and that its record meets what the pages say."""

from __future__ import annotations

import json

import pytest

from tests.benchmarks.dataset.clean_sentences import clean_sentences
from tests.benchmarks.dataset.planted_texts import HELD_OUT, TEXTS
from tests.benchmarks.dataset.privacy_probe import RESULT, false_alarms, main

# Lowest shares that must be caught. Names without any cue are found by nobody; held-out sentences say what to expect.
BARS = {
    "all": 0.95, "column": 1.0, "header": 1.0, "name": 1.0, "text, en": 0.95, "text, zh": 0.95, "text, en-bare": 0.9,
    "text, zh-bare": 0.9, "text, en-held-out": 0.6, "text, zh-held-out": 0.45, "text: record number": 1.0,
    "text: national ID": 1.0, "text: phone": 1.0, "action: patient ID consistent": 1.0, "action: UID changed": 1.0,
}  # fmt: skip


@pytest.fixture(scope="module")
def small(tmp_path_factory) -> dict:
    output = tmp_path_factory.mktemp("probe") / "probe.json"
    assert main(["--persons", "12", "--seed", "3", "--output", str(output)]) == 0
    return json.loads(output.read_text(encoding="utf-8"))


def share(result: dict, name: str) -> float:
    return result["caught"][name]["caught"] / result["caught"][name]["planted"]


def test_a_small_run(small):
    for name in ("column", "header", "name", "action: patient ID consistent", "action: UID changed"):
        assert share(small, name) == 1, small["missed"]
    assert share(small, "text") > 0.7
    assert small["retained"]["kept"] == small["retained"]["columns"] > 0
    assert small["patients"] == {"hashes": 24, "consistent": True}


def test_the_record_meets_its_bars():
    record = json.loads(RESULT.read_text(encoding="utf-8"))
    assert record["caught"]["all"]["planted"] >= 500
    assert {name: share(record, name) for name, bar in BARS.items() if share(record, name) < bar} == {}
    assert record["retained"]["kept"] == record["retained"]["columns"] and record["patients"]["consistent"]


def test_clean_sentences_are_not_flagged():
    found = false_alarms()
    assert found == json.loads(RESULT.read_text(encoding="utf-8"))["false_alarms"]
    assert sum(count["sentences"] for count in found.values()) >= 500
    assert all(count["flagged"] <= 0.01 * count["sentences"] for count in found.values())
    assert len(set(clean_sentences())) == len(list(clean_sentences()))


def test_no_sentence_is_both_known_and_held_out():
    for language, held_out in HELD_OUT.items():
        assert not {text for _, text in held_out} & {text for _, text in TEXTS[language]}
