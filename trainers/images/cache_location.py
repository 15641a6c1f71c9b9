"""Where do image caches lie, and how many threads fill them?"""

from __future__ import annotations

import os
from pathlib import Path

NO_CACHE = "none"


def cache_folder(flag: str | None) -> Path | None:
    """Where `--image_cache` says that caches are: beside those of `datasets` unless it names a folder or `none`."""
    if flag == NO_CACHE:
        return None
    if flag:
        return Path(flag)
    from datasets import config

    return Path(config.HF_DATASETS_CACHE) / "medpairs-pixels"


def processors() -> int:
    """The processor cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
