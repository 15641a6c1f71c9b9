"""A result to the Hub: into the model's repository, its card and the leaderboard of the dataset."""

from __future__ import annotations

import tempfile
from pathlib import Path

from evaluation.loading import InputError, first_line
from model_cards.model_card import CARD_FILES, RESULTS, SUMMARY, write_model_card
from model_cards.results import EvaluationResult, eval_results_yaml, is_commit, slug, write_text

ATTEMPTS = 3


def push_result(result: EvaluationResult, create_pr: bool = False) -> str:
    """Adds a result to the model's repository in one commit, and renews the card that is made from the results.

    A model that this project did not train has no training summary; its card is left alone. A dataset that is not on
    the Hub has no leaderboard there. Where somebody else commits in between, it starts again with what they left.

    Returns:
        the address of the commit or pull request. Raises InputError where the Hub refuses, or the model is a folder.
    """
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError, HTTPError

    if Path(result.model).exists():
        raise InputError(f"--push_to_hub: {result.model} is a folder; push the model first, then score its repository")
    api = HfApi()
    for attempt in range(1, ATTEMPTS + 1):
        try:
            head = api.model_info(result.model).sha
            with tempfile.TemporaryDirectory() as scratch:
                folder = Path(scratch)
                api.snapshot_download(result.model, revision=head, allow_patterns=list(CARD_FILES), local_dir=folder)
                add_result(folder, result)
                commit = api.upload_folder(
                    repo_id=result.model,
                    folder_path=folder,
                    ignore_patterns=[".cache/*"],
                    commit_message=f"Result on {result.dataset} ({result.dataset_split})",
                    create_pr=create_pr,
                    parent_commit=head,
                )
            return commit.pr_url or commit.commit_url
        except (HTTPError, OSError, ValueError) as error:  # the Hub or the network; a file that is not this project's
            overtaken = isinstance(error, HfHubHTTPError) and error.response.status_code == 412
            if not overtaken or attempt == ATTEMPTS:
                raise InputError(f"--push_to_hub {result.model}: {first_line(error)}") from None
    raise AssertionError("the last attempt returns or raises")


def add_result(folder: Path, result: EvaluationResult) -> None:
    """Writes the result beside the others in the copy of a model's repository, and the card that shows them all."""
    result.save(folder / RESULTS)
    if is_commit(result.dataset_revision):
        name = f"{slug(result.dataset)}--{result.task}--{slug(result.dataset_split)}.yaml"
        write_text(folder / ".eval_results" / name, eval_results_yaml(result))
    if (folder / SUMMARY).exists():
        write_model_card(folder, result.model)
