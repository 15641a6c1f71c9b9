"""Checks the record of pydicom's own test files: it is of today's code, and what is refused holds no usable picture."""

from __future__ import annotations

import json
from pathlib import Path

from tests.benchmarks.dataset.dicom_files import RESULT, main


def test_the_record_is_of_this_code(tmp_path):
    assert main(["--output", str(tmp_path / "result.json")]) == 0
    fresh, kept = (json.loads(path.read_text(encoding="utf-8")) for path in (tmp_path / "result.json", RESULT))
    assert fresh["files"] == kept["files"] == fresh["accepted"] + len(fresh["refused"])
    assert fresh["refused"].keys() == kept["refused"].keys()
    assert fresh["accepted"] >= 48


def test_every_refusal_says_why():
    refused = json.loads(RESULT.read_text(encoding="utf-8"))["refused"]
    without_picture = [name for name, why in refused.items() if "without a picture" in why]
    assert len(without_picture) >= 10 and all(len(why) > 15 for why in refused.values())


def test_the_page_has_the_numbers_of_the_record():
    record = json.loads(RESULT.read_text(encoding="utf-8"))
    page = (Path(__file__).parents[2] / "docs" / "own_data.md").read_text(encoding="utf-8")
    assert f"Of the {record['files']} DICOM files that pydicom brings" in page
    assert f"{record['accepted']} are accepted" in page


def test_the_record_was_made_with_the_decoders_of_the_constraints():
    versions = json.loads(RESULT.read_text(encoding="utf-8"))["versions"]
    lines = (Path(__file__).parents[2] / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pinned = dict(line.split("==") for line in lines if line.startswith(("pydicom", "pylibjpeg", "python-gdcm")))
    assert pinned == {name: version for name, version in versions.items() if name in pinned}
    assert not any(name.startswith("pylibjpeg") and name not in pinned for name in versions)
