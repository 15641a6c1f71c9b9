"""Predicts classes without the images: by chance, by the most frequent class, and from what is known of the patient."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np


def constant_scores(size: int, num_classes: int) -> np.ndarray:
    """Returns [N, C] equal scores: chance."""
    return np.zeros((size, num_classes))


def majority_scores(size: int, num_classes: int, seen: np.ndarray) -> np.ndarray:
    """Returns [N, C] scores of always predicting the most frequent class of `seen`, [M] int; ties share it."""
    counts = np.bincount(seen, minlength=num_classes)
    return np.tile((counts == counts.max()).astype(float), (size, 1))


def metadata_scores(
    attributes: Mapping[str, Sequence[str]],
    seen_attributes: Mapping[str, Sequence[str]],
    seen: np.ndarray,
    num_classes: int,
) -> np.ndarray:
    """Returns [N, C] class-balanced log probabilities from attributes alone, by naive Bayes.

    Each class starts equally probable, and each attribute that is known on both sides counts by its share in the class,
    with one added to each count. An unknown value says nothing, so that missing data gives nothing away.

    Args:
        attributes: for each attribute [N] values, "" where unknown.
        seen_attributes: the same of the train split, [M].
        seen: [M] int, its classes.
        num_classes: C. A class that was not seen is as improbable as the most improbable one.
    """
    size = len(next(iter(attributes.values()), ()))
    scores = np.zeros((size, num_classes))
    for name in sorted({*attributes} & {*seen_attributes}):
        column, known = np.asarray(attributes[name], dtype=object), np.asarray(seen_attributes[name], dtype=object)
        values = sorted({*known} - {""})
        for label in np.unique(seen):
            own = known[(seen == label) & (known != "")]
            for value in values:
                share = ((own == value).sum() + 1) / (len(own) + len(values))
                scores[column == value, label] += np.log(share)
    unseen = np.setdiff1d(np.arange(num_classes), seen)
    if len(unseen) and len(seen):
        scores[:, unseen] = scores.min() - 1
    return scores
