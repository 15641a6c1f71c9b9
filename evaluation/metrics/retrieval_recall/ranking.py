"""Computes the rank of the first relevant candidate of each query, recall at k, median rank and chance levels.

It uses only NumPy, so that a training loop can score embeddings without the slow `import evaluate`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np


class Ranks(NamedTuple):
    """The position of the best relevant candidate of each query, and the candidates that are tied with it.

    Attributes:
        better: [Q] int64, number of irrelevant candidates that score higher than the best relevant one.
        tied_irrelevant: [Q] int64, number of irrelevant candidates with exactly its score.
        tied_relevant: [Q] int64, number of relevant candidates with exactly its score, itself included (at least 1).
    """

    better: np.ndarray
    tied_irrelevant: np.ndarray
    tied_relevant: np.ndarray

    @property
    def expected(self) -> np.ndarray:
        """[Q] float64, the 1-based rank of the first relevant candidate, averaged over all orders of tied candidates.

        In a random order, r tied relevant candidates divide the t tied irrelevant ones into r + 1 groups of equal
        expected size, the first of which precedes the first relevant candidate: 1 + better + t / (r + 1).
        """
        return 1 + self.better + self.tied_irrelevant / (self.tied_relevant + 1)


def rank_candidates(
    query_embeds: np.ndarray,
    candidate_embeds: np.ndarray,
    relevant: Sequence[Sequence[int]],
    chunk_size: int = 256,
) -> Ranks:
    """Ranks all candidates for each query by dot product and finds the best relevant one.

    Embeddings are converted to float32. A score is their dot product, accumulated in float64 and rounded to float32, so
    equal embeddings always tie, and the result depends neither on `chunk_size` nor on the summation order of the matrix
    product. In a float32 product, the scores of equal columns could differ in the last bit, and a model that returns
    the same embedding for every input would get arbitrary ranks instead of ties.

    Args:
        query_embeds: [Q, D].
        candidate_embeds: [C, D].
        relevant: for each query, the indices of its relevant candidates, each once, in any order.
        chunk_size: number of queries scored at a time. Memory is about 8 * C * D + 14 * chunk_size * C bytes.

    Raises:
        ValueError: shapes do not match, a value is not finite, a query has no relevant candidate, or an index is out of
            range or repeated. The message names the query.
    """
    if chunk_size < 1:
        raise ValueError(f"chunk_size is {chunk_size}. Use at least 1.")
    queries = _as_embeddings("query_embeds", query_embeds)
    candidates = _as_embeddings("candidate_embeds", candidate_embeds).astype(np.float64)
    if queries.shape[1] != candidates.shape[1]:
        raise ValueError(
            f"query_embeds has {queries.shape[1]} dimensions and candidate_embeds {candidates.shape[1]}. Give "
            "embeddings of the same width."
        )
    columns, first = _flatten_relevant(relevant, len(queries), len(candidates))

    better, tied_irrelevant, tied_relevant = np.zeros((3, len(queries)), dtype=np.int64)
    for start in range(0, len(queries), chunk_size):
        stop = min(start + chunk_size, len(queries))
        # (B, D) @ (D, C) -> (B, C)
        scores = (queries[start:stop].astype(np.float64) @ candidates.T).astype(np.float32)

        # The scores of the chunk's relevant candidates in one flat array, ordered by query; `begins` holds the offset
        # of each query in it, and `rows` the query of each score.
        begins = first[start:stop] - first[start]
        rows = np.repeat(np.arange(stop - start), np.diff(first[start : stop + 1]))
        relevant_scores = scores[rows, columns[first[start] : first[stop]]]
        best = np.maximum.reduceat(relevant_scores, begins)

        relevant_at_best = np.add.reduceat(relevant_scores == best[rows], begins, dtype=np.int64)
        tied_relevant[start:stop] = relevant_at_best
        tied_irrelevant[start:stop] = np.count_nonzero(scores == best[:, None], axis=1) - relevant_at_best
        # All candidates above the best relevant one are irrelevant.
        better[start:stop] = np.count_nonzero(scores > best[:, None], axis=1)
    return Ranks(better, tied_irrelevant, tied_relevant)


def hit_probability(ranks: Ranks, k: int) -> np.ndarray:
    """Returns the probability that a relevant candidate is among the first k if ties are broken at random.

    Without ties it is 0 or 1. With m = k - better places left for t irrelevant and r relevant tied candidates, all m
    are irrelevant in C(t, m) of C(t + r, m) cases. This is the product over i < m of 1 - r / (t + r - i), computed as a
    sum of logarithms so that a probability of one in a million keeps all its digits.

    Returns:
        [Q] float64 in 0..1.

    Raises:
        ValueError: k is less than 1.
    """
    if k < 1:
        raise ValueError(f"k is {k}. Use at least 1.")
    places = k - ranks.better
    log_miss = np.zeros(len(ranks.better))
    for i in range(min(k, int(ranks.tied_irrelevant.max()) + 1)):
        irrelevant = np.maximum(ranks.tied_irrelevant - i, 0)
        relevant_next = ranks.tied_relevant / (irrelevant + ranks.tied_relevant)  # 1 if none is left
        with np.errstate(divide="ignore"):  # log(0) = -inf is a certain hit
            log_miss += np.where(i < places, np.log1p(-relevant_next), 0.0)
    return 0.0 - np.expm1(log_miss)


def recall_at_k(ranks: Ranks, k: int) -> float:
    """Returns the share of queries, 0..1, with a relevant candidate among the first k (CLIP_benchmark's hit rate)."""
    return float(hit_probability(ranks, k).mean())


def median_rank(ranks: Ranks) -> float:
    """Returns the median over queries of the expected rank of the first relevant candidate; 1.0 is best."""
    return float(np.median(ranks.expected))


def chance_recall_at_k(num_candidates: int, num_relevant: Sequence[int] | np.ndarray, k: int) -> float:
    """Returns `recall_at_k` of a random order: the mean of 1 - C(n - p, k) / C(n, k) with p relevant of n candidates.

    Args:
        num_candidates: n, the size of the gallery. For k >= n the result is 1.
        num_relevant: [Q], p of each query.
        k: the cut-off.

    Raises:
        ValueError: k is less than 1, or a query has no relevant candidate or more than n. The message names the query.
    """
    num_relevant = np.asarray(num_relevant, dtype=np.int64)
    wrong = np.flatnonzero((num_relevant < 1) | (num_relevant > num_candidates))
    if wrong.size:
        query = int(wrong[0])
        raise ValueError(
            f"query {query}: {num_relevant[query]} relevant candidates, but the gallery has {num_candidates}. Give at "
            "least one, and not more than the gallery has."
        )
    # In a random order, all candidates are tied.
    return recall_at_k(Ranks(np.zeros_like(num_relevant), num_candidates - num_relevant, num_relevant), k)


def retrieval_scores(
    image_embeds: np.ndarray,
    text_embeds: np.ndarray,
    text_ids: Sequence[int] | Sequence[str],
    image_ids: Sequence[int] | Sequence[str],
    ks: Sequence[int] = (1, 5, 10),
    chunk_size: int = 256,
) -> dict[str, float | int]:
    """Scores N image-text pairs as retrieval in both directions, with the chance level of every recall.

    Each row is one pair. Medical captions repeat: all knee radiographs of one grade, for example, have the same text.
    If only the text of the same row were relevant, a perfect model would have to guess among equal texts: on 83
    radiographs with five texts it could reach at most 5 / 83 = 6 % recall at 1, 30 % at 5 and 60 % at 10. The galleries
    therefore contain each distinct text and each distinct image once, each distinct image and text is a query once, and
    all its partners are relevant. If an id occurs in several rows, the embedding of its first row is used.

    Embeddings are normalized here, so similarity is the cosine. See `rank_candidates` for ties and precision.

    Args:
        image_embeds: [N, D] float32.
        text_embeds: [N, D] float32.
        text_ids: [N], equal for equal texts.
        image_ids: [N], equal for equal images.
        ks: cut-offs. If k is at least the size of a gallery, recall and its chance level are 1.
        chunk_size: as in `rank_candidates`.

    Returns:
        `recall_at_{k}` and `chance_recall_at_{k}` (means of the two directions), the same with `image_to_text_` and
        `text_to_image_` (after `chance_`) for one direction, `image_to_text_median_rank`,
        `text_to_image_median_rank`, and the numbers of distinct images and texts, `num_images` and `num_texts`. Recalls
        are in 0..1.

    Raises:
        ValueError: shapes do not match, there are no pairs, a value is not finite, or a k is not a positive integer.
    """
    ks = check_ks(ks)
    images, texts = _as_embeddings("image_embeds", image_embeds), _as_embeddings("text_embeds", text_embeds)
    sizes = {
        "image_embeds": len(images),
        "text_embeds": len(texts),
        "text_ids": len(text_ids),
        "image_ids": len(image_ids),
    }
    if len(set(sizes.values())) > 1:
        raise ValueError(f"The arguments differ in length: {sizes}. Give one row per image-text pair in each of them.")

    _, image_rows, image_index = np.unique(np.asarray(image_ids), return_index=True, return_inverse=True)
    _, text_rows, text_index = np.unique(np.asarray(text_ids), return_index=True, return_inverse=True)
    images, texts = _normalize(images[image_rows]), _normalize(texts[text_rows])
    pairs = np.unique(np.stack([image_index, text_index], axis=1), axis=0)  # (P, 2), sorted by image
    by_text = pairs[np.argsort(pairs[:, 1], kind="stable")]

    scores: dict[str, float] = {}
    for name, queries, candidates, sorted_pairs, query_column in (
        ("image_to_text", images, texts, pairs, 0),
        ("text_to_image", texts, images, by_text, 1),
    ):
        num_relevant = np.bincount(sorted_pairs[:, query_column], minlength=len(queries))
        relevant = np.split(sorted_pairs[:, 1 - query_column], np.cumsum(num_relevant)[:-1])
        ranks = rank_candidates(queries, candidates, relevant, chunk_size)
        for k in ks:
            scores[f"{name}_recall_at_{k}"] = recall_at_k(ranks, k)
            scores[f"chance_{name}_recall_at_{k}"] = chance_recall_at_k(len(candidates), num_relevant, k)
        scores[f"{name}_median_rank"] = median_rank(ranks)

    both: dict[str, float] = {}
    for k in ks:
        for prefix in ("", "chance_"):
            directions = [scores[f"{prefix}{name}_recall_at_{k}"] for name in ("image_to_text", "text_to_image")]
            both[f"{prefix}recall_at_{k}"] = sum(directions) / 2
    return both | scores | {"num_images": len(images), "num_texts": len(texts)}


def check_ks(ks: Sequence[int]) -> list[int]:
    """Returns the distinct cut-offs in increasing order. Raises ValueError unless they are positive integers."""
    values = sorted({int(k) for k in ks})
    if not values or values[0] < 1 or any(int(k) != k for k in ks):
        raise ValueError(f"ks is {list(ks)}. Give one or more positive integers.")
    return values


def _as_embeddings(name: str, values: np.ndarray) -> np.ndarray:
    """Returns the embeddings as [N, D] float32.

    Raises:
        ValueError: the shape is wrong or a value is not finite. NaN compares as neither better nor tied, so it would
            otherwise give a perfect rank.
    """
    embeds = np.asarray(values, dtype=np.float32)
    if embeds.ndim != 2 or 0 in embeds.shape:
        raise ValueError(
            f"{name} has the shape {list(embeds.shape)}. Give [rows, dimensions] with at least one of each."
        )
    bad = np.flatnonzero(~np.isfinite(embeds).all(axis=1))
    if bad.size:
        raise ValueError(
            f"{name} has NaN or infinity in {bad.size} row(s), first in row {bad[0]}. Check the weights and the "
            "precision of the model."
        )
    return embeds


def _normalize(embeds: np.ndarray) -> np.ndarray:
    """Scales rows to unit length; a row of zeros stays zero."""
    norms = np.linalg.norm(embeds.astype(np.float64), axis=1, keepdims=True)
    return (embeds / np.maximum(norms, np.finfo(np.float32).tiny)).astype(np.float32)


def _flatten_relevant(relevant: Sequence[Sequence[int]], num_queries: int, num_candidates: int):
    """Flattens the lists of relevant candidates to one array [P], with the offsets [Q + 1] of the queries in it.

    Raises:
        ValueError: a query has no list or an empty one, or an index is out of range or repeated.
    """
    if len(relevant) != num_queries:
        raise ValueError(f"relevant has {len(relevant)} lists for {num_queries} queries. Give one list per query.")
    counts = np.fromiter((len(indices) for indices in relevant), dtype=np.int64, count=num_queries)
    if not counts.all():
        raise ValueError(
            f"query {np.flatnonzero(counts == 0)[0]}: the list of relevant candidates is empty. Give at least one."
        )
    columns = np.concatenate([np.asarray(indices, dtype=np.int64) for indices in relevant])
    queries = np.repeat(np.arange(num_queries), counts)
    outside = np.flatnonzero((columns < 0) | (columns >= num_candidates))
    if outside.size:
        place = outside[0]
        raise ValueError(
            f"query {queries[place]}: candidate {columns[place]} is out of range. Use 0 to {num_candidates - 1}."
        )
    # query * C + candidate is a unique number per pair.
    cells, occurrences = np.unique(queries * num_candidates + columns, return_counts=True)
    if (occurrences > 1).any():
        query, column = divmod(int(cells[occurrences > 1][0]), num_candidates)
        raise ValueError(f"query {query}: candidate {column} is listed more than once. List each candidate once.")
    return columns, np.concatenate([[0], np.cumsum(counts)])
