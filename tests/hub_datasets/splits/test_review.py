"""Checks `--review`: what each decision does to rows, files and the report, and one message per mistake."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from datasets import load_dataset

from hub_datasets.errors import BuildError
from hub_datasets.records import RawRecord, Reason, Rejection
from hub_datasets.splits.review import Review, read_decisions
from hub_datasets.texts.validation import TextSettings
from tests.hub_datasets.checked import build_here
from tests.hub_datasets.hand_made import report
from tests.hub_datasets.layouts import (
    csv_text,
    read_lines,
    report_row,
    slake_row,
    write_files,
    write_reports,
    write_slake,
)
from tests.hub_datasets.test_build_cache import reading

PHONE = "Call the ward, phone 555-123-4567. The lungs are clear."


@pytest.fixture
def write(tmp_path):
    """`write(text or rows)`: a file of decisions."""

    def decisions(content: str | list[dict]) -> Path:
        text = content if isinstance(content, str) else csv_text(content)
        return write_files(tmp_path / "decided", {"decisions.csv": text}) / "decisions.csv"

    return decisions


@pytest.fixture(scope="module")
def reports(tmp_path_factory):
    """20 reports, three of which have a telephone number."""
    rows = [report_row(n, patient_id=f"P{n}") for n in range(20)]
    for n in (3, 4, 5):
        rows[n]["text"] = f"{PHONE} Film {n}."
    return write_reports(tmp_path_factory.mktemp("review") / "reports", rows)


def build(reports, folder, *flags):
    return build_here({"--reports_dir": reports}, folder / "out", "--val_fraction", "0.3", "--overwrite", *flags)


def texts_of(folder) -> set[str]:
    return {text for part in load_dataset(str(folder / "out"), "pairs").values() for text in part["text"]}


def test_every_decision_is_applied_by_every_build(reports, write, tmp_path):
    first = build(reports, tmp_path)
    flagged = [line["item"] for line in read_lines(tmp_path / "out/review.jsonl")]
    assert flagged == [f"reports.jsonl line {n}" for n in (4, 5, 6)] and first["review"]["unreviewed"] == 3
    file = write([
        {"item": flagged[0], "decision": "replace", "text": "The lungs are clear."},
        {"item": flagged[1], "decision": "reject", "text": ""},
    ])  # fmt: skip
    with reading({"reports": reports}) as read:
        second = build(reports, tmp_path, "--review", file)
    assert not read, "what was read is still valid"
    texts = texts_of(tmp_path)
    assert "The lungs are clear." in texts and f"{PHONE} Film 3." not in texts and f"{PHONE} Film 4." not in texts
    assert f"{PHONE} Film 5." in texts and len(texts) == 19
    (rejected,) = read_lines(tmp_path / "out/rejections.jsonl")
    assert rejected == {
        "source": "medical_reports", "item": flagged[1], "code": "reviewed",
        "message": "rejected by a person in decisions.csv line 3",
    }  # fmt: skip
    lines = read_lines(tmp_path / "out/review.jsonl")
    assert [line.get("decision") for line in lines] == ["replace", "reject", None]
    assert second["review"]["decisions"] == {"reject": 1, "replace": 1} and second["review"]["unreviewed"] == 1
    assert second["sources"]["medical_reports"]["rejected"] == {"reviewed": 1} and second["review"]["idle"] == 0
    (row,) = [line for line in read_lines(tmp_path / "out/chat_instructions.jsonl")
              if line["messages"][-1]["content"] == "The lungs are clear."]  # fmt: skip
    assert row["metadata"]["reviewed"] == "replaced"

    file.write_text(file.read_text("utf-8") + f"{flagged[2]},accept,\n", "utf-8")  # another content: another build
    third = build(reports, tmp_path, "--review", file)
    assert third["review"]["decisions"] == {"accept": 1, "reject": 1, "replace": 1}
    assert third["review"]["unreviewed"] == 0 and texts_of(tmp_path) == texts
    card = (tmp_path / "out/README.md").read_text("utf-8")
    assert "`accept` 1, `reject` 1, `replace` 1. 0 flags were not reviewed." in card
    assert "--review <decisions.csv>" in card and str(file) not in card


def test_the_lines_of_review_jsonl_can_be_used_as_they_are(reports, write, tmp_path):
    """With a decision added to each; an item with two flags may stand there twice."""
    build(reports, tmp_path)
    lines = read_lines(tmp_path / "out/review.jsonl")
    file = write([line | {"decision": "reject"} for line in (*lines, lines[0])])
    assert build(reports, tmp_path, "--review", file)["sources"]["medical_reports"]["rejected"] == {"reviewed": 3}


def test_decisions_about_an_image(reports, write, tmp_path):
    """All its rows go, and their flags are decided, too."""
    build(reports, tmp_path)
    built = build(reports, tmp_path, "--review", write("item,decision\nimages/3.png,reject\nimages/9.png,reject\n"))
    assert built["sources"]["medical_reports"]["rejected"] == {"reviewed": 2}
    lines = read_lines(tmp_path / "out/review.jsonl")
    assert [line.get("decision") for line in lines] == ["reject", None, None]


def test_a_decision_that_changes_nothing_is_counted(reports, write, tmp_path):
    built = build(reports, tmp_path, "--review", write("item,decision\nreports.jsonl line 1,accept\n"))
    assert built["review"]["idle"] == 1 and built["review"]["decisions"] == {"accept": 1}


def test_a_new_text_is_searched_like_any_other(reports, write, tmp_path):
    built = build(
        reports, tmp_path, "--review", write('item,decision,text\nreports.jsonl line 4,replace,"phone 555-987-6543"\n')
    )
    lines = [line for line in read_lines(tmp_path / "out/review.jsonl") if line["item"] == "reports.jsonl line 4"]
    assert [(line["in"], line["kind"], line.get("decision")) for line in lines] == [
        ("text", "phone_number", "replace"), ("replacement", "phone_number", None),
    ]  # fmt: skip
    assert built["review"]["unreviewed"] == 3


def test_an_answer_is_replaced_everywhere(write, tmp_path):
    rows = [slake_row(n, n, f"Question {n}?", "Smith" if n == 2 else "Liver") for n in range(12)]
    slake = write_slake(tmp_path / "slake", train=rows)
    file = write("item,decision,text\ntrain.json row 3 (qid 2),replace,The spleen\n")
    built = build_here({"--slake_dir": slake}, tmp_path / "out", "--review", file, "--val_fraction", "0.3")
    assert built["review"]["decisions"] == {"replace": 1}
    published = [path for path in (tmp_path / "out").rglob("*") if path.is_file() and b"Smith" in path.read_bytes()]
    assert published == []
    texts = texts_of(tmp_path)
    assert any("The spleen" in text for text in texts)
    (row,) = [line for line in read_lines(tmp_path / "out/chat_instructions.jsonl") if line["metadata"]["qid"] == 2]
    assert row["metadata"]["answer"] == "The spleen" and row["metadata"]["reviewed"] == "replaced"


def test_items_of_several_folders_and_sources(reports, write, tmp_path):
    more = write_reports(tmp_path / "more", [report_row(n) for n in range(6)])
    sources = {"--reports_dir": [reports, more]}
    file = write("item,decision\nmore/reports.jsonl line 2,reject\nreports/reports.jsonl line 4,accept\n")
    built = build_here(sources, tmp_path / "out", "--review", file)
    assert built["sources"]["medical_reports"]["rejected"]["reviewed"] == 1
    with pytest.raises(BuildError, match=r"no row or image 'reports\.jsonl line 2' in these sources"):
        build_here(sources, tmp_path / "out2", "--review", write("item,decision\nreports.jsonl line 2,reject\n"))


# --- Mistakes in the file


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", r"line 1: no column item and decision; expected item, decision, text"),
        ("item,text\n", r"line 1: no column decision; expected"),
        ("item,decision,comment\nx,accept,y\n", r"line 1: unknown column 'comment'; expected item, decision, text"),
        ("item,decision,item\n", "line 1: a column occurs more than once"),
        ("item,decision\nx,maybe\n", "line 2: decision 'maybe'; expected one of accept, reject, replace"),
        ("item,decision\nx,accept\n,accept\n", "line 3: no item; write items as in"),
        ("item,decision,text\nx,replace,\n", "line 2: replace requires a text; to take the row out, decide reject"),
        ("item,decision\nx,replace\n", "line 2: replace requires a text"),
        ("item,decision,text\nx,reject,y\n", "line 2: reject has no text; leave the column text empty"),
        ("item,decision\nx,accept\nx,reject\n", r"line 3: x has another decision in --review .* line 2; keep one"),
        ("item,decision\nx\n", "line 2: 1 cells; the header has 2"),
        ('item,decision\n"x,accept\n', "not valid CSV"),
    ],
)  # fmt: skip
def test_mistakes_are_told_before_anything_is_read(reports, write, tmp_path, content, message):
    with pytest.raises(BuildError, match=rf"^--review .*decisions\.csv.*{message}"):
        build(reports, tmp_path, "--review", write(content))
    assert not (tmp_path / ".out.cache").exists()


def test_a_file_that_is_not_there(reports, tmp_path):
    with pytest.raises(BuildError, match=r"--review .*gone\.csv: no such file; name a CSV file with the columns item"):
        build(reports, tmp_path, "--review", tmp_path / "gone.csv")


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (
            "reports.jsonl line 99,reject,",
            "line 2: no row or image 'reports.jsonl line 99' in these sources; write",
        ),
        ("images/3.png,replace,A new text.", r"line 2: images/3\.png is an image; replace the text of its rows"),
        (
            "reports.jsonl line 4,replace,No.",
            "line 2: the new text cannot be used: 3 characters, more than 5",
        ),
    ],
)
def test_decisions_that_cannot_be_applied(reports, write, tmp_path, row, message):
    with pytest.raises(BuildError, match=message):
        build(reports, tmp_path, "--review", write(f"item,decision,text\n{row}\n"))
    assert not (tmp_path / "out").exists()


def test_files_as_spreadsheets_write_them(write):
    for content in ("\ufeffItem;Decision;Text\r\na, b;Accept;\r\n", "item\tdecision\n\na, b\taccept\n"):
        (found,) = read_decisions(str(write(content)))
        assert (found.item, found.decision, found.text) == ("a, b", "accept", "")


# --- One record


def applied(write, rows: str, record: RawRecord) -> RawRecord | Rejection:
    return Review(str(write(f"item,source,decision,text\n{rows}\n")), TextSettings()).apply(record)


def test_a_record_without_a_decision_is_unchanged(write):
    record = report(1)
    assert applied(write, "line 2,,reject,", record) is record and Review().apply(record) is record


def test_the_source_tells_items_of_one_name_apart(write):
    assert applied(write, "line 1,slake,reject,", report(1)) == report(1)
    assert applied(write, "line 1,medical_reports,reject,", report(1)).code is Reason.REVIEWED
    both = Review(str(write("item,decision\nline 1,accept\n")))
    both.apply(report(1))
    both.note("slake", "line 1")
    with pytest.raises(BuildError, match=r"medical_reports and slake both have 'line 1'; add a column source"):
        both.check()


def test_rejecting_an_image_wins_over_a_text_for_its_row(write):
    rows = "line 1,,replace,A new text.\nimages/1.png,,reject,"
    assert isinstance(applied(write, rows, report(1)), Rejection)


def test_metadata_that_repeat_the_old_text_change_with_it(write):
    record = report(1, metadata={"copy": " Report 1. ", "n": 1, "other": "Report 2."})
    changed = applied(write, "line 1,,replace,Another text.", record)
    assert changed.text == "Another text."
    assert changed.metadata == {"copy": "Another text.", "n": 1, "other": "Report 2.", "reviewed": "replaced"}
    assert json.dumps(record.metadata).count("Report 1.") == 1  # the record that was read is not changed
