"""Checks what `--ungrounded strip` and `reject` make of accepted records, before they are grouped."""

from __future__ import annotations

import pytest

from hub_datasets.errors import BuildError
from hub_datasets.records import Reason
from hub_datasets.sources.base import Choice
from hub_datasets.splits import ungrounded
from hub_datasets.splits.ungrounded import settle_targets
from hub_datasets.texts.validation import TextSettings
from tests.hub_datasets.hand_made import make_stage, question, report, settled, source_of

TEXTS = {1: "Lungs are clear. Unchanged heart.", 2: "Stable.", 3: "No effusion.", 4: "No. Stable heart size."}


@pytest.fixture
def records():
    return [report(number, text=text) for number, text in TEXTS.items()]


def outcome(tmp_path, mode, records, texts=TextSettings(), **stage):  # noqa: B008
    """(texts of accepted records, rejections, what was counted)."""
    decisions = settled(tmp_path / "work", make_stage(tmp_path / "reports", records, **stage))
    counted = settle_targets(decisions, mode, texts)
    kept = [accepted.record for (accepted,) in accepted_in(decisions)]
    return {record.item: record.text or record.answer for record in kept}, list(decisions.rejections(0)), counted


def accepted_in(decisions):
    decisions.find_near_duplicates(0)
    decisions.make_groups()
    return decisions.accepted(0)


@pytest.mark.parametrize("mode", ["mark", "keep"])
def test_records_stay_as_they_are(tmp_path, records, mode):
    kept, rejections, counted = outcome(tmp_path, mode, records)
    assert list(kept.values()) == list(TEXTS.values()) and not rejections and not counted


def test_strip(tmp_path, records, monkeypatch):
    monkeypatch.setattr(ungrounded, "AT_ONCE", 2)
    kept, rejections, counted = outcome(tmp_path, "strip", records)
    assert kept == {"line 1": "Lungs are clear.", "line 3": "No effusion."}
    assert [(one.item, one.code) for one in rejections] == [
        ("line 2", Reason.UNGROUNDED),
        ("line 4", Reason.UNGROUNDED),
    ]
    assert "(comparison); no usable text is left without it" in rejections[0].message
    assert counted == {("medical_reports", "en", "comparison"): 3}


def test_reject(tmp_path, records):
    kept, rejections, counted = outcome(tmp_path, "reject", records)
    assert kept == {"line 3": "No effusion."}
    assert {one.message for one in rejections} == {"says what the image cannot show (comparison)"}
    assert len(rejections) == counted.total() == 3


def test_nothing_is_left(tmp_path):
    with pytest.raises(BuildError, match=r"no row was accepted; 1 were rejected.*cannot show \(comparison\)"):
        outcome(tmp_path, "reject", [report(1, text="Stable heart size.")])


def test_answers(tmp_path):
    asked = [question(number, 1) for number in range(3)]
    for record, answer in zip(asked, ("Chest pain", "Yes", "Yes. Unchanged."), strict=True):
        record.answer = answer
    kept, rejections, _ = outcome(tmp_path, "strip", asked, source=source_of("slake"))
    assert kept == {"row 1": "Yes", "row 2": "Yes."} and [one.item for one in rejections] == ["row 0"]


def test_the_patients_of_a_picture_stay_tied_when_a_record_is_rejected(tmp_path):
    """Two texts of one picture: the rejected one belongs to a patient with a second picture."""
    records = [
        report(1, "images/1.png", text="Stable heart size.", groups=("patient:a",)),
        report(2, "images/1.png", text="Clear lungs.", groups=("patient:b",)),
        report(3, "images/3.png", text="No effusion.", groups=("patient:a",)),
    ]
    decisions = settled(tmp_path / "work", make_stage(tmp_path / "reports", records))
    settle_targets(decisions, "reject", TextSettings())
    assert len({accepted.group_id for (accepted,) in accepted_in(decisions)}) == 1


def test_texts_that_a_source_rewrites_are_checked_again(tmp_path, records):
    source = source_of("rewritten", choices={"form": Choice(("short", "long"), "form of the texts")})
    kept, rejections, _ = outcome(tmp_path, "mark", records, TextSettings(5, 20), source=source)
    assert list(kept) == ["line 2", "line 3"]
    assert {one.code for one in rejections} == {Reason.TEXT_LONG}
