"""Checks the order, the columns and the text of the leaderboard."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from evaluation.leaderboard import main, markdown, rank_results
from evaluation.metrics.clinical_consistency.agreement import rules_signature
from model_cards.results import GENERATION, NAMES, RETRIEVAL, EvaluationResult, write_json
from tests.model_cards.all_controls import all_controls
from tests.model_cards.markdown import HOSTILE, one_line, tables

COMMIT, OTHER_COMMIT = "a" * 40, "b" * 40


def generation(model: str, bleu: float | None = None, loss: float | None = None, **more) -> EvaluationResult:
    metrics = {"bleu": bleu, "loss": loss, **more.pop("metrics", {})}
    facts = {"dataset_revision": COMMIT, "date": "2026-01-01T00:00:00Z", "controls": all_controls()} | more
    return EvaluationResult(model, GENERATION, "org/med-pairs", "chat", "test", 418, metrics, **facts)


def retrieval(model: str, recall: float, **metrics) -> EvaluationResult:
    metrics = {"recall_at_5": recall, "chance_recall_at_5": 0.05, "num_images": 120} | metrics
    facts = {"dataset_revision": COMMIT, "controls": all_controls(task=RETRIEVAL)}
    return EvaluationResult(model, RETRIEVAL, "org/med-pairs", "pairs", "test", 145, metrics, **facts)


def ranked(lines: list[list[str]]) -> list[list[str]]:
    """The header and the lines of models, without those of controls."""
    return [line for line in lines if line[0]]


def models(table: dict) -> list[str]:
    return [row["model"] for row in table["rows"]]


@pytest.fixture
def board(tmp_path, capsys):
    """Provides a function: board(*results) returns the exit status, the output and the errors."""

    def run(*results: EvaluationResult) -> tuple[int, str, str]:
        for result in results:
            result.save(tmp_path)
        status = main(["--results_dir", str(tmp_path)])
        return status, *capsys.readouterr()

    return run


def test_the_best_comes_first():
    (table,) = rank_results([generation("b", 10.0), generation("c", 30.0), generation("a", 20.0)])
    assert models(table) == ["c", "a", "b"]
    (table,) = rank_results([retrieval("low", 0.1, loss=1.0), retrieval("high", 0.9, loss=9.0)])
    assert models(table) == ["high", "low"]
    assert table["metrics"] == ["recall_at_5", "loss"]
    assert {name: table["rows"][0][name] for name in ("model", "recall_at_5", "loss")} == {
        "model": "high", "recall_at_5": 0.9, "loss": 9.0,
    }  # fmt: skip


def test_findings_that_other_rules_read_are_in_another_table():
    scores = {"metrics": {"clinical_f1": 0.5}}
    today, before = f"{rules_signature()}, 9 of 9 reports", "rules:00000000, 9 of 9 reports"
    results = [generation("a", 1.0, **scores, signatures={"clinical": today}), generation("b", 3.0)]
    (table,) = rank_results(results)
    assert models(table) == ["b", "a"] and table["metrics"] == ["bleu", "clinical_f1"]
    assert NAMES["clinical_f1"] in markdown(table)
    older = generation("c", 2.0, **{"metrics": {"clinical_f1": 0.9}}, signatures={"clinical": before})
    assert sorted(map(models, rank_results([*results, older]))) == [["b", "a"], ["c"]]


def test_the_next_metric_decides_between_equals():
    results = [generation("b", 10.0, 2.0), generation("a", 10.0, 2.0), generation("c", 10.0, 1.0)]
    for order in (results, results[::-1]):
        assert models(rank_results(order)[0]) == ["c", "a", "b"]


def test_what_was_not_measured_comes_last_with_a_dash():
    """A result of a training contains only the loss; it is ranked by the loss, below the results with a score."""
    results = [generation("x", None, 0.1), generation("y", None, 0.05), generation("scored", 0.0, 9.0)]
    (table,) = rank_results(results)
    assert models(table) == ["scored", "y", "x"]
    assert table["metrics"] == ["bleu", "loss"]
    (lines,) = tables(markdown(table))
    assert ranked(lines) == [
        ["#", "model", "BLEU", "loss"],
        ["1", "scored", "0", "9"],
        ["2", "y", "–", "0.05"],
        ["3", "x", "–", "0.1"],
    ]
    (table,) = rank_results(results[:2])
    assert table["metrics"] == ["loss"] and models(table) == ["y", "x"]


def test_a_column_that_only_the_last_has_is_shown():
    (table,) = rank_results([generation("a", 10.0), generation("b", 5.0, metrics={"exact_match": 0.5})])
    assert table["metrics"] == ["bleu", "exact_match"]
    assert [row["exact_match"] for row in table["rows"]] == [None, 0.5]


@pytest.mark.parametrize(
    "change",
    [
        {"dataset": "org/other"},
        {"dataset_revision": OTHER_COMMIT},
        {"dataset_revision": ""},
        {"dataset_split": "validation"},
        {"dataset_config": "chat-short"},
        {"samples": 417},
        {"settings": {"limit": 418}},
        {"settings": {"limit": [1]}},
        {"task": RETRIEVAL, "metrics": {"loss": 1.0}},
    ],
)
def test_scores_on_other_rows_are_not_compared(change):
    same = [generation("a", 1.0), generation("b", 2.0, settings={"limit": None, "batch_size": 3})]
    assert len(rank_results(same)) == 1
    found = rank_results([*same, replace(generation("c", 3.0), **change)])
    assert sorted(map(models, found)) == [["b", "a"], ["c"]]


def test_a_table_has_one_rule():
    scores = {"accuracy_open": 0.5, "accuracy_closed": 0.5}
    results = [
        generation("a", 1.0, metrics=scores, signatures={"accuracy": "rule:exact", "en": "tok:13a"}),
        generation("b", 2.0, metrics=scores, signatures={"accuracy": "rule:llava_med_2023_08"}),
        generation("c", 3.0, metrics=scores, signatures={"accuracy": "rule:exact", "en": "tok:13a"}),
        generation("loss only", None, 0.1),  # of a training; it has no answers, and stands in each table
    ]
    found = rank_results(results)
    assert [(table["rule"], models(table)) for table in found] == [
        ("exact", ["c", "a", "loss only"]),
        ("llava_med_2023_08", ["b", "loss only"]),
    ]
    titles = [markdown(table).splitlines()[0] for table in found]
    assert titles[1] == (
        r"**report generation on org/med-pairs (test, 418 rows, revision aaaaaaaa, rule llava\_med\_2023\_08)**"
    )
    assert [name in titles[0] for name in ("rule exact", "llava")] == [True, False]
    old = {name: value for name, value in found[0].items() if name != "rule"}
    assert "rule" not in markdown(old).splitlines()[0]  # a table that an earlier version wrote


def test_of_two_results_of_a_model_the_newest_counts():
    old, new = generation("a", 90.0, date="2026-01-01T00:00:00Z"), generation("a", 1.0, date="2026-02-01T00:00:00Z")
    for results in ([old, new], [new, old]):
        (table,) = rank_results(results)
        assert [row["bleu"] for row in table["rows"]] == [1.0]


def test_titles_tell_tables_apart():
    found = rank_results([generation("a", 1.0), replace(generation("a", 1.0), dataset_revision=OTHER_COMMIT)])
    assert [markdown(table).splitlines()[0] for table in found] == [
        f"**report generation on org/med-pairs (test, 418 rows, revision {letter * 8})**" for letter in "ab"
    ]
    (table,) = rank_results([replace(generation("a", 1.0), dataset_revision="", samples=12345)])
    assert markdown(table).startswith("**report generation on org/med-pairs (test, 12,345 rows)**\n\n|")


@pytest.mark.parametrize("hostile", HOSTILE)
def test_names_stay_in_their_cells(hostile):
    (table,) = rank_results(
        [replace(generation(hostile, 1.0), dataset=hostile), replace(generation("b", 0.5), dataset=hostile)]
    )
    text = markdown(table)
    (cells,) = tables(text)
    assert ranked(cells) == [["#", "model", "BLEU"], ["1", one_line(hostile), "1"], ["2", "b", "0.5"]]
    lines = text.splitlines()
    assert len(lines) == 4 + len(cells) - 1 and len({len(line) for line in lines[2:]}) == 1  # aligned on a terminal


# ---- the command -----------------------------------------------------------------------------------------------------


def test_the_command_prints_what_it_writes(board, tmp_path):
    results = [generation("org/a", 38.4779, 0.5), generation("b", 2.0), retrieval("c", 0.4)]
    status, printed, complained = board(*results)
    assert (status, complained) == (0, "")
    assert printed == (tmp_path / "leaderboard.md").read_text(encoding="utf-8")
    assert json.loads((tmp_path / "leaderboard.json").read_text()) == rank_results(results)
    first, second = tables(printed)
    assert first[1] == ["1", "org/a", "38.48", "0.5"] and second[1] == ["1", "c", "0.4"]
    assert board() == (0, printed, "")  # its own files are not read as results


def test_no_results(board, tmp_path, capsys):
    for folder in (tmp_path, tmp_path / "missing"):
        assert main(["--results_dir", str(folder)]) == 2
        message = f"error: --results_dir {folder}: no results; write one with `medpairs evaluate`\n"
        assert capsys.readouterr() == ("", message)
    assert list(tmp_path.iterdir()) == []


def test_a_repeated_folder(board, tmp_path, capsys):
    with pytest.raises(SystemExit) as caught:
        main(["--results_dir", str(tmp_path), "--results_dir", "other"])
    assert caught.value.code == 2 and list(tmp_path.iterdir()) == []
    expected = (
        f"medpairs leaderboard: error: argument --results_dir: given twice, as '{tmp_path}' and 'other'; give it once"
    )
    assert capsys.readouterr().err.splitlines()[-1] == expected


@pytest.mark.parametrize("content", ["{", '{"model": "a"}', '{"metrics": []}'])
def test_a_broken_result_is_named(board, tmp_path, content):
    path = tmp_path / "org-b--x.json"
    path.write_text(content)
    status, printed, complained = board(generation("a", 1.0))
    assert (status, printed) == (2, "")
    assert complained.startswith(f"error: --results_dir {tmp_path}: {path}: not a result file (")
    assert complained.count("\n") == 1
    assert not (tmp_path / "leaderboard.md").exists()


def test_a_place_that_cannot_be_written_is_named(board, tmp_path):
    (tmp_path / "leaderboard.md").mkdir()
    status, _, complained = board(generation("a", 1.0))
    assert (
        status == 2 and complained.startswith(f"error: --results_dir {tmp_path}: ") and "leaderboard.md" in complained
    )


def test_numbers_that_are_none_are_no_scores(board, tmp_path):
    result = generation("a", 1.0)
    content = json.loads(result.save(tmp_path).read_text())
    content["metrics"] = {"bleu": None, "loss": 2.5}
    write_json(tmp_path / result.file_name, content)
    status, printed, _ = board(generation("b", 0.5))
    assert status == 0
    assert ranked(tables(printed)[0])[1:] == [["1", "b", "0.5", "–"], ["2", "a", "–", "2.5"]]


@pytest.mark.parametrize(
    "other",
    [
        {"settings": {"max_new_tokens": 128}},
        {"settings": {"max_new_tokens": 64, "train_split": "validation"}},
        {"settings": {"max_new_tokens": 64}, "signatures": {"all": "bleu|tok:zh"}},
    ],
)
def test_scores_by_other_settings_are_not_compared_and_a_training_stands_in_both(other):
    first = generation("first", 20.0, settings={"max_new_tokens": 64}, signatures={"all": "bleu|tok:13a"})
    second = generation("second", 30.0, **({"signatures": {"all": "bleu|tok:13a"}} | other))
    trained = generation("trained", loss=1.5, controls=[])
    found = rank_results([first, second, trained])
    assert sorted(models(table) for table in found) == [["first", "trained"], ["second", "trained"]]
    assert f"at most {other['settings']['max_new_tokens']} tokens)" in "".join(map(markdown, found))
    assert [models(table) for table in rank_results([trained])] == [["trained"]]
