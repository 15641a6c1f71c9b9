"""Defines recall at k over ranked lists as an `evaluate` metric; README.md in this folder documents it.

Embeddings should not pass through `evaluate`, where 10,000 x 768 values take seconds and gigabytes. Score them with
`retrieval_scores` of `ranking.py`, which is also available as `RetrievalRecall.retrieval_scores`.
"""

from __future__ import annotations

import datasets
import evaluate
import numpy as np

# `evaluate.load` copies only the files that this one imports, and reads a comment behind an import as an address.
from .exact_ranks import rank_candidates, rank_relevant
from .ranking import retrieval_scores
from .ranks import (
    Ranking,
    Ranks,
    average_precision,
    chance_recall_at_k,
    check_ks,
    hit_probability,
    median_rank,
    random_ranking,
    recall_at_k,
)

__all__ = [
    "Ranking", "Ranks", "RetrievalRecall", "average_precision", "chance_recall_at_k", "first_relevant_ranks",
    "hit_probability", "listed_precision", "median_rank", "random_ranking", "rank_candidates", "rank_relevant",
    "recall_at_k", "retrieval_scores",
]  # fmt: skip

_DESCRIPTION = """
Recall at k of a retrieval, the share of queries with at least one relevant candidate among the first k, mean average
precision and median rank. A query can have several relevant candidates. Chance levels are returned as well.
"""

_KWARGS_DESCRIPTION = """
Args:
    predictions: for each query, the ids of the retrieved candidates, best first.
    references: for each query, the ids of all relevant candidates, in any order.
    ks: the cut-offs (default: (1, 5, 10)); each list of predictions needs at least as many ids as the largest one.
    num_candidates: number of candidates in the gallery. If given, chance levels are returned as well.

Returns:
    recall_at_{k}: 0..1.
    map: 0..1, mean average precision; a relevant candidate that a list lacks counts as 0.
    chance_recall_at_{k}, chance_map: 0..1, what is expected of a random order of all candidates.
    median_rank: median over queries of the rank of the first relevant candidate; 1 is best. A query whose list contains
        no relevant candidate has an infinite rank; an infinite median is returned as None.

Example:
    >>> import evaluate
    >>> metric = evaluate.load("org/retrieval_recall")
    >>> metric.compute(predictions=[[4, 7, 1], [2, 9, 5]], references=[[7, 8], [2]], ks=[1, 3])
    {'recall_at_1': 0.5, 'recall_at_3': 1.0, 'map': 0.625, 'median_rank': 1.5}
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


def listed_precision(predictions: list[list[int]], references: list[list[int]]) -> np.ndarray:
    """Returns [Q] float64, the average precision of each list; relevant ids that it lacks count as 0, as in trec_eval.

    Args:
        predictions: retrieved ids per query, best first, each once.
        references: relevant ids per query, at least one.
    """
    found = np.zeros(len(predictions))
    for query, (retrieved, relevant) in enumerate(zip(predictions, references, strict=True)):
        own = set(relevant)
        places = [place for place, value in enumerate(retrieved, 1) if value in own]
        found[query] = sum(number / place for number, place in enumerate(places, 1)) / len(own)
    return found


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
        scores["map"] = float(listed_precision(predictions, references).mean())
        if num_candidates is not None:
            longest = max(len(retrieved) for retrieved in predictions)
            if num_candidates < longest:
                raise ValueError(
                    f"num_candidates is {num_candidates}, but a list of predictions has {longest} ids. Give the size "
                    "of the gallery."
                )
            chance = random_ranking(num_candidates, [len(relevant) for relevant in references])
            scores |= {f"chance_recall_at_{k}": recall_at_k(chance.ranks, k) for k in ks}
            scores["chance_map"] = float(chance.average_precision.mean())
        median = float(np.median(ranks))
        scores["median_rank"] = median if np.isfinite(median) else None
        return scores
