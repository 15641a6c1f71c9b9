"""Measures the retrieval of an encoder: scores with intervals, controls, and scores by source and language."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from evaluation.controls.retrieval_controls import control_entries
from evaluation.controls.retrieval_rows import (
    PART_COLUMNS,
    GroupWeights,
    PairRows,
    Rankings,
    all_scores,
    query_scores,
    read_pairs,
)
from evaluation.metrics.retrieval_recall.exact_ranks import as_embeddings
from evaluation.metrics.retrieval_recall.ranking import Galleries, normalize, rank_galleries

UNKNOWN = "unknown"  # the name of rows without a source or language


def measure_retrieval(rows: Any, embeds: Mapping[str, np.ndarray]) -> dict[str, dict | list]:
    """Measures the retrieval of a split.

    Args:
        rows: [N] rows of the config `pairs`, a `datasets.Dataset`; only `text` is required.
        embeds: the result of `embed_pairs`.

    Returns:
        fields of an `EvaluationResult`: `metrics`, those of `retrieval_scores`, also by finding if rows have a label;
        `intervals` of the means of both directions; `controls`; and `parts`.

    Raises:
        ValueError: an embedding contains NaN or infinity.
    """
    pairs = read_pairs(rows, embeds["image_ids"], embeds["text_ids"])
    images, texts = (normalize(as_embeddings(name, embeds[name])) for name in ("image_embeds", "text_embeds"))
    relevances = pairs.relevances()
    rankings = {prefix: rank_galleries(images, texts, found) for prefix, found in relevances.items()}
    return {
        "metrics": scores_with_findings(pairs, rankings),
        "intervals": intervals_of(pairs, relevances, rankings),
        "controls": control_entries(pairs, relevances, rankings),
        "parts": parts_of(pairs, images, texts),
    }


def retrieval_controls(rows: Any, image_ids: np.ndarray, text_ids: np.ndarray) -> list[dict[str, Any]]:
    """Returns the controls alone, for scores that were measured elsewhere, for example by a training.

    Args:
        rows: [N] rows of the config `pairs`.
        image_ids, text_ids: [N], see `embed_pairs`.
    """
    pairs = read_pairs(rows, image_ids, text_ids)
    return control_entries(pairs, pairs.relevances())


def scores_with_findings(pairs: PairRows, rankings: Mapping[str, Rankings]) -> dict[str, float | int]:
    scores, findings = all_scores(rankings), {finding for finding in pairs.findings if finding is not None}
    return scores | ({"num_findings": len(findings)} if findings else {})


def intervals_of(
    pairs: PairRows, relevances: Mapping[str, Galleries], rankings: Mapping[str, Rankings]
) -> dict[str, list[float]]:
    """Returns the 95 % interval of each score that is a mean over queries of both directions."""
    found = {}
    for prefix, ranked in rankings.items():
        bounds = GroupWeights(relevances[prefix], pairs.groups).intervals(query_scores(ranked))
        found |= {f"{prefix}{name}": interval for name, interval in bounds.items()}
    return found


def parts_of(pairs: PairRows, images: np.ndarray, texts: np.ndarray) -> dict[str, dict[str, dict[str, Any]]]:
    """Returns the scores within each source and within each language: queries and candidates are of one part.

    Against the candidates of all sources, much of a recall is telling the sources apart, see the control `metadata`.

    Returns:
        by column and value `samples`, `groups`, `metrics` and `intervals`; nothing for a column with one value.
    """
    parts: dict[str, dict[str, dict[str, Any]]] = {}
    for column in PART_COLUMNS:
        values = np.array([value or UNKNOWN for value in pairs.metadata.get(column, ())])
        names = np.unique(values) if len(values) else []
        for name in names if len(names) > 1 else ():
            kept = np.flatnonzero(values == name)
            part = pairs.part(kept)
            relevances = part.relevances()
            rankings = {
                prefix: rank_galleries(images[kept], texts[kept], found) for prefix, found in relevances.items()
            }
            parts.setdefault(column, {})[str(name)] = {
                "samples": len(part),
                "groups": len(set(part.groups)),
                "metrics": scores_with_findings(part, rankings),
                "intervals": intervals_of(part, relevances, rankings),
            }
    return parts
