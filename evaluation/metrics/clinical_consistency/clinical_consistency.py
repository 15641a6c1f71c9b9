"""Defines the agreement of findings in medical texts as an `evaluate` metric; README.md in this folder documents it."""

from __future__ import annotations

import datasets
import evaluate

# `evaluate.load` copies only the files that this one imports, and reads a comment behind an import as an address.
from .agreement import consistency_scores, pair_counts, pair_score, rules_signature, shares_of
from .chinese_characters import simplified
from .claims import describe_claims, read_claims
from .cues import mark_cues
from .details import mark_details
from .findings import FINDINGS, ORGANS
from .measurements import UNITS
from .sentences import sentences_of

__all__ = [
    "FINDINGS", "ORGANS", "UNITS", "ClinicalConsistency", "consistency_scores", "describe_claims", "mark_cues",
    "mark_details", "pair_counts", "pair_score", "read_claims", "rules_signature", "sentences_of",
    "shares_of", "simplified",
]  # fmt: skip

_DESCRIPTION = """
Agreement of English and Chinese medical texts with their references: which findings they state, deny or doubt, and with
which side, severity and size. Rules and a dictionary read the texts. It downloads nothing.
"""

_KWARGS_DESCRIPTION = """
Args:
    predictions: the generated reports or answers. An empty text claims nothing.
    references: one text per prediction.
    languages: "en", "zh" or another code of ISO 639 per prediction. By default, a sample is Chinese if its reference
        has a Chinese character.

Returns:
    precision, recall, f1: 0..1, of claims (finding, present or absent or uncertain).
    f1_detailed: 0..1, the same, where a claim counts only if side, severity and sizes are also equal.
    laterality_agreement, severity_agreement, measurement_agreement: 0..1, over the matching claims in which both texts
        name a side, a severity or a size.
    status_contradictions, side_contradictions: numbers of findings that are present in one text and absent in the
        other, and of matching claims with left in one text and right in the other.
    num_samples, num_predicted_claims, num_reference_claims, num_matched_claims, num_laterality, num_severity,
        num_measurement: the denominators.
    num_predictions_without_findings: number of the counted predictions in which no finding is known.
    num_left_out, num_claims_left_out: number of samples whose reference has no known finding, which are not counted,
        and of the claims of their predictions.
    All of them with _en, _zh, ...: for one language.
    A share is None if there is nothing to compare.

Example:
    >>> import evaluate
    >>> metric = evaluate.load("org/clinical_consistency")
    >>> metric.compute(predictions=["No effusion."], references=["There is no pleural effusion."])["f1"]
    1.0
"""

_CITATION = """
@article{chapman-2001-negex,
    title = {A Simple Algorithm for Identifying Negated Findings and Diseases in Discharge Summaries},
    author = {Chapman, Wendy W. and Bridewell, Will and Hanbury, Paul and Cooper, Gregory F. and Buchanan, Bruce G.},
    journal = {Journal of Biomedical Informatics},
    year = {2001},
    url = {https://doi.org/10.1006/jbin.2001.1029}
}
"""


@evaluate.utils.file_utils.add_start_docstrings(_DESCRIPTION, _KWARGS_DESCRIPTION)
class ClinicalConsistency(evaluate.Metric):
    def _info(self):
        text = datasets.Value("string")
        return evaluate.MetricInfo(
            description=_DESCRIPTION,
            citation=_CITATION,
            inputs_description=_KWARGS_DESCRIPTION,
            features=datasets.Features({"predictions": text, "references": text}),
            reference_urls=["https://doi.org/10.1006/jbin.2001.1029"],
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

    def _compute(self, predictions, references, languages=None):
        return consistency_scores(predictions, references, languages)
