"""Finds the copies that `datasets` makes of dataset folders of this machine, for `medpairs clean`."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from evaluation.loading import FOLDER_CACHES
from model_cards.commands.clean_caches import Cache
from model_cards.commands.owned_files import files_below

# Below a folder that `loading.cache_of` names by the state of a dataset, `datasets` writes such files.
WRITTEN = re.compile(r"[0-9a-f]{32}/(.+/)?([^/]+\.arrow|dataset_info\.json|[^/]+\.lock)")


def folder_caches(folders: list[Path]) -> Iterator[Cache]:
    """The one folder of such copies, which is below HF_HOME whatever folders are given."""
    from datasets import config

    root = Path(config.HF_DATASETS_CACHE) / FOLDER_CACHES
    files = tuple(name for name in files_below(root) if WRITTEN.fullmatch(name))
    if files:
        yield Cache("copies of dataset folders", root, files)
