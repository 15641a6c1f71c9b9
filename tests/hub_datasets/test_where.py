"""Checks that `medpairs where` finds a patient, study, file, row or hash, and says what became of it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

import medpairs
from hub_datasets.output.search import ItemsIn, Wanted
from tests.hub_datasets.checked import HASHED, build_here
from tests.hub_datasets.layouts import (
    pad_row,
    png,
    read_lines,
    report_row,
    slake_row,
    write_files,
    write_pad,
    write_reports,
    write_slake,
)


@pytest.fixture(scope="module")
def built(tmp_path_factory) -> Path:
    """A build with a copy, a missing image, a flag with a decision, and a report of two images."""
    folder = tmp_path_factory.mktemp("where")
    rows = [report_row(n, patient_id=f"P{n // 2}") for n in range(12)]
    rows[2]["text"] = "Call the ward, phone 555-123-4567. The lungs are clear."
    rows += [{"image": "images/gone.png", "text": "A report without its image."}]
    rows += [report_row(13, patient_id="P6", text=rows[4]["text"])]
    rows += [{"image": "images/14.png;images/15.png", "text": "One report about two films.", "patient_id": "P7"}]
    reports = write_reports(folder / "reports", rows)
    write_files(reports, {"images/13.png": (reports / "images/4.png").read_bytes()})
    write_files(reports, {f"images/{n}.png": png(7000 + n) for n in (14, 15)})
    for name in ("gone.png", "14.png;images/15.png"):
        (reports / "images" / name).unlink()
    review = write_files(folder, {"decisions.csv": "item,decision\nreports.jsonl line 3,accept\n"}) / "decisions.csv"
    sources = {
        "--reports_dir": reports,
        "--pad_ufes_dir": write_pad(
            folder / "pad", [pad_row(n // 2, img_id=f"PAT_{n // 2}_{n}_1.png") for n in range(8)]
        ),
        "--slake_dir": write_slake(
            folder / "slake", train=[slake_row(n, n // 2, f"What {n}?", "Yes") for n in range(8)]
        ),
    }
    build_here(sources, folder / "out", "--val_fraction", "0.3", "--review", review)
    return folder / "out"


@pytest.fixture
def where(built, capsys):
    """`where(ID, *flags)`: the lines that the command prints, or its error."""

    def ask(name: str, *flags: str, dataset: Path = built) -> list[str]:
        medpairs.main(["where", name, "--dataset", str(dataset), *flags])
        said = capsys.readouterr()
        return (said.out or said.err).splitlines()

    return ask


def split_in(folder: Path, key: str, value: str) -> str:
    """The split of the rows whose metadata have a value, or the hash that a patient of private data has."""
    values = {value, HASHED.hashed("medical_reports", "patient_id", value)}
    (split,) = {
        line["split"] for line in read_lines(folder / "chat_instructions.jsonl") if line["metadata"].get(key) in values
    }
    return split


@pytest.mark.parametrize("name", ["P1", "p1"])
def test_a_patient_whose_id_is_a_hash_in_the_files(where, built, name):
    split = split_in(built, "patient_id", "P1")
    said = where(name)
    assert said[:2] == [name, f"accepted rows: {split} 2"]
    assert [line.partition(";")[0] for line in said[2:4]] == [
        f"  {split}: medical_reports reports.jsonl line {n}" for n in (3, 4)
    ]
    assert said[4] == "flags to review: 1" and said[5].startswith(
        "  phone_number in the text of reports.jsonl line 3: "
    )
    assert said[5].endswith("(decision: accept)") and said[-1] == f"splits.txt keeps this patient in {split}"


def test_a_patient_by_name(where, built):
    split = split_in(built, "patient_id", "PAT_3")
    said = where("PAT_3")
    assert said[1] == f"accepted rows: {split} 2" and f"splits.txt keeps this patient in {split}" in said


@pytest.mark.parametrize(
    ("name", "item"),
    [
        ("reports.jsonl line 5", "reports.jsonl line 5"),
        ("images/4.png", "reports.jsonl line 5"),
        ("/data/raw/images/4.png", "reports.jsonl line 5"),
        ("medical_reports/images/4.png", "reports.jsonl line 5"),
        ("PAT_1_2_1.png", "metadata.csv line 4 (PAT_1_2_1.png)"),
        ("PAT_1_2_1", "metadata.csv line 4 (PAT_1_2_1.png)"),
        ("metadata.csv line 4", "metadata.csv line 4 (PAT_1_2_1.png)"),
        ("qid 5", "train.json row 6 (qid 5)"),
        ("train.json row 6", "train.json row 6 (qid 5)"),
        ("xmlab2/source.jpg", "train.json row 5 (qid 4)"),
        ("reports.jsonl line 15", "reports.jsonl line 15 image 2"),
    ],
)
def test_a_row_or_a_file(where, name, item):
    said = where(name)
    places = [line.strip().partition(" ")[2].partition(" ")[2] for line in said]
    assert said[0] == name and any(place.startswith(f"{item};") for place in places), said


def test_hashes_and_groups(where, built):
    record = next(line for line in read_lines(built / "records.jsonl") if line["item"] == "reports.jsonl line 5")
    for name in (record["pixels"], f"image:{record['pixels']}", record["content"], record["group"]):
        assert any("reports.jsonl line 5;" in line for line in where(name)), name


def test_a_copy_names_its_original_and_the_other_way_round(where):
    said = where("images/13.png")
    assert said[1] == "accepted rows: none" and said[2] == "rejected rows: 1"
    assert said[3].startswith(
        "  duplicate_image: medical_reports reports.jsonl line 14: repeats for a copy of the image"
    )
    assert said[3].endswith("reports.jsonl line 5")
    said = where("reports.jsonl line 5")
    assert "rejected because of these rows: 1" in said and any("reports.jsonl line 14" in line for line in said)


@pytest.mark.parametrize("name", ["images/gone.png", "gone.png", "reports.jsonl line 13"])
def test_what_was_rejected(where, name):
    said = where(name)
    assert said[1:3] == ["accepted rows: none", "rejected rows: 1"]
    assert said[3].startswith("  image_missing: medical_reports reports.jsonl line 13: ")


def test_a_patient_who_left_is_still_known(where, built, tmp_path):
    copy = shutil.copytree(built, tmp_path / "copy")
    shutil.copy(built.with_name("out.key"), tmp_path / "copy.key")
    lines = (copy / "records.jsonl").read_text("utf-8").splitlines(keepends=True)
    (copy / "records.jsonl").write_text(
        "".join(line for line in lines if "line 3" not in line and "line 4" not in line)
    )
    said = where("P1", dataset=copy)
    split = split_in(built, "patient_id", "P1")
    assert said == [
        "P1", "accepted rows: none", f"splits.txt keeps this patient in {split}, although it has no rows in this build",
    ]  # fmt: skip


def test_what_was_downloaded_from_the_hub(where, built, tmp_path):
    """Parquet files and `splits.txt` only."""
    for name in ("pairs", "chat"):
        shutil.copytree(built / name, tmp_path / "hub" / name)
    shutil.copy(built / "splits.txt", tmp_path / "hub")
    split = split_in(built, "patient_id", "PAT_3")
    said = where("PAT_3", dataset=tmp_path / "hub")
    assert said[1] == f"accepted rows: {split} 6" and "  and" not in "".join(said)
    assert said[2].startswith(f"  {split}: pad_ufes_20/images/") and "; pairs; group pad_ufes_20/patient:" in said[2]
    record = next(line for line in read_lines(built / "records.jsonl") if line["item"] == "reports.jsonl line 5")
    assert len(where(record["image_path"], dataset=tmp_path / "hub")) == 2 + 2
    assert where("images/4.png", dataset=tmp_path / "hub")[0].startswith("error: ")  # its name is not published


def test_many_rows_are_counted(where):
    said = where("source.jpg", "--limit", "3")
    assert sum(line.startswith("  ") for line in said) == 4 and "  and 5 more; --limit shows more" in said


def test_what_is_not_there(where, built, tmp_path):
    assert where("nobody") == [f"error: nobody: neither a row nor a known patient or image of {built}"]
    assert where("PAT_3_7_1.pn")[0].endswith("; similar are: metadata.csv line 9 (PAT_3_7_1.png), PAT_3_7_1.png")
    assert where("x", dataset=tmp_path) == [
        f"error: --dataset {tmp_path}: no splits.txt there; name a folder that `medpairs build` wrote"
    ]
    assert where(" ") == ["error: ID is empty; name a patient, a file, a row or a hash"]
    assert where("x", "--limit", "0") == ["error: --limit is 0; use at least 1"]


def test_damaged_files_are_told(where, built, tmp_path):
    copy = shutil.copytree(built, tmp_path / "copy")
    with (copy / "records.jsonl").open("a") as file:
        file.write("{\n")
    count = len(read_lines(built / "records.jsonl")) + 1
    assert where("x", dataset=copy) == [f"error: {copy}/records.jsonl line {count}: not valid JSON; build again"]
    (copy / "splits.txt").write_text("# header\nnonsense\n")
    assert where("x", dataset=copy) == [
        f"error: {copy}/splits.txt: splits.txt line 1 is not a key and a split; build again"
    ]


def test_what_is_printed_is_one_line_each(where, built, tmp_path):
    copy = shutil.copytree(built, tmp_path / "copy")
    line = {"source": "s", "item": "evil\nrow", "image": "a\x1b[31m.png", "split": "train", "group": "g", "keys": []}
    (copy / "records.jsonl").write_text(json.dumps(line | {"file_keys": [], "pixels": "p", "content": "c"}) + "\n")
    assert where("p", dataset=copy)[2] == "  train: s evil\\nrow; image a\\x1b[31m.png; group g"


def test_an_item_is_found_in_a_message_as_a_whole():
    named = ItemsIn(["t.csv line 1", "t.csv line 10", "images/Normal (1).png"])
    assert named.any("repeats for the same image the text of t.csv line 1")
    assert named.any("the same image as images/Normal (1).png") and named.any("t.csv line 10, and others")
    assert not named.any("the text of t.csv line 11") and not named.any("nothing") and not named.any("t.csv")


def test_keys_of_splits_txt_are_tried_for_every_source():
    kinds = set(Wanted("PAT_1").keys.values())
    assert {"patient", "study", "lesion", "image"} <= kinds
