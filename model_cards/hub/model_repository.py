"""What a push leaves in a model's repository: new weights with all that is of them, or one result more.

A result belongs to the weights that it was measured on. New weights therefore take the results of others away, from
`results/`, from the leaderboard's `.eval_results/` and from the card; and a result of other weights is refused.
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
from model_cards.model_card import (
    CARD,
    RESULTS,
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
    EvaluationResult,
    eval_results_name,
    eval_results_yaml,
    is_commit,
    load_results,
    newest,
    parse_result,
)

LEADERBOARD = ".eval_results"
# What our trainings write, whatever was trained and however it was exported. Every other file is somebody else's.
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
NOT_PUSHED = ["checkpoint-*", "runs/*", "samples/*", "_*", "training_args.bin", "*.pt", "*.pth"]


@dataclass(frozen=True)
class FoundResults:
    """The results in a repository by their path: those of the weights in question, and the others.

    `unreadable` are files that have the name of a result and are none.
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
    """Uploads a finished model folder in one commit, which removes what an earlier push left of another form.

    Checkpoints, logs and results of other weights stay here. Files that our trainings do not write stay there.

    Args:
        folder: with `training_summary.json`.
        names: of the files that the training wrote, relative to the folder; all files there unless given.
        code: names of the Python files that travel with some of our models.

    Raises:
        PushError: see `push`.
        ValueError: a file of the folder, or the card in the repository, is damaged.
    """
    from huggingface_hub.utils import DEFAULT_IGNORE_PATTERNS, filter_repo_objects

    summary = read_summary(folder / SUMMARY)
    weights = summary.get("weights") or folder_weights(folder)
    results = results_of(load_results(folder / RESULTS), weights)
    here = {path.relative_to(folder).as_posix(): path for path in sorted(folder.rglob("*")) if path.is_file()}
    if names is not None:
        here = {name: path for name, path in here.items() if name in names}
    chosen = filter_repo_objects(here, ignore_patterns=[*DEFAULT_IGNORE_PATTERNS, *NOT_PUSHED])
    files: dict[str, Path | bytes] = {name: here[name] for name in chosen if not RESULT_FILE.fullmatch(name)}
    files |= {path_of(result): result.text.encode() for result in results}
    ours = re.compile("|".join([MODEL_FILE, *map(re.escape, code)]))

    def decide(head: Head) -> Change:
        before = weights_at(head, head.commit)
        found = find_results(head, weights, before)
        change = Change(dict(files), matching(head.files, ours, files), removal_notes(found))
        after = results_after(found, results)
        known = list(after.values())
        change.removed += [path for path in found.kept | found.others if path not in after]
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


def push_result(result: EvaluationResult, *, public: bool, create_pr: bool = False) -> Pushed:
    """Adds a result to the repository of its model in one commit, and renews the card's numbers.

    A dataset that is not on the Hub has no leaderboard there.

    Raises:
        PushError: see `push`; or the repository has other weights by now than those that were measured.
        ValueError: the training summary or the card in the repository is damaged.
    """

    def decide(head: Head) -> Change:
        weights = weights_at(head, head.commit)
        if result.weights and weights and result.weights != weights:
            raise PushError(
                f"the result was measured on other weights than the repository has now (commit {head.commit[:8]}); "
                "evaluate them and push that result"
            )
        found = find_results(head, weights, weights)
        after = results_after(found, [result])
        known = list(after.values())
        change = Change({path_of(result): result.text.encode()}, notes=removal_notes(found))
        change.removed += [path for path in found.kept | found.others if path not in after]
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
    """The digest of the weights at a commit of the repository; "" where there are none, or no such commit."""
    from huggingface_hub.errors import RevisionNotFoundError

    try:
        with refusals():
            return repository_weights(head.api, head.repo_id, revision)
    except PushError as error:
        if isinstance(error.__cause__, RevisionNotFoundError):
            return ""
        raise


def find_results(head: Head, weights: str, before: str) -> FoundResults:
    """Reads the results in the repository, and tells those that were measured on the given weights from the others.

    Args:
        weights: digest of the weights that the repository is to have.
        before: digest of those that it has. A result that says neither on which it was measured nor at which commit
            is taken for one of these.
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
    """What is printed of results that are taken away, or cannot be read."""
    notes = [f"Not a result file, left as it is: {path}" for path in found.unreadable]
    names = {f"{result.task} on {result.dataset} ({result.dataset_split})" for result in found.others.values()}
    return notes + ([f"Removed, because measured on other weights: {', '.join(sorted(names))}"] if names else [])


def results_after(found: FoundResults, new: Sequence[EvaluationResult]) -> dict[str, EvaluationResult]:
    """The results in the repository after a push, by path: the new ones, and what is kept beside them."""
    again = {identity(result) for result in new}
    kept = {path: result for path, result in found.kept.items() if identity(result) not in again}
    return kept | {path_of(result): result for result in new}


def identity(result: EvaluationResult) -> str:
    """What was measured, of the same weights, one of two results of which may not say on which it was."""
    return replace(result, weights="", model_revision="").file_name


def path_of(result: EvaluationResult) -> str:
    """Where a result is in the repository of its model."""
    return f"{RESULTS}/{result.file_name}"


def leaderboard_files(results: Iterable[EvaluationResult]) -> list[str]:
    """The paths of what the leaderboards of datasets read of these results; a folder has no leaderboard."""
    return sorted({f"{LEADERBOARD}/{eval_results_name(r)}" for r in results if is_commit(r.dataset_revision)})


def renew_leaderboard(change: Change, head: Head, results: Sequence[EvaluationResult], paths: Collection[str]) -> None:
    """Writes the newest result to each of these paths in `.eval_results`, and removes those that have none."""
    published = [result for result in results if is_commit(result.dataset_revision)]
    shown = {f"{LEADERBOARD}/{eval_results_name(result)}": result for result in newest(published, eval_results_name)}
    change.files |= {path: eval_results_yaml(shown[path]).encode() for path in paths if path in shown}
    change.removed += [path for path in paths if path in head.files and path not in shown]


def read_json(head: Head, path: str) -> object:
    """The content of a JSON file of the repository; None where there is none, or it is not JSON."""
    try:
        return json.loads(head.text(path) or "null")
    except ValueError:
        return None
