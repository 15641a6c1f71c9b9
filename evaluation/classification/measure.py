"""Measures how well an encoder classifies the images of each labeled source, beside what is reached without looking.

Zero-shot: ensembles of English and Chinese prompts. Probes: a linear and, for grades, an ordinal layer on the frozen
embeddings of the train split. Controls: chance, the most frequent class, what is known of the patient without the
image, and the untouched base model.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from evaluation.classification.blind import constant_scores, majority_scores, metadata_scores
from evaluation.classification.class_scores import BALANCED, KAPPA, Resampled, resample
from evaluation.classification.embedder import PATCHES, POOLED, Embedder
from evaluation.classification.labels import Labels, class_balanced, read_labels
from evaluation.classification.probes import LINEAR, ORDINAL, NothingToFit, Probe, fit_probe
from evaluation.classification.prompts import LANGUAGES, class_prompts
from evaluation.metrics.zero_shot_classification.classification import (
    class_aucs,
    class_scores,
    prompt_ensemble,
    row_credits,
)
from evaluation.scoring.subgroups import attributes_of

CHANCE, MAJORITY, METADATA = "chance", "majority", "metadata"
ZERO_SHOT, BASE, HEAD = "zero_shot", "base", "head"
HELD_OUT = 5  # without a validation split, every fifth patient of the train split chooses the strength


@dataclass(frozen=True)
class Splits:
    """The rows of a dataset that are used, each a `datasets.Dataset` or None.

    Attributes:
        rows: the rows that are evaluated.
        train: the rows that probes are fitted on.
        choice: the rows that choose the strength of the probes.
        name, train_name, choice_name: what the splits are called.
    """

    rows: Any
    train: Any = None
    choice: Any = None
    name: str = "test"
    train_name: str = "train"
    choice_name: str = "validation"


@dataclass
class Classified:
    """What is kept of one source.

    Attributes:
        labels: the evaluated images.
        entry: what the record keeps, see `classify`.
        scores: for each method [N, C] scores.
        head: the probe on PATCHES that `--save_head` saves, or None.
    """

    labels: Labels
    entry: dict[str, Any]
    scores: dict[str, np.ndarray]
    head: Probe | None = None


@dataclass(frozen=True)
class Fitting:
    """The images of one source that probes are fitted on and chosen by.

    Attributes:
        train, choice: the images; those of `choice` are rows of `choice_rows`.
        choice_rows: a `datasets.Dataset`.
        said: what the notes say of them.
    """

    train: Labels
    choice: Labels
    choice_rows: Any
    said: str


def classify(
    splits: Splits,
    embedder: Embedder,
    embeds: np.ndarray,
    base: Embedder | None = None,
    most_images: int = 2000,
    with_head: bool = False,
    progress: Callable = iter,
) -> dict[str, Classified]:
    """Scores all methods on each labeled source of the evaluated rows.

    Args:
        splits: the rows.
        embedder: the encoder.
        embeds: [N, D] its embeddings of the images of the evaluated rows.
        base: the untouched encoder, or None.
        most_images: labeled images per source that probes are fitted on, drawn class-balanced; 0 fits none.
        with_head: whether a probe on PATCHES is fitted for `--save_head`.
        progress: a function that wraps the loops over batches, for example `tqdm`.

    Returns:
        by source. `entry` has `classes`, `ordered`, `images`, `patients`, `counts` (of each class), `methods` (each
        with `name`, `metrics`: value and bounds by name, and `note`), `differences` (each with `of`, `to` and
        `metrics`), `aucs` (for each method the AUC of each class, None where it has none) and `notes`.

    Raises:
        ValueError: an image has two labels, or an embedding is not finite.
    """
    seen = {} if splits.train is None else read_labels(splits.train, splits.train_name)
    choices = {} if splits.choice is None else read_labels(splits.choice, splits.choice_name)
    found = {}
    for source, labels in read_labels(splits.rows, splits.name).items():
        fitting, notes = fitting_of(labels, seen.get(source), choices.get(source), splits, most_images)
        scores = blind_scores(splits, labels, seen.get(source))
        methods = dict.fromkeys(scores, "")
        if METADATA not in scores:
            notes.append("no control from metadata: nothing is known of the patients of both splits")
        models = ([(BASE, base)] if base else []) + [("", embedder)]
        probes: dict[str, Probe] = {}
        for prefix, model in models:
            images = {POOLED: embeds[list(labels.rows)]}
            if prefix:
                images[POOLED] = model.images(splits.rows, labels.rows, POOLED, progress)
            elif with_head:
                images[PATCHES] = model.images(splits.rows, labels.rows, PATCHES, progress)
            for name, (matrix, said) in zero_shot(model, labels, images[POOLED]).items():
                scores[joined(prefix, name)], methods[joined(prefix, name)] = matrix, said
            if fitting is None:
                continue
            fitted = fit_all(model, fitting, splits.train, with_head and not prefix, labels.is_ordered, progress)
            for name, probe in fitted.items():
                if isinstance(probe, str):
                    notes.append(f"{joined(prefix, name)}: {probe}")
                    continue
                kind = PATCHES if name == HEAD else POOLED
                scores[joined(prefix, name)] = probe.scores(images[kind], len(labels.classes))
                methods[joined(prefix, name)] = f"{fitting.said}, C = {probe.strength:g}"
                probes[joined(prefix, name)] = probe
        found[source] = Classified(labels, entry_of(labels, scores, methods, notes), scores, probes.get(HEAD))
    return found


def joined(prefix: str, name: str) -> str:
    return f"{prefix}_{name}" if prefix else name


def fitting_of(
    labels: Labels, train: Labels | None, choice: Labels | None, splits: Splits, most_images: int
) -> tuple[Fitting | None, list[str]]:
    """Chooses the rows that probes are fitted on, without patients of the evaluated rows; None with a note if none."""
    if most_images < 1:
        return None, ["no probes: left out by --probe_images 0"]
    if train is None:
        return None, [f"no probes: there are no labeled images in a split {splits.train_name} other than this one"]
    apart = {*labels.groups}
    places = [place for place, group in enumerate(train.groups) if group not in apart]
    notes = []
    if left := len(train) - len(places):
        notes.append(f"{left:,} images of {splits.train_name} are not used: their patients are evaluated")
    rows, name = splits.choice, splits.choice_name
    if choice is not None:
        # Patients of the validation split are neither evaluated nor fitted on.
        own = {*choice.groups}
        places = [place for place in places if train.groups[place] not in own]
        choice = choice.select([place for place, group in enumerate(choice.groups) if group not in apart])
    if choice is None or not len(choice):
        held = {group for number, group in enumerate(sorted({*train.groups})) if number % HELD_OUT == 0}
        choice = train.select([place for place in places if train.groups[place] in held])
        places = [place for place in places if train.groups[place] not in held]
        rows, name = splits.train, f"every fifth patient of {splits.train_name}"
    if not places or not len(choice):
        return None, [*notes, f"no probes: too few labeled images in {splits.train_name}"]
    train = train.select(places)
    train = train.select(class_balanced(train.labels, most_images))
    choice = choice.select(class_balanced(choice.labels, most_images))
    said = f"fitted on {len(train):,} images of {splits.train_name}, chosen on {len(choice):,} of {name}"
    return Fitting(train, choice, rows, said), notes


def blind_scores(splits: Splits, labels: Labels, train: Labels | None) -> dict[str, np.ndarray]:
    """Returns the scores of the controls that do not look."""
    size = len(labels.classes)
    seen = labels.labels if train is None else train.labels
    scores = {
        CHANCE: constant_scores(len(labels), size),
        MAJORITY: majority_scores(len(labels), size, seen),
    }
    if train is not None:
        apart = {*labels.groups}
        train = train.select([place for place, group in enumerate(train.groups) if group not in apart])
        own, others = (
            attributes_of(rows, part.rows, single=True) for rows, part in ((splits.rows, labels), (splits.train, train))
        )
        if len(train) and {*own} & {*others}:
            scores[METADATA] = metadata_scores(own, others, train.labels, size)
    return scores


def zero_shot(model: Embedder, labels: Labels, images: np.ndarray) -> dict[str, tuple[np.ndarray, str]]:
    """Returns the scores by the prompts of each language in which all classes have a name, and a note."""
    found = {}
    for language in LANGUAGES:
        if prompts := class_prompts(labels, language):
            texts, numbers = prompts
            classes = prompt_ensemble(model.texts(texts), numbers)
            each = len(texts) // len(labels.classes)
            found[f"{ZERO_SHOT}_{language}"] = (class_scores(images, classes), f"{each} prompts per class")
    return found


def fit_all(
    model: Embedder, fitting: Fitting, train_rows: Any, with_head: bool, is_ordered: bool, progress: Callable
) -> dict[str, Probe | str]:
    """Fits the probes on the embeddings of a model; a text says why one could not be fitted.

    The head is the probe, on the mean of the patches, that has the lower loss on the rows that choose.
    """
    kinds = (LINEAR, ORDINAL) if is_ordered else (LINEAR,)
    found: dict[str, Probe | str] = {}
    for features in (POOLED, PATCHES) if with_head else (POOLED,):
        train = model.images(train_rows, fitting.train.rows, features, progress)
        choice = model.images(fitting.choice_rows, fitting.choice.rows, features, progress)
        arguments = (train, fitting.train.labels, choice, fitting.choice.labels)
        try:
            probes = {kind: fit_probe(kind, *arguments) for kind in kinds}
        except NothingToFit as error:
            found |= dict.fromkeys(kinds if features == POOLED else (HEAD,), str(error))
            continue
        best = min(probes.values(), key=lambda probe: probe.log_loss)
        found |= probes if features == POOLED else {HEAD: best}
    return found


def entry_of(
    labels: Labels, scores: Mapping[str, np.ndarray], methods: Mapping[str, str], notes: Sequence[str]
) -> dict[str, Any]:
    """Returns what the record keeps of a source."""
    drawn = {name: resample(found, labels.labels, labels.groups, labels.is_ordered) for name, found in scores.items()}
    counts = np.bincount(labels.labels, minlength=len(labels.classes))
    return {
        "classes": list(labels.classes),
        "ordered": labels.is_ordered,
        "images": len(labels),
        "patients": len({*labels.groups}),
        "counts": counts.tolist(),
        "methods": [{"name": name, "metrics": drawn[name].summary(), "note": note} for name, note in methods.items()],
        "differences": differences(drawn, labels.is_ordered),
        "aucs": {
            name: dict(zip(labels.classes, class_aucs(found, labels.labels), strict=True))
            for name, found in scores.items()
            if name not in (CHANCE, MAJORITY)
        },
        "notes": list(notes),
    }


def differences(drawn: Mapping[str, Resampled], is_ordered: bool) -> list[dict[str, Any]]:
    """Compares each method of the model with the metadata and with the same method of the base, on equal draws."""
    compared = (BALANCED, KAPPA) if is_ordered else (BALANCED,)
    found = []
    for name in drawn:
        if name in (CHANCE, MAJORITY, METADATA) or name.startswith(f"{BASE}_"):
            continue
        for other in (METADATA, f"{BASE}_{name}"):
            if other in drawn:
                metrics = {key: value for key, value in drawn[name].minus(drawn[other]).items() if key in compared}
                found.append({"of": name, "to": other, "metrics": metrics})
    return found


def correct_by_row(classified: Mapping[str, Classified]) -> dict[str, dict[int, float]]:
    """Returns for each method how far the image of a row is classified correctly, by row; without chance and base."""
    found: dict[str, dict[int, float]] = {}
    for one in classified.values():
        for name, scores in one.scores.items():
            if name in (CHANCE, HEAD) or name.startswith(f"{BASE}_"):
                continue
            credits = row_credits(scores, one.labels.labels)
            found.setdefault(name, {}).update(zip(one.labels.rows, map(float, credits), strict=True))
    return found
