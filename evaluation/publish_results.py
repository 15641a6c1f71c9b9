"""Publishes a result on the Hub: in the model's repository, on its card and on the dataset's leaderboard."""

from __future__ import annotations

from pathlib import Path

from evaluation.loading import InputError
from model_cards.hub.commit import PushError, check_public, refusals
from model_cards.hub.model_repository import push_result as commit_result
from model_cards.results import EvaluationResult, is_commit


def check_push(model: str, public: bool) -> None:
    """Checks, before anything is scored, that the result of a model can be pushed; otherwise raises InputError."""
    refuse_folder(model)
    try:
        check_public(model, "model", public)
    except PushError as error:
        raise InputError(f"--push_to_hub {model}: {error}") from None


def push_result(
    result: EvaluationResult, predictions: Path | None = None, create_pr: bool = False, public: bool = False
) -> str:
    """Adds a result to the model's repository in one commit; `model_repository.py` describes the changes.

    Args:
        result: the result to publish; its model is a repository on the Hub.
        predictions: the file of its predictions, which is pushed beside it, unless that would publish texts of a
            dataset that is not public.
        create_pr: open a pull request instead of committing to the main branch.
        public: allow a public repository; otherwise it is refused.

    Returns:
        the URL of the commit or pull request.

    Raises:
        InputError: the Hub refuses the push, or the model is a local folder.
    """
    refuse_folder(result.model)
    try:
        if predictions is not None and (reason := reason_to_keep(result)):
            print(f"The predictions stay on this machine: {reason}")
            predictions = None
        content = None if predictions is None else predictions.read_bytes()
        pushed = commit_result(result, content, public=public, create_pr=create_pr)
    except (PushError, ValueError) as error:  # ValueError: a file in the repository was not written by this project
        raise InputError(f"--push_to_hub {result.model}: {error}") from None
    return pushed.pull_request or pushed.commit


def reason_to_keep(result: EvaluationResult) -> str:
    """Returns why predictions are not pushed, "" if they are: they quote the questions and answers of the dataset.

    Raises:
        PushError: the Hub refuses to say whether the repositories are public.
    """
    from huggingface_hub import HfApi

    with refusals():
        if HfApi().model_info(result.model).private:
            return ""  # those who read it were let in
        if not is_commit(result.dataset_revision):
            return f"{result.model} is public, and the dataset {result.dataset} is a local folder"
        dataset = HfApi().dataset_info(result.dataset)
        if dataset.private or dataset.gated:
            is_closed = "private" if dataset.private else "gated"
            return f"{result.model} is public, and the dataset {result.dataset} is {is_closed}"
    return ""


def refuse_folder(model: str) -> None:
    """Raises InputError for a model in a local folder, because a result is pushed to the repository of its weights."""
    if Path(model).exists():
        raise InputError(
            f"--push_to_hub requires a model on the Hub, but {model} is a local folder. Push the model first, then "
            "evaluate its repository."
        )
