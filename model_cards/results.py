"""The one record of a measured result; every card, leaderboard and page that shows a number reads it from here."""

from __future__ import annotations

import json
import os
import re
import time
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field, fields
from importlib.metadata import version
from pathlib import Path
from typing import Any

RETRIEVAL, GENERATION = "retrieval", "report_generation"
# The metrics of a task that a table shows, the first of which it sorts by; True where more is better.
HEADLINE: dict[str, dict[str, bool]] = {
    RETRIEVAL: {"recall_at_5": True, "recall_at_1": True, "recall_at_10": True, "loss": False},
    GENERATION: {"bleu": True, "bleu_1": True, "exact_match": True, "loss": False},
}
NAMES = {
    "recall_at_1": "R@1",
    "recall_at_5": "R@5",
    "recall_at_10": "R@10",
    "chance_recall_at_5": "chance R@5",
    "bleu": "BLEU",
    "bleu_1": "BLEU-1",
    "exact_match": "exact match",
    "loss": "loss",
}
PACKAGES = ("torch", "transformers", "datasets", "evaluate", "sacrebleu")


@dataclass(frozen=True)
class EvaluationResult:
    """One model measured on one split.

    Attributes:
        model: the repository or folder, as it was named to the command.
        task: `retrieval` or `report_generation`.
        dataset, dataset_config, dataset_split: what it was measured on.
        dataset_revision: the commit on the Hub, or the fingerprint in `report.json` of a local build.
        samples: rows scored.
        metrics: by name; recalls lie in [0, 1], BLEU in [0, 100], the loss is a mean in nats.
        base_model: the checkpoint this one started from, "" where it is not known.
        settings: what else decides the numbers (batch size, resolution, length of an answer).
    """

    model: str
    task: str
    dataset: str
    dataset_config: str
    dataset_split: str
    samples: int
    metrics: dict[str, float]
    dataset_revision: str = ""
    model_revision: str = ""
    base_model: str = ""
    settings: dict[str, Any] = field(default_factory=dict)
    signatures: dict[str, str] = field(default_factory=dict)
    date: str = field(default_factory=lambda: time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()))
    versions: dict[str, str] = field(default_factory=lambda: {name: version(name) for name in PACKAGES})

    @property
    def file_name(self) -> str:
        """The same for every measurement of a model on a split, so that a new one takes the old one's place."""
        return f"{slug(self.model)}--{self.task}--{slug(self.dataset)}--{self.dataset_split}.json"

    def save(self, folder: Path) -> Path:
        """Writes the record to `folder` and returns its path."""
        path = folder / self.file_name
        write_json(path, asdict(self))
        return path


def load_result(path: Path) -> EvaluationResult:
    """Reads a record. Raises ValueError, naming the file, for anything else."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        known = {item.name for item in fields(EvaluationResult)}
        return EvaluationResult(**{key: value for key, value in content.items() if key in known})
    except (UnicodeDecodeError, json.JSONDecodeError, TypeError, AttributeError) as error:
        raise ValueError(f"{path}: not a result file ({error})") from None


def load_results(folder: Path) -> list[EvaluationResult]:
    """All records directly in a folder, in the order of their names."""
    return [load_result(path) for path in sorted(folder.glob("*--*.json"))]


def model_index(name: str, results: Iterable[EvaluationResult]) -> list:
    """The results as `EvalResult`s, for the `model-index` of a card."""
    from huggingface_hub import EvalResult

    tasks = {RETRIEVAL: "zero-shot-image-classification", GENERATION: "image-text-to-text"}
    return [
        EvalResult(
            task_type=tasks[result.task],
            task_name=result.task.replace("_", " "),
            dataset_type=result.dataset,
            dataset_name=name,
            dataset_config=result.dataset_config,
            dataset_split=result.dataset_split,
            dataset_revision=result.dataset_revision or None,
            metric_type=metric,
            metric_name=NAMES[metric],
            metric_value=result.metrics[metric],
        )
        for result in results
        for metric in HEADLINE[result.task]
        if metric in result.metrics
    ]


def eval_results_yaml(result: EvaluationResult) -> str:
    """The text of `.eval_results/<name>.yaml`, which the Hub reads for the leaderboard of a benchmark dataset."""
    import yaml

    dataset = {"id": result.dataset}
    if result.dataset_revision:
        dataset["revision"] = result.dataset_revision
    entries = [
        {
            "dataset": dataset | {"task_id": f"{result.dataset_config}_{metric}"},
            "value": result.metrics[metric],
            "date": result.date,
            "notes": f"{result.samples} rows of {result.dataset_config}/{result.dataset_split}",
        }
        for metric in HEADLINE[result.task]
        if metric in result.metrics
    ]
    return yaml.safe_dump(entries, sort_keys=False, allow_unicode=True)


def slug(text: str) -> str:
    """The text as part of a file name: `org/siglip-med` becomes `org-siglip-med`."""
    return re.sub(r"[^A-Za-z0-9._]+", "-", text).strip("-.") or "unnamed"


def write_json(path: Path, content: Any) -> None:
    """Writes JSON under a temporary name and renames it: a reader sees the old file or the whole new one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.write_text(json.dumps(content, ensure_ascii=False, indent=2) + "\n", encoding="utf-8")
    temporary.replace(path)
