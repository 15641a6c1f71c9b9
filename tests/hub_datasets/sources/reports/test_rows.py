"""Checks reports with several images, patients and studies, and image IDs without a path."""

from __future__ import annotations

import json

import pytest

from hub_datasets.filesystem.source_folder import Folder
from hub_datasets.records import RawRecord, Reason, Rejection
from hub_datasets.sources.medical_reports import read
from hub_datasets.texts.patient_ids import patient_key, study_key
from tests.hub_datasets.layouts import collect_records, csv_text, png, report_row, write_files, write_reports

STUDIES = {  # texts in both languages by study; the Chinese is translated anew for each image, sometimes differently
    "162": ("The lungs are clear.", ["双肺清晰。", "双肺清晰。"]),
    "1390": ("Heart size is normal; VP shunt tubing.", ["心脏大小正常；可见分流管。", "心影不大，见VP分流管。"]),
    "2841": ("No acute disease.", ["未见急性疾病。"]),
}


def found_in(folder) -> list:
    return list(read(Folder(folder)))


def write_openi(folder) -> None:
    """As the repository of XrayGLM has it: English beside the folder of the images, Chinese in it, escaped."""
    ids = {study: [f"{study}_{n}" for n in range(1, len(chinese) + 1)] for study, (_, chinese) in STUDIES.items()}
    english = [{"image_id": i, "caption": STUDIES[study][0]} for study in ids for i in ids[study]]
    chinese = [{"image_id": i, "caption": STUDIES[s][1][n]} for s in ids for n, i in enumerate(ids[s])]
    write_files(folder, {"openi-en.json": json.dumps({"annotations": english}, indent=4)})
    write_files(folder, {"Xray/openi-zh.json": json.dumps({"annotations": chinese}, indent=4)})
    names = [name for members in ids.values() for name in members]
    write_files(folder, {f"Xray/{name}.png": png(n) for n, name in enumerate(names)})


def test_openi_in_two_languages(tmp_path):
    write_openi(tmp_path)
    records = collect_records(found_in(tmp_path))
    assert [(r.item, r.language, r.image) for r in records[:2] + records[5:7]] == [
        ("Xray/openi-zh.json row 1", "zh", "Xray/162_1.png"),
        ("Xray/openi-zh.json row 2", "zh", "Xray/162_2.png"),
        ("openi-en.json row 1", "en", "Xray/162_1.png"),
        ("openi-en.json row 2", "en", "Xray/162_2.png"),
    ]
    assert {r.image.split("/")[1].split("_")[0]: r.groups for r in records} == {s: (study_key(s),) for s in STUDIES}
    assert records[0].metadata == {"image_id": "162_1"}
    conversations: dict[str, set[str]] = {}
    for record in records:
        conversations.setdefault(record.conversation, set()).add(f"{record.language} {record.image[5:-4]}")
    assert sorted(map(sorted, conversations.values())) == [
        ["en 1390_1", "en 1390_2"], ["en 162_1", "en 162_2"], ["en 2841_1"],
        ["zh 1390_1"], ["zh 1390_2"],  # two texts: each image has its own
        ["zh 162_1", "zh 162_2"], ["zh 2841_1"],
    ]  # fmt: skip


def test_ids_without_an_image_are_rejected_one_by_one(tmp_path):
    write_openi(tmp_path)
    (tmp_path / "Xray/162_2.png").unlink()
    rejections = [entry for entry in found_in(tmp_path) if isinstance(entry, Rejection)]
    assert [(r.item, r.code) for r in rejections] == [
        ("Xray/openi-zh.json row 2", Reason.IMAGE_MISSING), ("openi-en.json row 2", Reason.IMAGE_MISSING),
    ]  # fmt: skip
    assert "no image '162_2' with one of the suffixes .png, .jpg" in rejections[0].message


def test_ids_with_a_suffix_name_their_study_too(tmp_path):
    ids = ("7_1.png", "Xray/7_2.png", "scan_001.png", "7.png")
    rows = [{"image_id": image_id, "caption": "Clear lungs."} for image_id in ids]
    write_files(tmp_path, {"a.json": json.dumps({"annotations": rows}), "Xray/7_2.png": png(2)})
    write_files(tmp_path, {name: png(n) for n, name in enumerate(("7_1.png", "scan_001.png", "7.png"))})
    records = collect_records(found_in(tmp_path))
    assert [record.groups for record in records] == [(study_key(7),), (study_key(7),), (), ()]


@pytest.mark.parametrize("image_id", [162, None, ["162_1"], "", "../162_1", "Xray/162_1"])
def test_ids_that_are_none(tmp_path, image_id):
    write_files(tmp_path, {"a.json": json.dumps({"annotations": [{"image_id": image_id, "caption": "Clear."}]})})
    (rejection,) = found_in(write_files(tmp_path, {"162.txt": b""}))
    assert rejection.code in (Reason.MALFORMED_ROW, Reason.IMAGE_MISSING)


@pytest.mark.parametrize(
    ("names", "found"),
    [
        (["b/7.dcm", "b/7.jpg", "c/7.png"], "c/7.png"),
        (["b/7.dcm", "b/7.JPG"], "b/7.JPG"),
        (["b/7.dcm", "7.txt"], "b/7.dcm"),
        (["a/7.png", "b/7.png"], None),
        (["7.jpg", "7.jpeg"], "7.jpg"),
    ],
)
def test_of_several_images_with_one_stem(tmp_path, names, found):
    write_files(
        tmp_path, {"r.jsonl": json.dumps({"image_id": "7", "text": "Clear lungs."})} | dict.fromkeys(names, b"x")
    )
    entry = found_in(tmp_path)[0]
    if found:
        assert entry.image == found
    else:
        assert entry.code is Reason.MALFORMED_ROW and "'7' is ambiguous: 'a/7.png' or 'b/7.png'" in entry.message


def test_an_id_may_be_a_path_or_a_name(tmp_path):
    rows = [{"image_id": name, "text": "Clear lungs."} for name in ("7.png", "images/8.png")]
    write_files(write_reports(tmp_path, rows), {"7.png": png(7), "images/8.png": png(8)})
    assert [record.image for record in collect_records(found_in(tmp_path))] == ["7.png", "images/8.png"]


@pytest.mark.parametrize(
    "cell", [["images/1.png", "images/2.png"], "images/1.png;images/2.png", "images/1.png | images/2.png"]
)
def test_one_row_with_several_images_is_one_conversation(tmp_path, cell):
    rows = [{"images": cell, "text": "Clear lungs."}, {"images": "images/3.png", "text": "Effusion."}]
    write_files(tmp_path, {"r.jsonl": "\n".join(map(json.dumps, rows)), "images/1.png": png(1), "images/2.png": png(2)})
    first, second, third = found_in(tmp_path)
    assert [first.item, second.item, third.item] == [
        "r.jsonl line 1 image 1", "r.jsonl line 1 image 2", "r.jsonl line 2",
    ]  # fmt: skip
    assert [first.image, second.image, third.image] == [f"images/{n}.png" for n in (1, 2, 3)]
    assert first.text == second.text == "Clear lungs." and first.metadata["images"] == cell
    assert first.conversation == second.conversation != "" and third.conversation == ""


def test_a_row_inserted_above_leaves_the_conversations_as_they_are(tmp_path):
    """They are a group where there is no study, and would move to another split with the number of their line."""
    rows = [{"images": [f"{n}.png", f"{n + 1}.png"], "text": "Clear lungs."} for n in range(4)]
    rows += [{"images": ["0.png", "1.png"], "text": "Effusion."}, {"image_id": "0;4", "text": "Clear lungs."}]
    write_files(tmp_path, {f"{n}.png": png(n) for n in range(5)})

    def conversations() -> list[str]:
        write_files(tmp_path, {"r.jsonl": "\n".join(map(json.dumps, rows))})
        return [record.conversation for record in collect_records(found_in(tmp_path))]

    before = conversations()
    assert len(set(before)) == len(rows) and all(before)
    rows.insert(0, {"images": ["4.png", "0.png"], "text": "Clear lungs."})
    assert conversations()[2:] == before


def test_a_cell_of_a_table_with_several_images(tmp_path):
    rows = [{"image": "1.png|2.png", "text": "Clear lungs."}, {"image": "a;b.png", "text": "Effusion."}]
    write_files(tmp_path, {"r.csv": csv_text(rows), "1.png": png(1), "2.png": png(2), "a;b.png": png(3)})
    records = collect_records(found_in(tmp_path))
    assert [record.image for record in records] == ["1.png", "2.png", "a;b.png"]  # the name of a file that is there
    assert records[0].conversation == records[1].conversation != "" and records[2].conversation == ""


def test_rows_of_one_study_that_say_the_same_are_one_conversation(tmp_path):
    rows = [
        report_row(1, study_id="S1", text="Clear lungs."),
        report_row(2, study_id="S1", text=" Clear lungs.\n"),
        report_row(3, study_id="S1", text="Another report."),
        report_row(4, study_id="S1", text="双肺清晰。", language="zh"),
        report_row(5, study_id="S2", text="Clear lungs."),
        report_row(6, text="Clear lungs."),
        report_row(7, text="Clear lungs."),
        {"images": ["images/1.png", "images/2.png"], "study_id": "S2", "text": "Clear lungs."},
    ]
    found = [record.conversation for record in collect_records(found_in(write_reports(tmp_path, rows)))]
    assert found[0] == found[1] and found[4] == found[7] == found[8] and found[5] == found[6] == ""
    assert len(set(found)) == 5  # also another text, another language, and none


@pytest.mark.parametrize(
    ("fields", "groups"),
    [
        ({"patient_id": "P1", "study_id": "S1"}, (patient_key("P1"), study_key("S1"))),
        ({"patient_id": 1}, (patient_key("1"),)),
        ({"patient_id": 0}, (patient_key("0"),)),
        ({"Patient_ID": " P1 "}, (patient_key("P1"),)),
        ({"病历号": "00029", "检查号": "S1"}, (patient_key("29"), study_key("S1"))),
        ({"PatientID": "N/A", "mrn": "P1", "accession": "未知"}, (patient_key("P1"),)),
        ({"patient_id": "", "study_id": None}, ()),
        ({"patient_id": "Anonymous", "study_id": "XXXX"}, ()),
        ({}, ()),
    ],
)
def test_groups(tmp_path, fields, groups):
    (record,) = collect_records(found_in(write_reports(tmp_path, [report_row(1, **fields)])))
    assert record.groups == groups


def test_a_study_number_that_several_patients_have_is_a_study_of_each(tmp_path):
    """Otherwise all first studies were one group, and the two reports one conversation about two patients."""
    ids = [("A", "1"), ("A", "1"), ("B", "1"), ("B", "2"), ("", "1"), ("C:x", "9")]
    rows = [report_row(n, text="Clear lungs.", patient_id=p, study_id=s) for n, (p, s) in enumerate(ids)]
    records = collect_records(found_in(write_reports(tmp_path, rows)))
    first, second, third = (patient_key(name) for name in ("A", "B", "C:x"))
    one = study_key("1").removeprefix("study:")
    of_first, of_second = (f"study:{key.removeprefix('patient:')}/{one}" for key in (first, second))
    assert [record.groups for record in records] == [
        (first, of_first), (first, of_first), (second, of_second), (second, study_key("2")), (study_key("1"),),
        (third, study_key("9")),
    ]  # fmt: skip
    assert records[0].conversation == records[1].conversation
    assert len({record.conversation for record in records}) == 5


def test_one_image_of_a_row_may_be_missing(tmp_path):
    row = {"image_id": "1;2", "text": "Clear lungs."}
    first, second = found_in(write_files(tmp_path, {"r.jsonl": json.dumps(row), "2.png": png(2)}))
    assert isinstance(first, Rejection) and first.item == "r.jsonl line 1 image 1"
    assert isinstance(second, RawRecord) and second.item == "r.jsonl line 1 image 2"
