"""Compares the float32 product with an exact second look to a plain ranking in float64, where rounding decides."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch

from evaluation.metrics.retrieval_recall import exact_ranks
from evaluation.metrics.retrieval_recall.ranking import (
    galleries,
    random_ranking,
    rank_candidates,
    rank_relevant,
    retrieval_scores,
)


def rank_in_float64(queries, candidates, relevant):
    """Returns better, tied irrelevant and tied relevant by the definition: float64 sums, rounded to float32."""
    scores = (queries.astype(np.float64) @ candidates.astype(np.float64).T).astype(np.float32)
    found = []
    for row, own in zip(scores, relevant, strict=True):
        is_own = np.isin(np.arange(len(row)), own)
        best = row[is_own].max()
        found.append([np.sum(row[~is_own] > best), np.sum(row[~is_own] == best), np.sum(row[is_own] == best)])
    return np.array(found).T.tolist()


def unit(values):
    return (values / np.linalg.norm(values, axis=1, keepdims=True)).astype(np.float32)


@pytest.fixture
def products(monkeypatch):
    """Counts the products in float64."""
    calls = []
    real = exact_ranks.exact_product
    monkeypatch.setattr(exact_ranks, "exact_product", lambda *args, **more: (calls.append(1), real(*args, **more)))
    return calls


# ---- near-ties and duplicates ----------------------------------------------------------------------------------------


@pytest.fixture
def near_ties():
    """40 queries; beside the own candidate of each stand copies of it and vectors that differ in the last bit."""
    random = np.random.default_rng(5)
    queries, own = unit(random.normal(size=(40, 512))), unit(random.normal(size=(40, 512)))
    up, down, last = (own.copy() for _ in range(3))
    up[:, 7] = np.nextafter(up[:, 7], np.float32(np.inf))
    down[:, 400] = np.nextafter(down[:, 400], np.float32(-np.inf))
    last[:, [3, 90]] = np.nextafter(last[:, [3, 90]], np.float32(1))
    others = unit(random.normal(size=(4000, 512)))
    candidates = np.concatenate([others, own, up, down, own, last])
    return queries, candidates[random.permutation(len(candidates))], own


def test_near_ties_and_duplicates_are_ranked_as_in_float64(near_ties, products):
    queries, candidates, own = near_ties
    copies = [np.flatnonzero((candidates == row).all(axis=1)) for row in own]
    assert {len(found) for found in copies} == {2}
    relevant = [found[:1] for found in copies]
    expected = rank_in_float64(queries, candidates, relevant)
    assert np.stack(rank_candidates(queries, candidates, relevant, chunk_size=16)).tolist() == expected
    assert not products  # the exact second look was enough
    assert min(expected[1]) >= 1  # the copy always ties
    # Rounding decides: a product in float32 alone gives other ranks.
    plain = queries @ candidates.T
    best = np.array([row[own[0]] for row, own in zip(plain, relevant, strict=True)])
    assert np.sum(plain > best[:, None], axis=1).tolist() != expected[0]


@pytest.mark.parametrize("size", [1, 3, 64, 512, 1000])
@pytest.mark.parametrize("spread", [1.0, 1e-3, 1e-6, 0.0])
def test_any_density_of_near_ties(size, spread):
    """From a usual model to one that returns the same embedding for every input."""
    random = np.random.default_rng(size)
    queries = (1 + spread * random.normal(size=(30, size))).astype(np.float32)
    candidates = (1 + spread * random.normal(size=(400, size))).astype(np.float32)
    candidates[200:] = candidates[:200]
    relevant = [random.choice(400, size=1 + row % 3, replace=False) for row in range(30)]
    found = np.stack(rank_candidates(queries, candidates, relevant, chunk_size=7))
    assert found.tolist() == rank_in_float64(queries, candidates, relevant)


def test_a_collapsed_model_is_scored_by_products_in_float64(products):
    same = np.tile(unit(np.random.default_rng(0).normal(size=(1, 256))), (3000, 1))
    ranks = rank_candidates(same[:64], same, [[row] for row in range(64)], chunk_size=16)
    assert (set(ranks.better), set(ranks.tied_irrelevant), len(products)) == ({0}, {2999}, 4)


def test_many_relevant_candidates_are_ranked_as_in_float64(products):
    random = np.random.default_rng(2)
    queries, candidates = unit(random.normal(size=(20, 64))), unit(random.normal(size=(900, 64)))
    candidates[450:] = candidates[:450]
    relevant = [random.choice(900, size=300, replace=False) for _ in range(20)]
    ranking = rank_relevant(queries, candidates, relevant, chunk_size=8)
    assert np.stack(ranking.ranks).tolist() == rank_in_float64(queries, candidates, relevant)
    assert len(products) == 3
    # The same candidates one by one, which takes the other road.
    few = rank_relevant(queries, candidates, [own[:4] for own in relevant], chunk_size=8)
    assert np.stack(few.ranks).tolist() == rank_in_float64(queries, candidates, [own[:4] for own in relevant])


def test_a_relevant_candidate_that_ranks_low():
    """More candidates are above it than are collected at a time."""
    random = np.random.default_rng(8)
    candidates = unit(random.normal(size=(exact_ranks.FEW + 3000, 32)))
    queries = candidates[:4]
    relevant = [[int(np.argmin(candidates @ query))] for query in queries]
    ranks = rank_candidates(queries, candidates, relevant)
    assert np.stack(ranks).tolist() == rank_in_float64(queries, candidates, relevant)
    assert min(ranks.better) > exact_ranks.FEW


@pytest.mark.parametrize("scale", [1e-42, 1e-25, 1e-12, 1e12, 1e18, 1e30])
def test_tiny_and_huge_embeddings(scale):
    random = np.random.default_rng(4)
    queries, candidates = (random.normal(size=(2, 60, 16)) * scale).astype(np.float32)
    relevant = [[row] for row in range(60)]
    with np.errstate(over="ignore"):
        found = np.stack(rank_candidates(queries, candidates, relevant)).tolist()
        assert found == rank_in_float64(queries, candidates, relevant)


def test_the_bound_holds_and_is_not_idle():
    """The worst case of a sum in float32 is within the bound, and near ties are within it, too."""
    for size in (8, 512, 4096):
        queries = np.full((2, size), 0.1, np.float32)  # each rounding is in the same direction
        candidates = np.tile(np.float32([[0.1, 0.3]]), (5, size // 2))
        error = np.abs((queries @ candidates.T) - (queries.astype(np.float64) @ candidates.astype(np.float64).T)).max()
        bound = exact_ranks.error_bounds(queries, candidates)
        assert error < bound.min() < 2 * size * 2**-24 * np.linalg.norm(queries[0]) * np.linalg.norm(candidates[0])


# ---- mean average precision ------------------------------------------------------------------------------------------


def precision_by_definition(order, relevant):
    """The formula of scikit-learn and torchmetrics: the mean over relevant places of the precision down to it."""
    places = [place for place, candidate in enumerate(order, 1) if candidate in relevant]
    return sum(number / place for number, place in enumerate(places, 1)) / len(relevant)


@pytest.mark.parametrize("most", [1, 5, 40])
def test_average_precision_equals_its_definition(most):
    random = np.random.default_rng(most)
    queries, candidates = unit(random.normal(size=(25, 32))), unit(random.normal(size=(150, 32)))
    relevant = [random.choice(150, size=random.integers(1, most + 1), replace=False) for _ in range(25)]
    found = rank_relevant(queries, candidates, relevant, chunk_size=10).average_precision
    orders = np.argsort(-(queries.astype(np.float64) @ candidates.T.astype(np.float64)), axis=1)
    expected = [precision_by_definition(order, set(own)) for order, own in zip(orders, relevant, strict=True)]
    assert found == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("scores", [[3, 2, 2, 2, 1, 1], [1, 1, 1, 1, 1, 1], [5, 4, 3, 2, 1, 0], [2, 2, 1, 1, 0, 0]])
@pytest.mark.parametrize("relevant", [[0], [2], [1, 2], [0, 3, 5], [1, 2, 3], [0, 1, 2, 3, 4, 5]])
def test_average_precision_is_the_mean_over_all_orders_of_ties(scores, relevant):
    orders = [
        order
        for order in itertools.permutations(range(6))
        if sorted(scores, reverse=True) == [scores[i] for i in order]
    ]
    expected = np.mean([precision_by_definition(order, set(relevant)) for order in orders])
    found = rank_relevant(np.ones((1, 1)), np.float32(scores)[:, None], [relevant]).average_precision
    assert found == pytest.approx([expected], rel=1e-12)


def test_chance_is_the_mean_over_all_orders():
    expected = np.mean([precision_by_definition(order, {0, 1}) for order in itertools.permutations(range(5))])
    ranking = random_ranking(5, [2])
    assert ranking.average_precision == pytest.approx([expected], rel=1e-12)
    assert ranking.ranks.expected == pytest.approx([(5 + 1) / (2 + 1)])


# ---- relevance by finding --------------------------------------------------------------------------------------------


def test_the_right_grade_by_another_expert_is_a_hit_by_finding():
    grades = np.arange(40) % 5
    experts = np.arange(40) // 20
    texts = [f"grade {grade}, expert {expert}" for grade, expert in zip(grades, experts, strict=True)]
    # The model knows the grade and writes it as the other expert does.
    images = np.eye(10, dtype=np.float32)[grades + 5 * (1 - experts)]
    embeds = np.eye(10, dtype=np.float32)[grades + 5 * experts]
    scores = retrieval_scores(images, embeds, texts, np.arange(40), ks=[1], findings=grades.tolist())
    assert scores["image_to_text_recall_at_1"] == 0 and scores["finding_image_to_text_recall_at_1"] == 1
    assert scores["chance_image_to_text_recall_at_1"] == pytest.approx(0.1)
    assert scores["chance_finding_image_to_text_recall_at_1"] == pytest.approx(0.2)
    assert (scores["num_texts"], scores["finding_num_texts"], scores["num_findings"]) == (10, 10, 5)
    assert scores["finding_map"] > scores["map"]


def test_findings_by_hand():
    """b has two findings, and the row without one is left out."""
    images, texts = ["a", "b", "b", "c", "d"], ["x", "y", "z", "x", "w"]
    found = galleries(images, texts, ["mild", "mild", "severe", "severe", None])
    assert (found.image_rows.tolist(), found.text_rows.tolist()) == ([0, 1, 3], [0, 1, 2])
    # a: mild; b: mild, severe; c: severe. x: mild, severe; y: mild; z: severe.
    assert [own.tolist() for own in found.relevant_texts] == [[0, 1], [0, 1, 2], [0, 2]]
    assert [own.tolist() for own in found.relevant_images] == [[0, 1, 2], [0, 1], [1, 2]]


def test_without_any_finding_nothing_is_added():
    embeds = np.eye(3, dtype=np.float32)
    plain = retrieval_scores(embeds, embeds, [1, 2, 3], [1, 2, 3])
    assert retrieval_scores(embeds, embeds, [1, 2, 3], [1, 2, 3], findings=[None, float("nan"), None]) == plain


def test_queries_of_one_finding_share_an_array():
    found = galleries(range(1000), range(1000), [row % 4 for row in range(1000)])
    assert len({id(own) for own in found.relevant_texts}) == 4


# ---- inputs ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32, torch.float64])
def test_tensors_of_all_types(dtype):
    values = torch.randn(12, 8, generator=torch.Generator().manual_seed(1)).to(dtype)
    ids = torch.arange(12)
    assert retrieval_scores(values.requires_grad_(), values, ids, ids)["recall_at_1"] == 1


@pytest.mark.parametrize(
    ("ids", "message"),
    [
        ([1, None, 3], "image_ids: the id in row 1 is None. Give each row an id, or leave the row out."),
        ([1.0, 2.0, float("nan")], "image_ids: the id in row 2 is nan"),
        (np.array([np.nan, 2.0, 3.0]), "image_ids: the id in row 0 is nan"),
        (["1", 1, "2"], "image_ids: the id in row 1 is 1, of type int. Give texts only, or numbers only."),
        ([(1,), (2,), (3,)], r"image_ids: the id in row 0 is \(1,\), of type tuple"),
    ],
)
def test_ids_that_are_none_nan_or_mixed_are_refused(ids, message):
    with pytest.raises(ValueError, match=message):
        retrieval_scores(np.eye(3), np.eye(3), [1, 2, 3], ids)


def test_findings_of_another_length_or_of_several_types_are_refused():
    for findings, message in (
        ([1, 2], "differ in length.*'findings': 2"),
        ([1, "a", None], "findings: the id in row 1"),
    ):
        with pytest.raises(ValueError, match=message):
            retrieval_scores(np.eye(3), np.eye(3), [1, 2, 3], [1, 2, 3], findings=findings)
