"""Reads Parquet files of `datasets`: images in their cells, with texts, questions, conversations or labels."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from hub_datasets.errors import BuildError, printable
from hub_datasets.filesystem.parquet.table import ParquetTable
from hub_datasets.filesystem.source_folder import Folder
from hub_datasets.records import Ignored, Problem, RawRecord, Reason, Rejection
from hub_datasets.sources.known_sets.columns import columns_of
from hub_datasets.sources.known_sets.contents import Content, make_records, name_of
from hub_datasets.sources.known_sets.finder import Finder
from hub_datasets.sources.known_sets.split_names import split_of_path
from hub_datasets.sources.reports.rows import NAME

SUFFIX = ".parquet"
NO_BYTES = "the row has no bytes of an image, and no path"


def opened(folder: Folder, name: str) -> ParquetTable:
    """Returns an open file. Raises BuildError if it is damaged, or cannot be opened."""
    if (table := folder.table(name)) is None:
        raise BuildError(f"{folder.named(name)}: cannot be read; copy it again from its origin")
    return table


def why_not(table: ParquetTable) -> str:
    """Returns why no records can be made of a file; empty if they can."""
    columns = columns_of(table.columns())
    lacking = "" if table.image or columns.image else "images"
    if not columns.kind:
        lacking = "texts, questions, conversations or labels"
    return f"no column of {lacking}; its columns are {listed(table.columns())}" if lacking else ""


def read_parquet(folder: Folder, name: str, finder: Finder) -> Iterator[RawRecord | Rejection | Ignored]:
    """Yields the records of a file. Raises BuildError if it is damaged."""
    table = opened(folder, name)
    columns = columns_of(table.columns())
    for other in table.other_images:
        yield Ignored(NAME, f"{printable(name)} column {printable(other)}", f"only {table.image.name} is read")
    classes = class_names(table.features.get(columns.label))
    split = split_of_path(name)
    for number, row, names in table.rows():
        item = f"{printable(name)} row {number}"
        if columns.kind != "label" and classes and isinstance(row.get(columns.label), int):
            row[columns.label] = name_of(row[columns.label], classes)
        images = images_of(name, names, finder) if table.image else paths_in(row.get(columns.image), name, finder)
        yield from make_records(Content(item, row, images, split, classes=classes), columns)


def images_of(name: str, names: Sequence[str | None], finder: Finder) -> list[str | Problem]:
    """Returns the images of a row: cells of the file, or files of the folder that it names."""
    images: list[str | Problem] = []
    for image in names:
        if image is None:
            images.append(Problem(Reason.IMAGE_MISSING, NO_BYTES))
        elif image.startswith("path:"):
            images.append(finder.find(image.removeprefix("path:"), name))
        else:
            images.append(f"{name}/{image}")
    return images


def paths_in(value: Any, name: str, finder: Finder) -> list[str | Problem]:
    """Returns the files that a cell of text names: one, or a list of several."""
    paths = value if isinstance(value, list) else [value]
    usable = [str(path) for path in paths if isinstance(path, (str, int)) and str(path).strip()]
    return [finder.find(path, name) for path in usable]


def class_names(feature: Any) -> Sequence[str]:
    """Returns the names of a ClassLabel column, as `datasets` describes it; none for any other."""
    while isinstance(feature, dict) and feature.get("_type") != "ClassLabel" and "feature" in feature:
        feature = feature["feature"]
    names = feature.get("names") if isinstance(feature, dict) and feature.get("_type") == "ClassLabel" else None
    return names if isinstance(names, list) and all(isinstance(name, str) for name in names) else ()


def listed(columns: Sequence[str]) -> str:
    """Returns the names of columns for a message."""
    return printable(", ".join(columns))[:300] or "none"
