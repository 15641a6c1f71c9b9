"""Writes the model card from the files beside the weights: how the model was trained and what was measured.

The first version of a card is complete. Later, the commands update only their blocks and their entries of
`model-index`; text written by people stays (see `card_update.py`). Keys that depend on the weights (`base_model`,
`library_name`, `license`, ...) are updated with them unless a person has changed them.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from model_cards.card_update import contents, front_matter, merge_card, read_card, set_front_matter, split_card
from model_cards.commands.names import is_path
from model_cards.rendering import render_card
from model_cards.results import (
    HEADLINE,
    NAMES,
    TASKS,
    EvaluationResult,
    dataset_name,
    is_commit,
    load_results,
    model_index,
    write_text,
)

SUMMARY, SAMPLES, RESULTS, CARD = "training_summary.json", "samples.jsonl", "results", "README.md"
OWNED = ("model-index",)
# Without these the Hub does not know how to open the weights, or what they belong to.
NEEDED = ("library_name", "pipeline_tag", "base_model", "base_model_relation")
PIPELINES = {"encoder": "zero-shot-image-classification", "decoder": "image-text-to-text"}
TITLES = {
    "encoder": "SigLIP fine-tuned on medical image-text pairs",
    "decoder": "Llama 3.2 Vision fine-tuned on medical chats",
}
TINY_TITLES = {
    "encoder": "Tiny SigLIP trained on medical image-text pairs",
    "decoder": "Tiny Llama 3.2 Vision trained on medical chats",
}
# The licenses of the checkpoints that a training usually starts from, for when their own card is out of reach.
APACHE, LLAMA = {"license": "apache-2.0"}, {"license": "other", "license_name": "llama3.2"}
HAI_DEF = {
    "license": "other",
    "license_name": "health-ai-developer-foundations",
    "license_link": "https://developers.google.com/health-ai-developer-foundations/terms",
}
LICENSES = {
    r"google/siglip2?-.*": APACHE,
    r"google/medsiglip-.*": HAI_DEF,
    r"microsoft/BiomedCLIP-.*": {"license": "mit"},
    r".*llama.*": LLAMA,  # Llama's own terms pass to everything that is made from it
}


def write_model_card(folder: Path, repo_id: str, summary: dict | None = None, earlier: dict | None = None) -> list[str]:
    """Writes `README.md` from the files in `folder`, into the card that is there; every number comes from the files.

    Args:
        folder: holds `training_summary.json`, `results/*.json` and, for a decoder, `samples.jsonl`.
        repo_id: what the card calls the model, in its code too.
        summary: the training summary, where it is not yet in the folder.
        earlier: the summary of the training that the present card is of, if it is known.

    Returns:
        lines that say what of the card could not be renewed.

    Raises:
        ValueError: a file is not what a training or evaluation of this project writes.
    """
    summary = read_summary(folder / SUMMARY) if summary is None else summary
    results = results_of(load_results(folder / RESULTS), summary.get("weights", ""))
    fresh = model_card(repo_id, summary, results, read_samples(folder / SAMPLES))
    text, notes = merge_model_card(read_card(folder / CARD), fresh, results, repo_id, base=earlier)
    write_text(folder / CARD, text)
    return notes


def merge_model_card(
    current: str | None,
    fresh: str,
    results: Sequence[EvaluationResult],
    repo_id: str,
    base: dict | None = None,
    blocks: Mapping[str, str] | None = None,
) -> tuple[str, list[str]]:
    """The card after a training, where there is one already: see `merge_card`.

    Args:
        results: those that the fresh card shows; foreign entries of `model-index` are kept beside them.
        base: the training summary that the present card was made from, if it is known.
        blocks: as in `merge_card`.
    """
    if current is not None:
        fresh = set_front_matter(fresh, {"model-index": merged_index(current, results, repo_id)})
    known = base and base_card(repo_id, base)
    return merge_card(current, fresh, base=known or None, owned=OWNED, needed=NEEDED, blocks=blocks)


def renewed_results(
    current: str | None, summary: dict | None, results: Sequence[EvaluationResult], samples: list[dict], repo_id: str
) -> tuple[str | None, list[str]]:
    """The card after an evaluation: its block of results and its `model-index` are renewed, and nothing else.

    Of a model without a training summary, which this project has not trained, the card that is there gets its
    `model-index`; where there is none, none is written.
    """
    if summary is None:
        if current is None:
            return None, []
        return set_front_matter(current, {"model-index": merged_index(current, results, repo_id)}), []
    fresh = model_card(repo_id, summary, results, samples)
    if current is None:
        return fresh, []
    block = {"results": contents(split_card(fresh)[1])["results"]}
    fresh = set_front_matter(fresh, {"model-index": merged_index(current, results, repo_id)})
    return merge_card(current, fresh, owned=OWNED, blocks=block)


def base_card(repo_id: str, summary: dict) -> str | None:
    """The card of an earlier training without its numbers; None where its summary is not like ours."""
    try:
        return model_card(repo_id, checked(summary, SUMMARY), [], [])
    except (ValueError, KeyError, TypeError, AttributeError):
        return None


def results_of(results: Iterable[EvaluationResult], weights: str) -> list[EvaluationResult]:
    """The results that were measured on these weights. One that does not say on which is taken for one of them."""
    return [result for result in results if not weights or result.weights in ("", weights)]


def model_card(repo_id: str, summary: dict, results: Sequence[EvaluationResult], samples: list[dict]) -> str:
    """The complete card of a model, as it is written for the first time.

    Raises ValueError where the summary lacks something.
    """
    from huggingface_hub import ModelCard, ModelCardData

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
        **license_keys(summary),
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
        title=(TITLES if base else TINY_TITLES)[kind],
        repo_id=repo_id,
        summary=summary,
        dataset=dataset,
        tables=tables,
        names=NAMES,
        curve=curve(summary["history"]),
        samples=samples,
    )
    return card.content


def merged_index(current: str, results: Sequence[EvaluationResult], repo_id: str) -> list | None:
    """The `model-index` of a card with these results in the place of ours; None for an empty one.

    Ours are the entries of our tasks, which our commands call by names of their own; others are kept.
    """
    from huggingface_hub.repocard_data import eval_results_to_model_index

    there = front_matter(current).get("model-index")
    models = [model for model in there if isinstance(model, dict)] if isinstance(there, list) else []
    first, *rest = models or [{"name": repo_id}]
    entries = [entry for entry in first.get("results") or () if not is_ours(entry)]
    if results:
        entries += eval_results_to_model_index(repo_id, model_index(results))[0]["results"]
    return [first | {"results": entries}, *rest] if entries else rest or None


def is_ours(entry: Any) -> bool:
    """True for an entry of `model-index` as `model_index` makes them."""
    task = entry.get("task") if isinstance(entry, dict) else None
    return isinstance(task, dict) and (task.get("name"), task.get("type")) in TASKS.values()


def read_summary(path: Path) -> dict:
    """What a training wrote of itself. Raises ValueError, naming the file, for anything else."""
    try:
        summary = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise ValueError(f"{path}: not a training summary ({type(error).__name__}: {error})") from None
    return checked(summary, str(path))


def checked(summary: Any, name: str) -> dict:
    """The summary of a training. Raises ValueError, naming the file, for anything else."""
    try:
        known = summary["kind"] in PIPELINES
        texts = [summary[key] for key in ("base_model", "dataset", "dataset_revision")]
        history = summary["history"]
    except (KeyError, TypeError) as error:
        raise ValueError(f"{name}: not a training summary ({type(error).__name__}: {error})") from None
    if not known or not all(isinstance(text, str) for text in texts) or not isinstance(history, list):
        raise ValueError(f"{name}: not a training summary")
    return summary


def license_keys(summary: Mapping[str, Any]) -> dict[str, str]:
    """The keys of a card about the license: that of the model's own start, where the training found it."""
    return summary.get("base_license") or known_license(summary["base_model"])


def known_license(base_model: str) -> dict[str, str]:
    """The license of a model by where it started; no keys where that is not known, for a card must not make one up.

    A start from random weights is under this project's own license.
    """
    if not base_model:
        return APACHE
    found = (keys for pattern, keys in LICENSES.items() if re.fullmatch(pattern, base_model, re.IGNORECASE))
    return next(found, {})


def find_license(base_model: str, token: str | None = None) -> dict[str, str]:
    """What the card of a checkpoint, on the Hub or in a folder, says of its license; no keys where it says nothing."""
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import HTTPError

    if not base_model:
        return {}
    try:
        in_folder = Path(base_model).is_dir()
        path = Path(base_model, CARD) if in_folder else Path(hf_hub_download(base_model, CARD, token=token))
        keys = front_matter(read_card(path) or "")
    except (HTTPError, OSError, ValueError):  # out of reach, no card, or one that is not YAML
        return {}
    names = ("license", "license_name", "license_link")
    return {name: keys[name] for name in names if isinstance(keys.get(name), str)} if "license" in keys else {}


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
    """What a decoder answered at the end of its training, if it is there. Raises ValueError where it is not JSON."""
    return parse_samples(path.read_text(encoding="utf-8"), str(path)) if path.exists() else []


def parse_samples(text: str, name: str) -> list[dict]:
    """The sample answers in a file's text. Raises ValueError, naming the file, where it is not JSON, one a line."""
    try:
        return [json.loads(line) for line in text.split("\n") if line]
    except ValueError as error:
        raise ValueError(f"{name}: not a file of sample answers ({error})") from None
