"""Compares ranks, ties, chance levels and retrieval scores with hand-made matrices and naive loops."""

from __future__ import annotations

import itertools
import math
from fractions import Fraction

import numpy as np
import pytest

from evaluation.metrics.retrieval_recall.ranking import (
    Ranks,
    chance_recall_at_k,
    hit_probability,
    median_rank,
    rank_candidates,
    recall_at_k,
    retrieval_scores,
)

DIRECTIONS = ("image_to_text", "text_to_image")


def rank_scores(scores, relevant, **kwargs):
    """Ranks an explicit score matrix [Q, C]; query i is the i-th unit vector."""
    scores = np.asarray(scores, dtype=np.float32)
    return rank_candidates(np.eye(len(scores), dtype=np.float32), scores.T, relevant, **kwargs)


def to_lists(ranks):
    return np.stack(ranks).T.tolist()


def rank_naively(queries, candidates, relevant):
    """Computes the ranks by their definition, one pair at a time, with exact sums rounded to float32."""
    result = []
    for query, targets in zip(queries, relevant, strict=True):
        scores = [
            np.float32(math.fsum(float(x) * float(y) for x, y in zip(query, candidate, strict=True)))
            for candidate in candidates
        ]
        best = max(scores[index] for index in targets)
        better = tied_irrelevant = tied_relevant = 0
        for index, score in enumerate(scores):
            better += index not in targets and score > best
            tied_irrelevant += index not in targets and score == best
            tied_relevant += index in targets and score == best
        result.append([better, tied_irrelevant, tied_relevant])
    return result


# ---- ranks and ties --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("relevant", "better_and_ties", "expected_rank", "hits"),
    [
        ([0], [0, 0, 1], 1.0, [1, 1, 1, 1]),
        ([3], [3, 0, 1], 4.0, [0, 0, 0, 1]),
        ([1], [1, 1, 1], 2.5, [0, 0.5, 1, 1]),
        ([2, 1], [1, 0, 2], 2.0, [0, 1, 1, 1]),
        ([3, 0], [0, 0, 1], 1.0, [1, 1, 1, 1]),  # only the best relevant candidate counts
        ([3, 2], [1, 1, 1], 2.5, [0, 0.5, 1, 1]),
    ],
)
def test_a_hand_made_row(relevant, better_and_ties, expected_rank, hits):
    ranks = rank_scores([[0.9, 0.5, 0.5, 0.1]], [relevant])
    assert to_lists(ranks) == [better_and_ties]
    assert ranks.expected.tolist() == [expected_rank]
    assert [hit_probability(ranks, k)[0] for k in (1, 2, 3, 4)] == pytest.approx(hits)


def test_a_hand_made_matrix():
    ranks = rank_scores([[3, 2, 1], [3, 2, 1], [1, 2, 3], [2, 2, 2]], [[0], [2], [1, 0], [1]])
    assert ranks.expected.tolist() == [1, 3, 2, 2]
    assert recall_at_k(ranks, 1) == pytest.approx((1 + 0 + 0 + 1 / 3) / 4)
    assert recall_at_k(ranks, 2) == pytest.approx((1 + 0 + 1 + 2 / 3) / 4)
    assert recall_at_k(ranks, 3) == 1
    assert median_rank(ranks) == 2


@pytest.mark.parametrize(("irrelevant", "relevant"), [(0, 1), (1, 1), (4, 1), (3, 2), (2, 3), (0, 3), (5, 2)])
def test_ties_give_the_mean_over_all_orders(irrelevant, relevant):
    better = 2
    firsts = [
        1 + better + next(place for place, candidate in enumerate(order) if candidate < relevant)
        for order in itertools.permutations(range(irrelevant + relevant))
    ]
    ranks = Ranks(*(np.array([count]) for count in (better, irrelevant, relevant)))
    assert ranks.expected[0] == pytest.approx(np.mean(firsts))
    for k in range(1, better + irrelevant + relevant + 2):
        assert hit_probability(ranks, k)[0] == pytest.approx(np.mean([first <= k for first in firsts])), k


@pytest.mark.parametrize("seed", range(5))
def test_ranks_equal_those_of_a_double_loop(seed):
    random = np.random.default_rng(seed)
    queries = random.integers(-2, 3, size=(23, 3)).astype(np.float32)
    candidates = random.integers(-2, 3, size=(17, 3)).astype(np.float32)
    relevant = [random.choice(17, size=random.integers(1, 6), replace=False).tolist() for _ in queries]
    found = to_lists(rank_candidates(queries, candidates, relevant, chunk_size=4))
    assert found == rank_naively(queries, candidates, relevant)
    # The data contains ties of both kinds.
    assert sum(tied for _, tied, _ in found) > 0 and max(tied for *_, tied in found) > 1


def test_ranks_equal_those_of_a_double_loop_for_real_valued_duplicates():
    random = np.random.default_rng(7)
    queries = random.normal(size=(9, 33)).astype(np.float32)
    candidates = random.normal(size=(5, 33)).astype(np.float32)[random.integers(0, 5, size=41)]
    relevant = [[row, 40 - row] for row in range(9)]
    found = to_lists(rank_candidates(queries, candidates, relevant))
    assert found == rank_naively(queries, candidates, relevant)
    assert min(tied for _, tied, _ in found) > 0


@pytest.mark.parametrize("chunk_size", [1, 3, 10, 29, 1000])
def test_the_chunk_size_does_not_change_ranks(chunk_size):
    random = np.random.default_rng(3)
    queries = random.normal(size=(29, 768)).astype(np.float32)
    candidates = random.normal(size=(11, 768)).astype(np.float32)[random.integers(0, 11, size=83)]
    relevant = [random.choice(83, size=1 + row % 4, replace=False) for row in range(29)]
    whole = rank_candidates(queries, candidates, relevant, chunk_size=29)
    assert to_lists(rank_candidates(queries, candidates, relevant, chunk_size=chunk_size)) == to_lists(whole)


@pytest.mark.parametrize("rows", [7, 83, 1000])
def test_a_collapsed_model_scores_the_chance_level(rows):
    random = np.random.default_rng(rows)
    images, texts = np.tile(random.normal(size=(2, 1, 768)).astype(np.float32), (1, rows, 1))
    scores = retrieval_scores(images, texts, np.arange(rows) // 2, np.arange(rows), ks=[1, 3], chunk_size=5)
    for name in [f"{prefix}recall_at_{k}" for k in (1, 3) for prefix in ("", "image_to_text_", "text_to_image_")]:
        assert scores[name] == pytest.approx(scores[f"chance_{name}"], rel=1e-12, abs=0)
        assert 0 < scores[name] < 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"relevant": [[0], []]}, "query 1: the list of relevant candidates is empty"),
        ({"relevant": [[0], [1, 3]]}, "query 1: candidate 3 is out of range. Use 0 to 2"),
        ({"relevant": [[-1], [1]]}, "query 0: candidate -1"),
        ({"relevant": [[0], [2, 1, 2]]}, "query 1: candidate 2 is listed more than once"),
        ({"relevant": [[0]]}, "1 lists for 2 queries"),
        ({"query_embeds": np.ones((2, 5))}, "5 dimensions and candidate_embeds 4"),
        ({"query_embeds": np.ones(4)}, r"has the shape \[4\]\. Give \[rows, dimensions\]"),
        ({"candidate_embeds": np.ones((0, 4))}, r"has the shape \[0, 4\]\. Give \[rows, dimensions\]"),
        (
            {"candidate_embeds": np.full((3, 4), np.nan)},
            r"candidate_embeds has NaN or infinity in 3 row\(s\), first in row 0",
        ),
        ({"query_embeds": [[0, 0, 0, 0], [0, 0, np.inf, 0]]}, r"query_embeds has NaN .* in 1 row\(s\), first in row 1"),
        ({"chunk_size": 0}, "chunk_size"),
    ],
)
def test_rank_candidates_refuses_invalid_arguments(arguments, message):
    valid = {"query_embeds": np.ones((2, 4)), "candidate_embeds": np.ones((3, 4)), "relevant": [[0], [1]]}
    rank_candidates(**valid)
    with pytest.raises(ValueError, match=message):
        rank_candidates(**{**valid, **arguments})


# ---- chance ----------------------------------------------------------------------------------------------------------


def test_chance_is_the_mean_over_all_choices():
    for candidates in range(1, 8):
        for relevant, k in itertools.product(range(1, candidates + 1), repeat=2):
            draws = list(itertools.combinations(range(candidates), k))
            share = sum(any(index < relevant for index in draw) for draw in draws) / len(draws)
            assert chance_recall_at_k(candidates, [relevant], k) == pytest.approx(share), (candidates, relevant, k)
    assert chance_recall_at_k(5, [1], 6) == 1


@pytest.mark.parametrize(
    ("candidates", "relevant", "k"), [(10**6, 1, 1), (10**6, 3, 10), (5000, 37, 10), (2000, 1500, 900), (9000, 2, 8999)]
)
def test_chance_is_accurate_to_twelve_digits(candidates, relevant, k):
    exact = 1 - Fraction(math.comb(candidates - relevant, k), math.comb(candidates, k))
    assert chance_recall_at_k(candidates, [relevant], k) == pytest.approx(float(exact), rel=1e-12, abs=0)


def test_chance_is_a_mean_over_valid_queries():
    assert chance_recall_at_k(10, [1, 4], 1) == pytest.approx(0.25)
    with pytest.raises(ValueError, match="query 1: 11 relevant candidates, but the gallery has 10"):
        chance_recall_at_k(10, [1, 11], 1)
    with pytest.raises(ValueError, match="k is 0"):
        chance_recall_at_k(10, [1], 0)


# ---- both directions -------------------------------------------------------------------------------------------------


def test_a_perfect_model_reaches_full_recall_despite_equal_texts():
    grades = np.arange(83) % 5
    embeds = np.eye(5, dtype=np.float32)[grades]
    scores = retrieval_scores(embeds, embeds, grades, np.arange(83))
    assert (scores["num_images"], scores["num_texts"]) == (83, 5)
    for direction in DIRECTIONS:
        assert scores[f"{direction}_recall_at_1"] == scores[f"{direction}_median_rank"] == 1
    # Chance for one of five texts, and for a cut-off that is not smaller than the gallery.
    assert scores["chance_image_to_text_recall_at_1"] == pytest.approx(0.2)
    assert scores["chance_image_to_text_recall_at_5"] == scores["chance_image_to_text_recall_at_10"] == 1

    # If only the text of the same row were relevant, the same model could not score higher than this.
    by_row = rank_candidates(embeds, embeds, [[row] for row in range(83)])
    assert [recall_at_k(by_row, k) for k in (1, 5, 10)] == pytest.approx([5 / 83, 25 / 83, 50 / 83])


@pytest.fixture
def shared_pairs():
    """Pairs of the images A, B, C and the texts x, y, z; A and C have two texts, y belongs to all three images.

    cosine    x    y    z     its texts   ranked first    cosine   its images   ranked first
    A       1.0  0.0  0.0     x, y        x, rank 1       x        A            A, rank 1
    B       0.0  0.6  0.8     y           z, then y       y        A, B, C      B or C, rank 1
    C       0.8  0.6  0.0     y, z        x, then y       z        C            B, then C tied with A
    """
    cosine = {"A": [1, 0, 0], "B": [0, 0.6, 0.8], "C": [0.8, 0.6, 0]}
    rows = [("A", "x"), ("A", "y"), ("B", "y"), ("C", "z"), ("C", "y")]
    return {
        "image_embeds": np.float32([cosine[image] for image, _ in rows]),
        "text_embeds": np.float32([np.eye(3)["xyz".index(text)] for _, text in rows]),
        "image_ids": [image for image, _ in rows],
        "text_ids": [text for _, text in rows],
    }


def test_all_partners_are_relevant_in_both_directions(shared_pairs):
    scores = retrieval_scores(**shared_pairs, ks=[2, 1])
    chance = {
        "chance_image_to_text_recall_at_1": (2 / 3 + 1 / 3 + 2 / 3) / 3,  # A: x, y; B: y; C: y, z
        "chance_image_to_text_recall_at_2": (1 + 2 / 3 + 1) / 3,
        "chance_text_to_image_recall_at_1": (1 / 3 + 1 + 1 / 3) / 3,  # x: A; y: A, B, C; z: C
        "chance_text_to_image_recall_at_2": (2 / 3 + 1 + 2 / 3) / 3,
    }
    recall = {
        "image_to_text_recall_at_1": 1 / 3,  # A x; B z before y; C x before y
        "image_to_text_recall_at_2": 1,
        "text_to_image_recall_at_1": 2 / 3,  # x A; y any; z B, then A and C tie
        "text_to_image_recall_at_2": (1 + 1 + 1 / 2) / 3,
    }
    means = {
        f"{prefix}recall_at_{k}": sum((chance | recall)[f"{prefix}{name}_recall_at_{k}"] for name in DIRECTIONS) / 2
        for k in (1, 2)
        for prefix in ("", "chance_")
    }
    medians = {"image_to_text_median_rank": 2, "text_to_image_median_rank": 1}
    # (n + 1) / (p + 1) for p relevant of n: 4 / 3, 2, 4 / 3 for A, B, C and 2, 1, 2 for x, y, z.
    medians |= {"chance_image_to_text_median_rank": 4 / 3, "chance_text_to_image_median_rank": 2}
    precision = {
        "image_to_text_map": ((1 + (1 + 2 / 3) / 2) / 2 + 1 / 2 + (1 / 2 + 2 / 3) / 2) / 3,  # A: y and z tie
        "text_to_image_map": (1 + 1 + (1 / 2 + 1 / 3) / 2) / 3,  # z: C ties with A for the second place
    }
    # In a random order of three, one relevant candidate has (1 + 1 / 2 + 1 / 3) / 3, and two have (1 + 2 * 5 / 6) / 3.
    one, two = 11 / 18, (1 + (1 + 2 / 3) / 2 + (1 / 2 + 2 / 3) / 2) / 3
    precision |= {"chance_image_to_text_map": (two + one + two) / 3, "chance_text_to_image_map": (one + 1 + one) / 3}
    means |= {
        f"{prefix}map": sum(precision[f"{prefix}{name}_map"] for name in DIRECTIONS) / 2 for prefix in ("", "chance_")
    }
    assert scores == pytest.approx(chance | recall | means | medians | precision | {"num_images": 3, "num_texts": 3})
    assert all(type(value) in (int, float) for value in scores.values())  # JSON needs plain numbers


def test_scores_do_not_depend_on_order_repetition_norm_or_names(shared_pairs):
    scores = retrieval_scores(**shared_pairs)
    rows = [4, 0, 3, 2, 1, 2, 2, 0]
    norms = np.float32([[4], [1], [0.5], [2], [8], [1], [2], [1]])
    changed = {
        "image_embeds": shared_pairs["image_embeds"][rows] * norms,
        "text_embeds": shared_pairs["text_embeds"][rows] * norms,
        "image_ids": ["ABC".index(shared_pairs["image_ids"][row]) - 9 for row in rows],
        "text_ids": np.array([ord(shared_pairs["text_ids"][row]) for row in rows]),
    }
    assert retrieval_scores(**changed) == pytest.approx(scores)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"image_ids": [0, 1]}, "differ in length.*'image_ids': 2"),
        ({"text_embeds": np.ones((2, 4))}, "differ in length"),
        ({"text_embeds": np.ones((3, 5))}, "dimensions"),
        ({"image_embeds": np.full((3, 4), np.nan)}, "image_embeds has NaN or infinity"),
        ({"image_embeds": np.ones((0, 4))}, r"image_embeds has the shape \[0, 4\]"),
        ({"ks": []}, r"ks is \[\]. Give one or more positive integers"),
        ({"ks": [0, 1]}, r"ks is \[0, 1\]. Give one or more positive integers"),
        ({"ks": [1.5]}, r"ks is \[1.5\]. Give one or more positive integers"),
    ],
)
def test_retrieval_scores_refuses_invalid_arguments(arguments, message):
    ids = [0, 1, 2]
    valid = {"image_embeds": np.ones((3, 4)), "text_embeds": np.ones((3, 4)), "text_ids": ids, "image_ids": ids}
    retrieval_scores(**valid)
    with pytest.raises(ValueError, match=message):
        retrieval_scores(**{**valid, **arguments})
