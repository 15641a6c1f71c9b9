"""The model card: how the model came about and what was measured, from `training_summary.json` and `results/`."""

from __future__ import annotations

import json
from pathlib import Path

from model_cards.rendering import render_card
from model_cards.results import HEADLINE, NAMES, load_results, model_index

SUMMARY = "training_summary.json"
PIPELINES = {"encoder": "zero-shot-image-classification", "decoder": "image-text-to-text"}
TITLES = {
    "encoder": "SigLIP fine-tuned on medical image-text pairs",
    "decoder": "Llama 3.2 Vision fine-tuned on medical chats",
}


def write_model_card(folder: Path, repo_id: str) -> None:
    """Writes `README.md` from the files in `folder`; every number in it comes from them.

    Args:
        folder: holds `training_summary.json` and `results/*.json`.
        repo_id: what the card calls the model, in its code too.
    """
    from huggingface_hub import ModelCard, ModelCardData

    summary = json.loads((folder / SUMMARY).read_text(encoding="utf-8"))
    results = load_results(folder / "results")
    kind, base = summary["kind"], summary["base_model"]
    dataset = summary["dataset"]
    is_hub_dataset = dataset.count("/") == 1 and not Path(dataset).exists()
    data = ModelCardData(
        model_name=repo_id,
        library_name="transformers",
        pipeline_tag=PIPELINES[kind],
        base_model=base or None,
        base_model_relation="finetune" if base else None,
        datasets=[dataset] if is_hub_dataset else None,
        license=licence(base),
        license_name="llama3.2" if licence(base) == "other" else None,
        tags=["medical", "medpairs", *([] if base else ["tiny-random-start"])],
        eval_results=model_index(dataset, results) or None,
    )
    tables = [
        {"result": result, "metrics": [name for name in HEADLINE[result.task] if name in result.metrics]}
        for result in results
    ]
    card = render_card(
        ModelCard,
        data,
        "model_card.md",
        title=TITLES[kind],
        repo_id=repo_id,
        summary=summary,
        tables=tables,
        names=NAMES,
        curve=curve(summary["history"]),
        samples=read_samples(folder / "samples.jsonl"),
    )
    card.save(folder / "README.md")


def licence(base_model: str) -> str:
    """The licence of a model by where it started: Llama's own terms go on to everything made from it."""
    return "other" if "llama" in base_model.lower() else "apache-2.0"


def curve(history: list[dict], rows: int = 12) -> list[dict]:
    """At most `rows` entries of the log, evenly spread, with the losses of training and evaluation by update."""
    by_step: dict[int, dict] = {}
    for entry in history:
        values = {name: entry[name] for name in ("loss", "eval_loss", "learning_rate") if name in entry}
        if values:
            by_step.setdefault(entry["step"], {"step": entry["step"], "epoch": entry["epoch"]}).update(values)
    entries = [by_step[step] for step in sorted(by_step)]
    if len(entries) <= rows:
        return entries
    return [entries[round(index * (len(entries) - 1) / (rows - 1))] for index in range(rows)]


def read_samples(path: Path) -> list[dict]:
    """What a decoder answered at the end of its training, if it is there."""
    if not path.exists():
        return []
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
