"""Makes the controls of retrieval: rankings by what can be known without looking at an image.

- chance: a random order.
- text frequency: the texts that most rows have come first, for every image. This is the best that a fixed order can
  reach on these rows, because it is counted on them.
- text length: the texts whose length is closest to the median come first, for every image.
- metadata: candidates that agree in more of source, modality, body part and language come first. A model that tells a
  knee radiograph from a skin photograph, and nothing else, reaches this.

An order of texts that is the same for every image says nothing about images: from a text, all images are tied.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from evaluation.controls.retrieval_rows import (
    FINDING,
    MEASURES,
    METADATA_COLUMNS,
    GroupWeights,
    PairRows,
    QueryScores,
    Rankings,
    all_scores,
    query_scores,
)
from evaluation.metrics.retrieval_recall.exact_ranks import levels_of
from evaluation.metrics.retrieval_recall.ranking import (
    DIRECTIONS,
    Galleries,
    Ranking,
    Ranks,
    average_precision,
    random_ranking,
    rank_relevant,
)
from model_cards.controls import CHANCE, FREQUENCY, LENGTH, METADATA, RETRIEVAL_CONTROLS

TO_TEXT, TO_IMAGE = DIRECTIONS


def control_entries(
    pairs: PairRows, relevances: Mapping[str, Galleries], model: Mapping[str, Rankings] | None = None
) -> list[dict[str, Any]]:
    """Returns the controls of a result of retrieval, see `EvaluationResult.controls`.

    Args:
        pairs: [N] rows.
        relevances: the galleries by the prefix of their scores, see `PairRows.relevances`.
        model: the rankings of a model by the same prefixes. If given, the entries also have the difference between the
            model and the control, with its interval.
    """
    weights = {prefix: GroupWeights(found, pairs.groups) for prefix, found in relevances.items()} if model else {}
    scored = {prefix: query_scores(rankings) for prefix, rankings in (model or {}).items()}
    entries = []
    for name in RETRIEVAL_CONTROLS:
        if name == METADATA and not pairs.metadata:
            columns = f"{', '.join(METADATA_COLUMNS[:-1])} or {METADATA_COLUMNS[-1]}"
            note = f"left out, because the dataset has no column {columns}"
            entries.append({"name": name, "metrics": {}, "samples": 0, "note": note})
            continue
        rankings = {prefix: ranked_by(name, pairs, found) for prefix, found in relevances.items()}
        metrics = {key: value for key, value in all_scores(rankings).items() if is_score(key)}
        note = f"by {', '.join(pairs.metadata)}" if name == METADATA else ""
        entry = {"name": name, "metrics": metrics, "samples": len(pairs), "note": note}
        if model:
            entry["difference"] = {}
            for prefix, ours in scored.items():
                found = differences(ours, query_scores(rankings[prefix]), weights[prefix])
                entry["difference"] |= {f"{prefix}{measure}": value for measure, value in found.items()}
        entries.append(entry)
    return entries


def is_score(name: str) -> bool:
    """Returns whether a metric is a score of the ranking itself, and not its chance level or a number of items."""
    return not name.startswith(("chance_", "num_", f"{FINDING}num_"))


def differences(ours: QueryScores, theirs: QueryScores, weights: GroupWeights) -> dict[str, list[float | None]]:
    """Returns our scores minus theirs, each as `[difference, low, high]`; the bounds are None with too few groups."""
    gains = {name: {d: ours[name][d] - theirs[name][d] for d in DIRECTIONS} for name in MEASURES}
    intervals = weights.intervals(gains, least=-1.0)
    return {
        name: [sum(float(gain[direction].mean()) for direction in DIRECTIONS) / 2, *intervals.get(name, (None, None))]
        for name, gain in gains.items()
    }


def ranked_by(name: str, pairs: PairRows, found: Galleries) -> Rankings:
    """Returns the rankings of a control in both directions."""
    to_texts, to_images = found.relevant_texts, found.relevant_images
    counts = {
        direction: np.fromiter(map(len, relevant), dtype=np.int64, count=len(relevant))
        for direction, relevant in zip(DIRECTIONS, (to_texts, to_images), strict=True)
    }
    if name == METADATA:
        images, texts = (metadata_vectors(pairs, index) for index in (found.image_index, found.text_index))
        return {TO_TEXT: rank_relevant(images, texts, to_texts), TO_IMAGE: rank_relevant(texts, images, to_images)}
    by_chance = {
        TO_TEXT: random_ranking(len(to_images), counts[TO_TEXT]),
        TO_IMAGE: random_ranking(len(to_texts), counts[TO_IMAGE]),
    }
    if name == CHANCE:
        return by_chance
    # (T,) the higher, the earlier.
    order = {FREQUENCY: text_frequencies, LENGTH: text_lengths}[name](pairs, found)
    return by_chance | {TO_TEXT: fixed_order(order, to_texts)}


def text_frequencies(pairs: PairRows, found: Galleries) -> np.ndarray:
    """Returns [T] the number of rows of each text."""
    return np.bincount(found.text_index[found.text_index >= 0], minlength=len(found.text_rows)).astype(np.float32)


def text_lengths(pairs: PairRows, found: Galleries) -> np.ndarray:
    """Returns [T] the distance of the length of each text to the median over texts, in characters and negated."""
    lengths = np.array([pairs.text_lengths[row] for row in found.text_rows], dtype=np.float32)
    return -np.abs(lengths - np.median(lengths)).astype(np.float32)


def fixed_order(scores: np.ndarray, relevant: Sequence[np.ndarray]) -> Ranking:
    """Returns the ranking of [C] candidates that have the same scores for every query.

    Queries that share an array of relevant candidates are ranked once, as the arrays can be long.
    """
    first: dict[int, int] = {}
    for query, own in enumerate(relevant):
        first.setdefault(id(own), query)
    places = {key: place for place, key in enumerate(first)}
    lists = [relevant[query] for query in first.values()]
    lengths = np.array([len(own) for own in lists])
    levels = levels_of(np.repeat(np.arange(len(lists)), lengths), scores[np.concatenate(lists)])
    ordered = np.sort(scores)
    below_or_on = np.searchsorted(ordered, levels.scores, side="right")
    greater = len(scores) - below_or_on
    tied = below_or_on - np.searchsorted(ordered, levels.scores, side="left")
    best = np.searchsorted(levels.queries, np.arange(len(lists)))
    precision = average_precision(greater, tied, levels.num_relevant, levels.queries, len(lists))
    queries = np.array([places[id(own)] for own in relevant])
    firsts = np.stack([greater, tied - levels.num_relevant, levels.num_relevant])[:, best]  # of the best level
    return Ranking(Ranks(*firsts[:, queries]), precision[queries], lengths[queries], len(scores))


def metadata_vectors(pairs: PairRows, index: np.ndarray) -> np.ndarray:
    """Returns [items, D] float32 vectors whose dot product is the number of metadata columns in which two items agree.

    A value that is missing in both agrees. An item with several rows, for example an image with an English and a
    Chinese text, has the mean over its rows.

    Args:
        pairs: [N] rows.
        index: [N] the item of each row, -1 for rows that are left out.
    """
    kept = np.flatnonzero(index >= 0)
    items = index[kept]
    counts = np.bincount(items)
    parts = []
    for values in pairs.metadata.values():
        names, numbers = np.unique(values, return_inverse=True)
        cells = np.bincount(items * len(names) + numbers[kept], minlength=len(counts) * len(names))
        parts.append(cells.reshape(len(counts), len(names)) / counts[:, None])
    return np.concatenate(parts, axis=1).astype(np.float32)
