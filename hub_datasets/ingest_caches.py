"""Finds what builds keep of the sources that they read, for `medpairs clean`."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path

from hub_datasets.errors import BuildError
from hub_datasets.filesystem import storage
from hub_datasets.ingest.ingest import CATALOG, MANIFEST
from hub_datasets.options import CACHE
from hub_datasets.sources import SOURCES
from model_cards.commands.clean_caches import Cache, folders_below
from model_cards.commands.owned_files import files_below

# A stage is a folder `<source>-<key>` that `staging` writes; `scratch` is what a killed build left.
STAGE = re.compile(rf"({'|'.join(source.name for source in SOURCES)})-[0-9a-f]{{20}}")
WRITTEN = re.compile(
    rf"{STAGE.pattern}/({re.escape(MANIFEST)}|{re.escape(CATALOG)}(-journal|-wal|-shm)?|images-\d{{6}}\.bin)|scratch/.+"
)


def ingest_caches(folders: list[Path]) -> Iterator[Cache]:
    """The caches of builds below some folders: `.NAME.cache` beside an output, `medpairs-cache` in a --cache_dir."""
    for folder in dict.fromkeys(place.resolve() for given in folders for place in folders_below(given)):
        if not (folder.name == CACHE or (folder.name.startswith(".") and folder.name.endswith(".cache"))):
            continue
        files = tuple(name for name in files_below(folder) if WRITTEN.fullmatch(name))
        if any(STAGE.match(name) for name in files):
            yield Cache("sources that builds have read", folder, files, partial(held, folder))


@contextmanager
def held(folder: Path) -> Iterator[None]:
    """Holds the lock that a build has on its cache. Raises OSError where a build has it."""
    with ExitStack() as stack:
        try:
            stack.enter_context(storage.file_lock(str(folder), "a build is using it"))
        except BuildError as error:
            raise OSError(str(error)) from None
        yield
