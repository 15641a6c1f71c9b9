"""Decides which models of a leaderboard can be told apart; the others share a rank.

Two models that answered the same rows are compared by a paired bootstrap over patients, from their predictions. Where
the predictions are not there, for example of encoders, their intervals must not overlap. A result of an earlier version
has neither, and is ranked by its score.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

from evaluation.metrics.vqa_accuracy.short_answers import DEFAULT_RULE
from evaluation.records.chain import PREDICTIONS, content_of
from evaluation.records.rescoring import read_rows
from evaluation.records.run import predictions_path
from evaluation.scoring.measures import Measure, difference, measures
from model_cards.hub.weights import file_sha256
from model_cards.results import EvaluationResult

# Returns the predictions of a result, None if they are not there.
Predictions = Callable[[EvaluationResult], list[dict[str, Any]] | None]


def predictions_in(folder: Path) -> Predictions:
    """Returns a function that reads the predictions beside the records of a folder.

    Files that are not those of the record, by the hash in its chain, are not used.
    """

    def read(result: EvaluationResult) -> list[dict[str, Any]] | None:
        path = predictions_path(folder / result.file_name)
        expected = content_of(result.chain, PREDICTIONS)
        if not expected or not path.is_file() or file_sha256(path) != expected:
            return None
        rows = read_rows(path)
        return rows if rows and "generated" in rows[0] else None

    return read


def shared_ranks(
    ranked: Sequence[EvaluationResult], metrics: Mapping[str, bool], predictions: Predictions
) -> list[int]:
    """Returns the rank of each model: 1 and the number of models that are better than it beyond chance.

    Two models are compared by the first metric in which they differ. Results without the first metric keep their places
    behind the others.

    Args:
        ranked: results on the same rows, the best score first, those without a score last.
        metrics: the metrics in the order in which they sort the results, and whether a larger value is better.
        predictions: reads the predictions of a result.
    """
    first = next(iter(metrics))
    scored = [result for result in ranked if first in result.metrics]
    found = [compared(result, predictions(result)) for result in scored]
    better = [0] * len(scored)
    for one, other in combinations(range(len(scored)), 2):
        ours, theirs = scored[one].metrics, scored[other].metrics
        for metric, larger_is_better in metrics.items():
            if metric in ours and metric in theirs and ours[metric] != theirs[metric]:
                pair = (scored[one], scored[other])
                better[other] += are_apart(*pair, metric, found[one], found[other], larger_is_better)
                break
    return [1 + number for number in better] + list(range(len(scored) + 1, len(ranked) + 1))


@dataclass(frozen=True)
class Compared:
    """The predictions of a model as far as they are compared.

    Attributes:
        measures: the measures by the name of the metric.
        rows: [N] the hash of each row.
        groups: [N] the group of each row.
    """

    measures: dict[str, Measure]
    rows: list[str]
    groups: list[str]


def compared(result: EvaluationResult, rows: list[dict[str, Any]] | None) -> Compared | None:
    """Returns what is compared of a model; None without predictions that name their rows and groups."""
    if rows is None or not all(row.get("row") and row.get("group") for row in rows):
        return None
    found = measures(rows, result.settings.get("rule", DEFAULT_RULE))
    return Compared(found, [row["row"] for row in rows], [row["group"] for row in rows])


def are_apart(
    better: EvaluationResult,
    worse: EvaluationResult,
    metric: str,
    ours: Compared | None,
    theirs: Compared | None,
    larger_is_better: bool,
) -> bool:
    """Returns whether the better one of two scores is better beyond chance."""
    both = ours is not None and theirs is not None and ours.rows == theirs.rows
    if both and metric in ours.measures and metric in theirs.measures:
        bounds = difference(ours.measures[metric], theirs.measures[metric], ours.groups)
        return bounds is not None and (bounds[0] > 0 if larger_is_better else bounds[1] < 0)
    first, second = better.intervals.get(metric), worse.intervals.get(metric)
    if first is not None and second is not None:
        return first[0] > second[1] if larger_is_better else first[1] < second[0]
    return True  # nothing to compare by but the scores
