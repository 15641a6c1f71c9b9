"""Checks what a build says of foreign tables: roles of columns, repairs, languages, and limits that name their flag."""

from __future__ import annotations

import json

import pyarrow.parquet as pq
import pytest

from hub_datasets.errors import BuildError
from tests.hub_datasets.checked import build_here
from tests.hub_datasets.layouts import png, write_files

GERMAN = [
    "Kein Nachweis eines Pleuraergusses, das Herz ist nicht vergrößert.",
    "Regelrechte Darstellung der Lunge beidseits, kein Erguss.",
    "Rundherd im rechten Oberlappen, sonst unauffälliger Befund.",
    "Befund o. B.",
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    table = "Bild-ID;image;befund;Kommentar\n" + "".join(f"{n};{n}.PNG;{text};\n" for n, text in enumerate(GERMAN))
    table += f"5;5.png;{'lang ' * 1700};\n6;6.png;siehe Befund;\n7;7.png;ok;\n"
    files = {f"images/{n}.png": png(n) for n in range(8)}
    return write_files(tmp_path_factory.mktemp("tables"), files | {"r.csv": table.encode("cp1252"), "s.csv": "a,b\n"})


@pytest.fixture(scope="module")
def built(folder, tmp_path_factory):
    """The report, and the folder of the dataset."""
    output = tmp_path_factory.mktemp("tables-built") / "out"
    return build_here({"--reports_dir": folder}, output, "--val_fraction", "0.3"), output


def rows(output, config: str) -> list[dict]:
    return [row for file in sorted((output / config).rglob("*.parquet")) for row in pq.read_table(file).to_pylist()]


def test_the_table_is_described_without_the_name_of_its_file(built):
    """The names of private files are not published; the command prints them."""
    report, output = built
    table, other = report["sources"]["medical_reports"]["tables"]
    assert table == {
        "item": "table 1", "columns": {"image": ["image"], "findings": ["befund"]}, "kept": ["Bild-ID", "Kommentar"],
        "encoding": "Windows-1252", "rows": 7, "repaired": {"placeholder": 1},
        "passed_over": "",
    }  # fmt: skip
    assert other["item"] == "table 2" and other["passed_over"].startswith("no column for the image and no column for")
    assert json.loads((output / "report.json").read_text())["sources"]["medical_reports"]["tables"] == [table, other]


def test_the_command_prints_a_line_for_each_table(folder, tmp_path, capsys):
    build_here({"--reports_dir": folder}, tmp_path / "out")
    first, second, *_ = capsys.readouterr().out.splitlines()
    assert second.startswith(
        "medical_reports s.csv: passed over: no column for the image and no column for the text; name"
    )
    assert first == (
        "medical_reports r.csv: image = image, findings = befund; without a role: Bild-ID, Kommentar"
        "; read as Windows-1252; repaired: placeholder 1"
    )


def test_reports_in_another_language_are_asked_for_in_english(built):
    _, output = built
    pairs, chats = rows(output, "pairs"), rows(output, "chat")
    assert {row["text"]: row["language"] for row in pairs} == dict.fromkeys(GERMAN, "de")
    assert {row["language"] for row in chats} == {"de"}
    assert all(row["template_id"].startswith("report-en-") for row in chats)
    assert "language:\n- de\n" in (output / "README.md").read_text()


def test_every_limit_names_its_flag(built):
    found = [json.loads(line) for line in (built[1] / "rejections.jsonl").read_text().splitlines()]
    assert {line["item"]: (line["code"], line["message"]) for line in found} == {
        "r.csv line 6": ("text_long", "8,499 characters, fewer than 8,000 are allowed (--max_report_chars)"),
        "r.csv line 7": ("text_empty", "the text is empty"),
        "r.csv line 8": ("text_short", "2 characters, more than 5 are needed (--min_text_chars): 'ok'"),
    }


def test_a_column_for_a_source_without_tables_is_an_error(tmp_path):
    with pytest.raises(BuildError, match=r"^--image_column requires --reports_dir"):
        build_here({"--slake_dir": tmp_path}, tmp_path / "out", "--image_column", "x")
