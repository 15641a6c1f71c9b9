"""Checks what a build publishes of one's own data: no column that identifies, and keyed hashes of IDs and names."""

from __future__ import annotations

import io
import json
import re
import shutil
from pathlib import Path

import pyarrow.parquet as pq
import pydicom
import pytest

from hub_datasets.errors import BuildError
from hub_datasets.output.publish import push_dataset
from hub_datasets.synthetic.marker import write_marker
from tests.hub_datasets.checked import build_here
from tests.hub_datasets.image_files import packaged_dicom
from tests.hub_datasets.layouts import pad_row, read_lines, report_row, tree, write_files, write_pad, write_reports

SECRETS = (
    "OKAFOR", "Okafor", "NGOZI", "Ngozi", "1961-02-03", "555-0140", "00451207", "451207", "PX-10231", "ACC-2021",
    "王小明", "Torvald", "Weiss", "ward_seven",
)  # fmt: skip
ROWS = [
    {"PatientName": "OKAFOR^NGOZI", "birth_date": "1961-02-03", "phone": "212-555-0140", "mrn": "00451207",
     "patient_id": "PX-10231", "AccessionNumber": "ACC-2021-000311", "view": "PA", "note 2": "Weiss, Torvald",
     "image": "images/ward_seven/Okafor_1.png", "text": "Compared with the film of Okafor, less effusion."},
    {"PatientName": "OKAFOR^NGOZI", "birth_date": "1961-02-03", "phone": "212-555-0140", "mrn": "00451207",
     "patient_id": "PX-10231", "AccessionNumber": "ACC-2021-000312", "view": "lateral", "note 2": "Weiss, Torvald",
     "image": "images/ward_seven/Okafor_2.png", "text": "The heart size is normal and the lungs are clear."},
    {"PatientName": "王小明", "birth_date": "1961-02-03", "phone": "13812345678", "mrn": "00451208",
     "patient_id": "PX-10232", "AccessionNumber": "ACC-2021-000313", "view": "PA", "note 2": "Weiss, Torvald",
     "image": "images/ward_seven/3.png", "text": "与小明旧片比较，双肺清晰。"},
]  # fmt: skip


@pytest.fixture(scope="module")
def ward(tmp_path_factory) -> Path:
    return write_reports(tmp_path_factory.mktemp("ward") / "reports", ROWS)


@pytest.fixture(scope="module")
def built(ward) -> Path:
    build_here({"--reports_dir": ward}, ward.parent / "out", "--val_fraction", "0")
    return ward.parent / "out"


def published(folder: Path) -> str:
    """All that a push uploads, as one text, but for the texts, whose identifiers are flagged."""
    parts = []
    for path in sorted(folder.rglob("*")):
        if path.suffix == ".parquet":
            table = pq.read_table(path)
            texts = [name for name in table.column_names if name == "text" or name.endswith("messages")]
            parts.append(repr(table.drop_columns(texts).to_pylist()))
        elif path.suffix in (".md", ".json", ".txt", ".yaml"):
            parts.append(path.read_text("utf-8"))
    return "\n".join(parts)


def rows_of(folder: Path) -> list[dict]:
    rows = [row for path in sorted(folder.glob("pairs/*.parquet")) for row in pq.read_table(path).to_pylist()]
    return [row | {"metadata": json.loads(row["metadata"])} for row in rows]


def test_nothing_that_identifies_is_published(built):
    content = published(built)
    assert [secret for secret in SECRETS if secret in content] == []
    rows = rows_of(built)
    assert {tuple(row["metadata"]) for row in rows} == {("patient_id", "AccessionNumber", "view", "image")}
    assert [row["metadata"]["view"] for row in rows] == ["PA", "lateral", "PA"]
    for row in rows:
        assert re.fullmatch(r"medical_reports/[0-9a-f]{16}\.png", row["image_path"])
        assert row["image_path"].endswith(row["image"]["path"]) and row["metadata"]["image"] == row["image"]["path"]
        assert (
            row["group_id"] == f"medical_reports/patient:{row['metadata']['patient_id']}"
            or row["metadata"]["patient_id"]
        )
    assert rows[0]["group_id"] == rows[1]["group_id"] != rows[2]["group_id"]
    assert rows[0]["metadata"]["patient_id"] == rows[1]["metadata"]["patient_id"] != rows[2]["metadata"]["patient_id"]


def test_the_report_and_the_card_count_what_was_left_out(built):
    found = json.loads((built / "report.json").read_text())["privacy"]["columns"]["medical_reports"]
    assert {name: one["kind"] for name, one in found["left_out"].items()} == {
        "PatientName": "person_name", "birth_date": "birth_date", "phone": "phone_number", "mrn": "record_number",
        "note 2": "person_name",
    }  # fmt: skip
    assert {one["records"] for one in found["left_out"].values()} == {3} and found["kept"] == []
    assert list(found["hashed"]) == ["AccessionNumber", "image", "patient_id"]
    card = (built / "README.md").read_text("utf-8")
    assert "`PatientName` (`person_name`, 3 records)" in card and "a secret key (HMAC-SHA256)" in card
    assert "anonymized" not in card


def test_the_key_and_the_real_names_lie_beside_it_for_their_owner_only(built):
    for name in ("out.key", "out.names.jsonl"):
        assert (built.parent / name).stat().st_mode & 0o777 == 0o600
    names = {line["image_path"]: line for line in read_lines(built.parent / "out.names.jsonl")}
    rows = rows_of(built)
    assert [names[row["image_path"]]["real_image"] for row in rows] == [row["image"] for row in ROWS]
    assert [names[row["image_path"]]["group_id"] for row in rows] == [row["group_id"] for row in rows]
    assert names[rows[1]["image_path"]]["real_item"] == "reports.jsonl line 2"


def test_what_is_known_of_a_patient_is_flagged_in_the_texts(built):
    lines = [(line["item"], line["in"], line["kind"]) for line in read_lines(built / "review.jsonl")]
    assert lines == [(f"reports.jsonl line {n}", "text", "person_name") for n in (1, 3)]
    assert json.loads((built / "report.json").read_text())["review"]["open"] == {"person_name": 2}
    assert not any(secret in (built / "review.jsonl").read_text("utf-8") for secret in SECRETS)


def test_a_rebuild_has_the_same_hashes_and_another_key_others(ward, built, tmp_path):
    def hashes(folder: Path) -> list[tuple]:
        return [(row["image_path"], row["group_id"], row["metadata"]["patient_id"]) for row in rows_of(folder)]

    def splits(folder: Path) -> set[str]:
        return set((folder / "splits.txt").read_text().splitlines()[1:])

    flags = ("--val_fraction", "0", "--key_file")
    build_here({"--reports_dir": ward}, tmp_path / "same", *flags, built.parent / "out.key")
    build_here({"--reports_dir": ward}, tmp_path / "other", *flags, tmp_path / "new.key")
    assert hashes(tmp_path / "same") == hashes(built) and splits(tmp_path / "same") == splits(built)
    assert not {one for row in hashes(tmp_path / "other") for one in row} & {
        one for row in hashes(built) for one in row
    }
    shared = splits(tmp_path / "other") & splits(built)
    assert len(shared) == 3  # the pictures themselves, which are published


def test_a_lost_key_is_not_replaced_in_silence(ward, tmp_path, capsys):
    flags = ("--val_fraction", "0", "--key_file", tmp_path / "k")
    build_here({"--reports_dir": ward}, tmp_path / "out", *flags)
    (tmp_path / "k").unlink()
    with pytest.raises(BuildError, match=r"k does not exist: the key of the hashes in .*out; put it back"):
        build_here({"--reports_dir": ward}, tmp_path / "out", *flags)
    assert not (tmp_path / "k").exists()
    build_here({"--reports_dir": ward}, tmp_path / "out", *flags, "--overwrite")
    assert "made a new key" in capsys.readouterr().out and (tmp_path / "k").exists()


def test_columns_are_kept_by_name(ward, tmp_path):
    report = build_here({"--reports_dir": ward}, tmp_path / "out", "--keep_columns", "mrn, patient_id")
    assert report["privacy"]["columns"]["medical_reports"]["kept"] == ["mrn", "patient_id"]
    assert [row["metadata"]["mrn"] for row in rows_of(tmp_path / "out")] == [row["mrn"] for row in ROWS]
    assert rows_of(tmp_path / "out")[0]["metadata"]["patient_id"] == "PX-10231"
    message = r"--keep_columns nrm: no such column; the columns are: AccessionNumber, PatientName, .*view"
    with pytest.raises(BuildError, match=message):
        build_here({"--reports_dir": ward}, tmp_path / "wrong", "--keep_columns", "mrn,nrm")


def test_a_name_in_a_header_is_searched_in_the_texts_of_its_patient(tmp_path):
    """Also in a row with another picture of the patient, and not in those of others."""
    scan = pydicom.dcmread(io.BytesIO(packaged_dicom("CT_small.dcm")))
    scan.PatientName, scan.PatientID = "Lindqvist^Ileana", "77001"
    file = io.BytesIO()
    scan.save_as(file)
    texts = (
        "The nodule of Lindqvist is smaller.",
        "As in Ileana's first scan, no change.",
        "Unlike Lindqvist, normal.",
    )
    rows = [report_row(n, text=text, patient_id="77001" if n < 2 else "77002") for n, text in enumerate(texts)]
    rows[0]["image"] = "images/scan.dcm"
    reports = write_reports(tmp_path / "reports", rows)
    write_files(reports, {"images/scan.dcm": file.getvalue()})
    build_here({"--reports_dir": reports}, tmp_path / "out", "--val_fraction", "0")
    found = [(line["item"], line["kind"], line["detail"]) for line in read_lines(tmp_path / "out/review.jsonl")]
    assert found == [
        ("reports.jsonl line 1", "person_name", "characters 15 to 23, as in the DICOM header's PatientName"),
        ("reports.jsonl line 2", "person_name", "characters 7 to 12, as in the DICOM header's PatientName"),
    ]
    assert "Lindqvist" not in published(tmp_path / "out") and "77001" not in published(tmp_path / "out")


def test_public_and_synthetic_data_keep_their_names(tmp_path):
    pad = write_pad(tmp_path / "pad", [pad_row(n) for n in range(3)])
    drawn = write_marker(write_reports(tmp_path / "drawn", [report_row(n, patient_id=f"P{n}") for n in range(3)]))
    report = build_here({"--pad_ufes_dir": pad, "--reports_dir": drawn}, tmp_path / "out", "--val_fraction", "0")
    assert report["privacy"] == {} and not (tmp_path / "out.key").exists()
    rows = rows_of(tmp_path / "out")
    assert {row["metadata"]["patient_id"] for row in rows} == {"PAT_0", "PAT_1", "PAT_2", "P0", "P1", "P2"}
    assert "medical_reports/images/0.png" in {row["image_path"] for row in rows}
    with pytest.raises(BuildError, match="--keep_columns has no effect: every source here is public or synthetic"):
        build_here({"--pad_ufes_dir": pad}, tmp_path / "other", "--keep_columns", "age")


# --- Open flags


def test_rows_to_review_are_not_pushed(built):
    message = r"rows to review before they are shared: person_name 2; look at .*review\.jsonl, then add --reviewed"
    with pytest.raises(BuildError, match=message):
        push_dataset(built, "org/never", redistribute=True)


def test_flagged_rows_are_dropped(ward, tmp_path):
    report = build_here({"--reports_dir": ward}, tmp_path / "out", "--drop_flagged", "--val_fraction", "0")
    assert report["sources"]["medical_reports"]["rejected"] == {"flagged": 2} and report["review"]["open"] == {}
    assert [row["text"] for row in rows_of(tmp_path / "out")] == [ROWS[1]["text"]]
    messages = {line["item"]: line["message"] for line in read_lines(tmp_path / "out/rejections.jsonl")}
    assert messages == {f"reports.jsonl line {n}": "to review: person_name (--drop_flagged)" for n in (1, 3)}


def test_the_patient_of_a_dropped_copy_stays_with_the_picture(ward, tmp_path):
    """The first picture is in a row that is dropped and in one that is not: both patients are in one group."""
    reports = shutil.copytree(ward, tmp_path / "reports")
    rows = [
        ROWS[0],
        ROWS[1] | {"mrn": "00451299", "patient_id": "PX-1"},
        report_row(7, patient_id="PX-10231", text="All is clear here."),
    ]
    write_reports(reports, rows)
    write_files(reports, {ROWS[1]["image"]: (reports / ROWS[0]["image"]).read_bytes()})
    build_here({"--reports_dir": reports}, tmp_path / "out", "--drop_flagged", "--val_fraction", "0")
    found = rows_of(tmp_path / "out")
    assert len(found) == 2 and len({row["group_id"] for row in found}) == 1


def test_the_files_of_the_key_are_no_part_of_the_dataset(built):
    assert not [name for name in tree(built) if "key" in name or "names" in name]
