"""What was read and what became of it: every number adds up, every rejection has its line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from hub_datasets.report import Accepted, Tally, make_report, summary, write_rejections
from hub_datasets.schema import Ignored, RawRecord, Reason, Rejection
from hub_datasets.sources import SOURCES
from hub_datasets.validation import CheckedImage
from tests.hub_datasets.layouts import read_lines

KNEE, PAD = SOURCES[:2]


def accepted(number: int, group: str, split: str = "train") -> Accepted:
    record = RawRecord("knee_xray", f"{number}.png", f"{number}.png", "Normal", "en", "text")
    return Accepted(record, CheckedImage(Path("1.png"), f"{number % 3}", 1, 1), group, split)


@pytest.fixture
def tallies(tmp_path) -> list[Tally]:
    (tmp_path / "SYNTHETIC.txt").touch()
    knee = Tally(KNEE, tmp_path, read=7)
    knee.accepted = [accepted(1, "a"), accepted(2, "a"), accepted(4, "b", "validation")]
    codes = (Reason.IMAGE_MISSING, Reason.DUPLICATE_IMAGE, Reason.IMAGE_MISSING, Reason.CONFLICTING_LABELS)
    knee.rejections = [Rejection("knee_xray", f"{n}.png", code, f"message {n}") for n, code in enumerate(codes)]
    knee.ignored = [Ignored("knee_xray", "Thumbs.db", "left by the operating system")]
    pad = Tally(PAD, tmp_path / "pad", read=1, accepted=[accepted(9, "c")])
    return [knee, pad]


ROW = {"source_dataset": "knee_xray", "language": "en", "category": "Normal"}
ROWS = {
    "pairs": {"train": [ROW, ROW | {"category": "Mild"}, ROW | {"source_dataset": "pad_ufes_20"}], "validation": [ROW]},
    "chat": {"train": [ROW]},
}


def test_the_numbers_of_a_source(tallies):
    report = make_report(tallies, ROWS, {}, "")
    knee = report["sources"]["knee_xray"]
    assert (knee["read"], knee["accepted"], knee["images"]) == (7, 3, 2)
    assert knee["rejected"] == {"conflicting_labels": 1, "duplicate_image": 1, "image_missing": 2}
    assert knee["ignored"] == ["Thumbs.db: left by the operating system"]
    assert (knee["title"], knee["homepage"], knee["licence"], knee["citation"]) == (
        KNEE.title, KNEE.homepage, KNEE.licence, KNEE.citation,
    )  # fmt: skip
    assert knee["synthetic"] is True and report["sources"]["pad_ufes_20"]["synthetic"] is False
    assert list(report["sources"]) == ["knee_xray", "pad_ufes_20"]


def test_the_numbers_of_the_rows(tallies):
    report = make_report(tallies, ROWS, {"val_fraction": 0.05}, "0123")
    assert report["splits"] == {"pairs": {"train": 3, "validation": 1}, "chat": {"train": 1}}
    assert report["rows_by"]["pairs"] == {
        "source_dataset": {"knee_xray": {"train": 2, "validation": 1}, "pad_ufes_20": {"train": 1}},
        "language": {"en": {"train": 3, "validation": 1}},
        "category": {"Mild": {"train": 1}, "Normal": {"train": 2, "validation": 1}},
    }
    assert report["groups"] == {"train": 2, "validation": 1}
    assert (report["settings"], report["fingerprint"]) == ({"val_fraction": 0.05}, "0123")
    assert json.loads(json.dumps(report)) == report


@pytest.mark.parametrize("read", [6, 8])
def test_a_record_that_got_lost_is_an_error(tallies, read):
    tallies[0].read = read
    with pytest.raises(AssertionError, match="knee_xray: accepted and rejected do not add up"):
        make_report(tallies, ROWS, {}, "")


def test_a_line_for_each_rejection(tallies, tmp_path):
    odd = Rejection("knee_xray", 'caf\udce9 "x"\n.png', Reason.TEXT_SHORT, "短")
    tallies[1].rejections = [odd]
    write_rejections(tmp_path / "rejections.jsonl", tallies)
    lines = read_lines(tmp_path / "rejections.jsonl")
    assert [line["code"] for line in lines] == [
        "image_missing", "duplicate_image", "image_missing", "conflicting_labels", "text_short",
    ]  # fmt: skip
    assert lines[0] == {"source": "knee_xray", "item": "0.png", "code": "image_missing", "message": "message 0"}
    assert lines[-1]["item"] == odd.item
    assert "短" in (tmp_path / "rejections.jsonl").read_text("utf-8")


def test_the_summary(tallies):
    tallies[0].read, tallies[0].accepted = 1504, tallies[0].accepted * 500
    assert summary(make_report(tallies, ROWS, {}, "")).splitlines() == [
        "knee_xray: read 1,504, accepted 1,500 (conflicting_labels 1, duplicate_image 1, image_missing 2); ignored 1",
        "pad_ufes_20: read 1, accepted 1",
        "pairs: train 3, validation 1",
        "chat: train 1",
    ]
