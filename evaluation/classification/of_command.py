"""Makes what `medpairs evaluate` says of an encoder beside retrieval: classification, alignment and subgroups."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from evaluation.classification.embedder import Embed, Embedder, siglip_patches
from evaluation.classification.measure import Splits, classify, correct_by_row
from evaluation.datasets.columns import to_pairs
from evaluation.datasets.groups import read_groups
from evaluation.datasets.split_slices import parse_split
from evaluation.loading import InputError, load_model_and_processor, load_splits, model_type
from evaluation.metrics.embedding_alignment.alignment import alignment_scores
from evaluation.metrics.retrieval_recall.ranking import chance_recall_at_k
from evaluation.models.open_model import open_encoder
from evaluation.models.protocols import Encoder
from evaluation.models.source import find_source
from evaluation.records.sharing import first_does
from evaluation.scoring.encoder import NEIGHBORS
from evaluation.scoring.subgroups import attributes_of, subgroup_scores
from model_cards.results import RETRIEVAL

HIT = "image_to_text_recall_at_5"  # of the nearest texts that the predictions list
TRAIN, CHOICE = "train", "validation"


def details_of(
    options: argparse.Namespace,
    rows: Any,
    embeds: dict[str, np.ndarray],
    encoder: Encoder,
    base: Embedder | None,
    predictions: Sequence[dict],
    progress: Callable = iter,
) -> dict[str, Any]:
    """Measures classification, alignment and subgroups.

    Args:
        options: the flags of `medpairs evaluate`.
        rows: [N] the evaluated rows of the config `pairs`.
        embeds: the result of `embed_pairs`.
        encoder: see `evaluation/models/protocols.py`.
        base: the untouched encoder, or None.
        predictions: those of `nearest_texts`, one per image. `classified` is added to those of labeled images.
        progress: a function that wraps the loops over batches.

    Returns:
        `classification` (by source, see `classify`), `alignment` (see `alignment_scores`) and `subgroups` (see
        `subgroup_scores`), fields of an `EvaluationResult`.

    Raises:
        InputError: an image has two labels, an embedding is not finite, or `--save_head` has nothing to save.
    """
    splits = other_splits(options, rows)
    with_head = options.save_head is not None
    patches = open_patches(options) if with_head else None
    embedder = Embedder(encoder.embed_images, encoder.embed_texts, options.batch_size, patches)
    try:
        classified = classify(splits, embedder, embeds["image_embeds"], base, options.probe_images, with_head, progress)
        scale, bias = encoder.scale_and_bias or (None, None)
        columns = (embeds[name] for name in ("image_embeds", "text_embeds", "text_ids", "image_ids"))
        alignment = alignment_scores(*columns, scale, bias)
    except ValueError as error:
        raise InputError(f"--model {options.model}, --dataset {options.dataset}: {error}") from None
    if with_head:
        first_does(lambda: save_heads(options, classified))
    correct = correct_by_row(classified)
    # The scores of an image are those of its first row, by which predictions are listed as well.
    first: dict[str, int] = {}
    for row, path in enumerate(rows["image_path"]):
        first.setdefault(path, row)
    hits = {
        first[row["image_path"]]: float(any(near["right"] for near in row["nearest"]))
        for row in predictions
        if row["image_path"] in first
    }
    chance = chance_hits(embeds)
    by_row = {HIT: hits, f"chance_{HIT}": {row: chance[row] for row in hits}} | correct
    values = {name: [found.get(row) for row in range(len(rows))] for name, found in by_row.items() if found}
    add_classified(predictions, classified, first)
    return {
        "classification": {source: one.entry for source, one in classified.items()},
        "alignment": alignment,
        "subgroups": subgroup_scores(attributes_of(rows), values, read_groups(rows)),
    }


def chance_hits(embeds: dict[str, np.ndarray]) -> list[float]:
    """Returns for each row the probability that a text of its image is among NEIGHBORS random ones."""
    own: dict[int, set[int]] = {}
    for image, text in zip(embeds["image_ids"].tolist(), embeds["text_ids"].tolist(), strict=True):
        own.setdefault(image, set()).add(text)
    size = len({*embeds["text_ids"].tolist()})
    chances = {count: chance_recall_at_k(size, [count], NEIGHBORS) for count in {len(texts) for texts in own.values()}}
    return [chances[len(own[image])] for image in embeds["image_ids"].tolist()]


def open_base(options: argparse.Namespace) -> Embedder | None:
    """Returns the encoder of `--base`, None without it. Raises InputError if it is not one, or cannot be loaded."""
    if options.base is None:
        return None
    chosen = argparse.Namespace(**{**vars(options), "model": options.base, "model_revision": None})
    source = find_source(chosen)
    if source.task != RETRIEVAL:
        raise InputError(f"--base {options.base}: not an encoder of images and texts")
    encoder = open_encoder(source, chosen)
    return Embedder(encoder.embed_images, encoder.embed_texts, options.batch_size)


def open_patches(options: argparse.Namespace) -> Embed:
    """Returns what embeds images for the classifier of `--save_head`. Raises InputError if the model is no SigLIP."""
    import torch
    from transformers import AutoModel

    if (kind := model_type(options.model, options.model_revision)) != "siglip":
        raise InputError(f"--save_head requires a SigLIP, but --model {options.model} is of the type {kind!r}")
    model, processor = load_model_and_processor(options.model, AutoModel, options.model_revision)
    return siglip_patches(model.to("cuda" if torch.cuda.is_available() else "cpu"), processor)


def other_splits(options: argparse.Namespace, rows: Any) -> Splits:
    """Loads the splits that probes need; of a dataset without labels, none."""
    if not getattr(rows.features.get("label"), "names", None):
        return Splits(rows, name=options.split)
    config = options.dataset_config or "pairs"
    # A part of a split is of that split: nothing is fitted or chosen on `train` for `train[:50%]`.
    evaluated = parse_split(options.split).name
    wanted = [name for name in (TRAIN, CHOICE) if name != evaluated]
    try:
        found = load_splits(options.dataset, config, wanted, options.dataset_revision)
    except InputError:  # it has neither of them
        found = {}
    where = f"--dataset {options.dataset}, config {config}"
    found = {name: to_pairs(table, options, where) for name, table in found.items()}
    return Splits(rows, found.get(TRAIN), found.get(CHOICE), options.split, TRAIN, CHOICE)


def add_classified(predictions: Sequence[dict], classified: dict[str, Any], first: dict[str, int]) -> None:
    """Adds to the predictions of labeled images the class, and what each method takes it for."""
    found: dict[int, dict[str, Any]] = {}
    for source, one in classified.items():
        for place, row in enumerate(one.labels.rows):
            answers = {
                name: one.labels.classes[int(scores[place].argmax())]
                for name, scores in one.scores.items()
                if name not in ("chance", "majority")
            }
            found[row] = {"source": source, "label": one.labels.classes[one.labels.labels[place]], "answers": answers}
    for row in predictions:
        if (number := first.get(row["image_path"])) in found:
            row["classified"] = found[number]


def save_heads(options: argparse.Namespace, classified: dict[str, Any]) -> None:
    """Saves the classifier of each source, see `head.py`."""
    from evaluation.classification.head import save_head

    heads = {source: one for source, one in classified.items() if one.head is not None}
    if not heads:
        raise InputError(
            f"--save_head {options.save_head}: no probe was fitted, because --dataset {options.dataset} has no labeled "
            "source with a train split. Build it with images that have labels, or leave the flag out."
        )
    for source, one in heads.items():
        folder = options.save_head / (source or "all")
        try:
            save_head(folder, options.model, options.model_revision, one.head, one.labels.classes)
        except ValueError as error:
            raise InputError(f"--save_head {options.save_head}: {error}") from None
        print(f"Saved the image classifier of {source or 'the dataset'} to {folder}")
