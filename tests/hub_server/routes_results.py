"""Evaluation results: `.eval_results/*.yaml` of the models, and the leaderboard of a benchmark dataset.

A dataset is a benchmark by its `eval.yaml`, which names its tasks; a model's results count for it where dataset id and
task id are the same. Anyone may propose a result by pull request, and an open one is shown as the community's.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from numbers import Real
from typing import Any

import yaml

from .messages import API_REPO, HubError, Request, Routes
from .objects import MAIN, Repo
from .store import Store

routes = Routes()


@dataclass
class Result:
    """One entry of a results file, or the `error` for which the file does not count."""

    filename: str
    pull_request: int | None
    entry: dict
    error: str | None = None

    def for_model_page(self) -> dict:
        if self.error:
            return {"filename": self.filename, "error": self.error}
        return {"filename": self.filename, "data": self.entry}


def fault_of(entry: Any) -> str | None:
    if not isinstance(entry, dict) or not isinstance(entry.get("dataset"), dict):
        return "every result has to be a mapping with a 'dataset'"
    for key in ("id", "task_id"):
        if not isinstance(entry["dataset"].get(key), str):
            return f"'dataset.{key}' has to be a string"
    value = entry.get("value")
    if isinstance(value, bool) or not isinstance(value, Real) or not math.isfinite(value):
        return "'value' has to be a finite number"
    source = entry.get("source")
    if source is not None and not (isinstance(source, dict) and isinstance(source.get("url"), str)):
        return "'source' needs a 'url'"
    return None


def read_results(text: str) -> tuple[list[dict], str | None]:
    """The entries of a results file, or why it has none that count."""
    try:
        entries = yaml.safe_load(text)
    except yaml.YAMLError as error:
        return [], f"not YAML: {error}"
    if not isinstance(entries, list):
        return [], "a list of results was expected"
    fault = next((fault for entry in entries if (fault := fault_of(entry))), None)
    return ([], fault) if fault else (entries, None)


def results_of(store: Store, repo: Repo, pull_requests: bool = True) -> Iterator[Result]:
    """The model's own results and, with `pull_requests`, those that open pull requests add or change."""
    commits: dict[int | None, str] = {None: repo.refs[MAIN]}
    if pull_requests:
        commits |= {d.num: repo.refs[d.ref] for d in repo.discussions.values() if d.base and d.status == "open"}
    seen = set()
    for number, commit in commits.items():
        for path, file in sorted(repo.files(commit).items()):
            if re.fullmatch(r"\.eval_results/[^/]+\.ya?ml", path) and (path, file.oid) not in seen:
                seen.add((path, file.oid))
                entries, fault = read_results(store.text(file))
                if fault:
                    yield Result(path, number, {}, fault)
                for entry in entries:
                    yield Result(path, number, entry)


def tasks_of(store: Store, dataset: Repo) -> set[str]:
    """The task ids of the dataset's `eval.yaml`; HubError 404 where it is no benchmark."""
    try:
        spec = yaml.safe_load(store.text(dataset.files(dataset.refs[MAIN]).get("eval.yaml")))
    except yaml.YAMLError:
        spec = None
    # `evaluation_framework` may be missing: huggingface.co/datasets/LocalLLaMA/typed-decisions/discussions/9
    required = ("name", "description", "tasks")
    if not isinstance(spec, dict) or not all(spec.get(key) for key in required) or not isinstance(spec["tasks"], list):
        raise HubError(404, f"{dataset.id} has no leaderboard: it takes an eval.yaml with {', '.join(required)}")
    return {task["id"] for task in spec["tasks"] if isinstance(task, dict) and isinstance(task.get("id"), str)}


@routes("GET", API_REPO.replace("model|dataset|space", "dataset") + r"/leaderboard")
def leaderboard(store: Store, request: Request, repo_type: str, repo_id: str):
    """Best first. Models that name a `base_model` are left out unless `base_model=false` asks for them."""
    dataset = store.get(repo_type, repo_id, request.user)
    tasks, rows = tasks_of(store, dataset), []
    base_models_only = request.query.get("base_model", "true") != "false"
    people = {user.name for user in store.users.values()}
    for model in store.repos.values():
        if model.type != "model" or (model.private and not store.can_read(model, request.user)):
            continue
        if base_models_only and store.card(model, model.refs[MAIN]).get("base_model"):
            continue
        for result in results_of(store, model):
            entry = result.entry
            task = None if result.error else entry["dataset"]["task_id"]
            if result.error or entry["dataset"]["id"] != dataset.id or task not in tasks:
                continue
            if request.query.get("task_id") not in (None, task):
                continue
            kind = "user" if model.namespace in people else "org"
            rows.append(
                {
                    "modelId": model.id,
                    "value": entry["value"],
                    "filename": result.filename,
                    "verified": False,
                    "source": entry.get("source"),
                    "author": {"type": kind, "name": model.namespace, "fullname": model.namespace},
                    "pullRequest": result.pull_request,
                    "notes": entry.get("notes"),
                    "taskId": task,
                }
            )
    rows.sort(key=lambda row: -row["value"])
    return [{"rank": rank, **row} for rank, row in enumerate(rows, start=1)]
