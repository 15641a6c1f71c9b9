"""Computes features of images with the vision tower of a model or of any encoder, which is not trained for it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from evaluation.loading import InputError, load_model_and_processor
from evaluation.models.protocols import EncodeImages
from evaluation.models.vision_towers import pooled
from evaluation.scoring.rgb_images import to_rgb

SUMMARY = "training_summary.json"  # written beside the weights by a training of this project


@dataclass(frozen=True)
class Encoder:
    """What encodes images.

    Attributes:
        name: what the tables call it.
        encode: takes `[N]` PIL images in RGB, returns `[N, D]` float32.
        is_random: whether its training began from random weights; its features are then far below those of a
            pretrained encoder.
    """

    name: str
    encode: EncodeImages
    is_random: bool = False


def load_encoder(name: str) -> Encoder:
    """Loads an encoder by its folder or repository.

    Raises:
        InputError: it cannot be loaded, or has no vision tower that is known.
    """
    from PIL import Image
    from transformers import AutoImageProcessor, AutoModel

    model, images = load_model_and_processor(name, AutoModel, processor_class=AutoImageProcessor)
    tower = getattr(model, "vision_model", model).eval()
    tower = tower.to("cuda" if torch.cuda.is_available() else "cpu")

    def encode(pictures: Sequence[Any]) -> np.ndarray:
        inputs = images(list(pictures), return_tensors="pt")
        parameter = next(tower.parameters())
        with torch.no_grad():
            found = tower(pixel_values=inputs["pixel_values"].to(parameter.device, parameter.dtype))
        return pooled(found.last_hidden_state)

    try:
        encode([Image.new("RGB", (64, 64))])
    except (TypeError, AttributeError, ValueError, KeyError, RuntimeError) as error:
        raise InputError(
            f"--frozen_encoder {name}: no vision tower that takes pixel_values and returns patches "
            f"({type(error).__name__}). Give an encoder such as google/siglip-base-patch16-224."
        ) from None
    shown = Path(name).resolve().name if Path(name).is_dir() else name  # a card names no folders of this machine
    return Encoder(shown, encode, began_random(name))


def encode_images(
    encoder: Encoder, rows: Iterable[tuple[int, Sequence[Any]]], batch_size: int
) -> dict[int, np.ndarray]:
    """Encodes the images of rows; several images of a row are averaged.

    Args:
        rows: pairs of a row's number and its PIL images; at least one.
        batch_size: rows per batch.

    Returns:
        `[D]` features by the number of the row.
    """
    found: dict[int, np.ndarray] = {}
    batch: list[tuple[int, Sequence[Any]]] = []

    def flush() -> None:
        pictures = [to_rgb(image, f"row {number}") for number, images in batch for image in images]
        states = iter(encoder.encode(pictures) if pictures else ())
        for number, images in batch:
            mean = np.mean([next(states) for _ in images], axis=0)
            # Half the memory, as a large tower gives 100,000 numbers per image; float16 ends at 65,504.
            found[number] = np.clip(mean, -60_000, 60_000).astype(np.float16)
        batch.clear()

    for row in rows:
        batch.append(row)
        if len(batch) == batch_size:
            flush()
    flush()
    return found


def began_random(model: str, revision: str | None = None) -> bool:
    """Returns whether the training of a model began from random weights, by the summary beside its weights, if any."""
    path = Path(model, SUMMARY)
    try:
        if not Path(model).is_dir():
            from huggingface_hub import hf_hub_download

            path = Path(hf_hub_download(model, SUMMARY, revision=revision))
        return json.loads(path.read_text(encoding="utf-8"))["base_model"] == ""
    except Exception:  # no such file, which is so for every model of others; or no connection
        return False
