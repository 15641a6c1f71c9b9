"""Checks both layouts, files that are not data, and experts who agree and disagree."""

from __future__ import annotations

import csv
import os
import zipfile
from collections import Counter, defaultdict

import pytest

from hub_datasets.errors import BuildError
from hub_datasets.filesystem.source_folder import Folder
from hub_datasets.records import RawRecord, Reason, Rejection
from hub_datasets.sources.knee_xray import GRADES, SOURCE, describe, read
from hub_datasets.texts.grounding.audit import ungrounded_kinds
from tests.hub_datasets.layouts import collect_records, png, write_files, write_knee
from tests.hub_datasets.sources.settled import fates, ignored, settled


def by_item(path) -> dict:
    return {record.item: record for record in collect_records(read(Folder(path)))}


@pytest.mark.parametrize("above", ["", "Digital Knee X-ray Images/Knee X-ray Images/"])
def test_the_mendeley_layout(tmp_path, above):
    files = {f"MedicalExpert-{e}/{k}{g}/{g}G{k} (1).png": k for e in ("I", "II") for k, g in enumerate(GRADES)}
    found = by_item(write_knee(tmp_path, {above + name: k for name, k in files.items()}))
    assert len(found) == 10
    record = found[above + "MedicalExpert-II/3Moderate/ModerateG3 (1).png"]
    assert (record.source, record.category, record.language) == ("knee_xray", "Moderate", "en")
    assert record.image == record.item and record.groups == ()
    assert record.metadata == {"kellgren_lawrence_grade": 3, "grade_by_expert": {"II": 3}}
    assert record.text == "Knee X-ray, Kellgren-Lawrence grade 3: moderate osteoarthritis."
    normal = found[above + "MedicalExpert-I/0Normal/NormalG0 (1).png"]
    assert "grade 0: no osteoarthritis." in normal.text


def test_the_oai_layout(tmp_path):
    files = {"train/2/9000099R.png": 1, "val/0/9001695L.png": 2, "auto_test/4/9001695_1.png": 3, "test/1/other.png": 4,
             "test/1/90016951.png": 5}  # fmt: skip
    found = by_item(write_knee(tmp_path, files))
    record = found["train/2/9000099R.png"]
    assert record.metadata == {
        "kellgren_lawrence_grade": 2, "official_split": "train", "patient_id": "9000099", "side": "R",
    }  # fmt: skip
    assert record.groups == ("patient:9000099",) and record.category == "Mild"
    assert record.text == "X-ray of the right knee, Kellgren-Lawrence grade 2: mild osteoarthritis."
    assert found["val/0/9001695L.png"].text == "X-ray of the left knee, Kellgren-Lawrence grade 0: no osteoarthritis."
    assert found["auto_test/4/9001695_1.png"].text.startswith("Knee X-ray, "), "its name says no side"
    assert found["val/0/9001695L.png"].groups == found["auto_test/4/9001695_1.png"].groups == ("patient:9001695",)
    assert found["val/0/9001695L.png"].metadata["side"] == "L"
    assert "side" not in found["auto_test/4/9001695_1.png"].metadata
    assert {record.official_split for record in found.values()} == {"train", "validation", "test"}
    assert found["val/0/9001695L.png"].official_split == "validation"
    auto = found["auto_test/4/9001695_1.png"]
    assert (auto.official_split, auto.metadata["official_split"]) == ("test", "auto_test")
    assert found["test/1/90016951.png"].groups == (), "eight digits are no patient"
    assert found["test/1/other.png"].groups == () and "patient_id" not in found["test/1/other.png"].metadata


def test_both_layouts_at_once_in_path_order(tmp_path):
    files = {"b/train/0/9000000L.png": 1, "a/MedicalExpert-I/1Doubtful/DoubtfulG1 (2).png": 2,
             "a/MedicalExpert-I/1Doubtful/DoubtfulG1 (10).png": 3}  # fmt: skip
    found = list(by_item(write_knee(tmp_path, files)))
    assert found == sorted(files)


def test_files_of_the_operating_system_are_ignored_by_name(tmp_path):
    write_knee(tmp_path, {"train/0/9000000L.png": 1})
    write_files(tmp_path, {"train/0/Thumbs.db": "", "train/0/._9000000L.png": "", "__MACOSX/train/0/9.png": ""})
    found = list(read(Folder(tmp_path)))
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
    found = list(read(Folder(tmp_path)))
    assert ignored(found) == {name: "not in a folder of a grade"}
    assert len(found) == 2


def test_the_path_above_the_folder_says_nothing(tmp_path):
    folder = write_knee(tmp_path / "__MACOSX/train/0", {"train/1/9000000L.png": 1})
    (record,) = collect_records(read(Folder(folder)))
    assert record.metadata["kellgren_lawrence_grade"] == 1


def test_a_linked_folder_is_named(tmp_path):
    elsewhere = write_knee(tmp_path / "elsewhere", {"0/9000001L.png": 2})
    folder = write_knee(tmp_path / "knee", {"train/0/9000000L.png": 1})
    (folder / "val").symlink_to(elsewhere, target_is_directory=True)
    assert ignored(read(Folder(folder))) == {"val": "a link to a folder; --follow_links reads it"}


def test_a_folder_of_something_else(tmp_path):
    with pytest.raises(BuildError, match="no knee images found; expected MedicalExpert-I") as caught:
        list(read(Folder(write_files(tmp_path, {"images/1.png": png(1)}))))
    assert str(tmp_path) in str(caught.value)


def test_names_of_any_bytes(tmp_path):
    write_knee(tmp_path, {"train/0/9000000L.png": 1, "train/0/new\nline.png": 2})
    (tmp_path / os.fsdecode(b"train/0/caf\xe9.png")).write_bytes(png(3))
    assert fates(settled(SOURCE, tmp_path)) == {
        "train/0/9000000L.png": "accepted",
        "train/0/new\\nline.png": "accepted",
        "train/0/caf\\udce9.png": "malformed_row",
    }


@pytest.mark.parametrize(
    ("place", "grade"),
    [
        ("MedicalExpert-I.zip/MedicalExpert-I/0Normal", 0),
        ("MedicalExpert-I.zip/0Normal", 0),
        ("MedicalExpert-II/1Doubtful.ZIP/1Doubtful", 1),
        ("medicalexpert-ii/3moderate/3moderate", 3),
        ("KneeKL224.zip/auto_test/4", 4),
        ("train/train/2", 2),
    ],
)
def test_downloads_left_as_they_are(tmp_path, place, grade):
    if ".zip" in place.lower():
        archive = place[: place.lower().index(".zip") + 4]
        member = place[len(archive) + 1 :]
        (tmp_path / archive).parent.mkdir(parents=True, exist_ok=True)
        with zipfile.ZipFile(tmp_path / archive, "w") as file:
            file.writestr(f"{member}/9000001L.png", png(1))
    else:
        write_files(tmp_path, {f"{place}/9000001L.png": png(1)})
    (record,) = collect_records(read(Folder(tmp_path)))
    assert record.metadata["kellgren_lawrence_grade"] == grade and record.item == f"{place}/9000001L.png"
    assert Folder(tmp_path).read(record.image) == png(1)


def test_a_set_of_many_other_files_is_counted(tmp_path):
    write_files(tmp_path, {"train/0/9000000L.png": "", **{f"cropped/{n:02}.png": "" for n in range(50)}})
    assert ignored(read(Folder(tmp_path))) == {"cropped/00.png and 49 more": "not in a folder of a grade"}


def test_the_real_oai_sample(real_data):
    found = by_item(real_data / "knee/oai_kneeKL224")
    assert Counter(record.metadata["kellgren_lawrence_grade"] for record in found.values()) == dict.fromkeys(
        range(5), 3
    )
    assert {record.official_split for record in found.values()} == {"train"}
    assert found["train/3/9000099L.png"].groups == found["train/2/9000099R.png"].groups == ("patient:9000099",)


# --- Two experts

COPIES = ["MedicalExpert-I/0Normal/NormalG0 (1).png", "MedicalExpert-I/0Normal/NormalG0 (2).png",
          "MedicalExpert-II/1Doubtful/DoubtfulG1 (1).png"]  # fmt: skip


def test_the_copies_of_an_image_become_one_record_with_both_grades(tmp_path):
    names = ["MedicalExpert-I/1Doubtful/DoubtfulG1 (1).png", "MedicalExpert-I/1Doubtful/DoubtfulG1 (7).png",
             "MedicalExpert-II/1Doubtful/DoubtfulG1 (3).png"]  # fmt: skip
    kept, *rejections = settled(SOURCE, write_knee(tmp_path, dict.fromkeys(names, 1)))
    assert kept.item == names[0]
    assert kept.metadata == {"kellgren_lawrence_grade": 1, "grade_by_expert": {"I": 1, "II": 1}}
    assert kept.text == "Knee X-ray, Kellgren-Lawrence grade 1: doubtful osteoarthritis."
    assert fates(rejections) == {names[1]: "duplicate_image", names[2]: "duplicate_image"}
    assert all(names[0] in rejection.message for rejection in rejections)


@pytest.mark.parametrize("settings", [{}, {"knee_conflicts": "reject"}])
def test_an_image_with_two_grades_is_rejected_in_every_copy(tmp_path, settings):
    rejections = settled(SOURCE, write_knee(tmp_path, dict.fromkeys(COPIES, 1)), **settings)
    assert fates(rejections) == dict.fromkeys(COPIES, "conflicting_labels")
    for rejection in rejections:
        assert isinstance(rejection, Rejection) and rejection.code is Reason.CONFLICTING_LABELS
        assert all((name in rejection.message) == (name != rejection.item) for name in COPIES)
    assert f"{COPIES[2]} has grade 1" in rejections[0].message


@pytest.mark.parametrize(("choice", "grade"), [("keep_lower", 0), ("keep_higher", 1)])
def test_a_conflict_may_be_kept_with_one_of_its_grades(tmp_path, choice, grade):
    kept, *rejections = settled(SOURCE, write_knee(tmp_path, dict.fromkeys(COPIES, 1)), knee_conflicts=choice)
    assert kept.category == GRADES[grade]
    assert kept.metadata == {
        "kellgren_lawrence_grade": grade, "grade_by_expert": {"I": 0, "II": 1}, "conflicting_grades": [0, 1],
    }  # fmt: skip
    if grade == 0:
        assert kept.item == COPIES[0]
        assert kept.text == "Knee X-ray, Kellgren-Lawrence grade 0: no osteoarthritis."
        assert fates(rejections) == {COPIES[1]: "duplicate_image", COPIES[2]: "conflicting_labels"}
    else:
        assert kept.item == COPIES[2]
        assert kept.text == "Knee X-ray, Kellgren-Lawrence grade 1: doubtful osteoarthritis."
        assert fates(rejections) == {COPIES[0]: "conflicting_labels", COPIES[1]: "conflicting_labels"}
    assert all(kept.item in rejection.message and f"grade {grade}" in rejection.message
               for rejection in rejections if rejection.code is Reason.CONFLICTING_LABELS)  # fmt: skip


def test_a_conflict_within_one_tree_and_one_without_experts(tmp_path):
    names = ["MedicalExpert-I/0Normal/a.png", "MedicalExpert-I/4Severe/b.png"]
    kept, _ = settled(SOURCE, write_knee(tmp_path / "a", dict.fromkeys(names, 1)), knee_conflicts="keep_higher")
    assert kept.metadata["grade_by_expert"] == {"I": 4} and kept.metadata["conflicting_grades"] == [0, 4]
    names = ["train/0/9000000L.png", "val/2/9000001R.png"]
    kept, _ = settled(SOURCE, write_knee(tmp_path / "b", dict.fromkeys(names, 1)), knee_conflicts="keep_higher")
    assert (kept.category, kept.official_split, kept.metadata["conflicting_grades"]) == ("Mild", "validation", [0, 2])
    assert kept.groups == ("patient:9000000", "patient:9000001") and "expert" not in kept.text


def test_settling_leaves_the_records_as_they_were(tmp_path):
    records = collect_records(read(Folder(write_knee(tmp_path, dict.fromkeys(COPIES, 1)))))
    before = [(record.text, dict(record.metadata)) for record in records]
    for choice in SOURCE.choices["knee_conflicts"].values:
        assert len(list(SOURCE.settle(records, {"knee_conflicts": choice}))) == 3
    assert [(record.text, record.metadata) for record in records] == before


def test_copies_tie_their_patients_together(tmp_path):
    names = ["train/0/9000000L.png", "val/0/9000001R.png"]
    kept, _ = settled(SOURCE, write_knee(tmp_path, dict.fromkeys(names, 1)))
    assert kept.groups == ("patient:9000000", "patient:9000001")


def test_a_side_is_said_only_where_the_names_agree(tmp_path):
    names = ["train/0/9000000L.png", "val/0/9000000R.png"]
    kept, _ = settled(SOURCE, write_knee(tmp_path / "a", dict.fromkeys(names, 1)))
    assert kept.text == "Knee X-ray, Kellgren-Lawrence grade 0: no osteoarthritis."
    kept, _ = settled(SOURCE, write_knee(tmp_path / "b", dict.fromkeys([names[0], "val/0/9000001L.png"], 1)))
    assert kept.text == "X-ray of the left knee, Kellgren-Lawrence grade 0: no osteoarthritis."


def test_no_text_says_more_than_the_image():
    texts = {describe(grade, side) for grade in range(5) for side in ("", "L", "R")}
    assert len(texts) == 15 and {ungrounded_kinds(text, "en") for text in texts} == {()}


# --- The real names, folders, copies and conflicts of the Mendeley set, with an image for each content


@pytest.fixture(scope="module")
def mendeley(real_data, tmp_path_factory):
    """All 3,300 files under their real names with a `Thumbs.db` in each folder, and the real id of each content."""
    (table,) = real_data.glob("knee/gornale*/raw_data.csv")
    with table.open(newline="") as file:
        rows = list(csv.DictReader(file))
    numbers = {file_id: number for number, file_id in enumerate(sorted({row["file_id"] for row in rows}))}
    contents = {file_id: png(number, mode="L", size=(4, 4)) for file_id, number in numbers.items()}
    folder = tmp_path_factory.mktemp("mendeley") / "knee"
    above = "Digital Knee X-ray Images/Knee X-ray Images"
    write_files(folder, {f"{above}/{row['relative_path']}": contents[row["file_id"]] for row in rows})
    for place in {row["relative_path"].rpartition("/")[0] for row in rows}:
        write_files(folder, {f"{above}/{place}/Thumbs.db": "junk"})
    return folder, {f"{above}/{row['relative_path']}": row["file_id"] for row in rows}


@pytest.mark.parametrize("choice", ["reject", "keep_lower", "keep_higher"])
def test_the_3300_files(mendeley, choice):
    path, ids = mendeley
    found = list(read(Folder(path)))
    assert len([one for one in found if isinstance(one, RawRecord)]) == len(ids) == 3300
    assert Counter(ignored(found).values()) == {"junk file of the operating system": 10}
    grades = defaultdict(set)
    for record in found:
        if isinstance(record, RawRecord):
            grades[ids[record.image]].add(record.metadata["kellgren_lawrence_grade"])
    conflicts = {file_id for file_id, given in grades.items() if len(given) > 1}
    assert (len(grades), len(conflicts)) == (1633, 11) and all(grades[one] == {0, 1} for one in conflicts)

    done = settled(SOURCE, path, knee_conflicts=choice)
    assert len(done) == 3300
    kept = {ids[one.image]: one for one in done if isinstance(one, RawRecord)}
    codes = Counter(fates(done).values())
    conflicting = sum(ids[item] in conflicts for item in fates(done))
    if choice == "reject":
        assert set(kept) == set(grades) - conflicts and len(kept) == 1622
        assert codes == {"accepted": 1622, "conflicting_labels": conflicting, "duplicate_image": 1678 - conflicting}
        assert conflicting == 22
    else:
        assert set(kept) == set(grades) and len(kept) == 1633
        assert codes == {"accepted": 1633, "conflicting_labels": 11, "duplicate_image": 1656}
        for file_id in conflicts:
            chosen = 0 if choice == "keep_lower" else 1
            assert kept[file_id].category == GRADES[chosen]
            assert kept[file_id].metadata["grade_by_expert"] == {"I": 0, "II": 1}
            assert f"grade {chosen}:" in kept[file_id].text and "xpert" not in kept[file_id].text
    assert all(set(record.metadata["grade_by_expert"]) == {"I", "II"} for record in kept.values())
