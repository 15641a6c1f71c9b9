"""Recognizes the official split that a cell, a folder or a file name gives: `val`, `train/`, `test-00000-of-00001`."""

from __future__ import annotations

import posixpath
import re

from hub_datasets.records import RawRecord

# Columns of tables that give an official split.
COLUMNS = ("split", "fold", "partition", "subset", "dataset_split", "official_split", "划分")
NAMES = {
    "train": ("train", "training", "trn", "trainset", "训练", "训练集"),
    "validation": ("validation", "validate", "valid", "val", "dev", "valset", "development", "验证", "验证集"),
    "test": ("test", "testing", "tst", "testset", "eval", "测试", "测试集"),
}
SPLITS = {name: split for split, names in NAMES.items() for name in names}
ARCHIVE = re.compile(r"\.(zip|tar|tgz|tar\.gz)\Z", re.IGNORECASE)
PARTS = re.compile(r"[-_. ]+")


def split_named(value: object) -> str:
    """Returns `train`, `validation` or `test` for a name of it; empty for anything else."""
    return SPLITS.get(value.strip().casefold(), "") if isinstance(value, str) else ""


def split_of_record(record: RawRecord) -> str:
    """Returns the split that a column of a record's table gives, else the folders of its image; empty if none does."""
    columns = (split_named(value) for key, value in record.metadata.items() if key.strip().casefold() in COLUMNS)
    return next(filter(None, columns), "") or split_of_path(f"{posixpath.dirname(record.image)}/")


def split_of_path(name: str) -> str:
    """Returns the split that the folders of a file name, else the file's own name; empty if there is none.

    The outermost folder counts: in `train/normal/test.png`, `test` is the name of a picture.
    """
    *folders, base = name.split("/")
    if found := next(filter(None, map(split_of_folder, folders)), ""):
        return found
    return split_in_words(base.rpartition(".")[0])


def split_of_folder(name: str) -> str:
    """Returns the split of a folder, or of an archive that stands for one: `train-000.tar`."""
    packed = ARCHIVE.search(name)
    return split_in_words(name[: packed.start()]) if packed else split_named(name)


def split_in_words(name: str) -> str:
    """Returns the split that the first or the last word of a name gives; empty if neither does."""
    words = PARTS.split(name)
    return split_named(words[0]) or split_named(words[-1])
