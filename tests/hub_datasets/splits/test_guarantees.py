"""Checks what the report says that the splits of a source rest on."""

from __future__ import annotations

from hub_datasets.splits.guarantees import guarantee
from tests.hub_datasets.checked import build_here
from tests.hub_datasets.hand_made import decide, make_stage, question, report, source_of
from tests.hub_datasets.layouts import report_row, write_four_sources, write_reports

RISK = "images of one patient may be in different splits"


def found(tmp_path, records, name="medical_reports", scans=None):
    decisions, _ = decide(tmp_path / "d", make_stage(tmp_path / "s", records, source=source_of(name)))
    return guarantee(decisions, name, scans)


def test_patients_of_all_rows(tmp_path):
    records = [report(n, groups=(f"patient:{n // 2}", f"study:{n}")) for n in range(6)]
    assert found(tmp_path, records) == {
        "rests_on": ["patient IDs", "studies", "pixels"], "rows": 6, "rows_with_patient": 6, "warning": "",
    }  # fmt: skip


def test_patients_of_some_rows(tmp_path):
    records = [report(n, groups=("patient:1",) if n < 2 else ()) for n in range(6)]
    said = found(tmp_path, records)
    assert said["rests_on"] == ["patient IDs (2 of 6 rows)", "pixels"]
    assert said["warning"] == f"no patient IDs in 4 of 6 rows: {RISK}"


def test_nothing_but_pixels(tmp_path):
    said = found(tmp_path, [report(n) for n in range(3)])
    assert said["rests_on"] == ["pixels only"] and said["warning"] == f"no patient IDs: {RISK}"


def test_scans(tmp_path):
    scans = {"images": 3, "joined": 2, "scans": 1, "largest": 2}
    said = found(tmp_path, [question(n, n) for n in range(3)], "slake", scans)
    assert said["rests_on"] == [
        "image numbers",
        "scans, by image number, modality and correlation (2 of 3 images are in 1 scans of several slices)",
        "pixels",
    ]
    assert said["warning"] == f"no patient IDs: {RISK}"


def test_the_headline_of_the_splits_names_every_source_without_patients(tmp_path):
    build_here(write_four_sources(tmp_path / "raw"), tmp_path / "out", "--val_fraction", "0.3")
    card = (tmp_path / "out/README.md").read_text(encoding="utf-8")
    splits = card[card.index("\n## Splits") :]
    headline = splits[: splits.index("| rows of")]
    for name in ("knee_xray", "slake", "medical_reports"):
        assert f"- `{name}`: **no patient IDs: {RISK}.**" in headline, headline
        assert f"`{name}` has no patient IDs: {RISK}." in card[: card.index("\n## Load")]
    assert "- `pad_ufes_20`: patient IDs, lesions, pixels." in headline


def test_a_source_with_patients_has_no_warning(tmp_path):
    folder = write_reports(tmp_path / "r", [report_row(n, patient_id=f"P{n}") for n in range(6)])
    built = build_here({"--reports_dir": folder}, tmp_path / "out", "--val_fraction", "0.3")
    assert built["sources"]["medical_reports"]["guarantee"]["warning"] == ""
    assert RISK not in (tmp_path / "out/README.md").read_text(encoding="utf-8")
