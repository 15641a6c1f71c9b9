"""To the Hub: the folder that a build wrote, as it is, in one commit."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

from hub_datasets import storage
from hub_datasets.schema import BuildError

# Rejections and flags name files and rows of the sources, and the JSONL holds paths of this machine: they stay here.
FILES = ["README.md", "report.json", "splits.txt", "eval.yaml", "llama_factory/dataset_info.json"]
PATTERNS = ["pairs/*.parquet", "chat/*.parquet", "assets/*.png"]


def refuse_what_may_not_be_shared(names: Iterable[str]) -> None:
    """Raises BuildError where there are sources whose licence does not let others publish them."""
    if found := ", ".join(names):
        raise BuildError(
            f"--push_to_hub: the licence of {found} is not known to allow it; "
            "leave it out, or add --redistribute if you have the right to publish it"
        )


def push_dataset(folder: str | Path, repo_id: str, private: bool = True, redistribute: bool = False) -> str:
    """Uploads the build in `folder` to the dataset repository `repo_id`, which is made if it does not exist.

    Parquet files of an earlier build that this one does not have are deleted in the same commit.

    Args:
        redistribute: push sources, too, whose licence is not known to allow it; otherwise they are refused.

    Returns:
        the address of the repository. Raises BuildError where the Hub refuses.
    """
    if storage.is_remote(folder):
        raise BuildError(f"--push_to_hub: {folder} is not on this machine; push from a folder that is")
    folder = storage.local_path(folder)
    sources = json.loads((folder / "report.json").read_text(encoding="utf-8"))["sources"].items()
    if not redistribute:
        refuse_what_may_not_be_shared(n for n, s in sources if not (s["redistributable"] or s["synthetic"]))
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HFValidationError, HTTPError

    api = HfApi()
    try:
        repo = api.create_repo(repo_id, repo_type="dataset", private=private, exist_ok=True)
        if private and not api.dataset_info(repo.repo_id).private:
            raise BuildError(f"--push_to_hub {repo_id}: the repository is public; add --public if that is meant")
        api.upload_folder(
            repo_id=repo.repo_id,
            repo_type="dataset",
            folder_path=folder,
            allow_patterns=[*FILES, *PATTERNS],
            delete_patterns=["eval.yaml", *PATTERNS],
            commit_message="Build of the dataset",
        )
    except (HTTPError, HFValidationError, OSError) as error:  # OSError: no token, or told to stay offline
        reason = " ".join(str(error).split())
        raise BuildError(f"--push_to_hub {repo_id}: {reason}; the build itself is in {folder}") from None
    return str(repo)
