"""Defines the accuracy of short answers as an `evaluate` metric; README.md in this folder documents it."""

from __future__ import annotations

import datasets
import evaluate

# `evaluate.load` copies only the files that this one imports, and reads a comment behind an import as an address.
from .chinese_characters import simplified
from .clinical_rule import clinical
from .clinical_words import SYNONYMS
from .plain_rules import normalize
from .published_rules import vqa_normalize
from .short_answers import RULES, score_answer, vqa_scores

__all__ = [
    "RULES", "SYNONYMS", "VqaAccuracy", "clinical", "normalize", "score_answer", "simplified", "vqa_normalize",
    "vqa_scores",
]  # fmt: skip

_DESCRIPTION = """
Accuracy of short English and Chinese answers to questions about medical images like those of SLAKE and VQA-RAD: for all
answers, for open and closed questions, and by language. The result names the rule. It downloads nothing.
"""

_KWARGS_DESCRIPTION = """
Args:
    predictions: the answers. Empty answers are allowed.
    references: the correct answers, one per prediction.
    answer_types: "OPEN" or "CLOSED" per prediction, ignoring case; any other value counts only in the overall accuracy.
        Optional.
    languages: "en", "zh" or another code of ISO 639 per prediction. By default, a sample is Chinese if its reference
        has a Chinese character.
    rule: "exact", "clinical", "lmms_eval", "llava_med_2023_08", "llava_med_2023_12", "medvlmbench", "medevalkit_rules",
        "medgemma", "token_recall", "token_f1", "contains_yes_no" or "llava_med" (default: "exact").

Returns:
    accuracy, accuracy_open, accuracy_closed: 0..1, for the answer types that occur; None if no answer is counted.
    The same with _en and _zh: for one language.
    num_samples with the same suffixes: number of counted answers, which is the denominator.
    num_left_out: number of answers that the rule leaves out of the count, with the same suffixes where it is not 0.
    left_out: which answers these are, if there are any.
    rule: the name of the rule.

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

        `evaluate` would raise an IndexError for an empty batch. It also appends to this docstring, so it has to exist.
        """
        if references is not None and len(references) == 0:
            raise ValueError(
                "There are no samples: references is empty. Give at least one prediction and its reference."
            )
        return super().add_batch(predictions=predictions, references=references, **kwargs)

    def _compute(self, predictions, references, answer_types=None, languages=None, rule="exact"):
        return vqa_scores(predictions, references, answer_types, languages, rule)
