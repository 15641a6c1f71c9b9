"""Recognizes the layouts of a folder, and says which of its files each of them reads.

What is not recognized here is left to the reader of tables (`medical_reports.py`). Labels alone are read only for
`--images_dir`: a report that was made from the name of a class would not be a report.
"""

from __future__ import annotations

import posixpath
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from hub_datasets.errors import BuildError, printable
from hub_datasets.filesystem.source_folder import File, Folder
from hub_datasets.records import Ignored, RawRecord, Rejection
from hub_datasets.sources import look_alikes
from hub_datasets.sources.file_readers import is_junk, passed_over
from hub_datasets.sources.hugging_face import own_export, parquet_rows
from hub_datasets.sources.hugging_face.class_folders import classes, read_classes
from hub_datasets.sources.known_sets import csv_files, json_files
from hub_datasets.sources.known_sets.columns import columns_of
from hub_datasets.sources.known_sets.finder import Finder
from hub_datasets.sources.known_sets.text_files import TextFiles, has_words
from hub_datasets.sources.reports.rows import NAME

# What holds images and texts and is not read, by the end of its name: what to do about it.
ADVICE = {
    ".arrow": "written by save_to_disk; write it as Parquet: load_from_disk(FOLDER)['train'].to_parquet(FILE)",
    ".pkl": "a pickle can run commands when it is opened; write its rows as JSON",
    ".pickle": "a pickle can run commands when it is opened; write its rows as JSON",
    ".tfrecord": "write it as Parquet, or as images with a table",
    ".h5": "write its images as PNG with a table of texts",
    ".hdf5": "write its images as PNG with a table of texts",
    ".npz": "write its images as PNG with a table of texts",
    ".npy": "write its images as PNG with a table of texts",
    ".lmdb": "write its images as PNG with a table of texts",
    ".nii.gz": "write its slices as PNG with a table of texts",
    ".nii": "write its slices as PNG with a table of texts",
}
SAVED = ("state.json", "dataset_info.json", "dataset_dict.json")  # beside the files of save_to_disk
# What describes other files: for LLaMA-Factory, for `datasets`, for WebDataset.
DESCRIPTIONS = ("dataset_info.json", "dataset_infos.json", "croissant.json", "wids-meta.json", "sizes.json")
ONLY_LABELS = "labels and no texts; --images_dir reads them"
Part = Iterator[RawRecord | Rejection | Ignored]


@dataclass(slots=True)
class Layouts:
    """What was recognized in a folder.

    Attributes:
        parts: read the records of one file or layout each; they may be called again.
        taken: the files that they read or pass over.
        labels: what holds labels alone and is not read, because reports were asked for.
    """

    parts: list[Callable[[], Part]] = field(default_factory=list)
    taken: set[str] = field(default_factory=set)
    labels: list[str] = field(default_factory=list)
    ignored: list[Ignored] = field(default_factory=list)

    def add(self, names: Collection[str], read: Callable[[], Part]) -> None:
        """Adds a layout that reads these files."""
        self.taken |= set(names)
        self.parts.append(read)

    def pass_over(self, names: Sequence[str], why: str) -> None:
        """Adds files that are passed over for one reason."""
        self.taken |= set(names)
        self.ignored += passed_over(NAME, list(names), why)


class Remaining:
    """A folder without some of its files; everything else is as in the folder."""

    def __init__(self, folder: Folder, taken: Collection[str]):
        self._folder, self._taken = folder, taken

    def files(self) -> list[File]:
        """Returns the files that are left."""
        return [file for file in self._folder.files() if file.name not in self._taken]

    def __getattr__(self, name: str) -> Any:
        return getattr(self._folder, name)


def recognize(folder: Folder, with_labels: bool) -> Layouts:
    """Returns what a folder holds that is read here.

    Args:
        with_labels: whether images of which only a label is known are read.

    Raises:
        BuildError: it is the folder of another flag, or a Parquet file is damaged.
    """
    if flag := look_alikes.flag_of(folder):
        raise BuildError(f"{folder.named()}: this is a folder for {flag}, which reads it whole; give it as {flag}")
    names = [file.name for file in folder.files() if not is_junk(file.name)]
    finder = Finder(names)
    found = Layouts()
    add_parquet(found, folder, names, finder, with_labels)
    add_texts(found, names, finder, folder, with_labels)
    add_json(found, folder, names, finder)
    add_tables(found, folder, names, finder, with_labels)
    add_advice(found, names)
    return found


def add_class_folders(found: Layouts, folder: Folder) -> bool:
    """Adds folders that are named after classes; returns whether there are some."""
    finder = Finder(file.name for file in folder.files() if not is_junk(file.name))
    if counts := classes(finder):
        found.add((), partial(read_classes, finder))
    return bool(counts)


def add_parquet(found: Layouts, folder: Folder, names: Sequence[str], finder: Finder, with_labels: bool) -> None:
    """Adds Parquet files, and the datasets that this project has built."""
    files = [name for name in names if name.lower().endswith(parquet_rows.SUFFIX)]
    configs: dict[str, str] = {}
    kinds: dict[str, str] = {}
    unusable: dict[str, str] = {}
    for name in files:
        table = parquet_rows.opened(folder, name)
        configs[name] = own_export.config_of(set(table.columns()))
        kinds[name], unusable[name] = columns_of(table.columns()).kind, parquet_rows.why_not(table)
    chosen = "chat" if "chat" in configs.values() else "pairs"
    built = {posixpath.dirname(posixpath.dirname(name)) for name, config in configs.items() if config == chosen}
    for root in built:
        below = [name for name in names if not root or name.startswith(f"{root}/")]
        found.taken |= {name for name in below if own_export.BESIDE.fullmatch(posixpath.relpath(name, root or "."))}
    for name in files:
        if configs[name] == chosen:
            found.add([name], partial(own_export.read_export, folder, name, chosen, finder))
        elif configs[name] or posixpath.dirname(posixpath.dirname(name)) in built:
            found.pass_over([name], f"the rows of this built dataset are read from its config {chosen}")
        elif unusable[name]:
            found.pass_over([name], unusable[name])
        elif kinds[name] == "label" and not with_labels:
            found.labels.append(name)
            found.pass_over([name], ONLY_LABELS)
        else:
            found.add([name], partial(parquet_rows.read_parquet, folder, name, finder))


def add_texts(found: Layouts, names: Sequence[str], finder: Finder, folder: Folder, with_labels: bool) -> None:
    """Adds text files that belong to images."""
    left = [name for name in names if name not in found.taken]
    if not with_labels:  # of WebDataset, a class
        classes_beside = [name for name in left if name.lower().endswith(".cls")]
        found.labels += classes_beside
        found.pass_over(classes_beside, ONLY_LABELS)
        left = [name for name in left if name not in found.taken]
    texts = TextFiles(left, finder, partial(is_content, folder))
    if not texts.is_empty():
        found.add(texts.taken(), partial(texts.read, folder))


def is_content(folder: Folder, name: str) -> bool:
    """Returns whether a file beside an image holds its text."""
    head = json_files.head_of(folder, name)
    return json_files.is_object_with_text(head) if name.lower().endswith(".json") else has_words(head)


def add_json(found: Layouts, folder: Folder, names: Sequence[str], finder: Finder) -> None:
    """Adds JSON files of conversations, questions and lists of images."""
    for name in names:
        if name in found.taken or not name.lower().endswith(json_files.SUFFIXES):
            continue
        if json_files.is_known(json_files.head_of(folder, name)):
            found.add([name], partial(json_files.read_json, folder, name, finder))


def add_tables(found: Layouts, folder: Folder, names: Sequence[str], finder: Finder, with_labels: bool) -> None:
    """Adds CSV files of questions, labels, captions of ROCO and diagnoses of the skin."""
    captioned = {posixpath.dirname(name) for name in names if posixpath.basename(name).lower() == "captions.txt"}
    for name in names:
        if name in found.taken or not name.lower().endswith(csv_files.SUFFIXES):
            continue
        header, _ = csv_files.header_of(json_files.head_of(folder, name))
        kind = csv_files.kind_of(header)
        if kind == "roco" and posixpath.dirname(name) in captioned:
            found.pass_over([name], "the captions are read from captions.txt")
        elif kind in ("skin", "label") and not with_labels:
            found.labels.append(name)
            if kind == "skin":  # of another table, the reader of tables says what it lacks
                found.pass_over([name], ONLY_LABELS)
        elif kind:
            found.add([name], partial(csv_files.read_table, folder, name, kind, finder))


def add_advice(found: Layouts, names: Sequence[str]) -> None:
    """Passes over files that hold images and texts in a form that is not read, with what to do about it."""
    left = [name for name in names if name not in found.taken]
    for end, why in ADVICE.items():
        if of_kind := [name for name in left if name.lower().endswith(end)]:
            found.pass_over(of_kind, f"not read; {why}")
    saved = {posixpath.dirname(name) for name in left if name.endswith(".arrow")}
    saved |= {posixpath.dirname(place) for place in saved}
    beside = [name for name in left if posixpath.basename(name) in SAVED and posixpath.dirname(name) in saved]
    found.pass_over(beside, "belongs to the files of save_to_disk")
    if found.parts:
        described = [name for name in names if posixpath.basename(name) in DESCRIPTIONS and name not in found.taken]
        found.pass_over(described, "describes other files")


def refusal(found: Layouts, folder: Folder) -> str:
    """Returns why nothing of a folder can be read as reports, and what to do; empty if nothing is known."""
    if found.labels:
        first = printable(min(found.labels))
        return f"{folder.named()}: {first} gives labels and no texts; --images_dir reads them, --reports_dir does not"
    if not found.parts and classes(Finder(file.name for file in folder.files())):
        return (
            f"{folder.named()}: images in the folders of classes and no texts; --images_dir reads them, --reports_dir "
            "does not"
        )
    return ""
