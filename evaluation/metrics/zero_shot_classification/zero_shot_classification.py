"""Defines zero-shot classification as an `evaluate` metric; README.md in this folder documents it.

`compute` takes scores per class. From embeddings, use `prompt_ensemble` and `class_scores` of `classification.py`,
which are also available as attributes of `ZeroShotClassification`.
"""

from __future__ import annotations

import datasets
import evaluate

from .classification import class_aucs, class_scores, classification_scores, prompt_ensemble, row_credits

__all__ = [
    "ZeroShotClassification",
    "class_aucs",
    "class_scores",
    "classification_scores",
    "prompt_ensemble",
    "row_credits",
]  # fmt: skip

_DESCRIPTION = """
Accuracy, balanced accuracy and AUC per class of a classifier that gives one score per class, for example the similarity
of an image to an ensemble of prompts. What chance and the most frequent class reach is returned as well.
"""

_KWARGS_DESCRIPTION = """
Args:
    predictions: for each row, one score per class, higher for a more probable class.
    references: for each row, the number of its class.
    class_names: one name per class (default: the numbers).

Returns:
    accuracy, balanced_accuracy, macro_auc: 0..1.
    majority_accuracy, chance_balanced_accuracy: what is reached without looking.
    classes: for each name its auc, recall and n. A value that is not defined is None.
    num_rows, num_classes: number of rows, and of the classes that occur.

Example:
    >>> import evaluate
    >>> metric = evaluate.load("org/zero_shot_classification")
    >>> metric.compute(predictions=[[0.9, 0.1], [0.4, 0.6], [0.7, 0.3]], references=[0, 1, 1])["balanced_accuracy"]
    0.75
"""

_CITATION = """
@inproceedings{radford-2021-clip,
    title = {Learning Transferable Visual Models From Natural Language Supervision},
    author = {Radford, Alec and Kim, Jong Wook and Hallacy, Chris and others},
    booktitle = {International Conference on Machine Learning},
    year = {2021},
    url = {https://arxiv.org/abs/2103.00020}
}
"""


@evaluate.utils.file_utils.add_start_docstrings(_DESCRIPTION, _KWARGS_DESCRIPTION)
class ZeroShotClassification(evaluate.Metric):
    class_scores = staticmethod(class_scores)
    prompt_ensemble = staticmethod(prompt_ensemble)

    def _info(self):
        return evaluate.MetricInfo(
            description=_DESCRIPTION,
            citation=_CITATION,
            inputs_description=_KWARGS_DESCRIPTION,
            features=datasets.Features(
                {"predictions": datasets.Sequence(datasets.Value("float64")), "references": datasets.Value("int64")}
            ),
            reference_urls=["https://arxiv.org/abs/2103.00020"],
        )

    def _compute(self, predictions, references, class_names=None):
        return classification_scores(predictions, references, class_names)
