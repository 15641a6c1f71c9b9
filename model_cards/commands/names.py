"""Decides from its name whether a dataset or model is a local folder or a repository on the Hub."""

from __future__ import annotations

from pathlib import Path

# The folders that the commands write to. A name below one of them is a path even if it does not exist, so that a
# missing folder is not mistaken for a repository of another user.
FOLDERS = ("data", "checkpoints", "outputs", "results")


def is_path(name: str) -> bool:
    """Returns whether a name is a path, existing or not, and not a repository on the Hub."""
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils import validate_repo_id

    if name.startswith((".", "~", "/")) or name.split("/")[0] in FOLDERS:
        return True
    try:
        validate_repo_id(name)  # refuses `a/b/c`, `C:\data` and the empty name
    except HFValidationError:
        return True
    return Path(name).exists()
