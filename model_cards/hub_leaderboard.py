"""Writes `eval.yaml`, which makes a dataset with a test split a benchmark on the Hub, with one task per metric."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from model_cards.results import GENERATION, HEADLINE, RETRIEVAL, EvaluationResult, eval_results_yaml, write_text

SPLIT = "test"
CONFIGS = {RETRIEVAL: "pairs", GENERATION: "chat"}  # the config that each task is evaluated on
# The Hub accepts only the evaluation frameworks on its list, which does not include medpairs. mteb, which evaluates
# retrieval between images and texts, is the closest one; the description names the actual program.
FRAMEWORK = "mteb"
NOTE = """\
# The Hub accepts only the evaluation frameworks on its list. mteb is the closest one; the results are measured by
# medpairs evaluate. The leaderboard shows results whose task_id is one of the ids below.
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
        "accuracy and exact match in [0, 1]; higher is better.",
        "evaluation_framework": FRAMEWORK,
        "tasks": tasks,
    }
    write_text(path, NOTE + yaml.safe_dump(content, sort_keys=False, allow_unicode=True, width=120))


def task_ids(task: str, config: str) -> list[str]:
    """Returns the ids under which `eval_results_yaml` publishes the results of a task.

    The loss is not included, because the Hub ranks the highest value first, and a lower loss is better.
    """
    import yaml

    metrics = {metric: 0.0 for metric, more_is_better in HEADLINE[task].items() if more_is_better}
    rows = {"dataset": "", "dataset_config": config, "dataset_split": SPLIT, "samples": 0}
    result = EvaluationResult(model="", task=task, metrics=metrics, versions={}, **rows)
    return [entry["dataset"]["task_id"] for entry in yaml.safe_load(eval_results_yaml(result))]
