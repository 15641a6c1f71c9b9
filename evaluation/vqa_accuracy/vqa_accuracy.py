"""Accuracy of short answers, as an `evaluate` metric; see README.md beside this file."""

from __future__ import annotations

import datasets
import evaluate

from .short_answers import RULES, normalize, vqa_scores

__all__ = ["RULES", "VqaAccuracy", "normalize", "vqa_scores"]

_DESCRIPTION = """
Accuracy of short English and Chinese answers to questions about medical images, as SLAKE and VQA-RAD ask them: over all
answers, over open and closed questions, and by language, by a rule that is named in the result. Needs no download.
"""

_KWARGS_DESCRIPTION = """
Args:
    predictions: the answers. An empty one is allowed.
    references: the right answers, one for each.
    answer_types: "OPEN" or "CLOSED" for each, in any case; anything else counts in the whole only. Optional.
    languages: "en" or "zh" for each. Without it, an answer is Chinese if its reference has a Chinese character.
    rule: "exact" (the default), "token_recall", "token_f1", "contains_yes_no", or "llava_med": token_recall for open
        and contains_yes_no for closed questions.

Returns:
    accuracy, accuracy_open, accuracy_closed: 0..1, for the kinds that occur.
    The same with _en and _zh: for one language.
    num_samples with the same endings: how many answers.
    rule: the rule.

Example:
    >>> import evaluate
    >>> metric = evaluate.load("org/vqa_accuracy")
    >>> metric.compute(predictions=["Left lung."], references=["left lung"])["accuracy"]
    1.0
"""

_CITATION = """
@inproceedings{liu-2021-slake,
    title = {{SLAKE}: A Semantically-Labeled Knowledge-Enhanced Dataset for Medical Visual Question Answering},
    author = {Liu, Bo and Zhan, Li-Ming and Xu, Li and Ma, Lin and Yang, Yan and Wu, Xiao-Ming},
    booktitle = {IEEE International Symposium on Biomedical Imaging},
    year = {2021},
    url = {https://arxiv.org/abs/2102.09542}
}
"""


@evaluate.utils.file_utils.add_start_docstrings(_DESCRIPTION, _KWARGS_DESCRIPTION)
class VqaAccuracy(evaluate.Metric):
    def _info(self):
        text = datasets.Value("string")
        return evaluate.MetricInfo(
            description=_DESCRIPTION,
            citation=_CITATION,
            inputs_description=_KWARGS_DESCRIPTION,
            features=datasets.Features({"predictions": text, "references": text}),
            reference_urls=["https://arxiv.org/abs/2102.09542", "https://arxiv.org/abs/1505.00468"],
        )

    def add_batch(self, *, predictions=None, references=None, **kwargs):
        """Adds samples.

        `evaluate` answers no samples at all with an IndexError. It also needs this docstring, to which it appends.
        """
        if references is not None and len(references) == 0:
            raise ValueError("no samples: references are empty")
        return super().add_batch(predictions=predictions, references=references, **kwargs)

    def _compute(self, predictions, references, answer_types=None, languages=None, rule="exact"):
        return vqa_scores(predictions, references, answer_types, languages, rule)
