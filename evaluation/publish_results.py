"""A result to the Hub: into the model's repository, its card and the leaderboard of the dataset."""

from __future__ import annotations

from pathlib import Path

from evaluation.loading import InputError
from model_cards.hub.commit import PushError, check_public
from model_cards.hub.model_repository import push_result as commit_result
from model_cards.results import EvaluationResult


def check_push(model: str, public: bool) -> None:
    """Raises InputError, before anything is scored, for a model whose result could not be pushed."""
    refuse_folder(model)
    try:
        check_public(model, "model", public)
    except PushError as error:
        raise InputError(f"--push_to_hub {model}: {error}") from None


def push_result(result: EvaluationResult, create_pr: bool = False, public: bool = False) -> str:
    """Adds a result to the model's repository in one commit; see `model_repository.py` for what it changes there.

    Args:
        public: write to a repository that is public; without it such a one is refused.

    Returns:
        the address of the commit or pull request. Raises InputError where the Hub refuses, or the model is a folder.
    """
    refuse_folder(result.model)
    try:
        pushed = commit_result(result, public=public, create_pr=create_pr)
    except (PushError, ValueError) as error:  # ValueError: a file in the repository is not this project's
        raise InputError(f"--push_to_hub {result.model}: {error}") from None
    return pushed.pull_request or pushed.commit


def refuse_folder(model: str) -> None:
    """Raises InputError for a model on this machine: a result goes where its weights are."""
    if Path(model).exists():
        raise InputError(f"--push_to_hub: {model} is a folder; push the model first, then score its repository")
