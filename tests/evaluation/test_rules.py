"""Checks the command that scores a file of predictions by all rules: its forms of files, its output and its errors."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from evaluation.rules import SHOWN, main
from evaluation.scoring.prediction_files import Answer, read_predictions, read_questions

OWN = {
    "image_path": "a.png", "source_dataset": "slake", "language": "en", "answer_type": "CLOSED", "question": "Is it?",
    "reference": "Yes", "generated": "No",
}  # fmt: skip
PLAIN = {"reference": "Yes", "prediction": "No", "answer_type": "closed"}
RECORD = {"prediction": "No", "target": "Yes", "language": "en", "answer_type": "closed", "is_correct": False}
LMMS = {
    "doc_id": 0, "target": "Yes", "filtered_resps": ["No"], "resps": [["No"]], "doc_hash": "0", "input": "Is it?",
    "slake_accuracy": RECORD, "slake_open_accuracy": RECORD,
}  # fmt: skip
DOC = {
    "doc_id": 0,
    "doc": {"question": "Is it?", "answer_type": "CLOSED", "q_lang": "en"},
    "target": "Yes",
    "resps": [["No"]],
}


def write(path: Path, *rows: object) -> Path:
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return path


@pytest.mark.parametrize("row", [OWN, LMMS, DOC, PLAIN | {"question": " Is it? ", "language": " EN"}])
def test_each_form_is_read(row, tmp_path):
    answers, others = read_predictions(write(tmp_path / "a.jsonl", row))
    assert (answers, others) == ([Answer("Is it?", "Yes", "No", "closed", "en")], 0)


def test_what_is_not_asked_for_is_optional(tmp_path):
    rows = [PLAIN, PLAIN | {"reference": "是"}, OWN | {"answer_type": ""}, {"reference": "a", "generated": "b"}]
    answers, others = read_predictions(write(tmp_path / "a.jsonl", *rows))
    assert ([answer.language for answer in answers], others) == (["en", "zh"], 2)
    assert answers[0].question == ""
    (tmp_path / "a.jsonl").write_bytes(b"\xef\xbb\xbf\n" + json.dumps(PLAIN).encode() + b"\r\n\r\n")
    assert len(read_predictions(tmp_path / "a.jsonl")[0]) == 1


def test_a_train_split_needs_no_predictions(tmp_path):
    rows = [
        {"question": "q", "reference": "a", "answer_type": "OPEN"},
        OWN,
        OWN | {"reference": " "},
        {"reference": "b"},
    ]
    assert [answer.reference for answer in read_questions(write(tmp_path / "a.jsonl", *rows))] == ["a", "Yes"]
    with pytest.raises(ValueError, match=r"a\.jsonl: no row has the answer_type OPEN or CLOSED"):
        read_questions(write(tmp_path / "a.jsonl", {"reference": "b"}))


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([OWN, {"image_path": "a", "nearest": []}], "row 2: the prediction is missing. A row needs `generated` or"),
        ([OWN, {}], "row 2: the prediction is missing. A row needs"),
        ([OWN, OWN | {"reference": None}], "row 2: the reference is missing"),
        ([OWN, OWN | {"reference": " "}], "row 2: the reference is ' '. Give a text that is not blank."),
        ([OWN, OWN | {"generated": 1}], "row 2: the prediction is 1. Give a string."),
        ([OWN | {"generated": "a" * 65_537}], "row 1: the prediction has 65,537 characters, of at most 65,536"),
        ([OWN | {"answer_type": 1}], "row 1: the answer type is 1. Give OPEN, CLOSED or None."),
        ([OWN | {"language": "French"}], "row 1: the language 'french' is unknown. Use a code such as en or zh."),
        ([OWN | {"language": ["en"]}], "row 1: the language ['en'] is unknown."),
        ([[OWN]], "row 1: a list and not a JSON object. Give one object per line"),
        ([LMMS | {"filtered_resps": [[{}]]}], "row 1: the prediction is {}. Give a string."),
        ([OWN | {"answer_type": ""}], ": none of its 1 rows has the answer_type OPEN or CLOSED"),
        ([], ": it has no rows with the answer_type OPEN or CLOSED"),
    ],
)
def test_rows_that_cannot_be_scored_are_named(rows, message, tmp_path, capsys):
    path = write(tmp_path / "a.jsonl", *rows)
    assert main([str(path)]) == 2
    printed, complained = capsys.readouterr()
    assert printed == "" and complained.startswith(f"error: {path}") and message in complained
    assert complained.count("\n") == 1


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"{\n", "row 1: not a JSON object (Expecting property name"),
        (b"[" * 100_000, "row 1: not a JSON object (nested too deeply). Give one object per line"),
        ("否".encode("utf-16"), ": not a text in UTF-8"),
        (None, ": No such file or directory"),
    ],
)
def test_files_that_cannot_be_read_are_named(content, message, tmp_path, capsys):
    path = tmp_path / "a.jsonl"
    if content is not None:
        path.write_bytes(content)
    for words in ([str(path)], [str(write(tmp_path / "good.jsonl", OWN)), "--train", str(path)]):
        assert main(words) == 2
        complained = capsys.readouterr().err
        assert complained.startswith(f"error: {path}") and message in complained
    assert main([str(tmp_path)]) == 2 and "Is a directory" in capsys.readouterr().err


def test_an_unknown_rule_is_refused(tmp_path, capsys):
    with pytest.raises(SystemExit) as ended:
        main([str(write(tmp_path / "a.jsonl", OWN)), "--rules", "fuzzy"])
    assert ended.value.code == 2 and "invalid choice: 'fuzzy' (choose from" in capsys.readouterr().err


def test_the_command_prints_the_tables_and_writes_them(tmp_path, run):
    rows = [
        OWN,
        OWN | {"reference": "No"},
        PLAIN | {"reference": "肺", "answer_type": "OPEN"},
        OWN | {"answer_type": ""},
    ]
    path, train = write(tmp_path / "a.jsonl", *rows), write(tmp_path / "train.jsonl", OWN)
    done = run(
        "python", "evaluation/rules.py", path, "--train", train, "--output_file", tmp_path / "new" / "rules.json"
    )
    lines = done.stdout.splitlines()
    assert lines[0] == f"3 answers of {path}; 1 rows of other types are not scored. Scores in percent."
    assert [one for one in lines if one.startswith("**")] == [
        "**closed questions in en: 2 answers**",
        "**open questions in zh: 1 answers**",
    ]
    assert f"- question prior: the most frequent answer to the question in {train}, or to its type" in lines
    assert '- coin: "yes or no", "是 or 不是", expected value' in lines
    assert "Rules that can be gamed: llava_med_2023_08, llava_med_2023_12, medvlmbench." in done.stdout
    assert lines[-1].startswith("llava_med_2023_08 leaves out closed questions whose answer")
    record = json.loads((tmp_path / "new" / "rules.json").read_text(encoding="utf-8"))
    assert (record["answers"], record["other_rows"], record["train"]) == (3, 1, str(train))
    assert [line["rule"] for line in record["tables"][0]["rules"]] == list(SHOWN)
    (first,) = (line for line in record["tables"][0]["rules"] if line["rule"] == "llava_med_2023_08")
    assert first["scores"]["this file"] == {"score": 1.0, "counted": 1, "left_out": 1}
    assert record["blind"]["constant"] == {
        "en": "yes no left right upper lower lung liver heart brain chest abdomen head ct mri x-ray black"
    }


def test_it_is_a_command_of_medpairs(tmp_path, run):
    path = write(tmp_path / "a.jsonl", LMMS)
    done = run("python", "medpairs.py", "rules", path, "--rules", "exact", "clinical")
    assert "| exact    |" in done.stdout and "| clinical |" in done.stdout and "llava" not in done.stdout
    assert "Rules that can be gamed: none." in done.stdout
    done = run("python", "medpairs.py", "rules", tmp_path / "none.jsonl", check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == f"error: {tmp_path / 'none.jsonl'}: No such file or directory\n"
