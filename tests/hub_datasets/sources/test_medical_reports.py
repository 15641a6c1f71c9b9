"""Checks tables of reports in each of their forms, and unusual rows that occur in practice."""

from __future__ import annotations

import csv
import io
import json
import tracemalloc

import pytest

from hub_datasets.errors import BuildError
from hub_datasets.filesystem.source_folder import Folder
from hub_datasets.records import Ignored, RawRecord, Reason, Rejection
from hub_datasets.sources.medical_reports import SOURCE
from hub_datasets.texts.patient_ids import study_key
from hub_datasets.texts.validation import check_text, write_record
from tests.hub_datasets.layouts import collect_records, csv_text, png, report_row, write_files, write_reports

ROWS = [
    report_row(1, study_id="S1", view="PA"),
    report_row(2, text="双肺清晰。\n未见异常。", language="zh", study_id="S2", view=""),
]


def read(path) -> list:
    return list(SOURCE.read(Folder(path)))


def table(rows: list[dict], delimiter: str) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, tuple(rows[0]), delimiter=delimiter, lineterminator="\r\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def rejection_of(folder, row: object) -> Rejection:
    """Why a row is rejected, which stands between two good ones."""
    write_reports(folder, [report_row(1), row, report_row(3)])
    first, rejection, last = (entry for entry in read(folder) if not isinstance(entry, Ignored))
    assert (first.item, last.item) == ("reports.jsonl line 1", "reports.jsonl line 3")
    assert isinstance(rejection, Rejection), rejection
    assert (rejection.source, rejection.item) == ("medical_reports", "reports.jsonl line 2")
    return rejection


@pytest.mark.slow
@pytest.mark.parametrize("name", ["r.jsonl", "r.csv"])
def test_memory_grows_with_the_table_and_not_with_its_records(name, tmp_path):
    """A record takes more than 8 kB with all that it holds; of the table, bytes and text are held."""
    peaks, sizes = [], []
    for count in (1000, 4000):
        rows = [report_row(n, text=f"The heart is normal in size. {n}", patient_id=str(n), age=5) for n in range(count)]
        content = csv_text(rows) if name == "r.csv" else "\n".join(map(json.dumps, rows))
        folder = Folder(write_files(tmp_path / str(count), {name: content.encode()}))
        sizes.append(len(content))
        list(folder.files())
        tracemalloc.start()
        assert sum(isinstance(entry, RawRecord) for entry in SOURCE.read(folder)) == count
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] - peaks[0] < 2 * (sizes[1] - sizes[0]) + 3000 * 600


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "gbk", "gb18030"])
@pytest.mark.parametrize(
    ("name", "content", "items"),
    [
        ("r.jsonl", "\n".join(json.dumps(row) for row in ROWS), ["r.jsonl line 1", "r.jsonl line 2"]),
        ("r.JSONL", "\n" + "\r\n \r\n".join(json.dumps(row, ensure_ascii=False) for row in ROWS) + "\r\n",
         ["r.JSONL line 2", "r.JSONL line 4"]),
        ("r.json", json.dumps(ROWS, indent=1, ensure_ascii=False), ["r.json row 1", "r.json row 2"]),
        ("r.json", json.dumps({"info": {}, "annotations": ROWS}), ["r.json row 1", "r.json row 2"]),
        ("r.csv", csv_text(ROWS), ["r.csv line 2", "r.csv line 4"]),
        ("r.csv", table(ROWS, ";"), ["r.csv line 2", "r.csv line 4"]),
        ("r.csv", "sep=;\r\n" + table(ROWS, ";"), ["r.csv line 3", "r.csv line 5"]),
        ("r.tsv", table(ROWS, "\t"), ["r.tsv line 2", "r.tsv line 4"]),
        ("r.csv", table(ROWS, "\t"), ["r.csv line 2", "r.csv line 4"]),
    ],
    ids=["jsonl", "jsonl of Windows", "json", "annotations", "commas", "semicolons", "Excel", "tsv", "tabs"],
)  # fmt: skip
def test_all_forms_and_encodings_say_the_same(tmp_path, name, content, items, encoding):
    first, second = collect_records(read(write_files(tmp_path, {name: content.encode(encoding)})))
    assert [first.item, second.item] == items
    assert (first.source, first.category, first.language, first.image) == (
        "medical_reports", "report", "en", "images/1.png",
    )  # fmt: skip
    assert (first.text, second.text, second.language) == (ROWS[0]["text"], "双肺清晰。\n未见异常。", "zh")
    assert (first.question, first.answer) == (None, None)
    assert first.groups == (study_key("S1"),)
    assert second.metadata == {"image": "images/2.png", "language": "zh", "study_id": "S2", "view": ""}


def test_what_the_source_says_of_itself():
    """A push of reports that nobody has given free is refused by the build."""
    assert (SOURCE.kind, SOURCE.flag, SOURCE.licence, SOURCE.redistributable) == (
        "report", "--reports_dir", "unknown", False,
    )  # fmt: skip


def test_all_files_are_read_in_the_order_of_their_names(tmp_path):
    write_reports(tmp_path, [report_row(1)], "b.jsonl")
    write_files(tmp_path, {"c.csv": csv_text([report_row(2)]), "a.json": json.dumps([report_row(3)])})
    write_files(tmp_path, {"._a.json": b"\0\5\x16\7\xff", "notes.txt": "", "more/d.tsv": table([report_row(4)], "\t")})
    found = read(tmp_path)
    assert found[0] == Ignored("medical_reports", "._a.json", "junk file of the operating system")
    items = ["a.json row 1", "b.jsonl line 1", "c.csv line 2", "more/d.tsv line 2"]
    assert [record.item for record in collect_records(found[1:])] == items


@pytest.mark.parametrize("image", ["image", "image_path", "file_name", "images", "Image", " FILE_NAME "])
@pytest.mark.parametrize("text", ["text", "report", "caption", "Report"])
@pytest.mark.parametrize("suffix", ["csv", "jsonl"])
def test_columns_may_have_other_names(tmp_path, image, text, suffix):
    row = {image: "images/1.png", text: "Clear lungs.", "age": "7"}
    content = csv_text([row]) if suffix == "csv" else json.dumps(row)
    (record,) = collect_records(read(write_files(tmp_path, {f"r.{suffix}": content, "images/1.png": png(1)})))
    assert (record.image, record.text) == ("images/1.png", "Clear lungs.")
    assert list(record.metadata) == [image.strip() if suffix == "csv" else image, "age"]


def test_of_several_names_the_first_counts_and_the_others_are_metadata(tmp_path):
    row = {"caption": "A figure.", "text": "Clear lungs.", "image_id": "7", "image": "images/1.png"}
    (record,) = collect_records(read(write_files(tmp_path, {"r.jsonl": json.dumps(row)})))
    assert (record.image, record.text) == ("images/1.png", "Clear lungs.")
    assert record.metadata == {"caption": "A figure.", "image_id": "7", "image": "images/1.png"}


@pytest.mark.parametrize("given", ["images/1.png", "./images/1.png", "images\\1.png", " images/1.png", "1.png"])
def test_paths_below_the_folder_or_beside_the_table(tmp_path, given):
    files = {"images/1.png": png(1), "images/r.jsonl": json.dumps(report_row(1, image=given))}
    (record,) = collect_records(read(write_files(tmp_path, files)))
    assert record.image == "images/1.png" and record.metadata["image"] == given


@pytest.mark.parametrize("given", ["2.png", "../1.png", "/etc/hostname", "C:\\1.png", "images/../../x.png", "\0"])
def test_paths_that_mean_no_file_are_left_to_the_check_of_the_image(tmp_path, given):
    (record,) = collect_records(read(write_files(tmp_path, {"r.jsonl": json.dumps(report_row(1, image=given))})))
    assert record.image == given


def test_a_line_separator_inside_a_text_ends_no_line(tmp_path):
    write_reports(tmp_path, [report_row(1, text="one\u2028two\x85three")])
    (record,) = collect_records(read(tmp_path))
    assert record.text == "one\u2028two\x85three"


@pytest.mark.parametrize("given", [{}, {"language": None}, {"language": ""}, {"language": " "}])
def test_the_language_is_found_from_the_text_where_it_is_not_given(tmp_path, given):
    texts = ("The lungs are clear.", "CT平扫", "Die Lunge ist unauffällig.", "é ü")
    rows = [{"image": "1.png", "text": text} | given for text in texts]
    found = [record.language for record in collect_records(read(write_reports(tmp_path, rows)))]
    assert found == ["en", "zh", "de", "und"]


def test_a_short_text_gets_the_language_of_nearly_all_others(tmp_path):
    """Those that name their language count as well; the rows above the third decided text, too."""
    rows = [report_row(0, text="Normal.", language="")]
    rows += [report_row(n, text=f"Kein Erguss, Herz normal, Bild {n}.", language="de" * (n % 2)) for n in range(1, 5)]
    assert [record.language for record in collect_records(read(write_reports(tmp_path, rows)))] == ["de"] * 5


@pytest.mark.parametrize(
    ("given", "language"),
    [("zh", "zh"), ("zh-CN", "zh"), ("英文", "en"), ("English", "en"), ("fr", "fr"), ("german", "de")],
)
def test_a_language_that_is_given_is_taken(tmp_path, given, language):
    (record,) = collect_records(read(write_reports(tmp_path, [report_row(1, text="CT, MRI.", language=given)])))
    assert record.language == language and record.metadata["language"] == given


@pytest.mark.parametrize("language", ["elvish", "xx", "en,zh", 5, 1.5, True, ["en"], {"en": 1}])
def test_a_language_that_is_none(tmp_path, language):
    rejection = rejection_of(tmp_path, report_row(2, language=language))
    assert rejection.code is Reason.MALFORMED_ROW
    assert (
        rejection.message == f"language {language!r}; expected a name or an ISO 639-1 code such as en, zh, de, es or ja"
    )


@pytest.mark.parametrize(
    ("column", "cell"),
    [("image", True), ("image", {"path": "images/1.png"}), ("text", 42), ("text", 1.5), ("text", True),
     ("text", ["Clear lungs."]), ("text", {"en": "Clear lungs."})],
)  # fmt: skip
def test_cells_that_are_no_text(tmp_path, column, cell):
    rejection = rejection_of(tmp_path, report_row(2, **{column: cell}))
    assert rejection.code is Reason.MALFORMED_ROW and rejection.message == f"no text in the column {column}"


@pytest.mark.parametrize(
    "images", [[], "", " ", ";", [None], ["images/1.png", True], ["images/1.png", ""], [["1.png"]], None]
)
def test_lists_of_images_that_are_none(tmp_path, images):
    rejection = rejection_of(tmp_path, {"images": images, "text": "Clear lungs."})
    assert rejection.code is Reason.MALFORMED_ROW and rejection.message.startswith("the column images ")


def test_columns_that_are_not_there(tmp_path):
    message = rejection_of(tmp_path, {"language": "en"}).message
    assert "image (image, images, image_path, file_name" in message and "(text, report, caption, findings" in message
    assert rejection_of(tmp_path, {"image": "images/1.png"}).message.endswith("the row has no column for the text")


@pytest.mark.parametrize("row", ["[]", "42", '"text"', "true", "null"])
def test_lines_that_are_json_but_no_row(tmp_path, row):
    assert "expected an object with the columns of a row, found " in rejection_of(tmp_path, row).message


@pytest.mark.parametrize(
    "row",
    ['{"image": "images/1.png", "text": "No fo', "image,text", '{"a": ' + "9" * 5000 + "}", "[" * 100_000],
    ids=["cut off", "csv", "digits", "deep"],
)
def test_lines_that_are_no_json(tmp_path, row):
    rejection = rejection_of(tmp_path, row)
    assert (rejection.code, rejection.message) == (Reason.MALFORMED_ROW, "not valid JSON")


@pytest.mark.parametrize("name", ["r.json", "r.jsonl"])
def test_a_row_that_says_two_things_in_one_column(tmp_path, name):
    rows = ['{"image": "1.png", "text": "Clear.", "text": "Effusion."}', json.dumps(report_row(2))]
    write_files(tmp_path, {name: "\n".join(rows) if name == "r.jsonl" else f"[{', '.join(rows)}]"})
    rejection, record = read(tmp_path)
    assert (rejection.code, rejection.message) == (
        Reason.MALFORMED_ROW, "a column occurs more than once in the row",
    )  # fmt: skip
    assert isinstance(record, RawRecord)


def test_a_table_with_rows_of_another_length(tmp_path):
    write_files(tmp_path, {"r.csv": csv_text([report_row(1)]) + "images/2.png,text\n,,\n\n1,2,en,4\n"})
    record, shorter, longer = read(tmp_path)
    assert (record.item, shorter.item, longer.item) == ("r.csv line 2", "r.csv line 3", "r.csv line 6")
    assert shorter.code is longer.code is Reason.MALFORMED_ROW
    assert shorter.message == "2 cells; the header has 3"


def test_columns_without_a_name_are_kept(tmp_path):
    write_files(tmp_path, {"r.csv": "image;text;;\n1.png;Clear lungs.;a;\n"})
    (record,) = collect_records(read(tmp_path))
    assert record.metadata == {"image": "1.png", "column 3": "a", "column 4": ""}


@pytest.mark.parametrize("name", ["r.csv", "r.jsonl"])
def test_a_row_with_a_broken_byte_leaves_the_others_as_they_are(tmp_path, name):
    rows = [report_row(n, text=f"双肺清晰，第\n{n} 例。") for n in range(4)]
    text = csv_text(rows) if name == "r.csv" else "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    write_files(tmp_path, {name: text.encode().replace("2 例".encode(), b"2 \xe4\xbe")})
    first, second, broken, fourth = read(tmp_path)
    assert [record.text for record in (first, second, fourth)] == [rows[n]["text"] for n in (0, 1, 3)]
    assert broken.code is Reason.TEXT_ENCODING and broken.item == f"{name} line {7 if name == 'r.csv' else 3}"
    assert broken.message == "the byte 0xE4 does not belong to the file's encoding"


def test_a_broken_byte_in_json_stops_the_build(tmp_path):
    write_files(tmp_path, {"r.json": '[{"image": "1.png", "text": "é '.encode() + b'\xb0C"}]'})
    with pytest.raises(BuildError, match=r"/r\.json: not UTF-8 \(byte 32 is 0xB0\)"):
        read(tmp_path)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("r.json", '[{"image": "1.png"}, {"image": "2', "the file is truncated"),
        ("r.json", "", "the file is truncated"),
        ("r.json", '[{"image": "1.png",}]', "not valid JSON"),
        ("r.json", '{"rows": []}', "or one under 'annotations', found an object with the keys rows"),
        ("r.json", "[[1], [2]]", "expected an object with the columns of a row, found an array"),
        ("r.json", '[{"bild": "1.png", "text": "x"}]', "row 1: its columns are: bild, text"),
        ("r.jsonl", '{"img": "1.png"}\n', "line 1: its columns are: img"),
        ("r.jsonl", "image,text\n1.png,text\n", "line 1: not valid JSON"),
        ("r.csv", "", "the columns found are: nothing"),
        (
            "r.csv",
            "bild;text;age\n",
            "no column for the image; name them with --image_column and --text_column; the columns "
            "found are: bild, text, age (at semicolons)",
        ),
        ("r.csv", "image,grade\n", "no column for the text; name them with"),
        ("r.csv", "image/text\n", "the columns found are: image/text"),
        ("r.csv", "image,text,Text\n1,2,3\n", "the column 'Text', 'text' occurs more than once"),
        ("r.csv", "image,text\n1.png,płuca\n2.png,płuca\n".encode("cp1250"), "not UTF-8 (byte 18 is 0xB3)"),
    ],
)
def test_files_that_cannot_be_read_at_all(tmp_path, name, content, message):
    write_files(tmp_path, {name: content})
    with pytest.raises(BuildError) as error:
        read(tmp_path)
    assert str(error.value).startswith(f"{tmp_path}/{name}") and message in str(error.value), error.value


def test_tables_of_something_else_among_the_images_are_named(tmp_path):
    files = {
        "images/boxes.json": '[{"Lung": [1, 2, 3, 4]}]',
        "images/sizes.csv": "name,width\n",
        "images/a.xml": "<a/>",
    }
    write_files(write_reports(tmp_path, [report_row(1)]), files)
    *ignored, record = read(tmp_path)
    assert isinstance(record, RawRecord)
    assert {entry.item: entry.why.split(";")[-1].strip() for entry in ignored} == {
        "images/a.xml": "XML, but not a report of OpenI",
        "images/boxes.json": "row 1: its columns are: Lung",
        "images/sizes.csv": "the columns found are: name, width (at commas)",
    }


def test_what_is_left_out_is_named(tmp_path):
    write_files(write_reports(tmp_path, [report_row(1)]), {"images/2.png": png(2), "images/0.jpg": b"", "r.ods": b""})
    write_files(tmp_path, {"images/._0.jpg": b""})
    junk, table, _, unused = sorted(read(tmp_path), key=lambda entry: not entry.item.endswith(("ods", "jpg")))
    assert junk.why == "junk file of the operating system"
    assert table == Ignored("medical_reports", "r.ods", "not read; save it as CSV in UTF-8")
    assert (unused.item, unused.why) == (
        "2 images", "not named in any readable report; the first is images/0.jpg",
    )  # fmt: skip


def test_a_folder_of_something_else(tmp_path):
    write_files(tmp_path, {"images/1.png": "", "reports.txt": "", "nested/boxes.json": "{}", "reports.rar": ""})
    with pytest.raises(
        BuildError, match=r"no \.json, \.jsonl, \.csv, \.tsv or \.xlsx file with a column for"
    ) as caught:
        read(tmp_path)
    message = str(caught.value)
    assert message.startswith(f"{tmp_path}: ") and "reports.rar: not read; unpack it" in message
    assert "nested/boxes.json: expected a JSON array" in message


def test_rows_that_no_json_reader_could_take_are_rejected_by_the_check(tmp_path):
    extras = ["NaN", "[-Infinity]", "1e999", str(2**64), '"\\ud800"', "9007199254740993", '"\\u0000"']
    lines = [json.dumps(report_row(n)).removesuffix("}") + f', "extra": {extra}}}' for n, extra in enumerate(extras)]
    records = collect_records(read(write_reports(tmp_path, lines)))
    assert [isinstance(write_record(record), str) for record in records] == [False] * 5 + [True] * 2


def test_texts_are_stripped_and_bounded_by_the_check(tmp_path):
    texts = ["", "  \n ", "short", "longer", " " * 9 + "short", "x" * 999, "x" * 1000, "肺部清晰无", "肺部清晰无异"]
    records = collect_records(read(write_reports(tmp_path, [report_row(n, text=text) for n, text in enumerate(texts)])))
    problems = [check_text(record, 5, 1000) for record in records]
    assert [problem.code if problem else "accepted" for problem in problems] == [
        "text_empty", "text_empty", "text_short", "accepted", "text_short", "accepted", "text_long",
        "text_short", "accepted",
    ]  # fmt: skip
