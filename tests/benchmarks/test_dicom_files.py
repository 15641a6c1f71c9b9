"""Checks the record of pydicom's own test files: it is of today's code, and what is refused holds no usable picture."""

from __future__ import annotations

import json

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
