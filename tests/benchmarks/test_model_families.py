"""Checks that the record of the families is complete, and that the command still gives it."""

from __future__ import annotations

import json

import pytest

from tests.benchmarks.evaluation import model_families
from tests.evaluation.models.tiny_families import FAMILIES


@pytest.fixture(scope="module")
def record() -> dict:
    return json.loads(model_families.RESULT.read_text(encoding="utf-8"))


def test_the_record(record):
    assert [family["family"] for family in record["families"]] == list(FAMILIES)
    assert record["evaluated"] == sum(family["result"] == "evaluated" for family in record["families"]) >= 20
    for family in record["families"]:
        if family["result"] == "evaluated" and family["kind"] == "decoder":
            assert family["image_controls"] and family["own_tower"]


@pytest.mark.slow
def test_the_command_gives_the_record(record, tmp_path):
    chosen = ["align", "qwen3_vl", "paligemma", "blip-2"]
    words = ["--families", *chosen, "--output", str(tmp_path / "new.json")]
    assert model_families.main(words) == 0
    found = json.loads((tmp_path / "new.json").read_text(encoding="utf-8"))["families"]
    assert found == [family for family in record["families"] if family["family"] in chosen]
