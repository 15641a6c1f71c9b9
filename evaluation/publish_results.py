"""Publishes a result on the Hub: in the model's repository, on its card and on the dataset's leaderboard."""

from __future__ import annotations

from pathlib import Path

from evaluation.loading import InputError
from model_cards.hub.commit import PushError, check_public
from model_cards.hub.model_repository import push_result as commit_result
from model_cards.results import EvaluationResult


def check_push(model: str, public: bool) -> None:
    """Checks, before anything is scored, that the result of a model can be pushed; otherwise raises InputError."""
    refuse_folder(model)
    try:
        check_public(model, "model", public)
    except PushError as error:
        raise InputError(f"--push_to_hub {model}: {error}") from None


def push_result(result: EvaluationResult, create_pr: bool = False, public: bool = False) -> str:
    """Adds a result to the model's repository in one commit; `model_repository.py` describes the changes.

    Args:
        result: the result to publish; its model is a repository on the Hub.
        create_pr: open a pull request instead of committing to the main branch.
        public: allow a public repository; otherwise it is refused.

    Returns:
        the URL of the commit or pull request.

    Raises:
        InputError: the Hub refuses the push, or the model is a local folder.
    """
    refuse_folder(result.model)
    try:
        pushed = commit_result(result, public=public, create_pr=create_pr)
    except (PushError, ValueError) as error:  # ValueError: a file in the repository was not written by this project
        raise InputError(f"--push_to_hub {result.model}: {error}") from None
    return pushed.pull_request or pushed.commit


def refuse_folder(model: str) -> None:
    """Raises InputError for a model in a local folder, because a result is pushed to the repository of its weights."""
    if Path(model).exists():
        raise InputError(
            f"--push_to_hub requires a model on the Hub, but {model} is a local folder. Push the model first, then "
            "evaluate its repository."
        )
