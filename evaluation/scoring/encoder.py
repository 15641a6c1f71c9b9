"""Scores an encoder by retrieval: embeds a split once, then ranks texts for images and images for texts."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import torch

from evaluation.metrics.retrieval_recall.ranking import retrieval_scores
from evaluation.scoring.rgb_images import to_rgb
from modeling.siglip_medical.contrastive_loss import contrastive_loss

NEIGHBORS = 5  # texts that are listed per image
EMBEDS = ("image_embeds", "text_embeds")


def content_id(content: str | bytes) -> int:
    """Returns a 63-bit hash of a text or of pixels, which is the same in every process."""
    data = content.encode() if isinstance(content, str) else content
    return int.from_bytes(hashlib.blake2b(data, digest_size=8).digest()) >> 1  # 63 bits fit into int64


def embed_pairs(
    encoder: Any, rows: Any, batch_size: int, progress: Callable = iter, first: int = 0
) -> dict[str, np.ndarray]:
    """Embeds every image and text of `rows` (columns `image` and `text`).

    Args:
        encoder: an `Encoder`, see `models/protocols.py`.
        rows: [N] rows of the config `pairs`.
        batch_size: rows per batch.
        progress: a function that wraps the loop over the batches, for example `tqdm`.
        first: the number of the first row, for messages.

    Returns:
        `image_embeds` and `text_embeds`, `[N, D]` float32, not normalized; `image_ids` and `text_ids`, `[N]` int64,
        which are equal for equal images or texts.

    Raises:
        InputError: an image cannot be read as training reads it.
    """
    parts: dict[str, list] = {"image_embeds": [], "text_embeds": [], "image_ids": [], "text_ids": []}
    for start in progress(range(0, len(rows), batch_size)):
        batch = rows[start : start + batch_size]
        images = [to_rgb(image, f"row {first + start + place}") for place, image in enumerate(batch["image"])]
        parts["image_embeds"].append(encoder.embed_images(images))
        parts["text_embeds"].append(encoder.embed_texts(batch["text"]))
        parts["image_ids"].append([content_id(image.tobytes()) for image in images])
        parts["text_ids"].append([content_id(text) for text in batch["text"]])
    return {name: np.concatenate(values) for name, values in parts.items()}


def score_embeddings(
    embeds: dict[str, np.ndarray], logit_scale: float | None = None, logit_bias: float | None = None
) -> dict[str, float]:
    """Computes recalls with their chance levels, and the sigmoid loss of all rows as one batch.

    Args:
        embeds: the result of `embed_pairs`.
        logit_scale: logarithm of the factor by which cosine similarities are multiplied.
        logit_bias: value added to the logits. A model without both was not trained with the sigmoid loss, and gets no
            loss.

    Raises:
        ValueError: an embedding contains NaN or infinity.
    """
    scores = retrieval_scores(
        embeds["image_embeds"], embeds["text_embeds"], embeds["text_ids"], embeds["image_ids"], ks=(1, 5, 10)
    )
    metrics = {name: value for name, value in scores.items() if value is not None}
    if logit_scale is None or logit_bias is None:
        return metrics
    return metrics | {"loss": embedding_loss(embeds, logit_scale, logit_bias)}


def embedding_loss(embeds: dict[str, np.ndarray], logit_scale: float, logit_bias: float) -> float:
    """Returns the sigmoid loss of all rows as one batch; arguments as in `score_embeddings`."""
    tensors = {name: torch.from_numpy(values) for name, values in embeds.items()}
    loss = contrastive_loss(
        tensors["image_embeds"],
        tensors["text_embeds"],
        torch.tensor(logit_scale),
        torch.tensor(logit_bias),
        group_ids=tensors["text_ids"],
        image_ids=tensors["image_ids"],
    )
    return loss.item()


def nearest_texts(
    embeds: dict[str, np.ndarray], texts: Sequence[str], images: Sequence[str], known: Sequence[dict] | None = None
) -> Iterator[dict]:
    """Yields, for each distinct image, the nearest distinct texts, best first, and whether they belong to the image.

    Args:
        embeds: the result of `embed_pairs`.
        texts, images: [N] the text and the image path of each row.
        known: [N] what else is said of the first row of an image, for example its source.
    """
    unique = [np.unique(embeds[name], return_index=True)[1] for name in ("image_ids", "text_ids")]
    image_rows, text_rows = (np.sort(rows) for rows in unique)  # the first row of each image and of each text
    unit = {name: embeds[name] / np.linalg.norm(embeds[name], axis=1, keepdims=True).clip(1e-12) for name in EMBEDS}
    own_texts: dict[int, set[int]] = {}
    for image_id, text_id in zip(embeds["image_ids"], embeds["text_ids"], strict=True):
        own_texts.setdefault(image_id, set()).add(text_id)
    gallery = unit["text_embeds"][text_rows]  # [T, D]
    for row in image_rows:
        similarity = gallery @ unit["image_embeds"][row]  # [T]
        best = text_rows[np.argsort(-similarity, kind="stable")[:NEIGHBORS]]
        own = own_texts[embeds["image_ids"][row]]
        yield (known[row] if known else {}) | {
            "image_path": images[row],
            "text": texts[row],
            "nearest": [{"text": texts[other], "right": bool(embeds["text_ids"][other] in own)} for other in best],
        }
