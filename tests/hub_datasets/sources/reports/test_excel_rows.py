"""Checks workbooks that are damaged or hostile, and the cells of sound ones."""

from __future__ import annotations

import datetime
import io
import zipfile

import openpyxl
import pytest

from hub_datasets.errors import BuildError
from hub_datasets.records import ColumnNames, Problem
from hub_datasets.sources.reports.formats.csv_rows import NotReports
from hub_datasets.sources.reports.formats.excel_rows import MAX_EMPTY, Sheet, read_sheets
from tests.hub_datasets.sources.reports.test_table_layouts import workbook

NAMES = ColumnNames()
GOOD = workbook([["image", "text"], ["1.png", "Clear lungs."]])


def repacked(data: bytes, change: dict[str, bytes]) -> bytes:
    """The workbook with the content of some members replaced."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as old, zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as new:
        for name in dict.fromkeys([*old.namelist(), *change]):
            new.writestr(name, change[name] if name in change else old.read(name))
    return buffer.getvalue()


def rows_of(data: bytes) -> list:
    (sheet,) = read_sheets("r.xlsx", data, NAMES)
    return list(sheet.rows())


def test_the_cells_of_a_sheet_as_text():
    cells = [
        "1.png",
        "Clear.",
        7,
        7.5,
        True,
        datetime.date(2024, 5, 1),
        datetime.datetime(2024, 5, 1, 9, 30),
        None,
        "#N/A",
    ]
    data = workbook([["image", "text", *"abcdefg"], cells, [], ["2.png", "Fluid."]])
    (_, first), (item, second) = rows_of(data)
    assert list(first.values()) == [
        "1.png",
        "Clear.",
        "7",
        "7.5",
        "true",
        "2024-05-01",
        "2024-05-01T09:30:00",
        "",
        "#N/A",
    ]
    assert item == "r.xlsx line 4" and list(second.values()) == ["2.png", "Fluid.", *[""] * 7]


def test_a_formula_counts_as_the_value_that_was_shown():
    """A workbook that no program has calculated shows none."""
    assert rows_of(workbook([["image", "text"], ["1.png", "=1+1"]]))[0][1] == {"image": "1.png", "text": ""}


def test_a_cell_beside_the_table():
    ((_, row),) = rows_of(workbook([["image", "text"], ["1.png", "Clear.", None, "a remark"]]))
    assert isinstance(row, Problem) and row.message == "a cell beside the header's 2 columns"


def test_a_cell_far_below_the_table_ends_it():
    book = openpyxl.load_workbook(io.BytesIO(GOOD))
    book.active.cell(row=1_048_576, column=2, value="x")
    buffer = io.BytesIO()
    book.save(buffer)
    assert [item for item, _ in rows_of(buffer.getvalue())] == ["r.xlsx line 2"] and MAX_EMPTY < 1_048_576


def test_sheets_that_are_no_tables_are_named():
    found = read_sheets("r.xlsx", workbook([["a", "b"]], [["image", "text"]], [], titles=("x", "y", "z")), NAMES)
    assert [type(one) for one in found] == [NotReports, Sheet, NotReports]
    assert str(found[0]).startswith("r.xlsx sheet 'x': no column for the image and no column for the text; name them")
    assert str(found[2]).endswith("the columns found are: nothing")


BOMB = b"<worksheet>" + b" " * 30_000_000 + b"</worksheet>"
LAUGHS = b'<?xml version="1.0"?><!DOCTYPE a [<!ENTITY b "' + b"c" * 999 + b'">]><worksheet>&b;&b;</worksheet>'


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "not a readable workbook"),
        (b"image,text\n", "not a readable workbook"),
        (GOOD[:-100], "not a readable workbook"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + b"\0" * 500, "of an old Excel, or with a password; save it as .xlsx"),
        (repacked(GOOD, {"xl/workbook.xml": b"<a"}), "not a readable workbook"),
        (repacked(GOOD, {"xl/worksheets/sheet1.xml": b"<worksheet><sheetData><row>"}), "not a readable workbook"),
        (repacked(GOOD, {"xl/worksheets/sheet1.xml": BOMB}), "exceeds the limit of 200:1 (possible zip bomb)"),
        (repacked(GOOD, {"xl/worksheets/sheet1.xml": LAUGHS}), "has a <!DOCTYPE>, which may expand without limit"),
        (repacked(GOOD, {"xl/styles.xml": LAUGHS.decode().encode("utf-16")}), "has a <!DOCTYPE>"),
    ],
)
def test_workbooks_that_are_refused_by_name(data, message):
    with pytest.raises(BuildError) as error:
        rows_of(data)
    assert str(error.value).startswith("r.xlsx") and message in str(error.value)
    assert len(str(error.value).splitlines()) == 1
