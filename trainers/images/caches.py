"""Finds the images that trainings keep as pixels, with the embeddings of frozen towers, for `medpairs clean`."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from model_cards.commands.clean_caches import Cache, folders_below
from model_cards.commands.owned_files import files_below
from trainers.images.cache_location import cache_folder
from trainers.images.cache_reader import MANIFEST, PIXELS, TABLE

NAME = re.compile(r"[0-9a-f]{32}")  # of a cache; beside it lies NAME.lock
FOLDER = re.compile(rf"{NAME.pattern}(\.building)?")
# What `image_cache` and `frozen_towers` write.
WRITTEN = re.compile(
    rf"{'|'.join(map(re.escape, (PIXELS, TABLE, MANIFEST)))}|{re.escape(MANIFEST)}\.part"
    r"|(vision|text)-[0-9a-f]{32}(\.ids)?\.npy(\.\d+\.part)?|(vision|text)-[0-9a-f]{32}\.sum"
)


def pixel_caches(folders: list[Path]) -> Iterator[Cache]:
    """The image caches of `--image_cache` where it is not given, and those below some folders."""
    places = [place for folder in folders for place in folders_below(folder)]
    for root in dict.fromkeys(place.resolve() for place in (cache_folder(None), *places) if place is not None):
        files = tuple(name for inner in caches_in(root) for name in written(root, inner))
        if files:
            yield Cache("images as pixels", root, files)


def caches_in(root: Path) -> list[str]:
    """The names of the caches in a folder of caches: those with a table of images."""
    if not root.is_dir():
        return []
    found = (path for path in root.iterdir() if FOLDER.fullmatch(path.name) and not path.is_symlink())
    return sorted(path.name for path in found if (path / TABLE).is_file())


def written(root: Path, name: str) -> Iterator[str]:
    """The files of one cache, relative to the folder of caches. A cache without its table is no cache any more."""
    yield from (f"{name}/{file}" for file in files_below(root / name) if WRITTEN.fullmatch(file) and file != TABLE)
    yield f"{name}/{TABLE}"
    lock = f"{NAME.match(name)[0]}.lock"
    if (root / lock).is_file():
        yield lock
