"""Opening a dataset split, an encoder or a decoder by name, with an error that says what to do when it fails."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import datasets

ENCODER_TYPES = ("siglip",)
DECODER_TYPES = ("mllama",)


class InputError(Exception):
    """A name, folder or flag that a command cannot use: the message names it and says what to do about it."""


def load_splits(dataset: str, config: str, splits: list[str], revision: str | None = None) -> dict[str, Any]:
    """The splits of a config that exist, each a `datasets.Dataset`.

    Args:
        dataset: a folder that `hub_datasets/build.py` wrote, or a repository on the Hub.
        revision: commit, branch or tag of a repository.

    Raises:
        InputError: the dataset cannot be read, or has none of the splits.
    """
    from datasets import load_dataset

    if not Path(dataset).exists() and dataset.count("/") != 1:
        raise InputError(
            f"--dataset {dataset}: no such folder, and no repository name (org/name); "
            "build one with: python hub_datasets/build.py --help"
        )
    try:
        found: datasets.DatasetDict = load_dataset(dataset, config, revision=revision)
    except Exception as error:  # a missing repository, file, config or network each raise their own type
        raise InputError(f"--dataset {dataset}, config {config}: {first_line(error)}") from None
    chosen = {split: found[split] for split in splits if split in found}
    if not chosen:
        raise InputError(
            f"--dataset {dataset}, config {config}: no split {' or '.join(splits)}; it has {', '.join(found)}"
        )
    return chosen


def dataset_revision(dataset: str, revision: str | None = None) -> str:
    """The commit of a dataset on the Hub, or the fingerprint of a local build; "" where neither is known."""
    report = Path(dataset) / "report.json"
    if report.is_file():
        return json.loads(report.read_text(encoding="utf-8")).get("fingerprint", "")
    if Path(dataset).exists():
        return ""
    from huggingface_hub import HfApi

    return HfApi().dataset_info(dataset, revision=revision).sha or ""


def load_model_and_processor(
    model: str, model_class: type, revision: str | None = None, processor_class: type | None = None, **settings: Any
) -> tuple[Any, Any]:
    """A model with every weight it needs, and its processor. Safetensors only, no code from the repository.

    Args:
        processor_class: AutoProcessor unless given.
        settings: further arguments of the model's `from_pretrained`.

    Raises:
        InputError: it cannot be opened, or a weight is missing or unexpected.
    """
    from transformers import AutoProcessor

    try:
        loaded, info = model_class.from_pretrained(
            model, revision=revision, use_safetensors=True, output_loading_info=True, **settings
        )
        processor = (processor_class or AutoProcessor).from_pretrained(model, revision=revision)
    except Exception as error:  # gated, missing, no network, broken files: each raises its own type
        raise InputError(f"{model}: {load_advice(model, error)}") from None
    check_loading_info(model, info)
    return loaded, processor


def check_loading_info(model: str, info: dict) -> None:
    """Raises InputError where a weight of the model is not in the checkpoint, or the other way round."""
    for problem in ("missing_keys", "unexpected_keys", "mismatched_keys"):
        if keys := sorted(map(str, info.get(problem) or ())):
            raise InputError(f"{model}: {len(keys)} {problem.replace('_', ' ')} in the checkpoint, such as {keys[0]}")


def load_advice(model: str, error: Exception) -> str:
    """What went wrong in one line, and what to do about it."""
    if type(error).__name__ == "GatedRepoError" or "gated repo" in str(error).lower():
        return "the repository is gated; accept its licence on the Hub and log in with `hf auth login`"
    advice = "" if Path(model).is_dir() else "; give a folder, or a repository on the Hub that you can read"
    return first_line(error) + advice


def model_type(model: str, revision: str | None = None) -> str:
    """`siglip`, `mllama`, ...: what the checkpoint's configuration says. Raises InputError if there is none."""
    from transformers import AutoConfig

    try:
        return AutoConfig.from_pretrained(model, revision=revision).model_type
    except Exception as error:  # as above
        raise InputError(f"{model}: {load_advice(model, error)}") from None


def model_revision(model: str, revision: str | None = None) -> str:
    """The commit of a model on the Hub, "" for a folder."""
    if Path(model).exists():
        return ""
    from huggingface_hub import HfApi

    return HfApi().model_info(model, revision=revision).sha or ""


def first_line(error: Exception) -> str:
    """The first line of an error that says something."""
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
