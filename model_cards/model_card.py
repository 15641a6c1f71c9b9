"""The model card: how the model came about and what was measured, from the files beside its weights."""

from __future__ import annotations

import json
from pathlib import Path

from model_cards.names import is_path
from model_cards.rendering import render_card
from model_cards.results import HEADLINE, NAMES, dataset_name, is_commit, load_results, model_index

SUMMARY, SAMPLES, RESULTS = "training_summary.json", "samples.jsonl", "results"
CARD_FILES = (SUMMARY, SAMPLES, f"{RESULTS}/*.json")  # all that a card is made from
PIPELINES = {"encoder": "zero-shot-image-classification", "decoder": "image-text-to-text"}
TITLES = {
    "encoder": "SigLIP fine-tuned on medical image-text pairs",
    "decoder": "Llama 3.2 Vision fine-tuned on medical chats",
}


def write_model_card(folder: Path, repo_id: str) -> None:
    """Writes `README.md` from the files in `folder`; every number in it comes from them.

    Args:
        folder: holds `training_summary.json`, `results/*.json` and, for a decoder, `samples.jsonl`.
        repo_id: what the card calls the model, in its code too.

    Raises:
        ValueError: a file is not what a training or evaluation of this project writes.
    """
    from huggingface_hub import ModelCard, ModelCardData

    summary = read_summary(folder / SUMMARY)
    results = load_results(folder / RESULTS)
    kind, base = summary["kind"], summary["base_model"]
    base_on_hub = bool(base) and not is_path(base)  # the Hub refuses a card whose base model is a folder
    if base and not base_on_hub:
        summary = summary | {"base_model": Path(base).name}  # a card has no paths of the machine it was made on
    dataset = dataset_name(summary["dataset"], summary["dataset_revision"])
    alone = summary.get("export") == "adapter"  # over the base, which is another repository
    data = ModelCardData(
        model_name=repo_id,
        library_name="peft" if alone else "transformers",
        pipeline_tag=PIPELINES[kind],
        base_model=base if base_on_hub else None,
        base_model_relation=("adapter" if alone else "finetune") if base_on_hub else None,
        datasets=[dataset] if is_commit(summary["dataset_revision"]) else None,
        license=licence(base),
        license_name="llama3.2" if licence(base) == "other" else None,
        tags=["medical", "medpairs", *([] if base else ["tiny-random-start"])],
        eval_results=model_index(results) or None,
    )
    tables = [
        {
            "result": result,
            "dataset": dataset_name(result.dataset, result.dataset_revision),
            "metrics": [name for name in HEADLINE[result.task] if name in result.metrics],
        }
        for result in results
    ]
    card = render_card(
        ModelCard,
        data,
        "model_card.md",
        title=TITLES[kind],
        repo_id=repo_id,
        summary=summary,
        dataset=dataset,
        tables=tables,
        names=NAMES,
        curve=curve(summary["history"]),
        samples=read_samples(folder / SAMPLES),
    )
    card.save(folder / "README.md")


def read_summary(path: Path) -> dict:
    """What a training wrote of itself. Raises ValueError, naming the file, for anything else."""
    try:
        summary = json.loads(path.read_text(encoding="utf-8"))
        known = summary["kind"] in PIPELINES
        texts = [summary[name] for name in ("base_model", "dataset", "dataset_revision")]
        history = summary["history"]
    except (OSError, UnicodeDecodeError, json.JSONDecodeError, KeyError, TypeError) as error:
        raise ValueError(f"{path}: not a training summary ({type(error).__name__}: {error})") from None
    if not known or not all(isinstance(text, str) for text in texts) or not isinstance(history, list):
        raise ValueError(f"{path}: not a training summary")
    return summary


def licence(base_model: str) -> str:
    """The licence of a model by where it started: Llama's own terms go on to everything made from it."""
    return "other" if "llama" in base_model.lower() else "apache-2.0"


def curve(history: list[dict], rows: int = 12) -> list[dict]:
    """At most `rows` updates of the log, evenly spread, with the losses of training and evaluation."""
    entries = losses_by_update(history)
    if len(entries) <= rows:
        return entries
    return [entries[round(index * (len(entries) - 1) / (rows - 1))] for index in range(rows)]


def losses_by_update(history: list[dict]) -> list[dict]:
    """The updates at which a loss was logged, in order: `step`, `epoch`, and `loss` or `eval_loss` or both.

    The first evaluation after an update is the one of that update. The log may hold another after the last: that of
    the best checkpoint, which is from an earlier update.
    """
    by_step: dict[int, dict] = {}
    for entry in history:
        losses = {name: entry[name] for name in ("loss", "eval_loss") if name in entry}
        if losses:
            step = by_step.setdefault(entry["step"], {"step": entry["step"], "epoch": entry["epoch"]})
            by_step[entry["step"]] = losses | step
    return [by_step[step] for step in sorted(by_step)]


def read_samples(path: Path) -> list[dict]:
    """What a decoder answered at the end of its training, if it is there. Raises ValueError where it is no JSON."""
    if not path.exists():
        return []
    try:
        return [json.loads(line) for line in path.read_text(encoding="utf-8").split("\n") if line]
    except ValueError as error:
        raise ValueError(f"{path}: not a file of sample answers ({error})") from None
