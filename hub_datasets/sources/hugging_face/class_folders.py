"""Reads folders whose names are classes, as the `imagefolder` of `datasets` does: `train/pneumonia/1.png`."""

from __future__ import annotations

import posixpath
from collections import Counter
from collections.abc import Iterator

from hub_datasets.errors import printable
from hub_datasets.records import RawRecord, Reason, Rejection
from hub_datasets.sources.known_sets.columns import Columns
from hub_datasets.sources.known_sets.contents import Content, make_records
from hub_datasets.sources.known_sets.finder import IMAGE_FOLDERS, Finder
from hub_datasets.sources.known_sets.split_names import split_named, split_of_path
from hub_datasets.sources.reports.label_texts import in_words
from hub_datasets.sources.reports.rows import NAME

NO_CLASSES = {*IMAGE_FOLDERS, "data", "dataset", "files", "pictures", "photos", "dicom", "png", "jpg", "jpeg"}
COLUMNS = Columns(label="label")


def class_of(name: str) -> str:
    """Returns the folder of an image that names its class; empty if it has none."""
    above = posixpath.basename(posixpath.dirname(name))
    above = above[:-4] if above.lower().endswith(".zip") else above
    return "" if split_named(above) or above.casefold() in NO_CLASSES else above


def classes(finder: Finder) -> Counter[str]:
    """Returns the number of images of each class; at least two classes have a name with a letter, else none."""
    found = Counter(filter(None, map(class_of, finder.names)))
    return found if sum(bool(in_words(name)) for name in found) > 1 else Counter()


def read_classes(finder: Finder) -> Iterator[RawRecord | Rejection]:
    """Yields a record for each image in the folder of a class, and a rejection for each other image."""
    for name in finder.names:
        item, label = printable(name), class_of(name)
        if not label:
            yield Rejection(NAME, item, Reason.MALFORMED_ROW, "not in the folder of a class, and without a text")
            continue
        yield from make_records(
            Content(item, {"label": label}, [name], split_of_path(posixpath.dirname(name) + "/")), COLUMNS
        )
