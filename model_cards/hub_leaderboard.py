"""What makes a dataset with a test split a benchmark on the Hub: `eval.yaml`, the tasks of its leaderboard."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from model_cards.results import GENERATION, HEADLINE, RETRIEVAL, EvaluationResult, eval_results_yaml, write_text

SPLIT = "test"
CONFIGS = {RETRIEVAL: "pairs", GENERATION: "chat"}  # what each task is measured on
# The Hub takes only frameworks of its own list, and this project's `medpairs-evaluate` is not among them. mteb, which
# measures retrieval between images and texts, is the nearest; the description says what the numbers come from.
FRAMEWORK = "mteb"
NOTE = """\
# The Hub takes only evaluation frameworks of its own list: mteb is the nearest to what measures these tasks, which is
# medpairs-evaluate. A result counts where its task_id is one of these ids.
"""


def write_benchmark(path: Path, title: str, report: Mapping[str, Any]) -> None:
    """Writes `eval.yaml` where a config of the report has a test split; otherwise removes one that is there."""
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
        "description": f"Held-out {rows}. Measured by medpairs-evaluate: recalls in [0, 1], BLEU in [0, 100], exact "
        "match in [0, 1]; more is better.",
        "evaluation_framework": FRAMEWORK,
        "tasks": tasks,
    }
    write_text(path, NOTE + yaml.safe_dump(content, sort_keys=False, allow_unicode=True, width=120))


def task_ids(task: str, config: str) -> list[str]:
    """The ids under which results of a task are published, as `eval_results_yaml` writes them.

    Without the loss: the Hub ranks the highest value first, and less of it is better.
    """
    import yaml

    metrics = {metric: 0.0 for metric, more_is_better in HEADLINE[task].items() if more_is_better}
    rows = {"dataset": "", "dataset_config": config, "dataset_split": SPLIT, "samples": 0}
    result = EvaluationResult(model="", task=task, metrics=metrics, versions={}, **rows)
    return [entry["dataset"]["task_id"] for entry in yaml.safe_load(eval_results_yaml(result))]
