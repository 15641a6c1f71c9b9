"""Reads the classes of images from the column `label` of a split, one set of classes per source."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from evaluation.datasets.groups import column

# The first of these columns that is not empty names what is drawn together in a bootstrap; without one, each image is.
GROUP_COLUMNS = ("group_id", "patient")
ORDERED = ("knee_xray",)  # sources whose classes are grades, in the order of the dataset's list of classes
GRADE = re.compile(r"(?:grade|stage|kl|kellgren[- ]lawrence(?: grade)?|score)?[ _-]*(\d{1,2})", re.IGNORECASE)


@dataclass(frozen=True)
class Labels:
    """The labeled images of one source in one split; each list has one entry per image.

    Attributes:
        source: name of the source, "" in a dataset that names none.
        classes: [C] names of the classes; of grades, from the lowest to the highest.
        is_ordered: whether the classes are grades.
        rows: [N] the first row of each image.
        labels: [N] int64, the class of each image.
        groups: [N] the patient or scan of each image.
        modalities, body_parts: [N], "" where unknown.
    """

    source: str
    classes: Sequence[str]
    is_ordered: bool
    rows: Sequence[int]
    labels: np.ndarray
    groups: Sequence[str]
    modalities: Sequence[str]
    body_parts: Sequence[str]

    def __len__(self) -> int:
        return len(self.rows)

    def select(self, places: Sequence[int]) -> Labels:
        """Returns some of the images, by their places in the lists."""
        lists = ([column[place] for place in places] for column in (self.rows, self.groups))
        rows, groups = lists
        modalities, parts = ([column[place] for place in places] for column in (self.modalities, self.body_parts))
        labels = self.labels[np.asarray(places, dtype=np.int64)]
        return Labels(self.source, self.classes, self.is_ordered, rows, labels, groups, modalities, parts)


def read_labels(rows: Any, split: str = "") -> dict[str, Labels]:
    """Returns the labeled images of each source that has at least two classes, in the order of the sources' names.

    Args:
        rows: a `datasets.Dataset`. `label` is a `ClassLabel` whose names are `source/class`, as `medpairs build` writes
            it, or class names alone. Rows without a label are passed over.
        split: name of the split. Images without a known patient are groups of their own, of no other split.

    Returns:
        labels by source; `{}` if there is no such column.

    Raises:
        ValueError: an image has two labels; the message names the image and the rows.
    """
    feature = rows.features.get("label")
    names = getattr(feature, "names", None)
    if not names:
        return {}
    columns = {name: column(rows, name) for name in ("source_dataset", "image_path", "modality", "body_part")}
    groups = [column(rows, name) for name in GROUP_COLUMNS]
    by_source: dict[str, dict[str, int]] = defaultdict(dict)  # the first row of each image
    labels = list(rows["label"])
    for row, label in enumerate(labels):
        if label is None or label < 0:  # -1 is "no label" in a ClassLabel
            continue
        image = columns["image_path"][row] or f"row {row}"
        first = by_source[columns["source_dataset"][row]].setdefault(image, row)
        if labels[first] != label:
            raise ValueError(
                f"rows {first} and {row}: the image {image} has the labels {names[labels[first]]} and {names[label]}. "
                "Give each image one label."
            )
    found = {}
    for source in sorted(by_source):
        numbers = classes_of(source, names)
        if len(numbers) < 2:
            continue
        places = {number: place for place, number in enumerate(numbers)}
        chosen = [row for row in by_source[source].values() if labels[row] in places]
        classes = [names[number].removeprefix(f"{source}/") for number in numbers]
        found[source] = Labels(
            source=source,
            classes=classes,
            is_ordered=is_ordered(source, classes),
            rows=chosen,
            labels=np.array([places[labels[row]] for row in chosen], dtype=np.int64),
            groups=[next(filter(None, (column[row] for column in groups)), f"{split} row {row}") for row in chosen],
            modalities=[columns["modality"][row] for row in chosen],
            body_parts=[columns["body_part"][row] for row in chosen],
        )
    return {source: labels for source, labels in found.items() if len(labels)}


def classes_of(source: str, names: Sequence[str]) -> list[int]:
    """Returns the numbers of a source's classes; grades that are named by numbers are sorted by these."""
    own = [number for number, name in enumerate(names) if source and name.startswith(f"{source}/")]
    own = own or [number for number, name in enumerate(names) if "/" not in name]
    grades = [GRADE.fullmatch(names[number].removeprefix(f"{source}/").strip()) for number in own]
    if all(grades):
        own = [
            number for _, number in sorted((int(grade[1]), number) for grade, number in zip(grades, own, strict=True))
        ]
    return own


def is_ordered(source: str, classes: Sequence[str]) -> bool:
    """Returns whether classes are grades: those of a known source, or names such as `2`, `grade 2` and `KL-2`."""
    return len(classes) > 2 and (source in ORDERED or all(GRADE.fullmatch(name.strip()) for name in classes))


def most_frequent(values: Sequence[str]) -> str:
    """Returns the value that most images have; "" if fewer than three quarters have it."""
    counts = Counter(value for value in values if value)
    name, count = counts.most_common(1)[0] if counts else ("", 0)
    return name if count >= 0.75 * len(values) else ""


def class_balanced(labels: np.ndarray, most: int, seed: int = 0) -> np.ndarray:
    """Draws a sample with as many rows of each class as possible, and returns its places in increasing order.

    A class that has fewer rows than its share gives all of them, and the others share what is left.

    Args:
        labels: [N] int.
        most: the largest number of rows.
        seed: seed of the draw.
    """
    shuffled = np.random.default_rng(seed).permutation(len(labels))
    members = sorted((shuffled[labels[shuffled] == label] for label in np.unique(labels)), key=len)
    chosen, left = [], most
    for number, rows in enumerate(members):
        share = left // (len(members) - number)
        chosen.append(rows[:share])
        left -= len(chosen[-1])
    return np.sort(np.concatenate(chosen)) if chosen else np.zeros(0, dtype=np.int64)
