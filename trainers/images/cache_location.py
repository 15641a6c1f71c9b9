"""Locates the folder of the image caches and counts the CPU cores that fill them."""

from __future__ import annotations

import os
from pathlib import Path

NO_CACHE = "none"


def cache_folder(flag: str | None) -> Path | None:
    """Returns the folder of all image caches.

    Args:
        flag: `--image_cache`: a folder, `none`, or None for `medpairs-pixels` in the cache of `datasets`.

    Returns:
        the folder, or None where `none` turns caching off.
    """
    if flag == NO_CACHE:
        return None
    if flag:
        return Path(flag)
    from datasets import config

    return Path(config.HF_DATASETS_CACHE) / "medpairs-pixels"


def available_cpus() -> int:
    """Returns the number of CPU cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
