"""A result to the Hub: into the model's repository, its card and the leaderboard of the dataset."""

from __future__ import annotations

import tempfile
from pathlib import Path

from evaluation.loading import InputError
from model_cards.model_card import SUMMARY, write_model_card
from model_cards.results import EvaluationResult, eval_results_yaml, slug


def push_result(result: EvaluationResult, create_pr: bool = False) -> str:
    """Adds a result to the model's repository in one commit, and renews the card that is made from the results.

    A model that this project did not train has no training summary; its card is left alone.

    Returns:
        the address of the commit or pull request. Raises InputError where the Hub refuses, or the model is a folder.
    """
    from huggingface_hub import HfApi, snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalTokenNotFoundError

    if Path(result.model).exists():
        raise InputError(f"--push_to_hub: {result.model} is a folder; push the model first, then score its repository")
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        try:
            snapshot_download(result.model, allow_patterns=[SUMMARY, "results/*.json"], local_dir=folder)
            result.save(folder / "results")
            leaderboard_file = folder / ".eval_results" / f"{slug(result.dataset)}-{result.task}.yaml"
            leaderboard_file.parent.mkdir()
            leaderboard_file.write_text(eval_results_yaml(result), encoding="utf-8")
            if (folder / SUMMARY).exists():
                write_model_card(folder, result.model)
            commit = HfApi().upload_folder(
                repo_id=result.model,
                folder_path=folder,
                ignore_patterns=[".cache/*"],
                commit_message=f"Result on {result.dataset} ({result.dataset_split})",
                create_pr=create_pr,
            )
        except (HfHubHTTPError, LocalTokenNotFoundError) as error:
            raise InputError(f"--push_to_hub: {result.model}: {error}") from None
    return commit.pr_url or commit.commit_url
