"""Computes class scores from an ensemble of prompts, and accuracy, balanced accuracy and AUC per class from them.

A zero-shot classifier compares the embedding of an image with one embedding per class, which is the mean over several
prompts (Radford et al., 2021, "Learning Transferable Visual Models From Natural Language Supervision", section 3.1.4).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from sklearn.metrics import roc_auc_score


def prompt_ensemble(prompt_embeds: np.ndarray, classes: Sequence[int]) -> np.ndarray:
    """Returns one embedding per class: the mean of its prompts' embeddings, each scaled to unit length, and rescaled.

    Args:
        prompt_embeds: [P, D], the embeddings of all prompts.
        classes: [P], the class of each prompt, from 0 to C - 1; every class has at least one prompt.

    Returns:
        [C, D] float64, of unit length. If the prompts of a class cancel out, its embedding is zero.

    Raises:
        ValueError: the lengths differ, a value is not finite, or a class has no prompt.
    """
    embeds, numbers = _as_matrix("prompt_embeds", prompt_embeds), np.asarray(classes)
    if numbers.shape != (len(embeds),) or not np.issubdtype(numbers.dtype, np.integer):
        raise ValueError(f"classes needs one integer for each of the {len(embeds)} prompts.")
    counts = np.bincount(numbers[numbers >= 0])
    if numbers.min() < 0 or not counts.all():
        raise ValueError("A class has no prompt, or a number is negative. Number the classes from 0 without gaps.")
    sums = np.zeros((len(counts), embeds.shape[1]))
    np.add.at(sums, numbers, _unit(embeds))
    return _unit(sums)


def class_scores(image_embeds: np.ndarray, class_embeds: np.ndarray) -> np.ndarray:
    """Returns the cosine similarity of each image to each class, [N, C] float32.

    The products are accumulated in float64 and rounded to float32, so that equal embeddings have equal scores.

    Args:
        image_embeds: [N, D].
        class_embeds: [C, D], see `prompt_ensemble`.

    Raises:
        ValueError: the widths differ, or a value is not finite; the message names the row.
    """
    images, classes = _as_matrix("image_embeds", image_embeds), _as_matrix("class_embeds", class_embeds)
    if images.shape[1] != classes.shape[1]:
        raise ValueError(
            f"image_embeds has {images.shape[1]} dimensions and class_embeds {classes.shape[1]}. Give embeddings of "
            "the same width."
        )
    return (_unit(images) @ _unit(classes).T).astype(np.float32)


def row_credits(scores: np.ndarray, references: Sequence[int]) -> np.ndarray:
    """Returns how far each row is classified correctly, [N] in 0..1.

    The class with the highest score is predicted. If t classes share it and the correct one is among them, the row
    counts 1 / t, which is the expectation over random orders. A model that gives all classes the same score therefore
    reaches exactly chance.

    Args:
        scores: [N, C], higher for a more probable class.
        references: [N], the correct classes.

    Raises:
        ValueError: see `classification_scores`.
    """
    scores, references = check_rows(scores, references)
    best = scores == scores.max(axis=1, keepdims=True)
    return best[np.arange(len(scores)), references] / best.sum(axis=1)


def class_aucs(scores: np.ndarray, references: Sequence[int]) -> list[float | None]:
    """Returns the area under the ROC curve of each class against all others; ties count one half.

    A class without a row, or one that all rows have, has no AUC: None.

    Args:
        scores: [N, C].
        references: [N].

    Raises:
        ValueError: see `classification_scores`.
    """
    scores, references = check_rows(scores, references)
    found: list[float | None] = []
    for column in range(scores.shape[1]):
        positive = references == column
        both = positive.any() and not positive.all()
        found.append(float(roc_auc_score(positive, scores[:, column])) if both else None)
    return found


def classification_scores(
    scores: np.ndarray, references: Sequence[int], class_names: Sequence[str] | None = None
) -> dict[str, Any]:
    """Scores a classifier, with the levels that are reached without looking.

    Args:
        scores: [N, C], the score of each class for each row, higher for a more probable one. C is at least 2.
        references: [N], the correct classes, from 0 to C - 1.
        class_names: [C] names for `classes` (default: the numbers).

    Returns:
        accuracy: share of correct rows, 0..1; ties count as in `row_credits`.
        majority_accuracy: the accuracy of always predicting the most frequent class of these rows.
        balanced_accuracy: the mean over the classes that occur of the share of their rows that are correct, 0..1.
        chance_balanced_accuracy: 1 over the number of these classes, which every constant prediction of one reaches.
        macro_auc: the mean of the classes' AUCs, 0..1, where 0.5 is chance; None if there is none.
        classes: for each name `auc` (None if all rows or none are of the class), `recall` (None without rows) and `n`.
        num_rows, num_classes: N, and the number of classes that occur.

    Raises:
        ValueError: there are no rows, shapes do not match, a score is NaN or infinite, or a class is out of range. The
            message names the row.
    """
    scores, references = check_rows(scores, references)
    names = [str(number) for number in range(scores.shape[1])] if class_names is None else list(map(str, class_names))
    if len(names) != scores.shape[1] or len(set(names)) < len(names):
        raise ValueError(f"class_names needs {scores.shape[1]} different names, one per column of the scores.")
    right, counts = row_credits(scores, references), np.bincount(references, minlength=scores.shape[1])
    sums = np.bincount(references, right, minlength=scores.shape[1])
    recalls = [float(total / count) if count else None for total, count in zip(sums, counts, strict=True)]
    aucs = class_aucs(scores, references)
    known_recalls, known_aucs = ([value for value in values if value is not None] for values in (recalls, aucs))
    return {
        "accuracy": float(right.mean()),
        "majority_accuracy": float(counts.max() / len(references)),
        "balanced_accuracy": float(np.mean(known_recalls)),
        "chance_balanced_accuracy": 1 / len(known_recalls),
        "macro_auc": float(np.mean(known_aucs)) if known_aucs else None,
        "classes": {
            name: {"auc": auc, "recall": recall, "n": int(count)}
            for name, auc, recall, count in zip(names, aucs, recalls, counts, strict=True)
        },
        "num_rows": len(references),
        "num_classes": len(known_recalls),
    }


def check_rows(scores: np.ndarray, references: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
    """Returns the scores as [N, C] and the references as [N] int64. Raises ValueError as `classification_scores`."""
    matrix, classes = _as_matrix("predictions", scores), np.asarray(references)
    if matrix.shape[1] < 2:
        raise ValueError("predictions has one score per row. Give one score for each of at least two classes.")
    if classes.shape != (len(matrix),):
        raise ValueError(f"There are {len(matrix)} rows of scores and {classes.size} references. Give one per row.")
    if not np.issubdtype(classes.dtype, np.integer):
        raise ValueError("references are not integers. Give the number of each row's class.")
    outside = np.flatnonzero((classes < 0) | (classes >= matrix.shape[1]))
    if outside.size:
        row = int(outside[0])
        raise ValueError(f"row {row}: class {classes[row]} is out of range. Use 0 to {matrix.shape[1] - 1}.")
    return matrix, classes.astype(np.int64)


def _as_matrix(name: str, values: Any) -> np.ndarray:
    """Returns the values as [N, D]. Raises ValueError for another shape, or a row with NaN or infinity."""
    try:
        matrix = np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError):
        raise ValueError(f"{name} is not a table of numbers. Give rows of the same length, without None.") from None
    if matrix.ndim != 2 or 0 in matrix.shape:
        raise ValueError(f"{name} has the shape {list(matrix.shape)}. Give [rows, columns] with at least one of each.")
    bad = np.flatnonzero(~np.isfinite(matrix).all(axis=1))
    if bad.size:
        raise ValueError(
            f"{name} has NaN or infinity in {bad.size} row(s), first in row {bad[0]}. Check the weights and the "
            "precision of the model."
        )
    return matrix


def _unit(embeds: np.ndarray) -> np.ndarray:
    """Scales rows to unit length in float64; a row of zeros stays zero."""
    norms = np.linalg.norm(embeds, axis=1, keepdims=True)
    return np.divide(embeds, norms, out=np.zeros_like(embeds, dtype=np.float64), where=norms > 1e-12)
