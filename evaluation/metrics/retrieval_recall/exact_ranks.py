"""Ranks all candidates for each query by dot product: a float32 product, and an exact second look at near-ties.

A score is the dot product of two float32 embeddings, accumulated in float64 and rounded to float32. Equal embeddings
therefore always tie, and the result depends neither on the size of a chunk nor on the order in which a matrix product
sums. A product in float32 is twice as fast and has neither property: the scores of equal columns can differ in the last
bits, so a model that returns the same embedding for every input would get arbitrary ranks instead of ties. It decides
almost all comparisons nevertheless, because its error has a bound. The rest is decided exactly:

1. The scores of the relevant candidates, which are few, are computed in float64.
2. One float32 product scores a chunk of queries against all candidates. A candidate whose score differs from a relevant
   one by more than the bound is above or below it.
3. The others, some dozen of 100,000 candidates, are scored in float64.

If a query has many relevant candidates or near-ties, as after a collapse of the model, step 3 would cost more than a
product in float64. The scores of the chunk then come from such a product.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from .ranks import Ranking, Ranks, average_precision

UNIT_ROUNDOFF = 2.0**-24  # of float32
MOST_DIMENSIONS = 2**16  # above this, the bound of the error is no longer close to dimensions * UNIT_ROUNDOFF
MOST_NORM = 1e37  # above this, a sum in float32 can overflow
MOST_RELEVANT = 8  # mean number of relevant candidates per query up to which each of them is compared by itself
MOST_NEAR = 64  # at most one candidate in so many may be a near-tie
FEW = 8192  # candidates that are worth collecting instead of comparing all of them a second time
BLOCK = 4096  # candidates that are converted to float64 at a time


class Levels(NamedTuple):
    """The distinct scores of the relevant candidates of a chunk, by query and from the best one down.

    Attributes:
        queries: [L] the query of each level, counted within the chunk.
        scores: [L] float32.
        num_relevant: [L] number of relevant candidates with this score.
    """

    queries: np.ndarray
    scores: np.ndarray
    num_relevant: np.ndarray


def rank_candidates(
    query_embeds: np.ndarray,
    candidate_embeds: np.ndarray,
    relevant: Sequence[Sequence[int]],
    chunk_size: int = 256,
) -> Ranks:
    """Ranks all candidates for each query by dot product and finds the best relevant one; see `rank_relevant`."""
    return rank_relevant(query_embeds, candidate_embeds, relevant, chunk_size).ranks


def rank_relevant(
    query_embeds: np.ndarray,
    candidate_embeds: np.ndarray,
    relevant: Sequence[Sequence[int]],
    chunk_size: int = 256,
) -> Ranking:
    """Ranks all candidates for each query by dot product, and finds the places of the relevant ones.

    Embeddings are converted to float32. A score is their dot product, accumulated in float64 and rounded to float32;
    the docstring of this module tells how it is found.

    Args:
        query_embeds: [Q, D], an array or a tensor of any floating-point type.
        candidate_embeds: [C, D].
        relevant: for each query, the indices of its relevant candidates, each once, in any order. Queries with the same
            ones can share one array.
        chunk_size: number of queries scored at a time. Memory is about 4 * chunk_size * C bytes beside the embeddings,
            and 32 MB for each 1,000 dimensions.

    Raises:
        ValueError: shapes do not match, a value is not finite, a query has no relevant candidate, or an index is out of
            range or repeated. The message names the query.
    """
    if chunk_size < 1:
        raise ValueError(f"chunk_size is {chunk_size}. Use at least 1.")
    queries, candidates = (
        as_embeddings("query_embeds", query_embeds),
        as_embeddings("candidate_embeds", candidate_embeds),
    )
    if queries.shape[1] != candidates.shape[1]:
        raise ValueError(
            f"query_embeds has {queries.shape[1]} dimensions and candidate_embeds {candidates.shape[1]}. Give "
            "embeddings of the same width."
        )
    lists = _check_relevant(relevant, len(queries), len(candidates))
    num_relevant = np.fromiter(map(len, lists), dtype=np.int64, count=len(lists))
    bounds = error_bounds(queries, candidates)
    exactly = bounds is None

    ranks, precision = np.zeros((3, len(queries)), dtype=np.int64), np.zeros(len(queries))
    space = np.empty((min(chunk_size, len(queries)), len(candidates)), dtype=np.float32)
    for start in range(0, len(queries), chunk_size):
        chunk, columns = queries[start : start + chunk_size], np.concatenate(lists[start : start + chunk_size])
        rows = np.repeat(np.arange(len(chunk)), num_relevant[start : start + chunk_size])
        scores, counts = space[: len(chunk)], None
        if not exactly and len(columns) <= MOST_RELEVANT * len(chunk):
            levels = levels_of(rows, exact_dots(chunk[rows], candidates[columns]))
            np.matmul(chunk, candidates.T, out=scores)  # (B, D) . (D, C) -> (B, C)
            counts = count_near(chunk, candidates, scores, levels, bounds[start : start + chunk_size])
            exactly = counts is None  # a model that has collapsed in one chunk has done so in all of them
        if counts is None:
            exact_product(chunk, candidates, out=scores)
            levels = levels_of(rows, scores[rows, columns])
            counts = count_exact(scores, levels)
        greater, tied = counts

        best = np.searchsorted(levels.queries, np.arange(len(chunk)))  # the first level of each query
        found = slice(start, start + len(chunk))
        # All candidates above the best relevant one are irrelevant.
        ranks[:, found] = greater[best], tied[best] - levels.num_relevant[best], levels.num_relevant[best]
        precision[found] = average_precision(greater, tied, levels.num_relevant, levels.queries, len(chunk))
    return Ranking(Ranks(*ranks), precision, num_relevant, len(candidates))


def error_bounds(queries: np.ndarray, candidates: np.ndarray) -> np.ndarray | None:
    """Returns [Q] bounds of the difference between a float32 product and the exact score, or None if there is none.

    In any order of summation, the error of a dot product of D numbers is at most D u / (1 - D u) times the product of
    the norms, with the unit roundoff u (Higham, 2002, "Accuracy and Stability of Numerical Algorithms", 3.1). Rounding
    the exact score adds u; 4 u and 1 % are more than that and than the errors of computing the bound.
    """
    dimensions = queries.shape[1]
    largest = _norms(candidates).max()
    norms = _norms(queries) * largest
    if dimensions > MOST_DIMENSIONS or norms.max() > MOST_NORM:
        return None
    # Products below the smallest normal number may be flushed to zero.
    return 1.01 * (dimensions + 4) * (UNIT_ROUNDOFF * norms + np.finfo(np.float32).tiny)


def levels_of(rows: np.ndarray, scores: np.ndarray) -> Levels:
    """Groups the scores of relevant candidates into levels.

    Args:
        rows: [P] the query of each score, in increasing order.
        scores: [P] float32.
    """
    order = np.lexsort((-scores, rows))
    scores = scores[order]
    is_first = np.ones(len(rows), dtype=bool)
    is_first[1:] = (rows[1:] != rows[:-1]) | (scores[1:] != scores[:-1])
    begins = np.flatnonzero(is_first)
    return Levels(rows[begins], scores[begins], np.diff(np.append(begins, len(rows))))


def count_near(
    queries: np.ndarray, candidates: np.ndarray, scores: np.ndarray, levels: Levels, bounds: np.ndarray
) -> tuple[np.ndarray, np.ndarray] | None:
    """Counts the candidates above and on each level by a float32 product and exact scores of near-ties.

    Args:
        queries: [B, D] float32.
        candidates: [C, D] float32.
        scores: [B, C] their float32 product.
        levels: those of the chunk.
        bounds: [B] of the error of `scores`.

    Returns:
        [L] numbers of candidates above and on each level; None if there are too many near-ties.
    """
    greater, tied = np.zeros((2, len(levels.queries)), dtype=np.int64)
    left = len(queries) * (len(candidates) // MOST_NEAR) + 1024
    margin = bounds[levels.queries]
    highs = np.nextafter((levels.scores + margin).astype(np.float32), np.float32(np.inf))
    lows = np.nextafter((levels.scores - margin).astype(np.float32), np.float32(-np.inf))
    for level, query in enumerate(levels.queries):
        row, high = scores[query], highs[level]
        is_near = row >= lows[level]  # or above
        count = np.count_nonzero(is_near)
        if count <= FEW:
            near = np.flatnonzero(is_near)
            above = row[near] > high
            near, num_above = near[~above], np.count_nonzero(above)
        else:
            above = row > high
            num_above = np.count_nonzero(above)
            if count - num_above > left:
                return None
            near = np.flatnonzero(is_near & ~above)
        left -= len(near)
        if left < 0:
            return None
        exact = exact_dots(np.broadcast_to(queries[query], (len(near), queries.shape[1])), candidates[near])
        greater[level] = num_above + np.count_nonzero(exact > levels.scores[level])
        tied[level] = np.count_nonzero(exact == levels.scores[level])
    return greater, tied


def count_exact(scores: np.ndarray, levels: Levels) -> tuple[np.ndarray, np.ndarray]:
    """Returns [L] numbers of candidates above and on each level, from [B, C] exact scores."""
    greater, tied = np.zeros((2, len(levels.queries)), dtype=np.int64)
    begins = np.searchsorted(levels.queries, np.arange(len(scores) + 1))
    for query, row in enumerate(scores):
        own = slice(begins[query], begins[query + 1])
        if own.stop - own.start > MOST_RELEVANT:  # to sort the row costs less than to compare it so often
            row = np.sort(row)
            below_or_on = np.searchsorted(row, levels.scores[own], side="right")
            greater[own] = len(row) - below_or_on
            tied[own] = below_or_on - np.searchsorted(row, levels.scores[own], side="left")
        else:
            for level in range(own.start, own.stop):
                greater[level] = np.count_nonzero(row > levels.scores[level])
                tied[level] = np.count_nonzero(row == levels.scores[level])
    return greater, tied


def exact_dots(queries: np.ndarray, candidates: np.ndarray) -> np.ndarray:
    """Returns [P] scores of the rows of two [P, D] arrays: sums in float64, rounded to float32.

    A product of two float32 numbers is exact in float64. `einsum` sums each row in the same order, so that equal rows
    have equal scores.
    """
    left, right = (np.ascontiguousarray(values, dtype=np.float64) for values in (queries, candidates))
    return np.einsum("pd,pd->p", left, right).astype(np.float32)


def exact_product(queries: np.ndarray, candidates: np.ndarray, out: np.ndarray) -> None:
    """Writes the scores of all pairs to `out`, [B, C] float32: sums in float64, rounded to float32."""
    left = queries.astype(np.float64)
    for start in range(0, len(candidates), BLOCK):
        out[:, start : start + BLOCK] = left @ candidates[start : start + BLOCK].astype(np.float64).T


def as_embeddings(name: str, values: Any) -> np.ndarray:
    """Returns the embeddings as [N, D] float32. Tensors of any type and device are accepted.

    Raises:
        ValueError: the shape is wrong or a value is not finite. NaN compares as neither better nor tied, so it would
            otherwise give a perfect rank.
    """
    if hasattr(values, "detach"):  # a tensor: NumPy has neither bfloat16 nor the memory of a GPU
        values = values.detach().cpu().float().numpy()
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


def _norms(embeds: np.ndarray) -> np.ndarray:
    """Returns [N] norms in float64, without a copy of the embeddings in float64."""
    starts = range(0, len(embeds), BLOCK)
    return np.concatenate([np.linalg.norm(embeds[at : at + BLOCK].astype(np.float64), axis=1) for at in starts])


def _check_relevant(relevant: Sequence[Sequence[int]], num_queries: int, num_candidates: int) -> list[np.ndarray]:
    """Returns the lists of relevant candidates as arrays; one that several queries share is checked once.

    Raises:
        ValueError: a query has no list or an empty one, or an index is out of range or repeated.
    """
    lists = list(relevant)
    if len(lists) != num_queries:
        raise ValueError(f"relevant has {len(lists)} lists for {num_queries} queries. Give one list per query.")
    first: dict[int, int] = {}  # the first query of each list
    for query, indices in enumerate(lists):
        if len(indices) == 0:
            raise ValueError(f"query {query}: the list of relevant candidates is empty. Give at least one.")
        first.setdefault(id(indices), query)
    arrays = {key: np.asarray(lists[query], dtype=np.int64) for key, query in first.items()}
    columns = np.concatenate(list(arrays.values()))
    queries = np.repeat(list(first.values()), [len(array) for array in arrays.values()])
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
    return [arrays[id(indices)] for indices in lists]
