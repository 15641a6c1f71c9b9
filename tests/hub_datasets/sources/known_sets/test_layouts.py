"""Checks folders in the layouts of published datasets and tools: each image with its split and what is said of it."""

from __future__ import annotations

import gzip

import pytest

from hub_datasets.errors import BuildError
from hub_datasets.records import Ignored, RawRecord, Rejection
from hub_datasets.sources.known_sets import split_names
from hub_datasets.texts.patient_ids import patient_key, study_key
from tests.hub_datasets.layouts import csv_text, pad_row, slake_row, write_files, write_pad, write_slake
from tests.hub_datasets.sources.known_sets.published import LABELS, LAYOUTS, llava, messages
from tests.hub_datasets.sources.read_layouts import CLEAR, PICTURE, entries, outcomes


@pytest.mark.parametrize("name", LAYOUTS)
@pytest.mark.parametrize("flag", ["--reports_dir", "--images_dir"])
def test_a_layout_with_texts(name, flag, tmp_path):
    files, expected = LAYOUTS[name]
    assert outcomes(tmp_path, files, flag) == expected


@pytest.mark.parametrize("name", LABELS)
def test_a_layout_of_labels_alone(name, tmp_path):
    """Its texts would be no reports, so that the flag for them is named."""
    files, expected = LABELS[name]
    assert outcomes(tmp_path / "it", files, "--images_dir") == expected
    with pytest.raises(BuildError, match=r"gives labels and no texts; --images_dir reads them"):
        entries(tmp_path / "it", {}, "--reports_dir")


def test_boxes_beside_all_images_are_no_texts(tmp_path):
    files = {f"{n}.txt": "0 0.5 0.5 0.1 0.1" for n in range(3)} | {f"{n}.png": "a" for n in range(3)}
    files["reports.csv"] = csv_text([{"image": "0.png", "text": CLEAR}])
    assert outcomes(tmp_path, files) == [("a", "", CLEAR)]


def test_classes_are_passed_over_where_reports_are_read(tmp_path):
    files = {"0.png": "a", "0.txt": CLEAR, "1.png": "b", "1.cls": "pneumonia"}
    ignored = {entry.item: entry.why for entry in entries(tmp_path, files) if isinstance(entry, Ignored)}
    assert ignored["1.cls"] == "labels and no texts; --images_dir reads them"


def test_patients_and_studies_of_mimic_cxr_are_those_of_the_names(tmp_path):
    files, _ = LAYOUTS["mimic-cxr"]
    records = [entry for entry in entries(tmp_path, files) if isinstance(entry, RawRecord)]
    keys = [{patient_key("10000032"), study_key(number)} for number in ("50414267", "50414267", "53189527")]
    assert [set(record.groups) for record in records] == keys
    first, second, third = (record.conversation for record in records)
    assert first == second != third  # the two views are one conversation


def test_groups_languages_and_categories_are_those_of_the_rows(tmp_path):
    vqa, *_ = entries(tmp_path / "vqa", LAYOUTS["vqa-rad"][0])
    assert vqa.category == "CHEST" and vqa.groups == (study_key("https://medpix/1"),)
    assert vqa.metadata["question_type"] == "PRES" and "question" not in vqa.metadata and "(qid 1)" in vqa.item
    ham, *_ = entries(tmp_path / "ham", LABELS["ham10000"][0], "--images_dir")
    assert (ham.source, ham.category, ham.groups) == ("labeled_images", "melanoma", ("lesion:HAM_1",))
    assert ham.metadata["age"] == "80.0" and "male" not in ham.text
    chinese, *_ = entries(tmp_path / "zh", LABELS["labels in chinese"][0], "--images_dir")
    assert (chinese.language, chinese.category) == ("zh", "肺炎")
    nih, *_ = entries(tmp_path / "nih", LABELS["labels of chestx-ray14"][0], "--images_dir")
    assert nih.groups == (patient_key("7"),)


def test_what_the_system_was_told_is_kept_beside_the_turns(tmp_path):
    rows = [{"messages": messages("<image>Which side?", "Left", system="Be brief."), "images": ["1.png"]}]
    (record,) = entries(tmp_path, {"d.json": rows, "1.png": "a"})
    assert (record.question, record.answer, record.metadata["system"]) == ("Which side?", "Left", "Be brief.")


def test_files_that_are_passed_over_are_named_with_the_reason(tmp_path):
    files = LAYOUTS["roco"][0] | {"qas/train.pkl": "x", "old/data-00000-of-00001.arrow": "x", "old/state.json": {}}
    ignored = {entry.item: entry.why for entry in entries(tmp_path, files) if isinstance(entry, Ignored)}
    assert "a pickle can run commands" in ignored["qas/train.pkl"]
    assert "to_parquet" in ignored["old/data-00000-of-00001.arrow"]
    assert "save_to_disk" in ignored["old/state.json"]
    assert ignored["data/train/radiology/keywords.txt"] == "part of ROCO, not read"
    assert "captions.txt" in ignored["data/train/radiology/traindata.csv"]


@pytest.mark.parametrize("flag", ["--reports_dir", "--images_dir"])
@pytest.mark.parametrize("other", ["--slake_dir", "--pad_ufes_dir", "--knee_dir"])
def test_a_folder_of_another_flag_is_refused_by_name(flag, other, tmp_path):
    if other == "--slake_dir":
        write_slake(tmp_path, train=[slake_row(0, 1, "Which organ?", "Lung")])
    elif other == "--pad_ufes_dir":
        write_pad(tmp_path, [pad_row(1)])
    else:
        write_files(tmp_path, {"MedicalExpert-I/0Normal/NormalG0 (1).png": PICTURE["a"]})
    with pytest.raises(BuildError, match=f"this is a folder for {other}"):
        entries(tmp_path, {}, flag)


def test_files_of_the_same_names_as_slake_s_with_other_keys_are_read(tmp_path):
    """CSLAKE and CEDO are derived from SLAKE and are not accepted as SLAKE."""
    rows = [{"image_name": "x.png", "question": "Which organ?", "answer": "Lung"}]
    assert outcomes(tmp_path, {"train.json": rows, "x.png": "a"}) == [("a", "train", ("Which organ?", "Lung"))]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('[{"image": "1.png", "conversations": [', "the file is truncated"),
        ('{"train": [{"image_path": ["1.png"]}], }', "not valid JSON"),
        ('{"a": {"conversations": []}}', "expected a JSON array of rows, or one per split"),
        ("[" * 100_000 + '"conversations": [', "the file is truncated"),
    ],
)
def test_json_that_cannot_be_read_ends_the_build_with_its_name(content, message, tmp_path):
    with pytest.raises(BuildError, match=f"d.json: {message}"):
        entries(tmp_path, {"d.json": content, "1.png": "a"})


@pytest.mark.parametrize(
    "packed",
    [b"no gzip", gzip.compress(bytes(70 * 1024 * 1024), mtime=0), gzip.compress(b"a,b\n1,2\n", mtime=0)],
    ids=["no gzip", "too large", "other columns"],
)
def test_a_table_of_splits_that_is_none_is_refused_in_bounded_memory(packed, tmp_path):
    files = LAYOUTS["mimic-cxr, splits packed, a study without images"][0] | {"mimic-cxr-2.0.0-split.csv.gz": packed}
    with pytest.raises(BuildError, match=r"mimic-cxr-2.0.0-split.csv.gz: .*(download it again|not MIMIC-CXR)"):
        entries(tmp_path, files)


def test_a_question_about_an_image_that_is_ambiguous_names_both(tmp_path):
    files = {"d.json": [llava("1.png", "Which side?", "Left")], "x/1.png": "a", "y/1.png": "b"}
    rejection = entries(tmp_path, files)[0]
    assert isinstance(rejection, Rejection) and "'x/1.png' or 'y/1.png'" in rejection.message


@pytest.mark.parametrize(
    ("name", "split"),
    [("data/train-00000-of-00001.parquet", "train"), ("val/x/1.png", "validation"), ("metadata_test.csv", "test"),
     ("验证集/1.png", "validation"), ("train/test/1.png", "train"), ("train-000.tar/0.png", "train"),
     ("latest/1.png", ""), ("contest.json", "")],
)  # fmt: skip
def test_the_split_of_a_path(name, split):
    assert split_names.split_of_path(name) == split


def test_lists_of_names_by_split_are_no_rows(tmp_path):
    files = {"more/splits.json": {"train": ["1.png"], "val": []}, "1.png": "a", "1.txt": CLEAR}
    assert outcomes(tmp_path, files) == [("a", "", CLEAR)]


def test_rows_of_csv_with_other_cells_than_the_header_are_rejected(tmp_path):
    text = csv_text([{"image": "1.png", "question": "Which side?", "answer": "Left"}]) + "1.png,only two\n"
    assert outcomes(tmp_path, {"q.csv": text, "1.png": "a"}) == [("a", "", ("Which side?", "Left")), "malformed_row"]
