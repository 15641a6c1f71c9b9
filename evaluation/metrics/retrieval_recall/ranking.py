"""Scores image-text pairs as retrieval in both directions, where a query can have several relevant candidates.

It uses only NumPy, so that a training loop can score embeddings without the slow `import evaluate`.
"""

from __future__ import annotations

from collections.abc import Sequence
from numbers import Integral, Real
from typing import Any, NamedTuple

import numpy as np

from .exact_ranks import BLOCK, as_embeddings, rank_candidates, rank_relevant
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
    "DIRECTIONS", "FINDING", "Galleries", "Ranking", "Ranks", "average_precision", "chance_recall_at_k", "check_ks",
    "galleries", "hit_probability", "is_missing", "median_rank", "normalize", "random_ranking", "rank_candidates",
    "rank_galleries", "rank_relevant", "recall_at_k", "retrieval_scores", "scores_of",
]  # fmt: skip

DIRECTIONS = ("image_to_text", "text_to_image")
FINDING = "finding_"  # the prefix of scores by finding
TINY = np.finfo(np.float32).tiny


class Galleries(NamedTuple):
    """The distinct images and texts of some pairs, and which of them are relevant to each other.

    Attributes:
        image_rows: [I] the first row of each distinct image.
        text_rows: [T] the first row of each distinct text.
        relevant_texts: for each image the indices of its relevant texts, 0..T-1.
        relevant_images: for each text those of its relevant images, 0..I-1.
        image_index: [N] the image of each row, 0..I-1; -1 for a row that was left out.
        text_index: [N] the text of each row, likewise.
    """

    image_rows: np.ndarray
    text_rows: np.ndarray
    relevant_texts: list[np.ndarray]
    relevant_images: list[np.ndarray]
    image_index: np.ndarray
    text_index: np.ndarray


def retrieval_scores(
    image_embeds: Any,
    text_embeds: Any,
    text_ids: Sequence[int] | Sequence[str],
    image_ids: Sequence[int] | Sequence[str],
    ks: Sequence[int] = (1, 5, 10),
    chunk_size: int = 256,
    findings: Sequence[int | None] | Sequence[str | None] | None = None,
) -> dict[str, float | int]:
    """Scores N image-text pairs as retrieval in both directions, with the chance level of every score.

    Each row is one pair. Medical captions repeat: all knee radiographs of one grade, for example, have the same text.
    If only the text of the same row were relevant, a perfect model would have to guess among equal texts: on 83
    radiographs with five texts it could reach at most 5 / 83 = 6 % recall at 1, 30 % at 5 and 60 % at 10. The galleries
    therefore contain each distinct text and each distinct image once, each distinct image and text is a query once, and
    all its partners are relevant. If an id occurs in several rows, the embedding of its first row is used.

    Equal findings are also written differently: "grade 1, expert I" and "grade 1, expert II". With `findings`, a second
    set of scores has the prefix `finding_`. In it, a text is relevant to an image if they have a finding in common,
    over the rows that have one.

    Embeddings are normalized here, so similarity is the cosine. See `rank_relevant` for ties and precision.

    Args:
        image_embeds: [N, D] float32, or a tensor of any floating-point type.
        text_embeds: [N, D], likewise.
        text_ids: [N], equal for equal texts.
        image_ids: [N], equal for equal images.
        ks: cut-offs. If k is at least the size of a gallery, recall and its chance level are 1.
        chunk_size: as in `rank_relevant`.
        findings: [N], equal for equal findings, for example grades or diagnoses; None for a row without one.

    Returns:
        `recall_at_{k}`, `map` (mean average precision) and their chance levels `chance_recall_at_{k}`, `chance_map`:
        means of the two directions; the same with `image_to_text_` and `text_to_image_` (after `chance_`) for one
        direction; `image_to_text_median_rank`, `text_to_image_median_rank` and their chance levels; and the numbers of
        distinct images and texts, `num_images` and `num_texts`. Recalls and average precisions are in 0..1. With
        `findings`, all of them with `finding_` (after `chance_`), and `num_findings`; nothing is added if no row has
        one.

    Raises:
        ValueError: shapes do not match, there are no pairs, a value is not finite, an id is None or NaN, ids are of
            several types, or a k is not a positive integer. The message names the row.
    """
    ks = check_ks(ks)
    embeds = as_embeddings("image_embeds", image_embeds), as_embeddings("text_embeds", text_embeds)
    sizes = {"image_embeds": len(embeds[0]), "text_embeds": len(embeds[1])}
    sizes |= {"text_ids": len(text_ids), "image_ids": len(image_ids)}
    if findings is not None:
        sizes["findings"] = len(findings)
    if len(set(sizes.values())) > 1:
        raise ValueError(f"The arguments differ in length: {sizes}. Give one row per image-text pair in each of them.")
    images, texts = map(normalize, embeds)
    exact = galleries(image_ids, text_ids)
    scores = scores_of(rank_galleries(images, texts, exact, chunk_size), ks)
    if findings is not None and (named := [row for row, finding in enumerate(findings) if not is_missing(finding)]):
        by_finding = galleries(image_ids, text_ids, findings)
        scores |= scores_of(rank_galleries(images, texts, by_finding, chunk_size), ks, FINDING)
        scores["num_findings"] = len({findings[row] for row in named})
    return scores


def galleries(
    image_ids: Sequence[int] | Sequence[str],
    text_ids: Sequence[int] | Sequence[str],
    findings: Sequence[int | None] | Sequence[str | None] | None = None,
) -> Galleries:
    """Returns the distinct images and texts, and which are relevant to each other.

    Args:
        image_ids: [N], equal for equal images.
        text_ids: [N], equal for equal texts.
        findings: [N]; if given, rows without one are left out, and what has a finding in common is relevant to each
            other. Otherwise, what stands in one row is.

    Raises:
        ValueError: an id is None or NaN, or the ids are of several types; the message names the row.
    """
    images, texts = as_ids("image_ids", image_ids), as_ids("text_ids", text_ids)
    if findings is None:
        kept = np.arange(len(images))
    else:
        kept = np.array([row for row, finding in enumerate(findings) if not is_missing(finding)], dtype=np.int64)
    _, image_rows, image_index = np.unique(images[kept], return_index=True, return_inverse=True)
    _, text_rows, text_index = np.unique(texts[kept], return_index=True, return_inverse=True)
    num_images, num_texts = len(image_rows), len(text_rows)
    if findings is None:
        relevant = _partners(image_index, text_index, num_images), _partners(text_index, image_index, num_texts)
    else:
        named = as_ids("findings", [findings[row] for row in kept])
        _, finding_index = np.unique(named, return_inverse=True)
        count = int(finding_index.max()) + 1
        members = {}
        for name, index in (("images", image_index), ("texts", text_index)):
            members[name] = _partners(finding_index, index, count)
        relevant = (
            _unions(_partners(image_index, finding_index, num_images), members["texts"]),
            _unions(_partners(text_index, finding_index, num_texts), members["images"]),
        )
    places = np.full((2, len(images)), -1)
    places[:, kept] = image_index, text_index
    return Galleries(kept[image_rows], kept[text_rows], *relevant, *places)


def rank_galleries(
    images: np.ndarray, texts: np.ndarray, found: Galleries, chunk_size: int = 256
) -> dict[str, Ranking]:
    """Ranks the texts for each image and the images for each text.

    Args:
        images, texts: [N, D] float32, one row per pair, compared by their dot product.
        found: the galleries of the same pairs.
        chunk_size: as in `rank_relevant`.

    Returns:
        a ranking per direction; its queries are in the order of the galleries.
    """
    queries, candidates = images[found.image_rows], texts[found.text_rows]
    return {
        "image_to_text": rank_relevant(queries, candidates, found.relevant_texts, chunk_size),
        "text_to_image": rank_relevant(candidates, queries, found.relevant_images, chunk_size),
    }


def scores_of(rankings: dict[str, Ranking], ks: Sequence[int], prefix: str = "") -> dict[str, float | int]:
    """Returns the scores of two rankings and their chance levels, under the names of `retrieval_scores`.

    Args:
        rankings: a ranking per direction.
        ks: cut-offs.
        prefix: stands before each name, but behind `chance_`.
    """
    scores: dict[str, float | int] = {}
    for name, ranking in rankings.items():
        chance = random_ranking(ranking.num_candidates, ranking.num_relevant)
        for before, ranked in (("", ranking), ("chance_", chance)):
            for k in ks:
                scores[f"{before}{prefix}{name}_recall_at_{k}"] = recall_at_k(ranked.ranks, k)
            scores[f"{before}{prefix}{name}_map"] = float(ranked.average_precision.mean())
            scores[f"{before}{prefix}{name}_median_rank"] = median_rank(ranked.ranks)
    both: dict[str, float | int] = {}
    for measure in (*(f"recall_at_{k}" for k in ks), "map"):
        for before in ("", "chance_"):
            both[f"{before}{prefix}{measure}"] = sum(scores[f"{before}{prefix}{n}_{measure}"] for n in rankings) / 2
    to_text, to_image = (rankings[name] for name in DIRECTIONS)
    sizes = {f"{prefix}num_images": to_image.num_candidates, f"{prefix}num_texts": to_text.num_candidates}
    return both | scores | sizes


def as_ids(name: str, values: Any) -> np.ndarray:
    """Returns [N] ids as an array.

    Raises:
        ValueError: an id is None or NaN, which equals nothing, or the ids are of several types, which NumPy would turn
            into texts, so that 1 and "1" were the same; the message names the row.
    """
    if hasattr(values, "detach"):
        values = values.detach().cpu().numpy()
    if isinstance(values, np.ndarray) and values.dtype.kind in "iuU":
        return values
    ids = list(values)
    kinds = [_kind(value) for value in ids]
    for row, (value, kind) in enumerate(zip(ids, kinds, strict=True)):
        if is_missing(value):
            raise ValueError(f"{name}: the id in row {row} is {value}. Give each row an id, or leave the row out.")
        if kind is None or kind != kinds[0]:
            raise ValueError(
                f"{name}: the id in row {row} is {value!r}, of type {type(value).__name__}. Give texts only, or "
                "numbers only."
            )
    return np.asarray(ids)


def _kind(value: Any) -> type | None:
    return next((kind for kind in (str, Integral, Real, bytes) if isinstance(value, kind)), None)


def is_missing(value: Any) -> bool:
    """Returns whether an id or a finding is None or NaN."""
    return value is None or (isinstance(value, Real) and value != value)  # only NaN differs from itself


def _partners(index: np.ndarray, others: np.ndarray, count: int) -> list[np.ndarray]:
    """Returns, for each of `count` values of `index`, the distinct values of `others` beside it, in order."""
    pairs = np.unique(np.stack([index, others], axis=1), axis=0)  # (P, 2), sorted by `index`
    return np.split(pairs[:, 1], np.searchsorted(pairs[:, 0], np.arange(1, count)))


def _unions(sets: list[np.ndarray], members: list[np.ndarray]) -> list[np.ndarray]:
    """Returns the union of the members of each set; equal sets share one array, because it can be long."""
    known: dict[tuple[int, ...], np.ndarray] = {}
    for found in sets:
        key = tuple(found.tolist())
        if key not in known:
            known[key] = members[key[0]] if len(key) == 1 else np.unique(np.concatenate([members[i] for i in key]))
    return [known[tuple(found.tolist())] for found in sets]


def normalize(embeds: np.ndarray) -> np.ndarray:
    """Scales rows to unit length; a row of zeros stays zero."""
    unit = np.empty_like(embeds)
    for start in range(0, len(embeds), BLOCK):  # a copy in float64 would take twice the memory
        rows = embeds[start : start + BLOCK].astype(np.float64)
        unit[start : start + BLOCK] = rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), TINY)
    return unit
