"""Defines the agreement of ordered grades as an `evaluate` metric; README.md in this folder documents it."""

from __future__ import annotations

import datasets
import evaluate

from .grading import grading_scores, quadratic_kappa

__all__ = ["OrdinalGrading", "grading_scores", "quadratic_kappa"]

_DESCRIPTION = """
Agreement of predicted grades with the correct ones, for ordered grades such as Kellgren-Lawrence 0 to 4: quadratic
kappa, balanced accuracy and distances. What a constant prediction reaches is returned as well.
"""

_KWARGS_DESCRIPTION = """
Args:
    predictions: the predicted grade of each row, from 0.
    references: the correct grade of each row, from 0.
    num_grades: number of grades (default: the highest one that occurs, plus 1).

Returns:
    quadratic_kappa: -1..1, 0 for every constant prediction; None if it is not defined.
    accuracy, within_one, balanced_accuracy: 0..1.
    mean_absolute_error, macro_mean_absolute_error: in grades.
    majority_accuracy, median_mean_absolute_error, chance_balanced_accuracy: what is reached without looking.
    confusion: a line per correct grade, a column per predicted one.
    num_rows, num_grades: number of rows, and of the grades that occur in the references.

Example:
    >>> import evaluate
    >>> metric = evaluate.load("org/ordinal_grading")
    >>> metric.compute(predictions=[0, 1, 2, 4], references=[0, 1, 3, 4])["within_one"]
    1.0
"""

_CITATION = """
@article{cohen-1968-kappa,
    title = {Weighted kappa: Nominal scale agreement provision for scaled disagreement or partial credit},
    author = {Cohen, Jacob},
    journal = {Psychological Bulletin},
    year = {1968},
    url = {https://doi.org/10.1037/h0026256}
}
"""


@evaluate.utils.file_utils.add_start_docstrings(_DESCRIPTION, _KWARGS_DESCRIPTION)
class OrdinalGrading(evaluate.Metric):
    def _info(self):
        grade = datasets.Value("int64")
        return evaluate.MetricInfo(
            description=_DESCRIPTION,
            citation=_CITATION,
            inputs_description=_KWARGS_DESCRIPTION,
            features=datasets.Features({"predictions": grade, "references": grade}),
            reference_urls=["https://doi.org/10.1037/h0026256"],
        )

    def _compute(self, predictions, references, num_grades=None):
        return grading_scores(predictions, references, num_grades)
