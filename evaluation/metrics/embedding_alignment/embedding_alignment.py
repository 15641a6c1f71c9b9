"""Defines the alignment of image and text embeddings as an `evaluate` metric; README.md in this folder documents it.

Many embeddings should not pass through `evaluate`, which stores them slowly. Score them with `alignment_scores` of
`alignment.py`, which is also available as `EmbeddingAlignment.alignment_scores`.
"""

from __future__ import annotations

import datasets
import evaluate

from .alignment import alignment_scores, k_occurrences, skewness
from .calibration import calibration_scores

__all__ = ["EmbeddingAlignment", "alignment_scores", "calibration_scores", "k_occurrences", "skewness"]

_DESCRIPTION = """
How image and text embeddings lie to each other: similarity of matched and mismatched pairs, the AUC between them,
calibration of a sigmoid model's probabilities, modality gap and hubness.
"""

_KWARGS_DESCRIPTION = """
Args:
    predictions: the embedding of each pair's image.
    references: the embedding of each pair's text.
    image_ids, text_ids: equal for equal images and texts (default: all are different).
    logit_scale, logit_bias: those of a model with a sigmoid loss; with both, its calibration is returned.
    num_neighbors: k of the hubness (default: 10).

Returns:
    matched_similarity, mismatched_similarity: mean cosines.
    matching_auc: 0..1, 0.5 is chance.
    modality_gap: 0..2.
    image_hubness, text_hubness: skewness, 0 is even.
    image_antihubs, text_antihubs: 0..1, shares that are among the nearest of nothing.
    ece, brier, base_rate, base_rate_brier, reliability: with the parameters of the logits only.
    num_images, num_texts, num_matched, num_mismatched: numbers of what is compared.

Example:
    >>> import evaluate
    >>> metric = evaluate.load("org/embedding_alignment")
    >>> metric.compute(predictions=[[1, 0], [0, 1]], references=[[1, 0.2], [0.1, 1]])["matching_auc"]
    1.0
"""

_CITATION = """
@inproceedings{liang-2022-gap,
    title = {Mind the Gap: Understanding the Modality Gap in Multi-modal Contrastive Representation Learning},
    author = {Liang, Weixin and Zhang, Yuhui and Kwon, Yongchan and Yeung, Serena and Zou, James},
    booktitle = {Advances in Neural Information Processing Systems},
    year = {2022},
    url = {https://arxiv.org/abs/2203.02053}
}
@article{radovanovic-2010-hubs,
    title = {Hubs in Space: Popular Nearest Neighbors in High-Dimensional Data},
    author = {Radovanovi{\\'c}, Milo{\\v{s}} and Nanopoulos, Alexandros and Ivanovi{\\'c}, Mirjana},
    journal = {Journal of Machine Learning Research},
    year = {2010},
    url = {https://www.jmlr.org/papers/v11/radovanovic10a.html}
}
"""


@evaluate.utils.file_utils.add_start_docstrings(_DESCRIPTION, _KWARGS_DESCRIPTION)
class EmbeddingAlignment(evaluate.Metric):
    alignment_scores = staticmethod(alignment_scores)

    def _info(self):
        embedding = datasets.Sequence(datasets.Value("float32"))
        return evaluate.MetricInfo(
            description=_DESCRIPTION,
            citation=_CITATION,
            inputs_description=_KWARGS_DESCRIPTION,
            features=datasets.Features({"predictions": embedding, "references": embedding}),
            reference_urls=["https://arxiv.org/abs/2203.02053", "https://www.jmlr.org/papers/v11/radovanovic10a.html"],
        )

    def _compute(
        self,
        predictions,
        references,
        image_ids=None,
        text_ids=None,
        logit_scale=None,
        logit_bias=None,
        num_neighbors=10,
    ):
        return alignment_scores(
            predictions, references, text_ids, image_ids, logit_scale, logit_bias, num_neighbors=num_neighbors
        )
