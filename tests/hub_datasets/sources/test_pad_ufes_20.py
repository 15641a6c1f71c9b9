"""Checks the table and its cells: known values are stated, unknown ones are not, impossible ones are rejected."""

from __future__ import annotations

import csv
import random
import shutil
import zipfile
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from hub_datasets.errors import BuildError
from hub_datasets.filesystem.source_folder import Folder
from hub_datasets.records import RawRecord, Reason, Rejection
from hub_datasets.sources.pad_ufes_20 import DIAGNOSES, SOURCE, clinical_context, describe_clinical, describe_visible
from hub_datasets.texts.grounding.audit import ungrounded_kinds
from tests.hub_datasets.layouts import PAD_COLUMNS, collect_records, csv_text, pad_row, png, write_files, write_pad
from tests.hub_datasets.sources.mutations import mutated
from tests.hub_datasets.sources.settled import fates, ignored, settled


def read(path: Path) -> list:
    return list(SOURCE.read(Folder(path)))


def test_a_row_becomes_a_record(tmp_path):
    row = pad_row(7, hurt="UNK", changed="", background_father="BRASIL", background_mother="BRAZIL")
    (record,) = collect_records(read(write_pad(tmp_path, [row])))
    assert record.item == "metadata.csv line 2 (PAT_7_7_1.png)"
    assert record.image == "images/imgs_part_1/PAT_7_7_1.png"
    assert (record.source, record.category, record.language) == ("pad_ufes_20", "BCC", "en")
    assert record.groups == ("patient:PAT_7", "lesion:PAT_7/7") and record.official_split == ""
    assert record.metadata == row and tuple(record.metadata) == PAD_COLUMNS
    assert {row["hurt"], row["changed"], row["bleed"]} == {"UNK", "", "False"}
    assert (row["background_father"], row["background_mother"]) == ("BRASIL", "BRAZIL")


def zip_folder(folder: Path, place: Path, above: str = "") -> None:
    """Packs a folder into a zip file of its name beside it, and takes the folder away."""
    with zipfile.ZipFile(place, "w") as file:
        for path in sorted(folder.rglob("*")):
            if path.is_file():
                file.write(path, above + path.relative_to(folder).as_posix())
    shutil.rmtree(folder)


@pytest.mark.parametrize("layout", ["as it is", "nested", "below", "zips", "one zip", "upper case"])
def test_downloads_as_people_leave_them(tmp_path, layout):
    rows = [pad_row(n) for n in range(6)]
    write_pad(tmp_path / "pad", rows)
    images, root = tmp_path / "pad/images", tmp_path / "pad"
    if layout == "nested":
        for part in (1, 2, 3):
            (images / f"imgs_part_{part}").rename(images / "moved")
            (images / f"imgs_part_{part}").mkdir()
            (images / "moved").rename(images / f"imgs_part_{part}/imgs_part_{part}")
    elif layout == "below":
        root = tmp_path
    elif layout == "zips":
        for part in (1, 2, 3):
            zip_folder(images / f"imgs_part_{part}", images / f"imgs_part_{part}.zip", f"imgs_part_{part}/")
    elif layout == "one zip":
        zip_folder(tmp_path / "pad", tmp_path / "PAD-UFES-20.zip", "PAD-UFES-20/")
        root = tmp_path
    elif layout == "upper case":
        for path in list(images.rglob("*.png")):
            path.rename(path.with_suffix(".PNG"))
        (tmp_path / "pad/metadata.csv").rename(tmp_path / "pad/Metadata.CSV")
    if layout != "one zip":
        write_files(tmp_path / "pad", {"images/Thumbs.db": "", "images/imgs_part_1/._PAT_1_1_1.png": ""})
    found = read(root)
    records = [record for record in found if isinstance(record, RawRecord)]
    assert [record.metadata for record in records] == rows
    assert [Folder(root).read(record.image) for record in records] == [png(1000 + n) for n in range(6)]
    assert set(ignored(found).values()) <= {"junk file of the operating system"} and len(found) - len(records) in (0, 2)


def test_an_image_in_two_places(tmp_path):
    """The same bytes are one image; where they differ nobody can say which one the row means."""
    write_pad(tmp_path, [pad_row(0), pad_row(1)])
    write_files(tmp_path, {"copies/PAT_0_0_1.png": png(1000), "copies/PAT_1_1_1.png": png(9)})
    record, rejection, *rest = read(tmp_path)
    assert record.image == "copies/PAT_0_0_1.png"
    assert isinstance(rejection, Rejection) and rejection.code is Reason.MALFORMED_ROW
    assert "'copies/PAT_1_1_1.png' and 'images/imgs_part_2/PAT_1_1_1.png' are different images" in rejection.message
    assert len(ignored(rest)) == 3


def test_images_without_a_row_are_named(tmp_path):
    write_pad(tmp_path, [pad_row(0)])
    write_files(tmp_path, {"images/imgs_part_1/PAT_9_9_9.png": png(1), "readme.txt": ""})
    assert ignored(read(tmp_path)) == dict.fromkeys(
        ["images/imgs_part_1/PAT_9_9_9.png", "readme.txt"], "not named in any row"
    )
    write_files(tmp_path, {f"masks/{n}.png": b"" for n in range(40)})
    assert list(ignored(read(tmp_path))) == ["images/imgs_part_1/PAT_9_9_9.png and 41 more"]


def test_a_row_without_its_image_is_rejected_by_name(tmp_path):
    rows = [pad_row(1), pad_row(2), pad_row(3, img_id="../outside.png"), pad_row(4, img_id="")]
    write_files(tmp_path / "pad", {"metadata.csv": csv_text(rows), "images/imgs_part_1/PAT_1_1_1.png": png(1)})
    write_files(tmp_path, {"outside.png": png(2)})
    assert fates(settled(SOURCE, tmp_path / "pad")) == {
        "metadata.csv line 2 (PAT_1_1_1.png)": "accepted",
        "metadata.csv line 3 (PAT_2_2_1.png)": "image_missing",
        "metadata.csv line 4 (../outside.png)": "image_outside_root",
        "metadata.csv line 5 ()": "image_missing",
    }


def test_rows_of_one_image(tmp_path):
    """The same pixels with two diagnoses are a conflict; one diagnosis that is said twice is said once."""
    rows = [pad_row(0), pad_row(1, diagnostic="MEL"), pad_row(2), pad_row(3, region="EAR"), pad_row(4)]
    same = {f"images/imgs_part_{n % 3 + 1}/{row['img_id']}": png(7 if n < 2 else 8) for n, row in enumerate(rows)}
    write_files(tmp_path, {"metadata.csv": csv_text(rows), **same})
    done = settled(SOURCE, tmp_path)
    codes = {item.split("_")[1]: code for item, code in fates(done).items()}
    assert (codes["0"], codes["1"], codes["2"]) == ("conflicting_labels", "conflicting_labels", "accepted")
    assert codes["4"] in ("duplicate_row", "duplicate_image"), "it says what row 2 says"


@pytest.mark.parametrize(
    ("cells", "said"),
    [
        ({}, "Skin lesion on the face: basal cell carcinoma."),
        ({"elevation": "True"}, "Skin lesion on the face: basal cell carcinoma, elevated."),
        ({"elevation": "False", "region": "UNK"}, "Skin lesion: basal cell carcinoma, not elevated."),
        ({"elevation": "UNK", "region": "", "diagnostic": "NEV"}, "Skin lesion: nevus."),
    ],
)
def test_the_text_says_what_the_photograph_shows(tmp_path, cells, said):
    row = pad_row(1, grew="True", hurt="True", smoke="True", skin_cancer_history="True", **cells)
    (record,) = collect_records(read(write_pad(tmp_path, [row])))
    assert record.text == describe_visible(row) == said
    assert ungrounded_kinds(record.text, "en") == ()


def test_the_context_is_what_the_photograph_cannot_show(tmp_path):
    row = pad_row(1, grew="True", hurt="True", changed="False", elevation="True", skin_cancer_history="True",
                  cancer_history="False")  # fmt: skip
    (record,) = collect_records(read(write_pad(tmp_path, [row])))
    assert record.context == clinical_context(row)
    assert record.context == (
        "Woman aged 55 years, Fitzpatrick skin type 2. Personal or family history: skin cancer yes, cancer of any "
        "kind no. The lesion: 6 x 5 mm; it itches, has grown and hurts; it has not changed and does not bleed; a "
        "biopsy was taken."
    )
    assert set(ungrounded_kinds(record.context, "en")) == {
        "age", "biopsy", "comparison", "history", "measurement", "sex", "symptoms",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("cells", "context"),
    [
        ({}, ""),
        ({"gender": "MALE"}, "Man."),
        ({"age": "1"}, "Patient aged 1 year."),
        ({"age": "0", "gender": "FEMALE", "elevation": "True"}, "Woman aged 0 years."),
        ({"diameter_1": "0.0", "diameter_2": "4.0"}, "The lesion: 4 mm."),
        ({"biopsed": "False"}, "The lesion: no biopsy was taken."),
        ({"cancer_history": "True"}, "Personal or family history: cancer of any kind yes."),
    ],
)
def test_the_context_says_nothing_of_what_is_not_known(cells, context):
    assert clinical_context(dict.fromkeys(PAD_COLUMNS, "UNK") | {"diagnostic": "NEV"} | cells) == context


def test_the_clinical_text_is_an_option(tmp_path):
    row = pad_row(1, elevation="True")
    folder = write_pad(tmp_path, [row])
    (visible,), (clinical,) = settled(SOURCE, folder), settled(SOURCE, folder, pad_text="clinical")
    assert (visible.text, visible.answer) == (describe_visible(row), None)
    assert (clinical.text, clinical.answer) == (describe_clinical(row), visible.text), "the answer of a chat"
    assert clinical.context == visible.context


def test_the_whole_clinical_description():
    assert describe_clinical(pad_row(1, grew="True", hurt="True", changed="False")) == (
        "Skin lesion, basal cell carcinoma, confirmed by biopsy, on the face of a 55-year-old woman, 6 x 5 mm, "
        "Fitzpatrick skin type 2. It itches, has grown and hurts. It has not changed and does not bleed."
    )


def test_a_description_says_nothing_of_what_is_not_known():
    bare = dict.fromkeys(PAD_COLUMNS, "") | {"diagnostic": "NEV", "region": "BACK", "age": "8"}
    assert describe_clinical(bare) == "Skin lesion, nevus, on the back of an 8-year-old patient."
    unknown = dict.fromkeys(PAD_COLUMNS, "UNK") | {"diagnostic": "NEV"}
    assert describe_clinical(unknown) == "Skin lesion, nevus."
    assert describe_clinical({"diagnostic": "NEV", "region": "", "age": ""}) == "Skin lesion, nevus."


@pytest.mark.parametrize(
    ("cells", "said"),
    [
        ({"biopsed": "False"}, "carcinoma, not confirmed by biopsy, on the face"),
        ({"age": "0"}, "on the face of a woman aged 0 years, 6 x 5 mm"),
        ({"fitspatrick": "6.0"}, "skin type 6."),
        ({"gender": "MALE"}, "of a 55-year-old man"),
        ({"age": "33.0"}, "of a 33-year-old"),
        ({"age": "80"}, "of an 80-year-old"),
        ({"age": "11"}, "of an 11-year-old"),
        ({"age": "18"}, "of an 18-year-old"),
        ({"age": "1"}, "of a 1-year-old"),
        ({"diameter_1": "0.0", "diameter_2": "0.0"}, "woman, Fitzpatrick"),
        ({"diameter_2": "1.2"}, "6 x 1.2 mm"),
        ({"diameter_2": ""}, ", 6 mm"),
        ({"fitspatrick": "UNK"}, "5 mm. It itches"),
        ({"itch": "UNK", "bleed": ""}, "skin type 2."),
    ],
)
def test_cells_of_a_description(cells, said):
    assert said in describe_clinical(pad_row(1, **cells))


@pytest.mark.parametrize("code", DIAGNOSES)
def test_every_diagnosis_has_its_words(code):
    assert describe_clinical(pad_row(1, diagnostic=code)).startswith(f"Skin lesion, {DIAGNOSES[code]}, ")


@pytest.mark.parametrize("column", ["age", "fitspatrick", "diameter_1", "diameter_2"])
@pytest.mark.parametrize("cell", ["abc", "nan", "inf", "-1", "1e1", "5,5", "6 mm", "True", "９", "1_0", "9" * 400])
def test_numbers_that_cannot_be(tmp_path, column, cell):
    rejection, _ = read(write_pad(tmp_path, [pad_row(1, **{column: cell})]))
    assert isinstance(rejection, Rejection) and rejection.code is Reason.MALFORMED_ROW
    assert column in rejection.message and repr(cell[:50]) in rejection.message and "PAT_1_1_1.png" in rejection.item


@pytest.mark.parametrize("cell", ["3.7", "0", "0.0", "7", "0.5", "6.01"])
def test_skin_types_that_are_none(tmp_path, cell):
    rejection, _ = read(write_pad(tmp_path, [pad_row(1, fitspatrick=cell)]))
    assert isinstance(rejection, Rejection) and rejection.code is Reason.MALFORMED_ROW
    assert repr(cell) in rejection.message and "from " in rejection.message and "to 6" in rejection.message


@pytest.mark.parametrize("code", ["BOD", "bcc", "", "UNK"])
def test_a_diagnosis_that_is_not_known(tmp_path, code):
    rejection, _ = read(write_pad(tmp_path, [pad_row(1, diagnostic=code)]))
    assert isinstance(rejection, Rejection) and rejection.code is Reason.MALFORMED_ROW
    assert repr(code) in rejection.message and "MEL" in rejection.message


def test_a_row_of_another_length_is_rejected_and_the_others_are_read(tmp_path):
    table = csv_text([pad_row(1), pad_row(2), pad_row(3)]).splitlines()
    table[2] = table[2].rpartition(",")[0]
    write_files(tmp_path, {"metadata.csv": "\n".join(table) + "\n"})
    first, rejection, last = read(tmp_path)
    assert (rejection.item, rejection.code) == ("metadata.csv line 3", Reason.MALFORMED_ROW)
    assert (first.category, last.groups) == ("BCC", ("patient:PAT_3", "lesion:PAT_3/3"))


def test_groups(tmp_path):
    """A patient with two lesions is one group; one lesion_id of two patients is none; nobody knows the unknown."""
    rows = [pad_row(1), pad_row(2, patient_id="PAT_1"), pad_row(3, lesion_id="1"), pad_row(4, patient_id=""),
            pad_row(5, lesion_id="UNK")]  # fmt: skip
    assert [record.groups for record in collect_records(read(write_pad(tmp_path, rows)))] == [
        ("patient:PAT_1", "lesion:PAT_1/1"), ("patient:PAT_1", "lesion:PAT_1/2"), ("patient:PAT_3", "lesion:PAT_3/1"),
        (), ("patient:PAT_5",),
    ]  # fmt: skip


def test_folders_that_are_not_this_source(tmp_path):
    with pytest.raises(BuildError, match=r"no metadata\.csv; --pad_ufes_dir must contain"):
        read(tmp_path)
    rows = [{key: value for key, value in pad_row(1).items() if key not in ("img_id", "age")}]
    write_files(tmp_path, {"metadata.csv": csv_text(rows)})
    with pytest.raises(BuildError, match="no column age, img_id; the columns found are: patient_id, lesion_id"):
        read(tmp_path)
    write_files(tmp_path, {"metadata.csv": csv_text([pad_row(1)]).replace(",", ";")})
    with pytest.raises(BuildError, match=r"no column patient_id.*save the table with commas"):
        read(tmp_path)


def test_two_tables(tmp_path):
    write_pad(tmp_path, [pad_row(1)])
    write_files(tmp_path, {"more/metadata.csv": (tmp_path / "metadata.csv").read_bytes()})
    found = read(tmp_path)
    assert ignored(found) == {"more/metadata.csv": "the same as metadata.csv"} and len(found) == 2
    write_files(tmp_path, {"more/metadata.csv": csv_text([pad_row(2)])})
    with pytest.raises(BuildError, match=r"more/metadata\.csv: differs from metadata\.csv; keep only one"):
        read(tmp_path)


def test_the_columns_that_only_the_text_uses_may_be_absent(tmp_path):
    row = {key: value for key, value in pad_row(1).items() if key not in ("biopsed", "itch", "diameter_1", "gender")}
    write_files(tmp_path, {"metadata.csv": csv_text([row])})
    (record,) = collect_records(read(tmp_path))
    assert record.metadata == row and record.context.startswith("Patient aged 55 years, Fitzpatrick skin type 2. The")


# --- The real table


def test_the_real_sample(real_data):
    with (real_data / "pad_ufes/metadata.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    done = settled_without_repeats(real_data / "pad_ufes")
    assert Counter(fates(done).values()) == {"accepted": 7, "image_missing": 50}
    records = collect_records(read(real_data / "pad_ufes"))
    assert [record.metadata for record in records] == rows
    assert all(DIAGNOSES[record.category] in record.text and "biopsy" not in record.text for record in records)
    assert {ungrounded_kinds(record.text, "en") for record in records} == {()}
    for record, row in zip(records, rows, strict=True):
        assert ("; a biopsy was taken" in record.context) == (row["biopsed"] == "True")
        assert ("no biopsy was taken" in record.context) == (row["biopsed"] == "False")
        assert ("UNK" not in record.text + record.context) and record.groups[0] == f"patient:{row['patient_id']}"


def settled_without_repeats(path: Path) -> list:
    return settled(replace(SOURCE, settle=None), path)


def full_size() -> list[dict[str, str]]:
    """2,298 rows of 1,373 patients and 1,891 lesions in the real proportions, with the quirks that rows can have.

    250 of 1,641 lesion ids occur with two patients; 804 rows lack the clinical cells, the others have 'UNK' in some.
    """
    diagnoses = [code for code, count in REAL_DIAGNOSES.items() for _ in range(count)]
    # pairs of (patient, lesion): every patient has one, 518 have a second; the last 250 share the id of another
    pairs = [(n, n if n < 1123 else n - 1123) for n in range(1373)] + [(n, 1123 + n) for n in range(518)]
    owners = pairs + pairs[: 2298 - len(pairs)]  # 407 lesions were photographed twice
    rows = []
    for n, ((patient, lesion), code) in enumerate(zip(owners, diagnoses, strict=True)):
        row = pad_row(n, patient_id=f"PAT_{patient}", lesion_id=str(lesion), diagnostic=code)
        row |= {"img_id": f"PAT_{patient}_{lesion}_{n}.png", "biopsed": str(code in ("BCC", "MEL", "SCC"))}
        row |= {"background_father": ("BRAZIL", "BRASIL", "UNK")[n % 3], "grew": ("True", "False", "UNK")[n % 3]}
        if n >= 2298 - 804:
            row |= dict.fromkeys(
                ("smoke", "gender", "fitspatrick", "diameter_1", "diameter_2", "background_father"), ""
            )
        rows.append(row)
    return rows


REAL_DIAGNOSES = {"BCC": 845, "MEL": 52, "SCC": 192, "ACK": 730, "NEV": 244, "SEK": 235}


def test_the_full_size(tmp_path):
    rows = full_size()
    assert len({row["lesion_id"] for row in rows}) == 1641 and sum(not row["gender"] for row in rows) == 804
    write_files(tmp_path, {"metadata.csv": csv_text(rows, PAD_COLUMNS)})
    for part in (1, 2, 3):
        place = tmp_path / f"images/imgs_part_{part}.zip"
        place.parent.mkdir(exist_ok=True)
        with zipfile.ZipFile(place, "w") as file:
            for n, row in enumerate(rows):
                if n % 3 == part - 1:
                    file.writestr(f"imgs_part_{part}/{row['img_id']}", f"image {n}")
    records = collect_records(read(tmp_path))
    assert len(records) == 2298 and Counter(record.category for record in records) == REAL_DIAGNOSES
    assert len({group for record in records for group in record.groups if group.startswith("patient:")}) == 1373
    assert len({group for record in records for group in record.groups if group.startswith("lesion:")}) == 1891
    assert [record.metadata for record in records] == rows
    assert {record.metadata["background_father"] for record in records} == {"BRAZIL", "BRASIL", "UNK", ""}
    folder = Folder(tmp_path)
    assert [folder.read(record.image).decode() for record in records] == [f"image {n}" for n in range(2298)]


# --- Damage


def test_damaged_tables(tmp_path):
    """Every row is a record or a rejection, or the table is refused in one line."""
    rng = random.Random(3)
    write_pad(tmp_path, [pad_row(n) for n in range(8)])
    table = (tmp_path / "metadata.csv").read_bytes()
    refused = rejected = 0
    for _ in range(250):
        write_files(tmp_path, {"metadata.csv": mutated(table, rng)})
        try:
            done = settled_without_repeats(tmp_path)
        except BuildError as error:
            assert str(error).startswith(str(tmp_path)) and len(str(error).splitlines()) == 1
            refused += 1
        else:
            rejected += sum(isinstance(one, Rejection) for one in done)
    assert refused > 30 and rejected > 50
