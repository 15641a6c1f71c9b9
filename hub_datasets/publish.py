"""To the Hub: the folder that a build wrote, as it is, in one commit."""

from __future__ import annotations

from pathlib import Path

from hub_datasets.schema import BuildError

# The rejections name files and rows of the sources, and the JSONL holds paths of this machine: both stay here.
PUBLISHED = ["README.md", "report.json", "pairs/*.parquet", "chat/*.parquet"]


def push_dataset(folder: Path, repo_id: str, private: bool = True) -> str:
    """Uploads the build in `folder` to the dataset repository `repo_id`, which is made if it does not exist.

    Parquet files of an earlier build that this one does not have are deleted in the same commit.

    Returns:
        the address of the repository. Raises BuildError where the Hub refuses.
    """
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HFValidationError, HTTPError

    api = HfApi()
    try:
        repo = api.create_repo(repo_id, repo_type="dataset", private=private, exist_ok=True)
        api.upload_folder(
            repo_id=repo.repo_id,
            repo_type="dataset",
            folder_path=folder,
            allow_patterns=PUBLISHED,
            delete_patterns=["pairs/*.parquet", "chat/*.parquet"],
            commit_message="Build of the dataset",
        )
    except (HTTPError, HFValidationError, OSError) as error:  # OSError: no token, or told to stay offline
        reason = " ".join(str(error).split())
        raise BuildError(f"--push_to_hub {repo_id}: {reason}; the build itself is in {folder}") from None
    return str(repo)
