"""Defines recall at k over ranked lists as an `evaluate` metric; README.md in this folder documents it.

Embeddings should not pass through `evaluate`, where 10,000 x 768 values take seconds and gigabytes. Score them with
`retrieval_scores` of `ranking.py`, which is also available as `RetrievalRecall.retrieval_scores`.
"""

from __future__ import annotations

import datasets
import evaluate
import numpy as np

from .ranking import (
    Ranks,
    chance_recall_at_k,
    check_ks,
    hit_probability,
    median_rank,
    rank_candidates,
    recall_at_k,
    retrieval_scores,
)

__all__ = [
    "Ranks",
    "RetrievalRecall",
    "chance_recall_at_k",
    "first_relevant_ranks",
    "hit_probability",
    "median_rank",
    "rank_candidates",
    "recall_at_k",
    "retrieval_scores",
]

_DESCRIPTION = """
Recall at k of a retrieval: the share of queries with at least one relevant candidate among the first k. A query can
have several relevant candidates. The chance level is returned as well.
"""

_KWARGS_DESCRIPTION = """
Args:
    predictions: for each query, the ids of the retrieved candidates, best first.
    references: for each query, the ids of all relevant candidates, in any order.
    ks: the cut-offs (default: (1, 5, 10)); each list of predictions needs at least as many ids as the largest one.
    num_candidates: number of candidates in the gallery. If given, chance levels are returned as well.

Returns:
    recall_at_{k}: 0..1.
    chance_recall_at_{k}: 0..1, the expected recall of a random order of all candidates.
    median_rank: median over queries of the rank of the first relevant candidate; 1 is best. A query whose list contains
        no relevant candidate has an infinite rank; an infinite median is returned as None.

Example:
    >>> import evaluate
    >>> metric = evaluate.load("org/retrieval_recall")
    >>> metric.compute(predictions=[[4, 7, 1], [2, 9, 5]], references=[[7, 8], [2]], ks=[1, 3])
    {'recall_at_1': 0.5, 'recall_at_3': 1.0, 'median_rank': 1.5}
"""

_CITATION = """
@misc{laion_clip_benchmark,
    title = {CLIP Benchmark},
    author = {Cherti, Mehdi and Beaumont, Romain},
    url = {https://github.com/LAION-AI/CLIP_benchmark},
    year = {2022}
}
"""


def first_relevant_ranks(predictions: list[list[int]], references: list[list[int]], reach: int) -> np.ndarray:
    """Returns [Q] float64, the 1-based rank of the first relevant id in each list, inf if there is none.

    Args:
        predictions: retrieved ids per query, best first.
        references: relevant ids per query.
        reach: minimum length of each list of predictions.

    Raises:
        ValueError: there are no queries, a list is shorter than `reach` or repeats an id, or a query has no relevant
            id. The message names the query.
    """
    if not predictions:
        raise ValueError("There are no queries: predictions is empty. Give at least one query with its references.")
    ranks = np.full(len(predictions), np.inf)
    for query, (retrieved, relevant) in enumerate(zip(predictions, references, strict=True)):
        if not relevant:
            raise ValueError(f"query {query}: the list of references is empty. Give at least one relevant id.")
        for name, ids in (("predictions", retrieved), ("references", relevant)):
            if None in ids:
                raise ValueError(f"query {query}: an id in {name} is None. Give integers only.")
            if len(set(ids)) < len(ids):
                repeated = next(value for position, value in enumerate(ids) if value in ids[:position])
                raise ValueError(f"query {query}: id {repeated} occurs more than once in {name}. List each id once.")
        if len(retrieved) < reach:
            raise ValueError(
                f"query {query}: {len(retrieved)} predictions are too few for recall at {reach}. Give the best "
                f"{reach}, or use smaller ks."
            )
        relevant = set(relevant)
        ranks[query] = next((rank for rank, value in enumerate(retrieved, 1) if value in relevant), np.inf)
    return ranks


@evaluate.utils.file_utils.add_start_docstrings(_DESCRIPTION, _KWARGS_DESCRIPTION)
class RetrievalRecall(evaluate.Metric):
    retrieval_scores = staticmethod(retrieval_scores)

    def _info(self):
        ids = datasets.Sequence(datasets.Value("int64"))
        return evaluate.MetricInfo(
            description=_DESCRIPTION,
            citation=_CITATION,
            inputs_description=_KWARGS_DESCRIPTION,
            features=datasets.Features({"predictions": ids, "references": ids}),
            reference_urls=["https://github.com/LAION-AI/CLIP_benchmark"],
        )

    def _compute(self, predictions, references, ks=(1, 5, 10), num_candidates=None):
        ks = check_ks(ks)
        ranks = first_relevant_ranks(predictions, references, reach=ks[-1])
        scores = {f"recall_at_{k}": float((ranks <= k).mean()) for k in ks}
        if num_candidates is not None:
            longest = max(len(retrieved) for retrieved in predictions)
            if num_candidates < longest:
                raise ValueError(
                    f"num_candidates is {num_candidates}, but a list of predictions has {longest} ids. Give the size "
                    "of the gallery."
                )
            counts = [len(relevant) for relevant in references]
            scores |= {f"chance_recall_at_{k}": chance_recall_at_k(num_candidates, counts, k) for k in ks}
        median = float(np.median(ranks))
        scores["median_rank"] = median if np.isfinite(median) else None
        return scores
