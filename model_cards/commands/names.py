"""Tells by its name whether a dataset or a model is a folder of this machine or a repository on the Hub."""

from __future__ import annotations

from pathlib import Path

# The folders that the commands write to. A name below one of them is a path even where nothing is there: a folder that
# is missing must not turn into the repository of a stranger.
FOLDERS = ("data", "checkpoints", "outputs", "results")


def is_path(name: str) -> bool:
    """True for a path, of a folder that exists or not; false for what can only be a repository on the Hub."""
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils import validate_repo_id

    if name.startswith((".", "~", "/")) or name.split("/")[0] in FOLDERS:
        return True
    try:
        validate_repo_id(name)  # refuses `a/b/c`, `C:\data` and the empty name
    except HFValidationError:
        return True
    return Path(name).exists()
