"""Checks that a record is recomputed, and that the link of every changed byte is named."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from evaluation.controls.recomputed import recomputed
from evaluation.record_checks import BrokenError, Evidence, check_references, evaluated_rows
from evaluation.records.chain import LINKS, content_of, sealed
from evaluation.records.rescoring import read_rows
from evaluation.records.run import predictions_path
from evaluation.run_evaluation import main as evaluate
from evaluation.verify import main
from model_cards.results import load_result

FLAGS = ["--limit", "24", "--max_new_tokens", "4", "--frozen_encoder", "none"]
CHECKED = [*LINKS[:5], "controls", LINKS[5]]  # in the order of the lines


@pytest.fixture(scope="module")
def measured(build, decoder, tmp_path_factory) -> Path:
    """A folder with a dataset, a checkpoint and a record in `results`."""
    folder = tmp_path_factory.mktemp("measured")
    shutil.copytree(build, folder / "data")
    shutil.copytree(decoder, folder / "model")
    places = ["--model", str(folder / "model"), "--dataset", str(folder / "data")]
    assert evaluate([*places, "--output_dir", str(folder / "results"), *FLAGS]) == 0
    return folder


@pytest.fixture
def verify(monkeypatch, capsys):
    """A function: verify(record, *flags) is the exit status, what was printed, and the errors."""

    def run(record: Path, *flags: str) -> tuple[int, str, str]:
        for name in ("HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE", "TRANSFORMERS_OFFLINE"):
            monkeypatch.setenv(name, "1")  # the command sets them; they are taken back after the test
        capsys.readouterr()
        return main([str(record), *flags]), *capsys.readouterr()

    return run


def record_of(folder: Path) -> Path:
    (path,) = (folder / "results").glob("*--*.json")
    return path


def test_a_record_holds(measured, verify):
    status, printed, errors = verify(record_of(measured))
    assert (status, errors) == (0, "")
    lines = [line.split()[:2] for line in printed.splitlines()]
    assert lines[:-1] == [[name, "ok"] for name in CHECKED] and lines[-1][0] == "Verified:"
    result = load_result(record_of(measured))
    assert f"{len(result.metrics)} metrics and {len(result.intervals)} intervals computed again" in printed
    assert {"bleu", "exact_match", "loss"} <= result.intervals.keys()
    for name, (low, high) in result.intervals.items():
        assert low <= result.metrics[name] <= high
    hardware, software = result.provenance["hardware"], result.provenance["software"]
    assert hardware["processor"] and hardware["threads"] == 1 and software["medpairs"] and software["python"]
    assert result.provenance["seeds"] == {"bootstrap": 0, "limit": 0}


def test_what_is_not_at_hand_is_not_called_ok(measured, verify, tmp_path):
    shutil.copytree(measured / "results", tmp_path / "results")
    record = record_of(tmp_path)
    record.with_suffix(".predictions.jsonl").unlink()
    status, printed, _ = verify(record, "--dataset", str(tmp_path / "none"), "--model", str(tmp_path))
    assert status == 1
    assert [line.split()[0] for line in printed.splitlines() if "not at hand" in line] == CHECKED[:6]
    assert "Not verified: dataset, checkpoint, answers, predictions, score, controls." in printed
    # Elsewhere, the places can be named.
    places = {"dataset": measured / "data", "model": measured / "model"}
    predictions = record_of(measured).with_suffix(".predictions.jsonl")
    flags = [word for name, place in places.items() for word in (f"--{name}", str(place))]
    assert verify(record, *flags, "--predictions", str(predictions))[0] == 0


def flip(path: Path, place: int) -> None:
    """Changes the lowest bit of a byte."""
    content = bytearray(path.read_bytes())
    content[place] ^= 1
    path.write_bytes(content)


def change_answer(folder: Path) -> None:
    predictions = record_of(folder).with_suffix(".predictions.jsonl")
    text = predictions.read_text(encoding="utf-8")
    rows = [json.loads(line) for line in text.splitlines()]
    rows[3]["generated"] += "x"
    predictions.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")


def change_control(folder: Path) -> None:
    predictions = record_of(folder).with_suffix(".predictions.jsonl")
    text = predictions.read_text(encoding="utf-8")
    predictions.write_text(text.replace('"question_prior": "', '"question_prior": "x', 1), encoding="utf-8")


def change_field(*path: str | int, value: object):
    def change(folder: Path) -> None:
        record = record_of(folder)
        fields = place = json.loads(record.read_text(encoding="utf-8"))
        for key in path[:-1]:
            place = place[key]
        place[path[-1]] = value
        record.write_text(json.dumps(fields, ensure_ascii=False, indent=2) + "\n", encoding="utf-8")

    return change


def change_dataset(folder: Path) -> None:
    """Changes a column that no score depends on; the file stays readable."""
    from datasets import Dataset

    (path,) = (folder / "data" / "chat").glob("validation-*")
    rows = Dataset.from_parquet(str(path)).to_list()
    for row in rows:
        row["category"] = f"{row['category']}x"
    features = Dataset.from_parquet(str(path)).features
    Dataset.from_list(rows, features=features).to_parquet(path)


@pytest.mark.parametrize(
    ("link", "change"),
    [
        ("dataset", change_dataset),
        ("dataset", change_field("chain", 0, "content", value="0" * 64)),
        ("checkpoint", lambda folder: flip(folder / "model" / "model.safetensors", -1)),
        ("checkpoint", lambda folder: flip(folder / "model" / "tokenizer.json", -3)),
        ("checkpoint", change_field("weights", value="0" * 64)),
        ("dataset", change_field("chain", 0, "link", value="0" * 64)),
        ("answers", change_answer),
        ("predictions", change_control),
        ("predictions", change_field("chain", 3, "link", value="0" * 64)),
        ("score", change_field("metrics", "exact_match", value=0.75)),
        ("score", change_field("intervals", "bleu", value=[0.0, 100.0])),
        ("score", change_field("settings", "max_new_tokens", value=8)),
        ("score", change_field("controls", 1, "metrics", "bleu", value=99.0)),
        ("score", change_field("reliance", "asked", value=1)),
        ("record", change_field("base_model", value="org/other")),
        ("record", change_field("provenance", "hardware", "processor", value="another")),
        (
            "record",
            lambda folder: record_of(folder).write_text(record_of(folder).read_text().replace("\n  ", "\n ", 1)),
        ),
    ],
)
def test_the_link_of_a_change_is_named(measured, verify, tmp_path, link, change):
    shutil.copytree(measured, tmp_path / "copy")
    change(tmp_path / "copy")
    flags = ["--dataset", str(tmp_path / "copy" / "data"), "--model", str(tmp_path / "copy" / "model")]
    status, _, errors = verify(record_of(tmp_path / "copy"), *flags)
    assert status == 2
    assert f"the link `{link}` does not hold: " in errors, errors


@pytest.mark.parametrize("place", range(40, 4000, 440))
def test_any_flipped_byte_of_the_record_is_found(measured, verify, tmp_path, place):
    """Nothing else is at hand, so that only the record can tell."""
    record = tmp_path / "record.json"
    shutil.copy(record_of(measured), record)
    flip(record, place)
    status, _, errors = verify(record, "--dataset", str(tmp_path / "none"), "--model", str(tmp_path))
    assert status == 2 and "does not hold: " in errors


def test_a_record_can_be_forged_only_as_a_whole(measured, verify, tmp_path):
    """Whoever writes a better score and repairs all hashes is refused by the predictions."""
    shutil.copytree(measured / "results", tmp_path / "results")
    record = record_of(tmp_path)
    result = load_result(record)
    better = replace(result, metrics=result.metrics | {"exact_match": 0.99}, chain=[])
    forged = sealed(better, {name: content_of(result.chain, name) for name in LINKS[:4]})
    record.write_text(forged.text, encoding="utf-8")
    status, _, errors = verify(record)
    assert status == 2
    assert "the link `score` does not hold: metrics: exact_match is recorded as 0.99 and is 0.0 by the pred" in errors


def forged_controls(result):
    (prior,) = (entry for entry in result.controls if entry["name"] == "question_prior")
    return {"controls": [entry | {"difference": {"accuracy_closed": [0.9, 0.8, 1.0]}} if entry is prior else entry
                         for entry in result.controls]}  # fmt: skip


@pytest.mark.parametrize(
    ("forge", "name"),
    [
        (forged_controls, "controls"),
        (lambda result: {"reliance": result.reliance | {"grounded_accuracy": [1.0, 0.9, 1.0]}}, "reliance"),
        (lambda result: {"subgroups": []}, "subgroups"),
    ],
)
def test_forged_controls_are_refused_by_the_answers(measured, verify, tmp_path, forge, name):
    """Whoever lets the model look better beside its controls, and repairs all hashes."""
    shutil.copytree(measured / "results", tmp_path / "results")
    record = record_of(tmp_path)
    result = load_result(record)
    forged = replace(result, **forge(result), chain=[])
    record.write_text(sealed(forged, {link: content_of(result.chain, link) for link in LINKS[:4]}).text, "utf-8")
    status, _, errors = verify(record)
    assert status == 2
    assert f"the controls are not those of the answers: {name}: the record has other values than the answers" in errors


def test_an_answer_to_a_swapped_image_is_that_to_the_question_there(measured):
    record = record_of(measured)
    result, rows = load_result(record), read_rows(predictions_path(record))
    known = evaluated_rows(Evidence("", {}, result, result.dataset, result.model, predictions_path(record)))
    found = recomputed(known, rows, result.controls, "exact")
    assert found["controls"] == result.controls and found["reliance"]["asked"] == result.reliance["asked"] > 0
    (number, *_) = (number for number, row in enumerate(rows) if "other_answer" in row["controls"])
    rows[number]["controls"]["other_answer"] = "x"
    with pytest.raises(
        ValueError, match=f"row {number + 1}: the answer to the other_answer is not that to the question there"
    ):
        recomputed(known, rows, result.controls, "exact")


@pytest.mark.parametrize("field", ["question", "reference", "language", "answer_type"])
def test_a_reference_that_is_not_that_of_the_dataset_is_named(measured, field):
    """Answers with other references could have any score."""
    record = record_of(measured)
    predictions = predictions_path(record)
    result = load_result(record)
    evidence = Evidence("", {}, result, result.dataset, result.model, predictions)
    rows, known = read_rows(predictions), evaluated_rows(evidence)
    check_references(evidence, rows, known)
    rows[3][field] = "another"
    with pytest.raises(BrokenError, match=f"row 4: {field} is not that of the dataset"):
        check_references(evidence, rows, known)
    with pytest.raises(BrokenError, match="answers to"):
        check_references(evidence, rows[:-1], known)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"metrics": {"exact_match": 1.5}}, "the metric exact_match is 1.5, which is out of its range, 0 to 1"),
        ({"metrics": {"bleu": -1}}, "the metric bleu is -1, which is out of its range, 0 to 100"),
        ({"metrics": {"loss": 10**400}}, "a number has 401 characters, of at most 40: 10000000000000000000..."),
        ({"settings": {"x": "DEEP"}}, "nested more deeply than 32 levels"),
        ({"chain": []}, "it has no chain of hashes"),
        ({"chain": [{"name": "dataset"}]}, "which is not name, content, link"),
    ],
)
def test_impossible_records_are_refused_with_a_message(measured, verify, tmp_path, change, words):
    fields = json.loads(record_of(measured).read_text(encoding="utf-8"))
    text = json.dumps(fields | change).replace('"DEEP"', "[" * 100_000 + "]" * 100_000)
    (tmp_path / "record.json").write_text(text)
    status, printed, errors = verify(tmp_path / "record.json")
    assert (status, printed) == (2, "") and words in errors and "Traceback" not in errors


def test_a_file_that_is_not_there(verify, tmp_path):
    assert verify(tmp_path / "none.json")[0] == 2
    (tmp_path / "bytes.json").write_bytes(b"\xff")
    assert "not a text in UTF-8" in verify(tmp_path / "bytes.json")[2]


@pytest.mark.slow
def test_the_same_measurement_is_recorded_once_and_no_other_replaces_it(measured, capsys):
    folder = measured / "again"
    places = ["--model", str(measured / "model"), "--dataset", str(measured / "data"), "--output_dir", str(folder)]
    assert evaluate([*places, *FLAGS]) == 0
    first = {path.name: path.read_bytes() for path in folder.iterdir()}
    capsys.readouterr()
    assert evaluate([*places, *FLAGS]) == 0
    assert "The same measurement is already recorded in " in capsys.readouterr().out
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == first and len(first) == 2
    # Other rows, by another seed.
    assert evaluate([*places, *FLAGS, "--seed", "1"]) == 0
    after = {path.name: path.read_bytes() for path in folder.iterdir()}
    assert len(after) == 4 and first.items() <= after.items()
