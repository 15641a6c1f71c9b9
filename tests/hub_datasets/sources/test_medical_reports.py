"""A folder of one's own in each of its three formats, and the rows that nobody would write but somebody has."""

from __future__ import annotations

import json

import pytest

from hub_datasets.schema import BuildError, Ignored, Reason, Rejection
from hub_datasets.sources.medical_reports import read
from tests.hub_datasets.layouts import csv_text, fates, png, records_of, report_row, write_files, write_reports

ROWS = [
    report_row(1, study_id="S1", view="PA"),
    report_row(2, text="双肺清晰。\n未见异常。", language="zh", study_id="S2", view=""),
]


def rejection_of(folder, row: object) -> Rejection:
    """Why a row is rejected, which stands between two good ones."""
    write_reports(folder, [report_row(1), row, report_row(3)])
    first, rejection, last = read(folder)
    assert (first.item, last.item) == ("reports.jsonl line 1", "reports.jsonl line 3")
    assert isinstance(rejection, Rejection), rejection
    assert (rejection.source, rejection.item) == ("medical_reports", "reports.jsonl line 2")
    return rejection


@pytest.mark.parametrize(
    ("name", "content", "items"),
    [
        ("r.jsonl", "\n".join(json.dumps(row) for row in ROWS), ["r.jsonl line 1", "r.jsonl line 2"]),
        ("r.JSONL", "\ufeff\n" + "\r\n \r\n".join(json.dumps(row, ensure_ascii=False) for row in ROWS) + "\r\n",
         ["r.JSONL line 2", "r.JSONL line 4"]),
        ("r.json", json.dumps(ROWS, indent=1), ["r.json row 1", "r.json row 2"]),
        ("r.csv", csv_text(ROWS), ["r.csv line 2", "r.csv line 4"]),
        ("r.csv", "\ufeff" + csv_text(ROWS), ["r.csv line 2", "r.csv line 4"]),
    ],
    ids=["jsonl", "jsonl of Windows", "json", "csv", "csv with a byte order mark"],
)  # fmt: skip
def test_the_three_formats_say_the_same(tmp_path, name, content, items):
    first, second = records_of(read(write_files(tmp_path, {name: content})))
    assert [first.item, second.item] == items
    assert (first.source, first.category, first.language, first.image) == (
        "medical_reports", "report", "en", "images/1.png",
    )  # fmt: skip
    assert (first.text, second.text, second.language) == (ROWS[0]["text"], "双肺清晰。\n未见异常。", "zh")
    assert (first.question, first.answer) == (None, None)
    assert first.groups == ("study:S1",)
    assert second.metadata == {"image": "images/2.png", "language": "zh", "study_id": "S2", "view": ""}


def test_all_files_are_read_in_the_order_of_their_names(tmp_path):
    write_reports(tmp_path, [report_row(1)], "b.jsonl")
    write_files(tmp_path, {"c.csv": csv_text([report_row(2)]), "a.json": json.dumps([report_row(3)])})
    write_files(tmp_path, {"._a.json": b"\0\5\x16\7\xff", "notes.txt": "", "more.json/x.json": ""})
    found = list(read(tmp_path))
    assert found[0] == Ignored("medical_reports", "._a.json", "left by the operating system")
    assert [record.item for record in records_of(found[1:])] == ["a.json row 1", "b.jsonl line 1", "c.csv line 2"]


def test_a_line_separator_inside_a_text_ends_no_line(tmp_path):
    write_reports(tmp_path, [report_row(1, text="one\u2028two\x85three")])
    (record,) = records_of(read(tmp_path))
    assert record.text == "one\u2028two\x85three"


@pytest.mark.parametrize("given", [{}, {"language": None}, {"language": ""}])
def test_the_language_is_found_from_the_text_where_it_is_not_given(tmp_path, given):
    rows = [{"image": "1.png", "text": text} | given for text in ("Clear lungs.", "CT平扫", "X线 normal", "é ü")]
    assert [record.language for record in records_of(read(write_reports(tmp_path, rows)))] == ["en", "zh", "zh", "en"]


def test_a_language_that_is_given_is_taken(tmp_path):
    (record,) = records_of(read(write_reports(tmp_path, [report_row(1, text="CT, MRI.", language="zh")])))
    assert record.language == "zh"


@pytest.mark.parametrize("language", ["fr", "EN", " en", "chinese", 5, 1.5, True, ["en"], {"en": 1}])
def test_a_language_that_is_none(tmp_path, language):
    rejection = rejection_of(tmp_path, report_row(2, language=language))
    assert rejection.code is Reason.MALFORMED_ROW
    assert rejection.message == f"language {language!r}; expected one of en, zh"


@pytest.mark.parametrize("column", ["image", "text"])
@pytest.mark.parametrize("cell", [None, 42, 1.5, True, ["images/1.png"], {"path": "images/1.png"}])
def test_cells_that_are_no_text(tmp_path, column, cell):
    rejection = rejection_of(tmp_path, report_row(2, **{column: cell}))
    assert rejection.code is Reason.MALFORMED_ROW and rejection.message == f"no text in the column {column}"


def test_columns_that_are_not_there(tmp_path):
    assert rejection_of(tmp_path, {"language": "en"}).message == "no text in the column image, text"


@pytest.mark.parametrize("row", ["[]", "42", '"text"', "true"])
def test_lines_that_are_json_but_no_row(tmp_path, row):
    assert "expected an object with the keys image and text, found " in rejection_of(tmp_path, row).message


@pytest.mark.parametrize(
    "row",
    ['{"image": "images/1.png", "text": "No fo', "image,text", '{"a": ' + "9" * 5000 + "}", "[" * 100_000, "null"],
    ids=["cut off", "csv", "digits", "deep", "null"],
)
def test_lines_that_are_no_json(tmp_path, row):
    rejection = rejection_of(tmp_path, row)
    assert rejection.code is Reason.MALFORMED_ROW and "not valid JSON" in rejection.message


def test_a_table_with_a_row_of_another_length(tmp_path):
    write_files(tmp_path, {"r.csv": csv_text([report_row(1)]) + "images/2.png,text\n"})
    record, rejection = read(tmp_path)
    assert (record.item, rejection.item, rejection.code) == ("r.csv line 2", "r.csv line 3", Reason.MALFORMED_ROW)
    assert "number of cells" in rejection.message


@pytest.mark.parametrize(
    ("fields", "groups"),
    [
        ({"patient_id": "P1", "study_id": "S1"}, ("patient:P1", "study:S1")),
        ({"patient_id": 1}, ("patient:1",)),
        ({"patient_id": 0}, ("patient:0",)),
        ({"patient_id": "", "study_id": None}, ()),
        ({}, ()),
    ],
)
def test_groups(tmp_path, fields, groups):
    (record,) = records_of(read(write_reports(tmp_path, [report_row(1, **fields)])))
    assert record.groups == groups


def test_rows_that_no_json_reader_could_take_are_rejected_by_name(tmp_path, check):
    extras = ["NaN", "[-Infinity]", "1e999", str(2**64), '"\\ud800"', "9007199254740993", '"\\u0000"']
    lines = [json.dumps(report_row(n)).removesuffix("}") + f', "extra": {extra}}}' for n, extra in enumerate(extras)]
    write_files(write_reports(tmp_path, lines), {f"images/{n}.png": png(n) for n in range(len(extras))})
    found = list(fates(check("medical_reports", tmp_path)).values())
    assert found == ["malformed_row"] * 5 + ["accepted"] * 2


def test_texts_are_stripped_and_bounded(tmp_path, check):
    texts = ["", "  \n ", "short", "longer", " " * 9 + "short", "x" * 999, "x" * 1000, "肺部清晰无", "肺部清晰无异"]
    rows = [report_row(n, text=text, language="") for n, text in enumerate(texts)]
    assert list(fates(check("medical_reports", write_reports(tmp_path, rows))).values()) == [
        "text_empty", "text_empty", "text_short", "accepted", "text_short", "accepted", "text_long",
        "text_short", "accepted",
    ]  # fmt: skip
    flags = ("--min_text_chars", "0", "--max_text_chars", "6")
    found = list(fates(check("medical_reports", tmp_path, *flags)).values())
    assert found.count("accepted") == 3 and found.count("text_long") == 4


def test_a_folder_of_something_else(tmp_path):
    write_files(tmp_path, {"images/1.png": "", "reports.txt": "", "nested/reports.json": "[]"})
    with pytest.raises(BuildError, match=r"no \.json, \.jsonl or \.csv file with the columns image and text") as caught:
        list(read(tmp_path))
    assert str(tmp_path) in str(caught.value)
