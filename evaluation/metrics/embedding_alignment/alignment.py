"""Compares image with text embeddings: similarities, AUC, calibration, modality gap and hubness."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from sklearn.metrics import roc_auc_score

from .calibration import calibration_scores

MOST_PAIRS = 1_000_000  # mismatched pairs that are scored; of more, a seeded sample is drawn
CHUNK = 256  # rows whose similarities are in memory at a time


def alignment_scores(
    image_embeds: np.ndarray,
    text_embeds: np.ndarray,
    text_ids: Sequence[int] | Sequence[str] | None = None,
    image_ids: Sequence[int] | Sequence[str] | None = None,
    logit_scale: float | None = None,
    logit_bias: float | None = None,
    num_neighbors: int = 10,
    seed: int = 0,
) -> dict[str, Any]:
    """Scores N image-text pairs, over distinct images and distinct texts.

    A pair of an image and a text is matched if a row has both, and mismatched otherwise.

    Args:
        image_embeds, text_embeds: [N, D], not necessarily of unit length.
        text_ids, image_ids: [N], equal for equal contents (default: all are different).
        logit_scale, logit_bias: of a model with a sigmoid loss, `exp(logit_scale) * cosine + logit_bias` are the logits
            that a pair is matched. With both, the calibration of the probabilities is returned.
        num_neighbors: k of the hubness, at most the number of candidates.
        seed: seed of the sample of mismatched pairs, if there are more than MOST_PAIRS.

    Returns:
        matched_similarity, mismatched_similarity: mean cosines, -1..1.
        matching_auc: the probability that a matched pair is more similar than a mismatched one, 0..1; 0.5 is chance.
            None without mismatched pairs, which also holds for `mismatched_similarity`.
        modality_gap: the distance between the mean unit image and the mean unit text, 0..2 (Liang et al., 2022).
        image_hubness, text_hubness: the skewness of how often an image is among the `num_neighbors` nearest to a text,
            and a text among those of an image (Radovanovic et al., 2010). 0 is even; above about 1, few items are near
            to everything. Items that tie share their places.
        image_antihubs, text_antihubs: the share of images and texts that are among the nearest of nothing, 0..1.
        ece, brier, base_rate, base_rate_brier, reliability: see `calibration_scores`, with the logits' parameters only.
        num_images, num_texts, num_matched, num_mismatched: numbers of what is compared.

    Raises:
        ValueError: shapes do not match, there are no pairs, a value is not finite or a row is zero; the message names
            the row.
    """
    images, texts = _unit_rows("image_embeds", image_embeds), _unit_rows("text_embeds", text_embeds)
    if images.shape != texts.shape:
        raise ValueError(
            f"image_embeds has the shape {list(images.shape)} and text_embeds {list(texts.shape)}. Give one row per "
            "image-text pair, of the same width."
        )
    if (logit_scale is None) != (logit_bias is None):
        raise ValueError("Give logit_scale and logit_bias, or neither.")
    image_rows, image_index = _distinct("image_ids", image_ids, len(images))
    text_rows, text_index = _distinct("text_ids", text_ids, len(texts))
    images, texts = images[image_rows], texts[text_rows]
    pairs = np.unique(np.stack([image_index, text_index], axis=1), axis=0)  # (P, 2)
    matched = _similarities(images, texts, pairs)
    others, total = _mismatched(pairs, len(images), len(texts), seed)
    mismatched = _similarities(images, texts, others)
    scores: dict[str, Any] = {
        "matched_similarity": float(matched.mean()),
        "mismatched_similarity": float(mismatched.mean()) if total else None,
        "matching_auc": None,
        "modality_gap": float(np.linalg.norm(images.mean(axis=0) - texts.mean(axis=0))),
    }
    values = np.concatenate([matched, mismatched])
    is_matched = np.arange(len(values)) < len(matched)
    if total:
        scores["matching_auc"] = float(roc_auc_score(is_matched, values))
    for name, queries, candidates in (("image", texts, images), ("text", images, texts)):
        counts = k_occurrences(queries, candidates, num_neighbors)
        scores[f"{name}_hubness"] = skewness(counts)
        scores[f"{name}_antihubs"] = float((counts == 0).mean())
    if logit_scale is not None and logit_bias is not None:
        logits = np.exp(float(logit_scale)) * values.astype(np.float64) + float(logit_bias)
        # A mismatched pair of a sample stands for several.
        weights = np.where(is_matched, 1.0, total / max(1, len(mismatched)))
        scores |= calibration_scores(0.5 * (1 + np.tanh(logits / 2)), is_matched, weights)
    sizes = {"num_images": len(images), "num_texts": len(texts), "num_matched": len(matched), "num_mismatched": total}
    return scores | sizes


def k_occurrences(queries: np.ndarray, candidates: np.ndarray, num_neighbors: int) -> np.ndarray:
    """Returns how often each candidate is among the nearest of a query, [C] float64, by the dot product.

    Where several candidates tie for the last places, each counts the same part, which is the expectation over random
    orders. A model that returns the same embedding for everything has no hubs.

    Args:
        queries: [Q, D].
        candidates: [C, D].
        num_neighbors: k, at least 1; at most C is used.
    """
    if num_neighbors < 1:
        raise ValueError(f"num_neighbors is {num_neighbors}. Use at least 1.")
    size = min(num_neighbors, len(candidates))
    counts = np.zeros(len(candidates))
    for start in range(0, len(queries), CHUNK):
        # Accumulated in float64 and rounded, so that equal embeddings tie. (B, D) @ (D, C) -> (B, C)
        scores = (queries[start : start + CHUNK] @ candidates.T).astype(np.float32)
        last = np.partition(scores, -size, axis=1)[:, -size][:, None]  # the k-th highest of each query
        above, tied = scores > last, scores == last
        part = (size - above.sum(axis=1)) / tied.sum(axis=1)
        counts += above.sum(axis=0) + part @ tied
    return counts


def skewness(values: np.ndarray) -> float:
    """Returns the third standardized moment, 0 for values that are all equal."""
    centered = values - values.mean()
    spread = float(np.sqrt((centered**2).mean()))
    # Sums of thirds and the like differ in the last bits.
    return float((centered**3).mean() / spread**3) if spread > 1e-9 * max(1.0, float(np.abs(values).max())) else 0.0


def _similarities(images: np.ndarray, texts: np.ndarray, pairs: np.ndarray) -> np.ndarray:
    """Returns the cosine of each pair, [P] float32, in chunks that fit into memory."""
    step = 64 * CHUNK
    parts = [
        np.einsum("pd,pd->p", images[part[:, 0]], texts[part[:, 1]])
        for part in (pairs[start : start + step] for start in range(0, len(pairs), step))
    ]
    return np.concatenate(parts or [np.zeros(0)]).astype(np.float32)


def _mismatched(pairs: np.ndarray, num_images: int, num_texts: int, seed: int) -> tuple[np.ndarray, int]:
    """Returns mismatched pairs of an image and a text, all or MOST_PAIRS of them, and how many there are."""
    cells, everything = pairs[:, 0] * num_texts + pairs[:, 1], num_images * num_texts
    total = everything - len(cells)
    if everything <= MOST_PAIRS:
        free = np.setdiff1d(np.arange(everything), cells, assume_unique=True)
    else:
        drawn = np.unique(np.random.default_rng(seed).integers(0, everything, size=MOST_PAIRS))
        free = drawn[~np.isin(drawn, cells)]
    return np.stack(np.divmod(free, num_texts), axis=1), total


def _distinct(name: str, ids: Sequence[int] | Sequence[str] | None, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns the first row of each id, and the number of each row's id."""
    if ids is None:
        return np.arange(size), np.arange(size)
    if len(ids) != size:
        raise ValueError(f"{name} has {len(ids)} values for {size} pairs. Give one per pair.")
    _, rows, index = np.unique(np.asarray(ids), return_index=True, return_inverse=True)
    return rows, index


def _unit_rows(name: str, values: Any) -> np.ndarray:
    """Returns the rows scaled to unit length, [N, D] float64. Raises ValueError, naming the row, where it cannot."""
    embeds = np.asarray(values, dtype=np.float64)
    if embeds.ndim != 2 or 0 in embeds.shape:
        raise ValueError(
            f"{name} has the shape {list(embeds.shape)}. Give [rows, dimensions] with at least one of each."
        )
    norms = np.linalg.norm(embeds, axis=1)
    bad = np.flatnonzero(~(np.isfinite(norms) & (norms > 0)))
    if bad.size:
        raise ValueError(
            f"{name} has NaN, infinity or only zeros in {bad.size} row(s), first in row {bad[0]}. Check the weights "
            "and the precision of the model."
        )
    return embeds / norms[:, None]
