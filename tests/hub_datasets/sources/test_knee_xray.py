"""Both layouts, files that are no data, experts who agree and who do not."""

from __future__ import annotations

import os

import pytest

from hub_datasets.schema import BuildError, Ignored, Reason, Rejection
from hub_datasets.sources.knee_xray import GRADES, read
from tests.hub_datasets.layouts import fates, png, records_of, write_files, write_knee


def by_item(found) -> dict:
    return {record.item: record for record in records_of(found)}


def ignored(found) -> dict[str, str]:
    return {thing.item: thing.why for thing in found if isinstance(thing, Ignored)}


@pytest.mark.parametrize("above", ["", "Digital Knee X-ray Images/Knee X-ray Images/"])
def test_the_mendeley_layout(tmp_path, above):
    files = {f"MedicalExpert-{e}/{k}{g}/{g}G{k} (1).png": k for e in ("I", "II") for k, g in enumerate(GRADES)}
    found = by_item(read(write_knee(tmp_path, {above + name: k for name, k in files.items()})))
    assert len(found) == 10
    record = found[above + "MedicalExpert-II/3Moderate/ModerateG3 (1).png"]
    assert (record.source, record.category, record.language) == ("knee_xray", "Moderate", "en")
    assert record.image == record.item and record.groups == ()
    assert record.metadata == {"kellgren_lawrence_grade": 3, "grade_by_expert": {"II": 3}}
    assert record.text == (
        "Knee X-ray, Kellgren-Lawrence grade 3: moderate osteoarthritis. Graded by medical expert II."
    )
    normal = found[above + "MedicalExpert-I/0Normal/NormalG0 (1).png"]
    assert "grade 0: no osteoarthritis." in normal.text


def test_the_oai_layout(tmp_path):
    files = {"train/2/9000099R.png": 1, "val/0/9001695L.png": 2, "auto_test/4/9001695_1.png": 3, "test/1/other.png": 4}
    found = by_item(read(write_knee(tmp_path, files)))
    record = found["train/2/9000099R.png"]
    assert record.metadata == {
        "kellgren_lawrence_grade": 2, "official_split": "train", "patient_id": "9000099", "side": "R",
    }  # fmt: skip
    assert record.groups == ("patient:9000099",) and record.category == "Mild"
    assert record.text == "Knee X-ray, Kellgren-Lawrence grade 2: mild osteoarthritis."
    assert found["val/0/9001695L.png"].groups == found["auto_test/4/9001695_1.png"].groups == ("patient:9001695",)
    assert found["test/1/other.png"].groups == () and "patient_id" not in found["test/1/other.png"].metadata


def test_both_layouts_at_once_in_path_order(tmp_path):
    files = {"b/train/0/9000000L.png": 1, "a/MedicalExpert-I/1Doubtful/DoubtfulG1 (2).png": 2,
             "a/MedicalExpert-I/1Doubtful/DoubtfulG1 (10).png": 3}  # fmt: skip
    found = list(by_item(read(write_knee(tmp_path, files))))
    assert found == sorted(files)


def test_files_of_the_operating_system_are_ignored_by_name(tmp_path):
    write_knee(tmp_path, {"train/0/9000000L.png": 1})
    write_files(tmp_path, {"train/0/Thumbs.db": "", "train/0/._9000000L.png": "", "__MACOSX/train/0/9.png": ""})
    found = list(read(tmp_path))
    assert set(ignored(found)) == {"train/0/Thumbs.db", "train/0/._9000000L.png", "__MACOSX/train/0/9.png"}
    assert len(found) == 4


@pytest.mark.parametrize(
    "name",
    ["train/12/1.png", "train/5/1.png", "train/01/1.png", "trains/0/1.png", "0/1.png",
     "MedicalExpert-III/0Normal/1.png", "MedicalExpert-I/1Mild/1.png", "MedicalExpert-I/0Normal/more/1.png",
     "readme.txt"],
)  # fmt: skip
def test_what_lies_in_no_folder_of_a_grade_is_named(tmp_path, name):
    write_knee(tmp_path, {"train/0/9000000L.png": 1, name: 2})
    found = list(read(tmp_path))
    assert ignored(found) == {name: "not in the folder of a grade"}
    assert len(found) == 2


def test_the_path_above_the_folder_says_nothing(tmp_path):
    folder = write_knee(tmp_path / "__MACOSX/train/0", {"train/1/9000000L.png": 1})
    (record,) = records_of(read(folder))
    assert record.metadata["kellgren_lawrence_grade"] == 1


def test_a_linked_folder_is_named(tmp_path):
    elsewhere = write_knee(tmp_path / "elsewhere", {"0/9000001L.png": 2})
    folder = write_knee(tmp_path / "knee", {"train/0/9000000L.png": 1})
    (folder / "val").symlink_to(elsewhere, target_is_directory=True)
    assert ignored(read(folder)) == {"val": "a link to a folder"}


def test_a_folder_of_something_else(tmp_path):
    with pytest.raises(BuildError, match="no knee images found; expected MedicalExpert-I") as caught:
        list(read(write_files(tmp_path, {"images/1.png": png(1)})))
    assert str(tmp_path) in str(caught.value)


def test_a_folder_that_cannot_be_read_is_no_empty_one(tmp_path):
    write_knee(tmp_path, {"train/0/9000000L.png": 1, "train/1/9000001L.png": 2, "train/2/9000002L.png": 3})
    found = read(tmp_path)
    next(found)
    (tmp_path / "train/1/9000001L.png").unlink()
    (tmp_path / "train/1").rmdir()
    with pytest.raises(OSError, match="train/1"):
        list(found)


def test_names_of_any_bytes(tmp_path, check):
    write_knee(tmp_path, {"train/0/9000000L.png": 1, "train/0/new\nline.png": 2})
    (tmp_path / os.fsdecode(b"train/0/caf\xe9.png")).write_bytes(png(3))
    assert fates(check("knee_xray", tmp_path)) == {
        "train/0/9000000L.png": "accepted",
        "train/0/new\nline.png": "accepted",
        "train/0/caf\\udce9.png": "malformed_row",
    }


# --- Two experts


def test_the_copies_of_an_image_become_one_record_with_both_grades(tmp_path, check):
    names = ["MedicalExpert-I/1Doubtful/DoubtfulG1 (1).png", "MedicalExpert-I/1Doubtful/DoubtfulG1 (7).png",
             "MedicalExpert-II/1Doubtful/DoubtfulG1 (3).png"]  # fmt: skip
    tally = check("knee_xray", write_knee(tmp_path, dict.fromkeys(names, 1)))
    (kept,) = tally.accepted
    assert kept.record.item == names[0]
    assert kept.record.metadata == {"kellgren_lawrence_grade": 1, "grade_by_expert": {"I": 1, "II": 1}}
    assert kept.record.text.endswith("Graded by medical experts I and II.")
    assert fates(tally) == {names[0]: "accepted", names[1]: "duplicate_image", names[2]: "duplicate_image"}
    assert all(names[0] in rejection.message for rejection in tally.rejections)


def test_an_image_with_two_grades_is_rejected_in_every_copy(tmp_path, check):
    names = ["MedicalExpert-I/0Normal/NormalG0 (1).png", "MedicalExpert-I/0Normal/NormalG0 (2).png",
             "MedicalExpert-II/1Doubtful/DoubtfulG1 (1).png"]  # fmt: skip
    tally = check("knee_xray", write_knee(tmp_path, dict.fromkeys(names, 1)))
    assert fates(tally) == dict.fromkeys(names, "conflicting_labels")
    for rejection in tally.rejections:
        assert isinstance(rejection, Rejection) and rejection.code is Reason.CONFLICTING_LABELS
        assert all((name in rejection.message) == (name != rejection.item) for name in names)
    assert f"{names[2]} has grade 1" in tally.rejections[0].message


def test_copies_tie_their_patients_together(tmp_path, check):
    names = ["train/0/9000000L.png", "val/0/9000001R.png"]
    tally = check("knee_xray", write_knee(tmp_path, dict.fromkeys(names, 1)))
    (kept,) = tally.accepted
    assert kept.record.groups == ("patient:9000000", "patient:9000001")
