"""Checks tables as people keep them: each layout by the images, texts and languages that come out of it."""

from __future__ import annotations

import io
import json
import unicodedata

import openpyxl
import pytest

from hub_datasets.errors import BuildError
from hub_datasets.filesystem.source_folder import Folder
from hub_datasets.records import ColumnNames, Ignored, RawRecord, Reason, Rejection, TableNote
from hub_datasets.sources.medical_reports import read
from tests.hub_datasets.layouts import write_files

HEART, CLEAR, FLUID = (
    "The heart size is normal, no edema is seen.", "The lungs are clear.", "There is fluid on the left side.",
)  # fmt: skip
ZH = "双肺清晰，心影大小正常。"


def found_in(folder, names: dict, columns: ColumnNames = ColumnNames()) -> tuple[list, list[TableNote]]:  # noqa: B008
    """Everything that the reader yields from a folder of these files, and its notes."""
    notes: list[TableNote] = []
    return list(read(Folder(write_files(folder, names)), columns, notes)), notes


def records_in(folder, names: dict, columns: ColumnNames = ColumnNames()) -> list[RawRecord]:  # noqa: B008
    found, _ = found_in(folder, names, columns)
    assert not [one for one in found if isinstance(one, Rejection)], found
    return [one for one in found if isinstance(one, RawRecord)]


def images(*names: str) -> dict[str, bytes]:
    return dict.fromkeys(names, b"picture")


def workbook(*sheets: list[list], titles: tuple[str, ...] = ()) -> bytes:
    book = openpyxl.Workbook()
    book.remove(book.active)
    for number, rows in enumerate(sheets):
        sheet = book.create_sheet(titles[number] if titles else f"Sheet{number + 1}")
        for row in rows:
            sheet.append(row)
    buffer = io.BytesIO()
    book.save(buffer)
    return buffer.getvalue()


def two(header: str, first: str = "1.png", second: str = "2.png", delimiter: str = ",") -> str:
    """A table of two rows: image and text."""
    lines = [header, f"{first}{delimiter}{CLEAR}", f"{second}{delimiter}{FLUID}"]
    return "\n".join(lines) + "\n"


TWO = images("images/1.png", "images/2.png")
PAIR = [("images/1.png", CLEAR), ("images/2.png", FLUID)]
LAYOUTS = {
    "bare names beside a folder": ({"r.csv": two("image,text")} | TWO, PAIR),
    "a table in a folder of its own": ({"labels/r.csv": two("image,text")} | TWO, PAIR),
    "paths of another machine": (
        {"r.csv": two("image,text", "/home/me/data/images/1.png", r"D:\data\images\2.png")} | TWO, PAIR),
    "an address of another store": ({"r.csv": two("image,text", "s3://bucket/x/images/1.png", "2.png")} | TWO, PAIR),
    "a beginning that all paths share": (
        {"r.csv": two("image,text", "/mnt/v1/images/1.png", "/mnt/v1/images/2.png")}
        | images("set/a/images/1.png", "set/a/images/2.png", "set/b/images/3.png"),
        [("set/a/images/1.png", CLEAR), ("set/a/images/2.png", FLUID)]),
    "names in another case": ({"r.csv": two("image,text", "Images/1.PNG", "2.Png")} | TWO, PAIR),
    "names in another form of Unicode": (
        {"r.csv": two("image,text", unicodedata.normalize("NFC", "bé.png"), unicodedata.normalize("NFD", "ü.png"))}
        | images(unicodedata.normalize("NFD", "x/bé.png"), unicodedata.normalize("NFC", "x/ü.png")),
        [(unicodedata.normalize("NFD", "x/bé.png"), CLEAR), (unicodedata.normalize("NFC", "x/ü.png"), FLUID)]),
    "names without a suffix": ({"r.csv": two("filename,report", "1", "images/2")} | TWO, PAIR),
    "numbers as IDs": (
        {"r.jsonl": "\n".join(json.dumps({"image": n, "text": t}) for n, t in ((1, CLEAR), (2.0, FLUID)))} | TWO, PAIR),
    "IDs without the zeros of the files": (
        {"r.csv": two("ID,text", "7", "8.0").replace("ID", "image_id")} | images("p/0007.png", "p/0008.png"),
        [("p/0007.png", CLEAR), ("p/0008.png", FLUID)]),
    "a Python list": ({"r.csv": f"images,text\n\"['1.png', '2.png']\",{CLEAR}\n"} | TWO, [(n, CLEAR) for n in TWO]),
    "a JSON list": (
        {"r.csv": f'images,text\n"[""images/1.png"",""2.png""]",{CLEAR}\n'} | TWO, [(n, CLEAR) for n in TWO]),
    "an array of numpy": ({"r.csv": f"images,text\n['1.png' '2.png'],{CLEAR}\n"} | TWO, [(n, CLEAR) for n in TWO]),
    "a list of numbers": ({"r.csv": f'image_id,text\n"[1, 2]",{CLEAR}\n'} | TWO, [(n, CLEAR) for n in TWO]),
    "commas in a cell": ({"r.csv": f'image,text\n"1.png, 2.png",{CLEAR}\n'} | TWO, [(n, CLEAR) for n in TWO]),
    "lines in a cell": ({"r.csv": f'image,text\n"1.png\n2.png",{CLEAR}\n'} | TWO, [(n, CLEAR) for n in TWO]),
    "a name with a comma": (
        {"r.csv": f'image,text\n"a, b.png",{CLEAR}\n'} | images("x/a, b.png"), [("x/a, b.png", CLEAR)]),
    "findings and impression": (
        {"r.csv": f'path,findings,impression\n1.png,{CLEAR},"{HEART}"\n2.png,,{FLUID}\n'} | TWO,
        [("images/1.png", f"Findings: {CLEAR} Impression: {HEART}"), ("images/2.png", FLUID)]),
    "sections with headings": (
        {"r.jsonl": json.dumps({"path": "1.png", "Findings": f"FINDINGS: {CLEAR}", "Impression": "None"})} | TWO,
        [("images/1.png", f"FINDINGS: {CLEAR}")]),
    "Chinese headers": (
        {"报告.csv": f"图像,影像所见,影像诊断\n1.png,{ZH},未见异常。\n".encode("gbk")} | TWO,
        [("images/1.png", f"影像所见：{ZH}影像诊断：未见异常。")]),
    "tabs in a text file": ({"r.txt": two("image\ttext", delimiter="\t").encode("utf-16")} | TWO, PAIR),
    "semicolons of Windows": (
        {"r.csv": f"Bild;image;Befund\nx;1.png;Herz regelrecht, Erguß für {n} Tage.\n".encode("cp1252")} | TWO
        if (n := 2) else {}, [("images/1.png", "Herz regelrecht, Erguß für 2 Tage.")]),
    "bars": ({"r.csv": two("image|text", delimiter="|")} | TWO, PAIR),
    "lines of JSON in a .json": (
        {"r.json": "\n".join(json.dumps({"img": f"{n}.png", "caption": t}) for n, t in ((1, CLEAR), (2, FLUID)))} | TWO,
        PAIR),
    "blank lines above the header": ({"r.csv": "\n\n" + two("image,text")} | TWO, PAIR),
    "a title above the header": ({"r.csv": "Export, May 2024\n\n" + two("image,text")} | TWO, PAIR),
    "a header that was read in a wrong encoding": (
        {"r.csv": "å›¾åƒ,æŠ¥å‘Š\n".replace("åƒ", "å\x83\x8f").encode() + two("").encode()[1:]} | TWO, PAIR),
    "names of DICOM files that were converted": ({"r.csv": two("image,text", "1.dcm", "x/images/2.DCM")} | TWO, PAIR),
    "names in quotes of their own": ({"r.csv": two("image,text", "'1.png'", "2.png")} | TWO, PAIR),
    "pictures that are named after a study": ({"r.csv": two("accession_number,report", "1", "2")} | TWO, PAIR),
    "a second column of one name": (
        {"r.csv": f"image,note,text,note\n1.png,a,{CLEAR},b\n2.png,a,{FLUID},b\n"} | TWO, PAIR),
    "a workbook": ({"r.xlsx": workbook([["image", "text"], ["1.png", CLEAR], [], ["2.png", FLUID]])} | TWO, PAIR),
    "a workbook with numbers and a title": (
        {"r.xlsx": workbook([["Export of May"], [], ["image_id", "Report", "seen"], [1, CLEAR, True], [2.0, FLUID]])}
        | TWO, PAIR),
    "a workbook of several sheets": (
        {"r.xlsx": workbook([["key", "value"], ["a", 1]], [["image", "text"], ["1.png", CLEAR], ["2.png", FLUID]])}
        | TWO, PAIR),
    "NUL at the end of cells": ({"r.csv": f"image,text\n1.png,{CLEAR}\0\0\0\n2.png,{FLUID}\0\n"} | TWO, PAIR),
    "HTML, and the escapes of Excel": (
        {"r.csv": f"image,text\n1.png,<p>{CLEAR}</p>\n2.png,{FLUID}_x000D_\n"} | TWO, PAIR),
    "a path that is of no use beside an ID": (
        {"r.csv": f"path,image_id,text\ngone/a.dcm,1,{CLEAR}\ngone/b.dcm,2,{FLUID}\n"} | TWO, PAIR),
    "a text with unquoted commas": (
        {"r.csv": "image,text,view\n1.png,The lungs, as seen, are clear.,PA\n"} | TWO,
        [("images/1.png", "The lungs, as seen, are clear.")]),
    "quotes inside quotes": (
        {"r.csv": f'image,text\n1.png,"No "acute" finding, the heart is normal"\n2.png,"{FLUID}"\n'} | TWO,
        [("images/1.png", 'No "acute" finding, the heart is normal'), ("images/2.png", FLUID)]),
    "a quote that is never closed": (
        {"r.csv": f'image,text\n1.png,"{CLEAR}\n2.png,{FLUID}\n'} | TWO,
        [("images/1.png", f'"{CLEAR}'), ("images/2.png", FLUID)]),
    "quotes inside quotes over several lines": (
        {"r.csv": f'image,text\n1.png,"So-called "hump"\nis seen"\n2.png,{FLUID}\n'} | TWO,
        [("images/1.png", 'So-called "hump"\nis seen'), ("images/2.png", FLUID)]),
}  # fmt: skip


@pytest.mark.parametrize("name", LAYOUTS)
def test_layouts(tmp_path, name):
    files, expected = LAYOUTS[name]
    assert [(record.image, record.text) for record in records_in(tmp_path, files)] == expected


def test_two_languages_are_two_rows(tmp_path):
    tables = {
        "a.csv": f"image,text,text_zh\n1.png,{CLEAR},{ZH}\n2.png,{FLUID},\n",
        "b.csv": f"image,findings_en,impression_en,findings_cn\n1.png,{CLEAR},{HEART.replace(',', ';')},{ZH}\n",
        "c.csv": f"image,report,报告\n1.png,{CLEAR},{ZH}\n2.png,{FLUID},{FLUID}\n",
        "d.csv": f"image,中文报告,英文报告\n1.png,{ZH},{CLEAR}\n",
    }
    found = records_in(tmp_path, tables | TWO)
    assert [(record.item, record.language) for record in found] == [
        ("a.csv line 2 (en)", "en"), ("a.csv line 2 (zh)", "zh"), ("a.csv line 3", "en"),
        ("b.csv line 2 (en)", "en"), ("b.csv line 2 (zh)", "zh"),
        ("c.csv line 2 (en)", "en"), ("c.csv line 2 (zh)", "zh"), ("c.csv line 3", "en"),
        ("d.csv line 2 (zh)", "zh"), ("d.csv line 2 (en)", "en"),
    ]  # fmt: skip
    assert {record.text for record in found if record.language == "zh"} == {ZH}
    assert found[3].text.startswith("Findings: ") and "text" not in found[0].metadata


def test_a_column_for_a_language_with_a_text_that_is_not_in_it(tmp_path):
    """Not translated yet: the script is believed, not the name of the column."""
    (record,) = records_in(tmp_path, {"r.csv": f"image,text_zh\n1.png,{CLEAR}\n"} | TWO)
    assert record.language == "en"


@pytest.mark.parametrize(
    "cell",
    ["see report", "N/A", "#NAME?", "none", "-", "无", "同上", "见报告", "NULL", " . ", "……", "nan", "See Report."],
)
def test_placeholders_are_no_text(tmp_path, cell):
    (record,) = records_in(tmp_path, {"r.jsonl": json.dumps({"image": "1.png", "text": cell})} | TWO)
    assert record.text == ""  # which the check of texts rejects as empty


@pytest.mark.parametrize(
    "cell", ["Normal.", "No findings.", "无异常", "None of the lobes is affected.", "N/A for contrast"]
)
def test_short_texts_are_no_placeholders(tmp_path, cell):
    (record,) = records_in(tmp_path, {"r.jsonl": json.dumps({"image": "1.png", "text": cell})} | TWO)
    assert record.text == cell


def test_two_texts_of_a_row_in_one_language_are_told_apart(tmp_path):
    found = records_in(tmp_path, {"r.csv": f"image,text,text_zh\n1.png,{CLEAR},{FLUID}\n"} | TWO)
    assert [(one.item, one.text) for one in found] == [
        ("r.csv line 2 (text)", CLEAR), ("r.csv line 2 (text_zh)", FLUID),
    ]  # fmt: skip


def test_names_that_several_files_have_are_named(tmp_path):
    rejections, _ = found_in(tmp_path, {"r.csv": two("image,text", "1.png", "b/1.png")} | images("a/1.png", "b/1.png"))
    assert rejections[0].message == "'1.png' is ambiguous: 'a/1.png' or 'b/1.png'; give the path, or remove one of them"
    assert rejections[1].image == "b/1.png"


@pytest.mark.parametrize(
    ("table", "name", "files"),
    [
        ("test/r.csv", "1.png", images("train/1.png", "test/2.png")),  # that of another split
        ("r.csv", "/data/p10/s1/1.png", images("p10/s2/1.png")),  # that of another study
        ("r.csv", "p10/1.png", images("p11/1.png")),
        ("r.csv", "../../etc/2.png", images("etc/1.png")),
        ("r.csv", "images/", images("images/1.png")),
        ("r.csv", "1.png.png", images("images/1.png")),
    ],
)
def test_names_of_files_that_are_not_there_are_not_replaced(tmp_path, table, name, files):
    (record, *_), _ = found_in(tmp_path, {table: f"image,text\n{name},{CLEAR}\n"} | files)
    assert record.image == name  # which the check of the image reports as missing


def test_a_second_table_that_is_none_is_passed_over(tmp_path):
    files = {"r.csv": two("image,text"), "split.csv": "case,split\n1,train\n", "c.json": "{}", "notes.txt": "a\tb\n"}
    found, notes = found_in(tmp_path, files | TWO)
    assert [one.item for one in found if isinstance(one, Ignored)] == ["c.json", "split.csv"]
    assert [one.why for one in found if isinstance(one, Ignored)][1] == (
        "no column for the image and no column for the text; name them with --image_column and --text_column; the "
        "columns found are: case, split (at commas)"
    )
    assert [(note.item, bool(note.passed_over)) for note in notes] == [
        ("c.json", True), ("r.csv", False), ("split.csv", True),
    ]  # fmt: skip


def test_what_a_column_was_taken_for_is_noted(tmp_path):
    text = "path,subject_id,findings,impression,view,split\n" + f"1.png,7,<b>{CLEAR}</b>,N/A,PA,train\n"
    _, (note,) = found_in(tmp_path, {"r.csv": text.encode("utf-16")} | TWO)
    assert note == TableNote(
        item="r.csv",
        columns={"image": ["path"], "findings": ["findings"], "impression": ["impression"], "patient": ["subject_id"],
                 "split": ["split"]},
        kept=["view"],
        encoding="UTF-16",
        rows=1,
        repaired={"html": 1, "placeholder": 1},
    )  # fmt: skip


def test_columns_that_the_user_names(tmp_path):
    table = (
        f"text,where,words,who,part,kind\nnot this,1.png,{CLEAR},P1,dev,normal\nnor this,2.png,{FLUID},P2,test,big\n"
    )
    names = ColumnNames("where", "words", "who", "PART", "kind")
    first, second = records_in(tmp_path, {"r.csv": table} | TWO, names)
    assert (first.image, first.text, first.category, first.official_split) == (
        "images/1.png", CLEAR, "normal", "validation",
    )  # fmt: skip
    assert first.groups and first.groups != second.groups and second.official_split == "test"
    assert first.metadata["text"] == "not this" and "words" not in first.metadata


def test_a_label_without_a_text(tmp_path):
    files = {"r.csv": "image,grade\n1.png,mild_cataract\n2.png,\n"} | TWO
    first, second = records_in(tmp_path, files, ColumnNames(label="grade"))
    assert (first.text, first.category, first.language) == ("Image of: mild cataract.", "mild_cataract", "en")
    assert (second.text, second.category) == ("", "report")


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (ColumnNames(image="nope"), "no column 'nope' (--image_column); the columns found are: image, text"),
        (ColumnNames(text="nope"), "no column 'nope' (--text_column); the columns found are: image, text"),
        (ColumnNames(patient="nope"), "--patient_column 'nope': no table in"),
        (ColumnNames(label="nope"), "has this column; the columns are: image, text"),
    ],
)
def test_a_column_that_is_not_there_is_an_error_with_those_that_are(tmp_path, names, message):
    with pytest.raises(BuildError) as error:
        found_in(tmp_path, {"r.csv": two("image,text")} | TWO, names)
    assert message in str(error.value) and len(str(error.value).splitlines()) == 1


def test_a_column_that_only_another_table_has(tmp_path):
    files = {"a.csv": two("image,text"), "b.csv": f"image,text,who\n1.png,{HEART.replace(',', ';')},P1\n"} | TWO
    found = records_in(tmp_path, files, ColumnNames(patient="who"))
    assert [bool(record.groups) for record in found] == [False, False, True]


def test_a_split_of_the_users_column_must_be_one(tmp_path):
    files = {"r.csv": f"image,text,fold\n1.png,{CLEAR},3\n2.png,{FLUID},Train\n"} | TWO
    (rejection, record, *_), _ = found_in(tmp_path, files, ColumnNames(split="fold"))
    assert (
        rejection.code is Reason.MALFORMED_ROW and "split '3' in the column fold; expected train" in rejection.message
    )
    assert record.official_split == "train"


BASE64 = "iVBORw0KGgoAAAANSUhEUgAAAGAAAABQCAIAAABpgOfCAAAydUlEQVR4nH282XZkSY4ttgEbzuQDyRgyq6q7dfWor9A/6D/1PXrUVXVXVW"


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("r.csv", f"image,text\n{BASE64},{CLEAR}\n"),
        ("r.csv", f'image,text\n"data:image/png;base64,{BASE64}",{CLEAR}\n'),
        ("r.jsonl", json.dumps({"image": "/9j/" + BASE64, "text": CLEAR})),
        ("r.jsonl", json.dumps({"image": {"bytes": BASE64}, "text": CLEAR})),
    ],
)
def test_images_in_cells_are_refused_in_one_short_line(tmp_path, name, content):
    with pytest.raises(BuildError) as error:
        found_in(tmp_path, {name: content})
    message = str(error.value).removeprefix(str(tmp_path))
    told = "holds images as base64 text; write them to files, and their names into this column"
    assert message == f"/{name}: the column 'image' {told}"


def test_one_row_with_an_image_in_its_cell_is_rejected_alone(tmp_path):
    record, rejection = found_in(tmp_path, {"r.csv": two("image,text", "1.png", BASE64)} | TWO)[0][:2]
    assert isinstance(record, RawRecord) and "base64" in rejection.message and BASE64[:20] not in rejection.message
