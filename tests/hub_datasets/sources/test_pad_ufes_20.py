"""The table and its cells: what is known is said, what is not known is not, and what cannot be is rejected."""

from __future__ import annotations

import pytest

from hub_datasets.schema import BuildError, Reason, Rejection
from hub_datasets.sources.pad_ufes_20 import DIAGNOSES, describe, read
from tests.hub_datasets.layouts import PAD_COLUMNS, csv_text, fates, pad_row, png, records_of, write_files, write_pad


def test_a_row_becomes_a_record(tmp_path):
    row = pad_row(7, hurt="UNK", changed="")
    (record,) = records_of(read(write_pad(tmp_path, [row])))
    assert record.item == "metadata.csv line 2 (PAT_7_7_1.png)"
    assert record.image == "images/imgs_part_1/PAT_7_7_1.png"
    assert (record.source, record.category, record.language) == ("pad_ufes_20", "BCC", "en")
    assert record.groups == ("patient:PAT_7",)
    assert record.metadata == row and tuple(record.metadata) == PAD_COLUMNS
    assert {row["hurt"], row["changed"], row["bleed"]} == {"UNK", "", "False"}


def test_images_are_found_in_whatever_folder_they_were_unpacked_to(tmp_path):
    write_pad(tmp_path, [pad_row(1), pad_row(2)])
    (tmp_path / "images/imgs_part_2").rename(tmp_path / "images/nested")
    (tmp_path / "images/nested").rename(tmp_path / "images/imgs_part_1/imgs_part_2")
    assert [record.image for record in records_of(read(tmp_path))] == [
        "images/imgs_part_1/PAT_1_1_1.png",
        "images/imgs_part_1/imgs_part_2/PAT_2_2_1.png",
    ]


def test_a_row_without_its_image_is_rejected_by_name(tmp_path, check):
    rows = [pad_row(1), pad_row(2), pad_row(3, img_id="../outside.png"), pad_row(4, img_id="")]
    write_files(tmp_path / "pad", {"metadata.csv": csv_text(rows), "images/imgs_part_1/PAT_1_1_1.png": png(1)})
    write_files(tmp_path, {"outside.png": png(2)})
    assert fates(check("pad_ufes_20", tmp_path / "pad")) == {
        "metadata.csv line 2 (PAT_1_1_1.png)": "accepted",
        "metadata.csv line 3 (PAT_2_2_1.png)": "image_missing",
        "metadata.csv line 4 (../outside.png)": "image_outside_root",
        "metadata.csv line 5 ()": "image_missing",
    }


def test_the_whole_description():
    assert describe(pad_row(1, grew="True", hurt="True", changed="False")) == (
        "Skin lesion, basal cell carcinoma, confirmed by biopsy, on the face of a 55-year-old woman, 6 x 5 mm, "
        "Fitzpatrick skin type 2. It itches, has grown and hurts. It has not changed and does not bleed."
    )


def test_a_description_says_nothing_of_what_is_not_known():
    bare = dict.fromkeys(PAD_COLUMNS, "") | {"diagnostic": "NEV", "region": "BACK", "age": "8"}
    assert describe(bare) == "Skin lesion, nevus, on the back of a 8-year-old patient."
    unknown = dict.fromkeys(PAD_COLUMNS, "UNK") | {"diagnostic": "NEV"}
    assert describe(unknown) == "Skin lesion, nevus."
    assert describe({"diagnostic": "NEV", "region": "", "age": ""}) == "Skin lesion, nevus."


@pytest.mark.parametrize(
    ("cells", "said"),
    [
        ({"biopsed": "False"}, "diagnosed clinically"),
        ({"gender": "MALE"}, "of a 55-year-old man"),
        ({"age": "33.0"}, "of a 33-year-old"),
        ({"diameter_1": "0.0", "diameter_2": "0.0"}, "woman, Fitzpatrick"),
        ({"diameter_2": "1.2"}, "6 x 1.2 mm"),
        ({"diameter_2": ""}, ", 6 mm"),
        ({"fitspatrick": "UNK"}, "5 mm. It itches"),
        ({"itch": "UNK", "bleed": ""}, "skin type 2."),
    ],
)
def test_cells_of_a_description(cells, said):
    assert said in describe(pad_row(1, **cells))


@pytest.mark.parametrize("code", DIAGNOSES)
def test_every_diagnosis_has_its_words(code):
    assert describe(pad_row(1, diagnostic=code)).startswith(f"Skin lesion, {DIAGNOSES[code]}, ")


@pytest.mark.parametrize("column", ["age", "fitspatrick", "diameter_1", "diameter_2"])
@pytest.mark.parametrize("cell", ["abc", "nan", "inf", "-1", "1e9", "5,5", "6 mm", "True", "９９９９"])
def test_numbers_that_cannot_be(tmp_path, column, cell):
    (rejection,) = read(write_pad(tmp_path, [pad_row(1, **{column: cell})]))
    assert isinstance(rejection, Rejection) and rejection.code is Reason.MALFORMED_ROW
    assert column in rejection.message and repr(cell) in rejection.message and "PAT_1_1_1.png" in rejection.item


@pytest.mark.parametrize("code", ["BOD", "bcc", "", "UNK"])
def test_a_diagnosis_that_is_not_known(tmp_path, code):
    (rejection,) = read(write_pad(tmp_path, [pad_row(1, diagnostic=code)]))
    assert isinstance(rejection, Rejection) and rejection.code is Reason.MALFORMED_ROW
    assert repr(code) in rejection.message and "MEL" in rejection.message


def test_a_row_of_another_length_is_rejected_and_the_others_are_read(tmp_path):
    table = csv_text([pad_row(1), pad_row(2), pad_row(3)]).splitlines()
    table[2] = table[2].rpartition(",")[0]
    write_files(tmp_path, {"metadata.csv": "\n".join(table) + "\n"})
    first, rejection, last = read(tmp_path)
    assert (rejection.item, rejection.code) == ("metadata.csv line 3", Reason.MALFORMED_ROW)
    assert (first.category, last.groups) == ("BCC", ("patient:PAT_3",))


def test_one_patient_with_two_lesions_is_one_group_and_one_lesion_of_two_patients_is_none(tmp_path):
    rows = [pad_row(1), pad_row(2, patient_id="PAT_1"), pad_row(3, lesion_id="1")]
    groups = [record.groups for record in records_of(read(write_pad(tmp_path, rows)))]
    assert groups == [("patient:PAT_1",), ("patient:PAT_1",), ("patient:PAT_3",)]


def test_folders_that_are_not_this_source(tmp_path):
    with pytest.raises(BuildError, match=r"no metadata\.csv; --pad_ufes_dir is the folder with"):
        list(read(tmp_path))
    rows = [{key: value for key, value in pad_row(1).items() if key not in ("img_id", "age")}]
    write_files(tmp_path, {"metadata.csv": csv_text(rows)})
    with pytest.raises(BuildError, match="no column age, img_id; the columns found are: patient_id, lesion_id"):
        list(read(tmp_path))


def test_the_columns_that_only_the_text_uses_may_be_absent(tmp_path):
    row = {key: value for key, value in pad_row(1).items() if key not in ("biopsed", "itch", "diameter_1", "gender")}
    write_files(tmp_path, {"metadata.csv": csv_text([row])})
    (record,) = records_of(read(tmp_path))
    assert record.metadata == row and "of a 55-year-old patient, 5 mm" in record.text
