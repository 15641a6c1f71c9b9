"""Defines the record of a measured result, from which every card, leaderboard and page takes its numbers."""

from __future__ import annotations

import hashlib
import json
import math
import os
import re
import threading
import time
from collections.abc import Callable, Hashable, Iterable
from dataclasses import asdict, dataclass, field, fields
from importlib.metadata import version
from numbers import Real
from pathlib import Path
from typing import Any, get_origin, get_type_hints

from model_cards.checks.metric_ranges import check_metric
from model_cards.checks.record_fields import is_control, is_number, is_part
from model_cards.checks.strict_json import parse_json

RETRIEVAL, GENERATION = "retrieval", "report_generation"
# The name and the type of each task in `model-index`; the types are those of the Hub.
TASKS = {
    RETRIEVAL: ("retrieval", "zero-shot-image-classification"),
    GENERATION: ("report generation", "image-text-to-text"),
}
# The metrics of a task in tables, which are sorted by the first one. True: larger is better.
HEADLINE: dict[str, dict[str, bool]] = {
    RETRIEVAL: {
        "recall_at_5": True,
        "recall_at_1": True,
        "recall_at_10": True,
        "map": True,
        "finding_recall_at_1": True,
        "finding_map": True,
        "loss": False,
    },
    GENERATION: {
        "bleu": True,
        "bleu_1": True,
        "clinical_f1": True,
        "clinical_f1_detailed": True,
        "clinical_f1_en": True,
        "clinical_f1_zh": True,
        "accuracy_open": True,
        "accuracy_closed": True,
        "exact_match": True,
        "short_f1": True,
        "short_bleu_1": True,
        "report_bleu": True,
        "report_rouge_l": True,
        "report_chrf": True,
        "loss": False,
    },
}
# Short answers and reports have tables of their own, each sorted by its first score: a BLEU over both rests on the few
# answers of four and more words. The loss is over all answers. Results of earlier versions have neither, and one table.
SHORT_ANSWERS, REPORTS = "short answers", "reports"
PARTS = {
    SHORT_ANSWERS: ("accuracy_open", "accuracy_closed", "short_f1", "short_bleu_1", "loss"),
    REPORTS: (
        "clinical_f1",
        "clinical_f1_detailed",
        "clinical_f1_en",
        "clinical_f1_zh",
        "report_bleu",
        "report_rouge_l",
        "report_chrf",
        "loss",
    ),
}
NAMES = {
    "recall_at_1": "R@1",
    "recall_at_5": "R@5",
    "recall_at_10": "R@10",
    "chance_recall_at_5": "chance R@5",  # in tables of earlier versions
    "map": "mAP",
    "finding_recall_at_1": "R@1 by finding",
    "finding_map": "mAP by finding",
    "bleu": "BLEU",
    "bleu_1": "BLEU-1",
    "clinical_f1": "findings F1 of reports",
    "clinical_f1_detailed": "with side, severity and size",
    "clinical_f1_en": "findings F1, English",
    "clinical_f1_zh": "findings F1, Chinese",
    "accuracy_open": "accuracy, open questions",
    "accuracy_closed": "accuracy, closed questions",
    "exact_match": "exact match",
    "short_f1": "word F1, short answers",
    "short_bleu_1": "BLEU-1, short answers",
    "report_bleu": "BLEU, reports",
    "report_rouge_l": "ROUGE-L, reports",
    "report_chrf": "chrF, reports",
    "loss": "loss",
}
# Settings that do not change the result of a task; results that differ only in these replace each other.
FREE_SETTINGS = {RETRIEVAL: ("batch_size", "max_new_tokens"), GENERATION: ("batch_size",)}
RESULTS = "results"  # the folder of the records, beside a model and in its repository
# The predictions of a record are in the file of its name with this ending.
PREDICTIONS_ENDING = ".predictions.jsonl"
CHAIN_KEYS = ("name", "content", "link")
PACKAGES = ("torch", "transformers", "datasets", "evaluate", "sacrebleu")


@dataclass(frozen=True)
class EvaluationResult:
    """The result of one model on one split.

    Attributes:
        model: the repository or folder, as given to the command.
        task: `retrieval` or `report_generation`.
        dataset, dataset_config, dataset_split: the rows that the model was evaluated on.
        dataset_revision: the commit on the Hub, or the fingerprint in the `report.json` of a local build.
        samples: number of scored rows.
        metrics: values by name; recalls are in [0, 1], BLEU is in [0, 100], the loss is a mean in nats. Values that are
            not finite are removed.
        model_revision: the commit of the model on the Hub, "" for a folder.
        weights: the digest of the weights (see `hub/weights.py`), "" if unknown.
        base_model: the checkpoint that the training started from, "" if unknown.
        settings: the settings of the evaluation, for example the maximum length of an answer.
        signatures: signatures to report with the metrics, for example that of sacrebleu per language.
        controls: for scores of answers and of retrieval, one entry per control, see `controls.py`: `name`, `metrics`,
            `samples` (rows it is measured on), `real` (the metrics of the model on these rows), `difference` (model
            minus control, with its interval), and `note`, what is special about it or why it was left out.
        reliance: how much the answers depend on the image, see `evaluation/controls/reliance.py`.
        intervals: the 95 % interval of a metric, `[low, high]`, from a bootstrap over patients or scans.
        chain: hashes of what the score rests on, see `evaluation/records/chain.py`; empty for results of trainings and
            of earlier versions.
        provenance: machine, packages, commit of the code and seeds, see `evaluation/records/provenance.py`.
        parts: for retrieval, scores within one source or language by column and value, see
            `evaluation/controls/retrieval.py`: `samples`, `groups`, `metrics` and `intervals`.
        classification: for an encoder, by labeled source, see `evaluation/classification/measure.py`.
        alignment: for an encoder, see `evaluation/metrics/embedding_alignment/alignment.py`.
        subgroups: scores of groups of patients, see `evaluation/scoring/subgroups.py`.
        date: the time of the evaluation in UTC, in ISO 8601 format.
        versions: the installed version of each package in PACKAGES.

    Raises:
        TypeError: a field has a wrong type, or the task is unknown.
        ValueError: a metric or an interval is out of range.
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
    weights: str = ""
    base_model: str = ""
    settings: dict[str, Any] = field(default_factory=dict)
    signatures: dict[str, str] = field(default_factory=dict)
    controls: list[dict[str, Any]] = field(default_factory=list)
    reliance: dict[str, Any] = field(default_factory=dict)
    intervals: dict[str, list[float]] = field(default_factory=dict)
    chain: list[dict[str, str]] = field(default_factory=list)
    provenance: dict[str, Any] = field(default_factory=dict)
    parts: dict[str, dict[str, Any]] = field(default_factory=dict)
    classification: dict[str, Any] = field(default_factory=dict)
    alignment: dict[str, Any] = field(default_factory=dict)
    subgroups: list[dict[str, Any]] = field(default_factory=list)
    date: str = field(default_factory=lambda: time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()))
    versions: dict[str, str] = field(default_factory=lambda: {name: version(name) for name in PACKAGES})

    def __post_init__(self) -> None:
        for name, hint in get_type_hints(type(self)).items():
            value, kind = getattr(self, name), get_origin(hint) or hint
            if not isinstance(value, kind) or isinstance(value, bool):
                raise TypeError(f"{name} is {value!r}, which is not of type {kind.__name__}")
        if self.task not in HEADLINE:
            raise TypeError(f"task is {self.task!r}, which is not one of {', '.join(HEADLINE)}")
        for entry in self.controls:
            if not is_control(entry):
                raise TypeError(f"a control is {entry!r:.100}, which is not a control with metrics and samples")
        measured = {name: value for name, value in self.metrics.items() if value is not None}
        for name, value in measured.items():
            if not isinstance(value, Real) or isinstance(value, bool):
                raise TypeError(f"the metric {name} is {value!r:.100}, which is not a number")
            check_metric(name, value)
        for name, bounds in self.intervals.items():
            if not isinstance(bounds, list) or len(bounds) != 2 or not all(map(is_number, bounds)):
                raise TypeError(f"the interval of {name} is {bounds!r:.100}, which is not [low, high]")
            for bound in bounds:
                check_metric(name, bound)
        for entry in self.chain:
            texts = isinstance(entry, dict) and all(isinstance(entry.get(key), str) for key in CHAIN_KEYS)
            if not texts:
                raise TypeError(f"a link of the chain is {entry!r:.100}, which is not {', '.join(CHAIN_KEYS)}")
        for column, parts in self.parts.items():
            for value, part in parts.items() if isinstance(parts, dict) else [("", None)]:
                if not is_part(part):
                    raise TypeError(f"the part {column} {value} is {part!r:.100}, which is not a part with metrics")
        finite = {name: value for name, value in measured.items() if math.isfinite(value)}
        object.__setattr__(self, "metrics", finite)  # the only way to set a field of a frozen dataclass

    @property
    def file_name(self) -> str:
        """The name of the file, which is equal for results of the same weights on the same rows with the same scores.

        The digest at the end distinguishes names with the same slug (`a/b-c` and `a-b/c`), checkpoints, revisions of
        the dataset, and settings, for example an evaluation of some rows from one of all rows. With a chain it also
        distinguishes the content of the rows, the predictions and the scores, so that no measurement replaces another
        one.
        """
        free = FREE_SETTINGS[self.task]
        settings = {name: value for name, value in self.settings.items() if name not in free and value is not None}
        measured = [self.weights or self.model_revision, self.dataset_revision, settings]
        # The last link, over the record itself, has the date in it: the same measurement twice has one name.
        measured += [[entry["name"], entry["content"]] for entry in self.chain if entry["name"] != "record"]
        identity = json.dumps([self.model, *rows_of(self), *measured], sort_keys=True, default=str)
        digest = hashlib.blake2b(identity.encode(), digest_size=4).hexdigest()
        model, dataset = (slug(name)[-60:].strip("-.") for name in (self.model, self.dataset))
        return f"{model}--{self.task}--{dataset}--{slug(self.dataset_split)}--{digest}.json"

    def save(self, folder: Path) -> Path:
        """Writes the record to `folder` and returns its path."""
        path = folder / self.file_name
        write_text(path, self.text)
        return path

    @property
    def text(self) -> str:
        """The content of the record's file."""
        return json_text(asdict(self))


def load_result(path: Path) -> EvaluationResult:
    """Reads a record and ignores unknown fields. A missing date or missing versions stay empty.

    Raises:
        ValueError: the file is not a record; the message names the file.
    """
    try:
        return parse_result(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, TypeError) as error:
        raise ValueError(f"{path}: not a result file ({error})") from None


def parse_result(text: str) -> EvaluationResult:
    """Parses the text of a record. Raises ValueError or TypeError if it is not a record."""
    # Without these two, the dataclass would fill in the time and the versions of the reader.
    content = {"date": "", "versions": {}} | record_fields(text)
    known = {item.name for item in fields(EvaluationResult)}
    return EvaluationResult(**{key: value for key, value in content.items() if key in known})


def record_fields(text: str) -> dict[str, Any]:
    """Parses the text of a record to its fields. Raises ValueError if it is not a JSON object, see `parse_json`."""
    content = parse_json(text)
    if not isinstance(content, dict):
        raise ValueError(f"it has a {type(content).__name__} and not an object")
    return content


def load_results(folder: Path) -> list[EvaluationResult]:
    """Reads all records of a folder in the order of their names, without hidden files and subfolders."""
    paths = sorted(path for path in folder.glob("*--*.json") if not path.name.startswith("."))
    return [load_result(path) for path in paths]


def is_commit(revision: str) -> bool:
    """Returns whether a revision is a commit on the Hub, and not the fingerprint of a local build."""
    # A Git commit has 40 hexadecimal digits, a fingerprint has 16.
    return re.fullmatch(r"[0-9a-f]{40}", revision) is not None


def model_index(results: Iterable[EvaluationResult]) -> list:
    """Converts results to `EvalResult`s for the `model-index` of a card; a local folder is named by its last part.

    `model-index` has one place per number, so of several results on the same rows with different settings, only the
    newest one is included.
    """
    from huggingface_hub import EvalResult

    return [
        EvalResult(
            task_type=TASKS[result.task][1],
            task_name=TASKS[result.task][0],
            dataset_type=dataset_name(result.dataset, result.dataset_revision),
            dataset_name=dataset_name(result.dataset, result.dataset_revision),
            dataset_config=result.dataset_config,
            dataset_split=result.dataset_split,
            dataset_revision=result.dataset_revision or None,
            metric_type=metric,
            metric_name=NAMES[metric],
            metric_value=result.metrics[metric],
        )
        for result in newest(results, lambda result: (rows_of(result), result.dataset_revision))
        for metric in HEADLINE[result.task]
        if metric in result.metrics
    ]


def newest(results: Iterable[EvaluationResult], key: Callable[[EvaluationResult], Hashable]) -> list[EvaluationResult]:
    """Returns the newest result per key, in the order of the first result of each key."""
    found: dict[Hashable, EvaluationResult] = {}
    for result in results:
        if key(result) not in found or found[key(result)].date <= result.date:
            found[key(result)] = result
    return list(found.values())


def parts_in(metrics: Iterable[str]) -> list[str]:
    """Returns which of PARTS have scores of their own among these metrics; `[""]` for one table of all metrics."""
    own = {name for name in metrics if name.startswith(("short_", "report_"))}
    return [part for part, names in PARTS.items() if own & {*names}] or [""]


def columns_of(task: str, part: str, metrics: Iterable[str]) -> list[str]:
    """Returns the metrics that a table of a part shows, of those that were measured."""
    measured = {*metrics}
    return [name for name in PARTS.get(part, HEADLINE[task]) if name in measured]


def rows_of(result: EvaluationResult) -> tuple[str, ...]:
    """Returns the task and the rows of a result, without the revision of the dataset."""
    return (result.task, result.dataset, result.dataset_config, result.dataset_split)


def dataset_name(dataset: str, revision: str) -> str:
    """Returns the repository of a dataset, or the last part of a folder, because cards must not contain local paths."""
    return dataset if is_commit(revision) else slug(Path(dataset).name)


def slug(text: str) -> str:
    """Converts a text to a part of a file name: `org/siglip-med` becomes `org-siglip-med`."""
    return re.sub(r"[^A-Za-z0-9._]+", "-", text).strip("-.") or "unnamed"


def write_json(path: Path, content: Any) -> None:
    """Writes JSON atomically, see `write_text`."""
    write_text(path, json_text(content))


def json_text(content: Any) -> str:
    """Converts the content to JSON. NaN and infinity become null, because JSON has neither."""
    return json.dumps(without_nan(content), ensure_ascii=False, indent=2, allow_nan=False) + "\n"


def without_nan(content: Any) -> Any:
    """Returns the content with None instead of each number that is not finite."""
    if isinstance(content, dict):
        return {key: without_nan(value) for key, value in content.items()}
    if isinstance(content, list | tuple):
        return [without_nan(value) for value in content]
    return None if isinstance(content, float) and not math.isfinite(content) else content


def write_text(path: Path, text: str) -> None:
    """Writes a file under a temporary name and renames it, so that readers see the old or the new file, never a part.

    Several processes or threads can write the same file at the same time; the last one wins.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.{threading.get_ident()}")
    try:
        temporary.write_text(text, encoding="utf-8", newline="")  # newline="" keeps the line endings
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
