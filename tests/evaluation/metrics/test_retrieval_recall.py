"""Checks recall at k over ranked lists as an `evaluate` metric, and the Space."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

from evaluation.metrics.retrieval_recall.ranking import median_rank, rank_candidates, rank_relevant, recall_at_k

# The mean average precision of one and of two relevant candidates in all orders of ten.
CHANCE_OF_ONE = np.mean([1 / place for place in range(1, 11)])
CHANCE_OF_TWO = np.mean([(1 / first + 2 / second) / 2 for first, second in itertools.combinations(range(1, 11), 2)])


@pytest.fixture(scope="module")
def metric():
    from evaluation.metrics.retrieval_recall.retrieval_recall import RetrievalRecall

    return RetrievalRecall(keep_in_memory=True)


def test_compute_returns_recall_chance_and_median_rank(metric):
    scores = metric.compute(
        predictions=[[4, 7, 1], [2, 9, 5], [3, 8, 6]], references=[[7, 8], [2], [4]], ks=[3, 1], num_candidates=10
    )
    chance_at_3 = [1 - math.comb(8, 3) / math.comb(10, 3), 3 / 10, 3 / 10]
    assert scores == pytest.approx(
        {
            "recall_at_1": 1 / 3,
            "recall_at_3": 2 / 3,
            "chance_recall_at_1": (2 + 1 + 1) / 30,
            "chance_recall_at_3": sum(chance_at_3) / 3,
            # 7 is found at place 2 and 8 is not, 2 at place 1, and 4 is not found.
            "map": ((1 / 2 + 0) / 2 + 1 + 0) / 3,
            "chance_map": (CHANCE_OF_TWO + 2 * CHANCE_OF_ONE) / 3,
            "median_rank": 2,
        }
    )


def test_compute_accepts_batches_and_has_default_cut_offs(metric):
    metric.add_batch(predictions=np.arange(20).reshape(2, 10), references=[[4], [19]])
    metric.add(prediction=list(range(12)), reference=[0])
    assert metric.compute() == pytest.approx(
        {
            "recall_at_1": 1 / 3,
            "recall_at_5": 2 / 3,
            "recall_at_10": 1,
            "map": (1 / 5 + 1 / 10 + 1) / 3,
            "median_rank": 5,
        }
    )


def test_an_infinite_median_rank_is_none(metric):
    lost = {"predictions": [[1, 2], [1, 2]], "references": [[3], [4]], "ks": [1]}
    assert metric.compute(**lost) == {"recall_at_1": 0, "map": 0, "median_rank": None}


def test_compute_agrees_with_ranks_from_embeddings(metric):
    random = np.random.default_rng(11)
    queries, candidates = random.normal(size=(2, 40, 16)).astype(np.float32)
    relevant = [random.choice(40, size=1 + row % 3, replace=False).tolist() for row in range(40)]
    ranks = rank_candidates(queries, candidates, relevant)
    order = np.argsort(-(queries.astype(np.float64) @ candidates.T), axis=1)
    scores = metric.compute(predictions=order, references=relevant, num_candidates=40)
    assert scores["median_rank"] == median_rank(ranks)
    assert scores["map"] == pytest.approx(rank_relevant(queries, candidates, relevant).average_precision.mean())
    for k in (1, 5, 10):
        assert scores[f"recall_at_{k}"] == pytest.approx(recall_at_k(ranks, k))
        assert 0 < scores[f"recall_at_{k}"] < 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"references": [[1], []]}, "query 1: the list of references is empty"),
        ({"predictions": [[1, 2, 3], [1, 2]]}, "query 1: 2 predictions are too few for recall at 3"),
        ({"predictions": [[1, 2, 3], [1, 2, 1]]}, "query 1: id 1 occurs more than once in predictions"),
        ({"references": [[4, 4], [1]]}, "query 0: id 4 occurs more than once in references"),
        ({"predictions": [[1, 2, None], [1, 2, 3]]}, "query 0: an id in predictions is None"),
        ({"num_candidates": 2}, "num_candidates is 2, but a list of predictions has 3"),
        (
            {"references": [[1, 2, 3, 4], [1]], "num_candidates": 3},
            "query 0: 4 relevant candidates, but the gallery has 3",
        ),
        ({"ks": [0]}, r"ks is \[0\]\. Give one or more positive integers"),
        ({"predictions": [], "references": []}, "There are no queries"),
        ({"references": [[1]]}, "Mismatch in the number of predictions"),
    ],
)
def test_compute_refuses_invalid_queries_and_stays_usable(metric, arguments, message):
    valid = {"predictions": [[1, 2, 3], [1, 2, 3]], "references": [[1], [2]], "ks": [1, 3]}
    with pytest.raises(ValueError, match=message):
        metric.compute(**{**valid, **arguments})
    # No queries of the refused call remain.
    assert metric.compute(**valid) == {"recall_at_1": 0.5, "recall_at_3": 1, "map": 0.75, "median_rank": 1.5}


@pytest.mark.slow
def test_the_folder_is_a_complete_space(check_space):
    assert check_space("retrieval_recall") == pytest.approx(
        {
            "recall_at_1": 0.5,
            "recall_at_3": 1,
            "chance_recall_at_1": 0.15,
            "chance_recall_at_3": 5 / 12,
            "map": (1 / 2 / 2 + 1) / 2,
            "chance_map": (CHANCE_OF_TWO + CHANCE_OF_ONE) / 2,
            "median_rank": 1.5,
        }
    )
