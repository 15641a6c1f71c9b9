"""Writes what the Hub makes leaderboards of: `eval.yaml` of a dataset and `.eval_results` of a model.

Both say only what is so. `eval.yaml` has one task per metric and names no evaluation framework: the results are
measured by medpairs, which is not on the Hub's list, and no program on the list computes them. An entry of
`.eval_results` has the id of one of these tasks, says by which rule and signature it was measured, and leads to the
record with its predictions.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from model_cards.results import GENERATION, HEADLINE, RESULTS, RETRIEVAL, EvaluationResult, slug, write_text

SPLIT = "test"
CONFIGS = {RETRIEVAL: "pairs", GENERATION: "chat"}  # the config that each task is evaluated on
# The Hub shows a leaderboard after its team has put the dataset on a list. A benchmark with scores of its own has no
# `evaluation_framework`, as in huggingface.co/datasets/LocalLLaMA/typed-decisions/discussions/9.
NOTE = """\
# The results are measured by `medpairs evaluate`. The leaderboard shows those whose task_id is one of the ids below.
"""


def write_benchmark(path: Path, title: str, report: Mapping[str, Any]) -> None:
    """Writes `eval.yaml` if a config of the report has a test split; otherwise removes an existing one."""
    import yaml

    tasks = [
        {"id": name, "config": config, "split": SPLIT}
        for task, config in CONFIGS.items()
        if report["splits"].get(config, {}).get(SPLIT)
        for name in task_ids(task, config)
    ]
    if not tasks:
        path.unlink(missing_ok=True)
        return
    configs = dict.fromkeys(task["config"] for task in tasks)
    rows = " and ".join(f"{report['splits'][config][SPLIT]:,} rows of {config}" for config in configs)
    content = {
        "name": title,
        "description": f"Held-out {rows}. Measured by medpairs evaluate: recall and mAP in [0, 1], BLEU in [0, 100], "
        "accuracy, exact match and the F1 of findings in [0, 1]; higher is better.",
        "tasks": tasks,
    }
    write_text(path, NOTE + yaml.safe_dump(content, sort_keys=False, allow_unicode=True, width=120))


def task_ids(task: str, config: str) -> list[str]:
    """Returns the ids of the tasks of `eval.yaml`, under which `eval_results_yaml` publishes results."""
    return [task_id(config, SPLIT, metric) for metric in ranked_metrics(task)]


def ranked_metrics(task: str) -> list[str]:
    """Returns the metrics that the Hub can rank: it puts the highest value first, so a loss is not among them."""
    return [metric for metric, larger_is_better in HEADLINE[task].items() if larger_is_better]


def has_ranked_metrics(result: EvaluationResult) -> bool:
    """Returns whether a result has a metric that the Hub can rank; that of a training may have a loss alone."""
    return any(metric in result.metrics for metric in ranked_metrics(result.task))


def task_id(config: str, split: str, metric: str) -> str:
    """Returns the id of a task."""
    return f"{config}_{split}_{metric}"


def eval_results_name(result: EvaluationResult) -> str:
    """Returns the name of the file in `.eval_results`; there is one file per task and split of a dataset."""
    return f"{slug(result.dataset)}--{result.task}--{slug(result.dataset_split)}.yaml"


def eval_results_yaml(result: EvaluationResult) -> str:
    """Returns the text of `.eval_results/<name>.yaml`, which the Hub reads for the leaderboard of a benchmark dataset.

    The dataset must be on the Hub, because the leaderboard identifies it by its repository.
    """
    import yaml

    dataset = {"id": result.dataset, "revision": result.dataset_revision}
    entries = [
        {
            "dataset": dataset | {"task_id": task_id(result.dataset_config, result.dataset_split, metric)},
            "value": result.metrics[metric],
            "date": result.date,
            "source": {"url": record_url(result), "name": "record of medpairs evaluate"},
            "notes": notes(result, metric),
        }
        for metric in ranked_metrics(result.task)
        if metric in result.metrics
    ]
    return yaml.safe_dump(entries, sort_keys=False, allow_unicode=True)


def record_url(result: EvaluationResult) -> str:
    """Returns the address of the record in the repository of the model."""
    from huggingface_hub.constants import ENDPOINT

    return f"{ENDPOINT}/{result.model}/blob/main/{RESULTS}/{result.file_name}"


def notes(result: EvaluationResult, metric: str) -> str:
    """Returns the number of rows, the 95 % interval, and the rule or the signature that a metric was measured by."""
    parts = [f"{result.samples} rows of {result.dataset_config}/{result.dataset_split}"]
    if bounds := result.intervals.get(metric):
        parts.append(f"95 % interval {bounds[0]:.4g} to {bounds[1]:.4g}")
    name = metric.partition("_")[0]  # accuracy_closed, clinical_f1, bleu_1
    name = "all" if name == "bleu" else name
    if signature := result.signatures.get(name, ""):
        parts.append(signature)
    return ", ".join(parts)
