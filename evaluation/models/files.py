"""Reads small configuration files of a model in a folder or on the Hub."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from evaluation.loading import InputError, load_advice

MOST_BYTES = 1 << 22  # a configuration has a few thousand


def path_of(model: str, name: str, revision: str | None) -> Path | None:
    """Returns the place of a file of a model; None if the model does not have it.

    Raises:
        InputError: the Hub does not answer.
    """
    if Path(model).is_dir():
        path = Path(model, name)
        return path if path.is_file() else None
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError

    try:
        return Path(hf_hub_download(model, name, revision=revision or None))
    except (EntryNotFoundError, LocalEntryNotFoundError):  # the second: without a connection, not in the cache
        return None
    except Exception as error:  # missing, gated, no network: each raises its own type
        raise InputError(f"{model}: {load_advice(model, error)}") from None


def has_file(model: str, name: str, revision: str | None) -> bool:
    """Returns whether a model has a file. Large files of repositories are not downloaded to find out."""
    if Path(model).is_dir() or not name.endswith(".safetensors"):
        return path_of(model, name, revision) is not None
    from huggingface_hub import file_exists

    try:
        return file_exists(model, name, revision=revision or None)
    except Exception:  # without a connection: loading says whether it is in the cache
        return True


def read_json(model: str, name: str, revision: str | None) -> dict[str, Any]:
    """Returns the object in a JSON file of a model.

    Raises:
        InputError: there is no such file, or it is not a JSON object.
    """
    path = path_of(model, name, revision)
    try:
        if path is None or path.stat().st_size > MOST_BYTES:
            raise ValueError("missing, or larger than any configuration")
        content = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(content, dict):
            raise ValueError(f"a {type(content).__name__} and not an object")
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"{model}: {name} cannot be read: {error or type(error).__name__}") from None
    return content
