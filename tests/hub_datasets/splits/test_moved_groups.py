"""Checks that a group that changes its split says why: which row or which pictures connect what was apart."""

from __future__ import annotations

import pytest

from hub_datasets.splits.groups import Fractions, key_digest
from hub_datasets.splits.moved_groups import moved_groups
from tests.hub_datasets.hand_made import decide, make_stage, question, report, source_of
from tests.hub_datasets.splits.test_leakage import LOOKS, LOOKS_ALIKE


def moved(tmp_path, records, memory, images=None, source=None) -> list[dict]:
    memory = {key_digest(key): split for key, split in memory.items()}
    stage = make_stage(tmp_path / "s", records, images, source)
    decisions, assigned = decide(tmp_path / "d", stage, fractions=Fractions(0.2), memory=memory)
    return list(moved_groups(decisions, memory, assigned["moved"]))


def test_nothing_moves(tmp_path):
    records = [report(n, groups=(f"patient:{n}",)) for n in range(3)]
    assert moved(tmp_path, records, {"medical_reports/patient:1": "test"}) == []


def test_a_row_has_both(tmp_path):
    records = [report(n, groups=(f"patient:{n}",)) for n in range(3)]
    records.append(report(9, groups=("patient:0", "study:x")))
    records.append(report(10, groups=("study:x",)))
    old = {"medical_reports/patient:0": "train", "medical_reports/study:x": "test", "medical_reports/patient:1": "test"}
    (found,) = moved(tmp_path, records, old)
    assert found == {
        "group": "medical_reports/patient:0",
        "split": "train",
        "was": {"train": 1, "test": 1},
        "why": found["why"],
        "rows": [(0, "line 9")],
    }
    ends = {"patient of train", "study of test"}
    assert found["why"].startswith("a row has the ") and all(end in found["why"] for end in ends)


def test_pictures_that_look_alike(tmp_path):
    records = [report(n, groups=(f"patient:{n}",)) for n in range(4)]
    images = {"images/0.png": LOOKS, "images/1.png": LOOKS_ALIKE}
    old = {"medical_reports/patient:0": "validation", "medical_reports/patient:1": "train"}
    (found,) = moved(tmp_path, records, old, images)
    assert "two images look alike, the new image and the new image" in found["why"]
    assert {item for _, item in found["rows"]} == {"line 0", "line 1"} and found["split"] == "train"


def test_a_way_through_several_rows(tmp_path):
    """The shortest one is told."""
    records = [
        report(0, groups=("patient:a", "study:1")),
        report(1, groups=("study:1", "lesion:2")),
        report(2, groups=("lesion:2", "patient:b")),
        report(3, groups=("study:9", "patient:a")),
    ]
    old = {"medical_reports/patient:a": "test", "medical_reports/patient:b": "train"}
    (found,) = moved(tmp_path, records, old)
    assert [item for _, item in found["rows"]] == ["line 0", "line 1", "line 2"]
    assert found["why"].count("; ") == 2 and "new study" in found["why"] and "new lesion" in found["why"]


def test_slices_of_a_scan(tmp_path):
    records = [question(n, n) for n in range(2)]
    for n, record in enumerate(records):
        record.scan_series, record.scan_number = "CT", n
    import base64

    gray = base64.b64encode(bytes(range(256)) * 16)
    images = {f"imgs/{n}/source.jpg": {"thumbnail": gray} for n in range(2)}
    old = {"slake/image:0": "train", "slake/image:1": "test"}
    (found,) = moved(tmp_path, records, old, images, source_of("slake"))
    assert "two images are slices of one scan" in found["why"] and found["split"] == "train"


@pytest.mark.parametrize("count", [1, 30])
def test_each_group_has_its_own_reason(tmp_path, count):
    records, old = [], {}
    for n in range(count):
        records.append(report(n, groups=(f"patient:{n}", f"study:{n}")))
        old |= {f"medical_reports/patient:{n}": "train", f"medical_reports/study:{n}": "test"}
    found = moved(tmp_path, records, old)
    assert sorted(item for one in found for _, item in one["rows"]) == sorted(f"line {n}" for n in range(count))
