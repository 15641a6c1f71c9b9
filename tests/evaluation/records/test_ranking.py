"""Checks that models which cannot be told apart share a rank."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from evaluation.leaderboard import main, rank_results
from evaluation.records.chain import LINKS, PREDICTIONS, sealed, sha256
from evaluation.records.ranking import predictions_in, shared_ranks
from evaluation.records.rescoring import score_predictions
from evaluation.records.run import json_lines, predictions_path
from model_cards.results import GENERATION, RETRIEVAL, EvaluationResult, load_results
from tests.model_cards.all_controls import all_controls
from tests.model_cards.markdown import tables

ROWS, PATIENTS = 300, 60
ANSWERS = ["left lung", "right kidney", "liver", "no effusion seen", "spleen"]


def predictions(right: float, seed: int) -> list[dict]:
    """Answers of a model that is right about a share of the rows."""
    draw = np.random.default_rng(seed)
    return [
        {
            "row": sha256(str(number)),
            "group": f"patient {number % PATIENTS}",
            "language": "en",
            "answer_type": "OPEN",
            "reference": ANSWERS[number % 5],
            "generated": ANSWERS[(number + (draw.random() > right)) % 5],
            "loss": 1.0 + draw.random(),
            "tokens": 3,
        }
        for number in range(ROWS)
    ]


def record(folder: Path, model: str, rows: list[dict]) -> EvaluationResult:
    """Writes a record with its predictions."""
    metrics, signatures, intervals = score_predictions(rows, "exact")
    result = EvaluationResult(
        model, GENERATION, "org/pairs", "chat", "test", len(rows), metrics, dataset_revision="a" * 40,
        signatures=signatures, intervals=intervals, controls=all_controls(), date="2026-01-01T00:00:00Z",
    )  # fmt: skip
    text = json_lines(rows)
    result = sealed(result, {**dict.fromkeys(LINKS[:3], sha256("same")), PREDICTIONS: sha256(text)})
    predictions_path(result.save(folder)).write_text(text, encoding="utf-8")
    return result


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Two models of equal skill, one that is better by far, and one that is worse by far."""
    folder = tmp_path_factory.mktemp("results")
    for model, right, seed in (("best", 0.95, 1), ("one", 0.6, 2), ("other", 0.6, 3), ("worst", 0.2, 4)):
        record(folder, model, predictions(right, seed))
    return folder


def test_models_that_cannot_be_told_apart_share_a_rank(folder, capsys):
    assert main(["--results_dir", str(folder)]) == 0
    (table,) = json.loads((folder / "leaderboard.json").read_text(encoding="utf-8"))
    assert [row["model"] for row in table["rows"]][::3] == ["best", "worst"]
    assert table["ranks"] == [1, 2, 2, 4]
    lines = [line for line in tables(capsys.readouterr().out)[0] if line[0]]
    assert [line[0] for line in lines[1:]] == ["1", "2", "2", "4"]


@pytest.mark.parametrize(("metric", "larger"), [("accuracy_open", True), ("exact_match", True), ("bleu_1", True)])
def test_every_metric_can_rank(folder, metric, larger):
    results = sorted(load_results(folder), key=lambda result: -result.metrics[metric])
    assert shared_ranks(results, {metric: larger}, predictions_in(folder)) == [1, 2, 2, 4]


def test_a_lower_loss_is_better(tmp_path):
    rows = predictions(0.5, 1)
    low = [{**row, "loss": row["loss"] / 2} for row in rows]
    results = [record(tmp_path, "low", low), record(tmp_path, "high", rows)]
    assert shared_ranks(results, {"loss": False}, predictions_in(tmp_path)) == [1, 2]


def test_a_small_gain_on_every_patient_is_found_by_pairing(tmp_path):
    """Intervals overlap; the pairs leave no doubt."""
    rows = predictions(0.6, 1)
    better = [{**row, "generated": row["reference"]} if number % 12 == 0 else row for number, row in enumerate(rows)]
    results = [record(tmp_path, "better", better), record(tmp_path, "model", rows)]
    low, high = results[0].intervals["exact_match"][0], results[1].intervals["exact_match"][1]
    assert low < high
    assert shared_ranks(results, {"exact_match": True}, predictions_in(tmp_path)) == [1, 2]
    assert shared_ranks(results, {"exact_match": True}, lambda _: None) == [1, 1]  # by their intervals


def test_predictions_that_were_changed_are_not_used(folder, tmp_path):
    result = record(tmp_path, "model", predictions(0.5, 1))
    path = predictions_path(tmp_path / result.file_name)
    assert predictions_in(tmp_path)(result) is not None
    path.write_text(path.read_text(encoding="utf-8").replace("liver", "lever", 1), encoding="utf-8")
    assert predictions_in(tmp_path)(result) is None
    path.unlink()
    assert predictions_in(tmp_path)(result) is None


def test_results_of_earlier_versions_are_ranked_by_their_scores():
    facts = {"dataset_revision": "a" * 40, "controls": all_controls(task=RETRIEVAL)}
    results = [
        EvaluationResult(model, RETRIEVAL, "org/pairs", "pairs", "test", 9, {"recall_at_5": recall}, **facts)
        for model, recall in (("a", 0.9), ("b", 0.5), ("c", 0.5))
    ]
    (table,) = rank_results(results)
    assert table["ranks"] == [1, 2, 2]
    intervals = [{"recall_at_5": bounds} for bounds in ([0.8, 0.95], [0.4, 0.6], [0.3, 0.81])]
    (table,) = rank_results([replace(r, intervals=found) for r, found in zip(results, intervals, strict=True)])
    assert [row["model"] for row in table["rows"]] == ["a", "b", "c"] and table["ranks"] == [1, 2, 1]
