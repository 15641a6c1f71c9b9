"""Checks the record of a result: its file, its name, and what is read back."""

from __future__ import annotations

import json
import math
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, replace
from importlib.metadata import version

import pytest

from model_cards.results import (
    GENERATION,
    HEADLINE,
    NAMES,
    RETRIEVAL,
    EvaluationResult,
    dataset_name,
    is_commit,
    load_result,
    load_results,
    model_index,
    slug,
    write_json,
    write_text,
)

COMMIT, FINGERPRINT = "a4badc659361c5df3c4b662ebd780fe84a9859e6", "ba0b4a9751397ee3"
RESULT = EvaluationResult(
    model="org/siglip-med",
    task=RETRIEVAL,
    dataset="org/med-pairs",
    dataset_config="pairs",
    dataset_split="test",
    samples=145,
    metrics={"recall_at_1": 0.25, "recall_at_5": 0.5, "chance_recall_at_5": 0.1, "num_images": 120, "loss": 9.75},
    dataset_revision=COMMIT,
    settings={"limit": None, "batch_size": 16},
    signatures={"zh": "tok:zh"},
)


def test_a_record_comes_back_from_its_file(tmp_path):
    path = RESULT.save(tmp_path / "new" / "results")
    assert path.parent == tmp_path / "new" / "results"
    assert load_result(path) == RESULT
    assert load_results(path.parent) == [RESULT]
    assert RESULT.versions["torch"] == version("torch")
    assert RESULT.date.endswith("Z") and RESULT.date > "2025"


def test_every_headline_has_a_name():
    assert {metric for metrics in HEADLINE.values() for metric in metrics} <= set(NAMES)


# ---- file names ------------------------------------------------------------------------------------------------------


def test_a_new_measurement_takes_the_old_ones_place(tmp_path):
    RESULT.save(tmp_path)
    newer = replace(RESULT, metrics={"loss": 1.0}, settings={"batch_size": 1, "max_new_tokens": 9}, date="2026")
    newer.save(tmp_path)
    assert load_results(tmp_path) == [newer]


def test_the_same_weights_have_one_file_at_every_commit(tmp_path):
    """A push of a result creates a commit without changing the weights."""
    results = [replace(RESULT, weights="w" * 64, model_revision=revision * 40) for revision in "ab"]
    for result in results:
        result.save(tmp_path)
    assert load_results(tmp_path) == results[1:]


def test_another_measurement_does_not_take_its_place(tmp_path):
    answers = replace(RESULT, task=GENERATION, metrics={"bleu": 1.0})
    others = [
        RESULT,
        replace(RESULT, dataset_revision="b" * 40),
        replace(RESULT, model_revision="1" * 40),
        replace(RESULT, weights="1" * 64),
        answers,
        replace(answers, settings={"max_new_tokens": 16}),
        replace(answers, settings={"max_new_tokens": 512}),
    ]
    for result in others:
        result.save(tmp_path)
    assert sorted(load_results(tmp_path), key=repr) == sorted(others, key=repr)


def test_other_rows_or_models_have_another_file(tmp_path):
    others = [
        replace(RESULT, model="org-siglip/med"),
        replace(RESULT, model="org/siglip med"),
        replace(RESULT, model="org/siglip/med"),
        replace(RESULT, model="../org/siglip-med"),
        replace(RESULT, dataset="org-med/pairs"),
        replace(RESULT, dataset_split="validation"),
        replace(RESULT, dataset_config="others"),
        replace(RESULT, task=GENERATION),
        replace(RESULT, settings={"limit": 10}),
        replace(RESULT, model="模型", dataset="/" + "very-long-folder/" * 30),
        replace(RESULT, model="模型二"),
    ]
    paths = {result.save(tmp_path) for result in [RESULT, *others]}
    assert len(paths) == 12
    assert {path.parent for path in paths} == {tmp_path}
    assert all(len(path.name.encode()) < 200 for path in paths)
    assert RESULT.file_name.startswith("org-siglip-med--retrieval--org-med-pairs--test--")
    assert sorted(load_results(tmp_path), key=repr) == sorted([RESULT, *others], key=repr)


def test_slug():
    assert slug("org/siglip-med v1.2") == "org-siglip-med-v1.2"
    assert slug("../..") == slug("") == slug("模型") == "unnamed"


# ---- invalid records -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"model": 7}, "model is 7"),
        ({"metrics": [1]}, r"metrics is \[1\], which is not of type dict"),
        ({"metrics": {"loss": "low"}}, "the metric loss is 'low', which is not a number"),
        ({"metrics": {"loss": True}}, "the metric loss is True"),
        ({"samples": "145"}, "samples is '145', which is not of type int"),
        ({"samples": True}, "samples is True"),
        ({"task": "segmentation"}, "task is 'segmentation', which is not one of retrieval, report_generation"),
        ({"settings": None}, "settings is None"),
        ({"dataset_revision": None}, "dataset_revision is None"),
        ({"controls": [7]}, "a control is 7, which is not a control"),
        ({"controls": [{"name": "majority", "metrics": {"bleu": "20"}, "samples": 9}]}, "a control is .*'20'"),
        ({"controls": [{"name": "majority", "metrics": {"bleu": 20}}]}, "a control is"),
        ({"controls": [{"name": "majority", "metrics": {}, "difference": {"accuracy_open": [0.1]}}]}, "a control is"),
        ({"controls": [{"name": "majority", "metrics": {}, "real": [1]}]}, "a control is"),
    ],
)
def test_a_record_has_types(tmp_path, change, words):
    with pytest.raises(TypeError, match=words):
        replace(RESULT, **change)
    path = tmp_path / "a--b.json"
    path.write_text(json.dumps(asdict(RESULT) | change))
    with pytest.raises(ValueError, match=rf"a--b\.json: not a result file \(.*{words}"):
        load_results(tmp_path)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'"text"', b"7", b"null", b"\xff\xfe", b'{"model": "a"}'])
def test_a_broken_file_is_named(tmp_path, content):
    (tmp_path / "a--b.json").write_bytes(content)
    with pytest.raises(ValueError, match=r"a--b\.json: not a result file \(."):
        load_results(tmp_path)
    (tmp_path / "a--b.json").unlink()
    (tmp_path / "a--b.json").mkdir()
    with pytest.raises(ValueError, match=r"a--b\.json: not a result file \(."):
        load_results(tmp_path)


def test_other_files_and_unknown_keys_are_passed_over(tmp_path):
    for name in ("leaderboard.json", "._a--b.json", ".a--b.json.123.456", "a--b.predictions.jsonl", "a--b.json.bak"):
        (tmp_path / name).write_text("no result")
    (tmp_path / "a--b.json").write_text(json.dumps(asdict(RESULT) | {"colour": "red"}))
    assert load_results(tmp_path) == [RESULT]
    assert load_results(tmp_path / "missing") == []


def test_what_a_file_does_not_say_is_not_made_up(tmp_path):
    content = asdict(RESULT)
    for name in ("date", "versions", "dataset_revision", "model_revision", "settings"):
        del content[name]
    (tmp_path / "a--b.json").write_text(json.dumps(content))
    (result,) = load_results(tmp_path)
    assert (result.date, result.versions, result.dataset_revision, result.settings) == ("", {}, "", {})


# ---- NaN -------------------------------------------------------------------------------------------------------------


def test_what_is_not_finite_was_not_measured(tmp_path):
    result = replace(RESULT, metrics={"loss": math.nan, "recall_at_1": math.inf, "recall_at_5": 0.5, "x": None})
    assert result.metrics == {"recall_at_5": 0.5}
    assert load_result(result.save(tmp_path)) == result
    (tmp_path / "a--b.json").write_text(json.dumps(asdict(RESULT) | {"metrics": {"loss": math.nan, "bleu": 1}}))
    assert load_result(tmp_path / "a--b.json").metrics == {"bleu": 1}


def test_json_has_null_for_what_is_not_finite(tmp_path):
    content = {"history": [{"loss": math.nan, "step": 1}, (math.inf, -math.inf, 1.5)], "text": "NaN", "肝": True}
    write_json(tmp_path / "x.json", content)
    text = (tmp_path / "x.json").read_text(encoding="utf-8")
    strict = json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))
    assert strict == {"history": [{"loss": None, "step": 1}, [None, None, 1.5]], "text": "NaN", "肝": True}
    assert "肝" in text and text.endswith("}\n")


# ---- writing ---------------------------------------------------------------------------------------------------------


def test_a_failure_leaves_the_old_file(tmp_path):
    path = tmp_path / "x.json"
    write_json(path, {"old": 1})
    with pytest.raises(TypeError):
        write_json(path, {"new": object()})
    with pytest.raises(UnicodeEncodeError):
        write_text(path, "half a pair: \ud800")
    assert json.loads(path.read_text()) == {"old": 1}
    assert list(tmp_path.iterdir()) == [path]  # nothing is left lying about


def test_readers_see_whole_files_while_many_write(tmp_path):
    path, seen, stop = tmp_path / "x.json", set(), threading.Event()
    write_json(path, ["start"] * 5000)

    def write(name: str) -> None:
        for _ in range(20):
            write_json(path, [name] * 5000)

    def read() -> None:
        while not stop.is_set():
            content = json.loads(path.read_text())
            seen.add((len(content), len(set(content))))

    with ThreadPoolExecutor() as pool:
        reader = pool.submit(read)
        writers = [pool.submit(write, name) for name in "abcd"]
        for writer in writers:
            writer.exception()
        stop.set()
        for thread in (reader, *writers):
            thread.result()  # raises what was raised there
    assert seen == {(5000, 1)}
    assert list(tmp_path.iterdir()) == [path]


# ---- for the Hub -----------------------------------------------------------------------------------------------------


def test_a_commit_is_not_a_fingerprint():
    assert is_commit(COMMIT)
    assert not any(map(is_commit, (FINGERPRINT, "", "main", COMMIT.upper(), COMMIT + "0", COMMIT + "\n")))
    assert dataset_name("org/med-pairs", COMMIT) == "org/med-pairs"
    assert dataset_name("/home/jane/my data/processed", FINGERPRINT) == "processed"
    assert dataset_name("data/processed", "") == "processed"


def test_model_index_has_the_numbers_of_the_record():
    other = replace(RESULT, dataset="/home/jane/pairs", dataset_revision=FINGERPRINT, metrics={"loss": 1.25})
    entries = model_index([RESULT, other])
    assert [(entry.dataset_type, entry.dataset_name, entry.metric_type, entry.metric_value) for entry in entries] == [
        ("org/med-pairs", "org/med-pairs", "recall_at_5", 0.5),
        ("org/med-pairs", "org/med-pairs", "recall_at_1", 0.25),
        ("org/med-pairs", "org/med-pairs", "loss", 9.75),
        ("pairs", "pairs", "loss", 1.25),
    ]
    assert entries[0].metric_name == "R@5" and entries[0].dataset_split == "test"
    assert [entry.dataset_revision for entry in entries] == [COMMIT] * 3 + [FINGERPRINT]


def test_model_index_has_one_place_for_a_number():
    older, newer = (
        replace(RESULT, metrics={"loss": value}, date=date, settings={"limit": None, "max_new_tokens": value})
        for value, date in ((2, "2026-01-01"), (1, "2026-01-02"))
    )
    for results in ([older, newer], [newer, older]):
        assert [entry.metric_value for entry in model_index(results)] == [1]
    other = replace(older, dataset_revision=FINGERPRINT)
    assert [entry.metric_value for entry in model_index([newer, other])] == [1, 2]
