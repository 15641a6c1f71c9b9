"""Finds the files of image caches, with the embeddings of frozen towers in them, for `medpairs clean`."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from model_cards.commands.clean_caches import Cache, folders_below
from model_cards.commands.owned_files import files_below
from trainers.images.cache_location import cache_folder
from trainers.images.cache_reader import MANIFEST, PIXELS, TABLE

# The name of a cache folder, a hash; its lock is `NAME.lock` beside it, an unfinished build `NAME.building`.
NAME = re.compile(r"[0-9a-f]{32}")
FOLDER = re.compile(rf"{NAME.pattern}(\.building)?")
# The files that `cache_builder.py` and `encoder/frozen_tower_cache.py` write to a cache folder.
WRITTEN = re.compile(
    rf"{'|'.join(map(re.escape, (PIXELS, TABLE, MANIFEST)))}|{re.escape(MANIFEST)}\.part"
    r"|(image|text)-[0-9a-f]{32}(\.ids)?\.npy(\.\d+\.part)?|(image|text)-[0-9a-f]{32}\.sum"
)


def pixel_caches(folders: list[Path]) -> Iterator[Cache]:
    """Yields the image caches at the default of `--image_cache`, and those below some folders."""
    places = [place for folder in folders for place in folders_below(folder)]
    for root in dict.fromkeys(place.resolve() for place in (cache_folder(None), *places) if place is not None):
        files = tuple(name for inner in caches_in(root) for name in written(root, inner))
        if files:
            yield Cache("images as pixels", root, files)


def caches_in(root: Path) -> list[str]:
    """Returns the names of the caches in a folder of caches: the folders with a table of images."""
    if not root.is_dir():
        return []
    found = (path for path in root.iterdir() if FOLDER.fullmatch(path.name) and not path.is_symlink())
    return sorted(path.name for path in found if (path / TABLE).is_file())


def written(root: Path, name: str) -> Iterator[str]:
    """Yields the files of one cache, relative to the folder of caches.

    The table comes last: a folder without it no longer counts as a cache, so that an interrupted deletion can continue.
    """
    yield from (f"{name}/{file}" for file in files_below(root / name) if WRITTEN.fullmatch(file) and file != TABLE)
    yield f"{name}/{TABLE}"
    lock = f"{NAME.match(name)[0]}.lock"
    if (root / lock).is_file():
        yield lock
