"""Computes quadratic kappa, balanced accuracy and distances of predicted grades from the confusion matrix.

Grades are ordered, for example Kellgren-Lawrence 0 to 4: a prediction that is off by one is a smaller mistake than one
that is off by three, which accuracy does not see.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from sklearn.metrics import cohen_kappa_score, confusion_matrix


def grading_scores(
    predictions: Sequence[int], references: Sequence[int], num_grades: int | None = None
) -> dict[str, Any]:
    """Scores predicted grades, with the levels that are reached without looking.

    Args:
        predictions: [N], the predicted grades, from 0.
        references: [N], the correct grades, from 0.
        num_grades: number of grades (default: the highest one that occurs, plus 1).

    Returns:
        quadratic_kappa: -1..1, Cohen's kappa with quadratic weights; 0 is chance and what every constant prediction
            has. None if all predictions and references are one grade, for which it is not defined.
        accuracy, within_one: share of rows that are correct, and that are off by one at most, 0..1.
        balanced_accuracy: the mean over the grades that occur in the references of the share that is correct.
        mean_absolute_error: in grades. macro_mean_absolute_error: the mean over the grades that occur.
        majority_accuracy: the accuracy of always predicting the most frequent grade of the references.
        median_mean_absolute_error: the error of always predicting the median grade, the best constant.
        chance_balanced_accuracy: the balanced accuracy of every constant prediction of a grade that occurs.
        confusion: [G, G] numbers of rows; a line is a correct grade, a column a predicted one.
        num_rows, num_grades: N, and the number of grades that occur in the references.

    Raises:
        ValueError: there are no rows, the lengths differ, or a grade is not an integer or is out of range. The message
            names the row.
    """
    predicted, correct = _grades("predictions", predictions), _grades("references", references)
    if not len(correct):
        raise ValueError("There are no rows: references is empty. Give at least one prediction and its reference.")
    if len(predicted) != len(correct):
        raise ValueError(f"There are {len(predicted)} predictions and {len(correct)} references. Give one per row.")
    highest = int(max(predicted.max(), correct.max()))
    size = highest + 1 if num_grades is None else int(num_grades)
    for name, values in (("predictions", predicted), ("references", correct)):
        outside = np.flatnonzero((values < 0) | (values >= size))
        if outside.size:
            row = int(outside[0])
            raise ValueError(f"row {row} of {name}: grade {values[row]} is out of range. Use 0 to {size - 1}.")
    matrix = confusion_matrix(correct, predicted, labels=np.arange(size))
    counts, distance = matrix.sum(axis=1), np.abs(predicted - correct)
    there = counts > 0
    by_grade = np.bincount(correct, distance, minlength=size)[there] / counts[there]
    median = int(np.searchsorted(np.cumsum(counts), len(correct) / 2))
    return {
        "quadratic_kappa": quadratic_kappa(predicted, correct),
        "accuracy": float((distance == 0).mean()),
        "within_one": float((distance <= 1).mean()),
        "balanced_accuracy": float((np.diag(matrix)[there] / counts[there]).mean()),
        "mean_absolute_error": float(distance.mean()),
        "macro_mean_absolute_error": float(by_grade.mean()),
        "majority_accuracy": float(counts.max() / len(correct)),
        "median_mean_absolute_error": float(np.abs(correct - median).mean()),
        "chance_balanced_accuracy": 1 / int(there.sum()),
        "confusion": matrix.tolist(),
        "num_rows": len(correct),
        "num_grades": int(there.sum()),
    }


def quadratic_kappa(predictions: Sequence[int], references: Sequence[int]) -> float | None:
    """Returns Cohen's kappa with quadratic weights; None if all predictions and references are one grade.

    It is 1 - sum(w * O) / sum(w * E), with the numbers O of the confusion matrix, the numbers E that its margins give
    by chance, and w the squared distance of the grades (Cohen, 1968).

    Args:
        predictions, references: [N] grades, from 0.
    """
    predicted, correct = np.asarray(predictions), np.asarray(references)
    # With its own labels, scikit-learn would take the distance of ranks: 0 and 4 alone would be one step apart.
    labels = np.arange(int(max(predicted.max(), correct.max())) + 1)
    if np.ptp(np.concatenate([predicted, correct])) == 0:
        return None
    return float(cohen_kappa_score(correct, predicted, labels=labels, weights="quadratic"))


def _grades(name: str, values: Any) -> np.ndarray:
    """Returns the grades as [N] int64. Raises ValueError if one is not an integer; the message names the row."""
    found = np.asarray(values)
    if found.ndim != 1:
        raise ValueError(f"{name} has the shape {list(found.shape)}. Give one grade per row.")
    if found.dtype == object or np.issubdtype(found.dtype, np.floating):
        for row, value in enumerate(values):
            if value is None or not float(value).is_integer():
                raise ValueError(f"row {row} of {name}: {value} is not a grade. Give integers.")
    elif len(found) and not np.issubdtype(found.dtype, np.integer):
        raise ValueError(f"{name} are not integers. Give the number of each row's grade.")
    return found.astype(np.int64)
