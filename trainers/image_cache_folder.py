"""Where do image caches lie, and how many threads fill them?"""

from __future__ import annotations

import os
from pathlib import Path

from evaluation.loading import InputError
from trainers.arguments import ImageArguments, MedicalTrainingArguments

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


def check_cache(arguments: ImageArguments, training: MedicalTrainingArguments) -> None:
    """Raises InputError where `--overwrite` would remove the image cache that this run reads."""
    cache = cache_folder(arguments.image_cache)
    if training.overwrite and cache and Path(training.output_dir).resolve() in (cache / "x").resolve().parents:
        raise InputError(
            f"--image_cache {cache} lies in --output_dir {training.output_dir}, which --overwrite empties; name "
            "another folder"
        )
