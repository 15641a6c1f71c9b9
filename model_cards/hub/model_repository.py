"""Pushes a trained model to its repository with all files that belong to its weights, or adds one result to it.

A result belongs to the weights that it was measured on. Pushing new weights therefore removes the results of the old
ones from `results/`, from the leaderboard's `.eval_results/` and from the card, and a result of other weights is
refused.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from model_cards.card_update import contents, read_card, split_card
from model_cards.hub.commit import Change, Head, Pushed, PushError, matching, push, refusals
from model_cards.hub.weights import folder_weights, repository_weights
from model_cards.hub_leaderboard import eval_results_name, eval_results_yaml, has_ranked_metrics
from model_cards.model_card import (
    CARD,
    SAMPLES,
    SUMMARY,
    checked,
    merge_model_card,
    model_card,
    parse_samples,
    read_samples,
    read_summary,
    renewed_results,
    results_of,
)
from model_cards.results import (
    PREDICTIONS_ENDING,
    RESULTS,
    EvaluationResult,
    is_commit,
    load_results,
    newest,
    parse_result,
)

LEADERBOARD = ".eval_results"
# All files that our training commands can write, for every kind of model and export. Other files belong to the user.
MODEL_FILE = (
    r"(adapter/)?("
    r"(adapter_)?model(-\d{5}-of-\d{5})?\.safetensors|(adapter_)?model\.safetensors\.index\.json"
    r"|(adapter_|generation_|processor_|preprocessor_|tokenizer_)?config\.json|training_args\.json"
    r"|tokenizer\.json|special_tokens_map\.json|added_tokens\.json|vocab\.(json|txt)|merges\.txt"
    r"|(spiece|tokenizer|sentencepiece\.bpe)\.model|chat_template\.(jinja|json)|additional_chat_templates/[^/]+\.jinja"
    r")|training_summary\.json|samples\.jsonl|recipe\.yaml"
)
RESULT_FILE = re.compile(rf"{RESULTS}/[^/]+--[^/]+--[0-9a-f]{{8}}\.json")
LEADERBOARD_FILE = re.compile(rf"{re.escape(LEADERBOARD)}/[^/]+--(retrieval|report_generation)--[^/]+\.yaml")
NOT_PUSHED = ["runs/*", "samples/*", "_*", "training_args.bin", "*.pt", "*.pth"]


@dataclass(frozen=True)
class FoundResults:
    """The results in a repository, by path.

    Attributes:
        kept: results of the weights in question.
        others: results of other weights.
        unreadable: files that are named like results and are none.
    """

    kept: dict[str, EvaluationResult]
    others: dict[str, EvaluationResult]
    unreadable: list[str]


def push_model(
    folder: Path,
    repo_id: str,
    names: Collection[str] | None = None,
    *,
    public: bool,
    token: str | None = None,
    code: Iterable[str] = (),
) -> Pushed:
    """Uploads a finished model folder in one commit, which also removes files of an earlier push that are obsolete.

    Checkpoints, logs and results of other weights are not uploaded. Files in the repository that our training commands
    do not write are not changed.

    Args:
        folder: a folder with `training_summary.json`.
        repo_id: the repository.
        names: the files that the training wrote, relative to the folder (default: all files in the folder).
        public: see `push`.
        token: see `push`.
        code: names of the Python files that are uploaded with some of our models.

    Raises:
        PushError: see `push`.
        ValueError: a file in the folder, or the card in the repository, is damaged.
    """
    from huggingface_hub.utils import DEFAULT_IGNORE_PATTERNS, filter_repo_objects
    from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR

    ignored = [*DEFAULT_IGNORE_PATTERNS, *NOT_PUSHED, f"{PREFIX_CHECKPOINT_DIR}-*"]
    summary = read_summary(folder / SUMMARY)
    weights = summary.get("weights") or folder_weights(folder)
    results = results_of(load_results(folder / RESULTS), weights)
    here = {path.relative_to(folder).as_posix(): path for path in sorted(folder.rglob("*")) if path.is_file()}
    if names is not None:
        here = {name: path for name, path in here.items() if name in names}
    chosen = filter_repo_objects(here, ignore_patterns=ignored)
    files: dict[str, Path | bytes] = {name: here[name] for name in chosen if not RESULT_FILE.fullmatch(name)}
    files |= {path_of(result): result.text.encode() for result in results}
    ours = re.compile("|".join([MODEL_FILE, *map(re.escape, code)]))

    def decide(head: Head) -> Change:
        before = weights_at(head, head.commit)
        found = find_results(head, weights, before)
        change = Change(dict(files), matching(head.files, ours, files), removal_notes(found))
        after = results_after(found, results)
        known = list(after.values())
        change.removed += removed_paths(found, after, head)
        others = leaderboard_files(found.others.values())
        renew_leaderboard(change, head, known, others if before == weights else matching(head.files, LEADERBOARD_FILE))

        fresh = model_card(head.repo_id, summary, known, read_samples(folder / SAMPLES))
        blocks = contents(split_card(fresh)[1])
        text, _ = merge_model_card(read_card(folder / CARD), fresh, known, head.repo_id)
        base = read_json(head, SUMMARY)
        text, notes = merge_model_card(head.text(CARD), text, known, head.repo_id, base, blocks)
        change.files[CARD] = text.encode()
        change.notes += notes
        return change

    return push(repo_id, "model", decide, "Fine-tuned model", public=public, token=token)


def push_result(
    result: EvaluationResult, predictions: bytes | None = None, *, public: bool, create_pr: bool = False
) -> Pushed:
    """Adds a result to the repository of its model in one commit, and updates the numbers on the card.

    The leaderboard is updated only if the dataset is on the Hub.

    Args:
        result: the result; its model is a repository.
        predictions: the file of its predictions, which is pushed beside it, so that others can score them again.
        public: see `push`.
        create_pr: open a pull request.

    Raises:
        PushError: see `push`; or the repository now contains other weights than those that were evaluated.
        ValueError: the training summary or the card in the repository is damaged.
    """

    def decide(head: Head) -> Change:
        weights = weights_at(head, head.commit)
        if result.weights and weights and result.weights != weights:
            raise PushError(
                f"the result was measured for different weights from those now in the repository (commit "
                f"{head.commit[:8]}). Evaluate the current weights and push the new result."
            )
        found = find_results(head, weights, weights)
        after = results_after(found, [result])
        known = list(after.values())
        change = Change({path_of(result): result.text.encode()}, notes=removal_notes(found))
        if predictions is not None:
            change.files[predictions_of(path_of(result))] = predictions
        change.removed += removed_paths(found, after, head)
        renew_leaderboard(change, head, known, leaderboard_files([*found.others.values(), result]))

        summary = read_json(head, SUMMARY)
        if summary is not None:
            summary = checked(summary, SUMMARY)
        samples = parse_samples(head.text(SAMPLES) or "", SAMPLES)
        text, notes = renewed_results(head.text(CARD), summary, known, samples, head.repo_id)
        if text is not None:
            change.files[CARD] = text.encode()
        change.notes += notes
        return change

    message = f"Result on {result.dataset} ({result.dataset_split})"
    return push(result.model, "model", decide, message, public=public, create=False, create_pr=create_pr)


def weights_at(head: Head, revision: str) -> str:
    """Returns the digest of the weights at a commit of the repository; "" if there are none, or no such commit."""
    from huggingface_hub.errors import RevisionNotFoundError

    try:
        with refusals():
            return repository_weights(head.api, head.repo_id, revision)
    except PushError as error:
        if isinstance(error.__cause__, RevisionNotFoundError):
            return ""
        raise


def find_results(head: Head, weights: str, before: str) -> FoundResults:
    """Reads the results in the repository, and separates those of the given weights from the others.

    Args:
        head: the newest commit.
        weights: digest of the weights after the push.
        before: digest of the weights before the push. A result that names neither weights nor a commit is assumed to
            belong to them.
    """
    found = FoundResults({}, {}, [])
    at_commit = {head.commit: before}
    for path in matching(head.files, RESULT_FILE):
        try:
            result = parse_result(head.text(path) or "")
        except (ValueError, TypeError):
            found.unreadable.append(path)
            continue
        measured = result.weights
        if not measured and is_commit(result.model_revision):
            if result.model_revision not in at_commit:
                at_commit[result.model_revision] = weights_at(head, result.model_revision)
            measured = at_commit[result.model_revision]
        (found.kept if (measured or before) == weights else found.others)[path] = result
    return found


def removal_notes(found: FoundResults) -> list[str]:
    """Returns the messages about results that are removed or cannot be read."""
    notes = [f"Not a result file, left unchanged: {path}" for path in found.unreadable]
    names = {f"{result.task} on {result.dataset} ({result.dataset_split})" for result in found.others.values()}
    return notes + ([f"Removed results of other weights: {', '.join(sorted(names))}"] if names else [])


def results_after(found: FoundResults, new: Sequence[EvaluationResult]) -> dict[str, EvaluationResult]:
    """Returns the results in the repository after a push, by path: the new ones, and the kept ones."""
    again = {identity(result) for result in new}
    kept = {path: result for path, result in found.kept.items() if identity(result) not in again}
    return kept | {path_of(result): result for result in new}


def removed_paths(found: FoundResults, after: Collection[str], head: Head) -> list[str]:
    """Returns the results that a push removes, and the predictions that belong to them."""
    gone = [path for path in found.kept | found.others if path not in after]
    return gone + [path for path in map(predictions_of, gone) if path in head.files]


def predictions_of(path: str) -> str:
    """Returns the path of the predictions that belong to a result."""
    return path.removesuffix(".json") + PREDICTIONS_ENDING


def identity(result: EvaluationResult) -> str:
    """Returns a key that is equal for two results of the same measurement on the same weights."""
    # Without the weights and the commit, because older results do not name them.
    return replace(result, weights="", model_revision="").file_name


def path_of(result: EvaluationResult) -> str:
    """Returns the path of a result in the repository of its model."""
    return f"{RESULTS}/{result.file_name}"


def leaderboard_files(results: Iterable[EvaluationResult]) -> list[str]:
    """Returns the paths of the leaderboard files of these results, without results on local datasets."""
    return sorted({f"{LEADERBOARD}/{eval_results_name(r)}" for r in results if is_commit(r.dataset_revision)})


def renew_leaderboard(change: Change, head: Head, results: Sequence[EvaluationResult], paths: Collection[str]) -> None:
    """Adds to the change: writes the newest result to each path in `.eval_results`, and removes paths without one."""
    published = [r for r in results if is_commit(r.dataset_revision) and has_ranked_metrics(r)]
    shown = {f"{LEADERBOARD}/{eval_results_name(result)}": result for result in newest(published, eval_results_name)}
    change.files |= {path: eval_results_yaml(shown[path]).encode() for path in paths if path in shown}
    change.removed += [path for path in paths if path in head.files and path not in shown]


def read_json(head: Head, path: str) -> object:
    """Returns the content of a JSON file in the repository; None if it does not exist or is not JSON."""
    try:
        return json.loads(head.text(path) or "null")
    except ValueError:
        return None
