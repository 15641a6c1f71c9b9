"""Recognizes the official split that a cell, a folder or a file name gives: `val`, `train/`, `test-00000-of-00001`."""

from __future__ import annotations

import re

from hub_datasets.texts.official_splits import official_split

ARCHIVE = re.compile(r"\.(zip|tar|tgz|tar\.gz)\Z", re.IGNORECASE)
PARTS = re.compile(r"[-_. ]+")


def split_named(value: object) -> str:
    """Returns `train`, `validation` or `test` for a name of it; empty for anything else."""
    return official_split(value) or ""


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
