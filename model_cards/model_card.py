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
from model_cards.controls import CONTROL_TITLES, missing_controls, needs_controls, notes, result_tables, verdicts
from model_cards.rendering import render_card
from model_cards.results import (
    HEADLINE,
    NAMES,
    RESULTS,
    TASKS,
    EvaluationResult,
    dataset_name,
    is_commit,
    load_results,
    model_index,
    write_text,
)
from model_cards.tables.classification_tables import alignment_table, classification_tables, subgroup_table
from model_cards.tables.reliance_tables import parts_table, reliance_table, reliance_words
from model_cards.tables.retrieval_tables import retrieval_parts_table

SUMMARY, SAMPLES, CARD = "training_summary.json", "samples.jsonl", "README.md"
OWNED = ("model-index",)
# Without these keys, the Hub does not know how to load the weights, or which model they are based on.
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
# The licenses of common base models, which are used if the card of the base model cannot be read.
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
    r".*llama.*": LLAMA,  # the license of Llama also applies to models that are derived from it
}


def write_model_card(folder: Path, repo_id: str, summary: dict | None = None, earlier: dict | None = None) -> list[str]:
    """Writes or updates `README.md` from the files in `folder`, which contain all its numbers.

    Args:
        folder: contains `training_summary.json`, `results/*.json` and, for a decoder, `samples.jsonl`.
        repo_id: the name of the model on the card.
        summary: the training summary, if it is not yet in the folder.
        earlier: the training summary from which the existing card was written, if known.

    Returns:
        notes about parts of the card that were not updated.

    Raises:
        ValueError: a file was not written by a training or evaluation of this project.
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
    """Merges the card of a new training into the existing one, see `merge_card`.

    Args:
        current: the existing card, or None.
        fresh: the card of the new training.
        results: the results on the fresh card; entries of `model-index` by others are kept.
        repo_id: the name of the model.
        base: the training summary from which the existing card was written, if known.
        blocks: see `merge_card`.
    """
    if current is not None:
        fresh = set_front_matter(fresh, {"model-index": merged_index(current, results, repo_id)})
    known = base and base_card(repo_id, base)
    return merge_card(current, fresh, base=known or None, owned=OWNED, needed=NEEDED, blocks=blocks)


def renewed_results(
    current: str | None, summary: dict | None, results: Sequence[EvaluationResult], samples: list[dict], repo_id: str
) -> tuple[str | None, list[str]]:
    """Updates the block of results and the `model-index` of a card after an evaluation.

    If there is no training summary, because the model was not trained by this project, only the `model-index` of an
    existing card is updated, and no new card is written.
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
    """Returns the card of an earlier training without results; None if its summary is not valid."""
    try:
        return model_card(repo_id, checked(summary, SUMMARY), [], [])
    except (ValueError, KeyError, TypeError, AttributeError):
        return None


def results_of(results: Iterable[EvaluationResult], weights: str) -> list[EvaluationResult]:
    """Returns the results of these weights, including results that do not name any weights."""
    return [result for result in results if not weights or result.weights in ("", weights)]


def model_card(repo_id: str, summary: dict, results: Sequence[EvaluationResult], samples: list[dict]) -> str:
    """Returns the complete card of a model, as it is written for the first time.

    Raises ValueError if the summary is incomplete.
    """
    from huggingface_hub import ModelCard, ModelCardData

    kind, base = summary["kind"], summary["base_model"]
    base_on_hub = bool(base) and not is_path(base)  # the Hub refuses a card whose base model is a folder
    if base and not base_on_hub:
        summary = summary | {"base_model": Path(base).name}  # a card must not contain local paths
    dataset = dataset_name(summary["dataset"], summary["dataset_revision"])
    adapter_only = summary.get("export") == "adapter"  # the base model stays in its own repository
    data = ModelCardData(
        model_name=repo_id,
        library_name="peft" if adapter_only else "transformers",
        pipeline_tag=PIPELINES[kind],
        base_model=base if base_on_hub else None,
        base_model_relation=("adapter" if adapter_only else "finetune") if base_on_hub else None,
        datasets=[dataset] if is_commit(summary["dataset_revision"]) else None,
        **license_keys(summary),
        tags=["medical", "medpairs", *([] if base else ["tiny-random-start"])],
        eval_results=model_index(results) or None,
    )
    card = render_card(
        ModelCard,
        data,
        "model_card.md",
        title=(TITLES if base else TINY_TITLES)[kind],
        repo_id=repo_id,
        summary=summary,
        dataset=dataset,
        tables=[table_of(result) for result in results],
        names=NAMES,
        curve=curve(summary["history"]),
        samples=samples,
    )
    return card.content


def table_of(result: EvaluationResult) -> dict[str, Any]:
    """Returns what the card shows of a result.

    Scores without their controls, which an earlier version wrote, are not shown; `missing` names these.
    """
    shown: dict[str, Any] = {"result": result, "dataset": dataset_name(result.dataset, result.dataset_revision)}
    shown |= {"missing": [], "lines": [], "details": details_of(result)}
    if missing := missing_controls(result):
        nothing = {"classification": [], "tables": []}
        return shown | {"missing": [CONTROL_TITLES[name] for name in missing], "details": nothing}
    if not needs_controls(result.task, result.metrics):
        return shown | {"metrics": [name for name in HEADLINE[result.task] if name in result.metrics]}
    reliance = {
        "words": reliance_words(result.reliance),
        "tables": [table for table in (reliance_table(result.reliance), parts_table(result.reliance)) if table],
    }
    return shown | {
        "lines": result_tables(result),
        "parts": retrieval_parts_table(result.parts),
        "notes": notes(result),
        "verdicts": verdicts(result),
        "reliance": reliance,
    }


def details_of(result: EvaluationResult) -> dict[str, Any]:
    """Returns the tables of classification, alignment and groups of patients."""
    return {
        "classification": classification_tables(result),
        "tables": [table for table in (alignment_table(result), subgroup_table(result)) if table],
    }


def merged_index(current: str, results: Sequence[EvaluationResult], repo_id: str) -> list | None:
    """Replaces our entries in the `model-index` of a card by these results; returns None for an empty one.

    Our entries are those with the task names of this project; all others are kept.
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
    """Returns whether an entry of `model-index` was written by `results.model_index`."""
    task = entry.get("task") if isinstance(entry, dict) else None
    return isinstance(task, dict) and (task.get("name"), task.get("type")) in TASKS.values()


def read_summary(path: Path) -> dict:
    """Reads a training summary. Raises ValueError, naming the file, if it is not one."""
    try:
        summary = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise ValueError(f"{path}: not a training summary ({type(error).__name__}: {error})") from None
    return checked(summary, str(path))


def checked(summary: Any, name: str) -> dict:
    """Returns a valid training summary. Raises ValueError, naming the file, if it is not one."""
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
    """Returns the license keys of a card: those that the training found on the base model, or the known ones."""
    return summary.get("base_license") or known_license(summary["base_model"])


def known_license(base_model: str) -> dict[str, str]:
    """Returns the license keys for a base model, or no keys if its license is unknown.

    A model with random initial weights has the license of this project.
    """
    if not base_model:
        return APACHE
    found = (keys for pattern, keys in LICENSES.items() if re.fullmatch(pattern, base_model, re.IGNORECASE))
    return next(found, {})


def find_license(base_model: str, token: str | None = None) -> dict[str, str]:
    """Returns the license keys on the card of a checkpoint, on the Hub or in a folder; no keys if it has none."""
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import HTTPError

    if not base_model:
        return {}
    try:
        in_folder = Path(base_model).is_dir()
        path = Path(base_model, CARD) if in_folder else Path(hf_hub_download(base_model, CARD, token=token))
        keys = front_matter(read_card(path) or "")
    except (HTTPError, OSError, ValueError):  # not reachable, no card, or invalid YAML
        return {}
    names = ("license", "license_name", "license_link")
    return {name: keys[name] for name in names if isinstance(keys.get(name), str)} if "license" in keys else {}


def curve(history: list[dict], rows: int = 12) -> list[dict]:
    """Returns at most `rows` updates of the log, evenly spread, with the losses of training and evaluation."""
    entries = losses_by_update(history)
    if len(entries) <= rows:
        return entries
    return [entries[round(index * (len(entries) - 1) / (rows - 1))] for index in range(rows)]


def losses_by_update(history: list[dict]) -> list[dict]:
    """Returns the updates at which a loss was logged, in order: `step`, `epoch`, and `loss` or `eval_loss` or both.

    The first evaluation after an update belongs to it. The log can contain another evaluation after the last update:
    that of the best checkpoint, which belongs to an earlier update and is ignored.
    """
    by_step: dict[int, dict] = {}
    for entry in history:
        losses = {name: entry[name] for name in ("loss", "eval_loss") if name in entry}
        if losses:
            step = by_step.setdefault(entry["step"], {"step": entry["step"], "epoch": entry["epoch"]})
            by_step[entry["step"]] = losses | step  # the first value of each loss is kept
    return [by_step[step] for step in sorted(by_step)]


def read_samples(path: Path) -> list[dict]:
    """Reads a decoder's answers from the end of its training, if there are any. Raises ValueError if not JSON."""
    return parse_samples(path.read_text(encoding="utf-8"), str(path)) if path.exists() else []


def parse_samples(text: str, name: str) -> list[dict]:
    """Parses the text of a file of sample answers. Raises ValueError, naming the file, if it is not JSON lines."""
    try:
        return [json.loads(line) for line in text.split("\n") if line]
    except ValueError as error:
        raise ValueError(f"{name}: not a file of sample answers ({error})") from None
