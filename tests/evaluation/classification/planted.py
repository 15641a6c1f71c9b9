"""Plants datasets of small labeled images, and encoders that see all, nothing, or noise in them."""

from __future__ import annotations

import json
from collections.abc import Sequence

import numpy as np
from datasets import ClassLabel, Dataset, Features, Image, Value
from PIL import Image as Picture

from evaluation.classification.embedder import Embedder

KNEE = [f"knee_xray/{name}" for name in ("Normal", "Doubtful", "Mild", "Moderate", "Severe")]
SKIN = ["pad_ufes_20/nevus", "pad_ufes_20/melanoma"]
# What names each class in the prompts.
WORDS = [*((f"grade {grade}", f"{grade}级") for grade in range(5)), ("nevus", "色素痣"), ("melanoma", "黑色素瘤")]
COLUMNS = ("source_dataset", "image_path", "group_id", "modality", "body_part", "metadata")


def labeled_rows(
    labels: Sequence[str | None],
    split: str = "test",
    groups: Sequence[str] | None = None,
    metadata: Sequence[dict] | None = None,
    names: Sequence[str] = (*KNEE, *SKIN),
) -> Dataset:
    """A split with one image per label; the image's red value is the number of the class, its green one is noise."""
    names = list(names)
    random = np.random.default_rng(len(split) + len(labels))
    numbers = [names.index(label) if label else None for label in labels]
    columns = {name: [""] * len(labels) for name in COLUMNS}
    columns["source_dataset"] = [label.split("/")[0] if label else "slake" for label in labels]
    columns["image_path"] = [f"{split}/{row}.png" for row in range(len(labels))]
    columns["group_id"] = list(groups or [f"{split} {row}" for row in range(len(labels))])
    columns["modality"] = ["X-ray" if label in KNEE else "clinical photograph" for label in labels]
    columns["body_part"] = ["knee" if label in KNEE else "" for label in labels]
    columns["metadata"] = [json.dumps(found) for found in metadata or [{}] * len(labels)]
    pictures = [
        Picture.new("RGB", (4, 4), (10 * (0 if number is None else number), int(random.integers(256)), 0))
        for number in numbers
    ]
    features = Features(
        {"image": Image(), "text": Value("string"), "label": ClassLabel(names=names)}
        | {name: Value("string") for name in COLUMNS}
    )
    content = {"image": pictures, "text": [label or "nothing" for label in labels], "label": numbers, **columns}
    return Dataset.from_dict(content, features=features)


def class_of(image) -> int:
    return image.getpixel((0, 0))[0] // 10


def seeing(words: Sequence[Sequence[str]] = WORDS, size: int = 16) -> Embedder:
    """An encoder that gives each class a direction, and a text that of the class with a word in it."""
    axes = np.eye(size, dtype=np.float32)

    def texts(prompts: Sequence[str]) -> np.ndarray:
        return np.stack(
            [axes[next(n for n, own in enumerate(words) if any(word in text for word in own))] for text in prompts]
        )

    def images(pictures: Sequence) -> np.ndarray:
        return np.stack([axes[class_of(image)] for image in pictures])

    return Embedder(images, texts, 8, embed_patches=images)


def blind(size: int = 16) -> Embedder:
    """An encoder that returns the same for everything."""

    def ones(inputs: Sequence) -> np.ndarray:
        return np.ones((len(inputs), size), dtype=np.float32)

    return Embedder(ones, ones, 8, embed_patches=ones)


def noisy(size: int = 16) -> Embedder:
    """An encoder that returns noise, which depends on nothing."""
    random = np.random.default_rng(0)

    def draw(inputs: Sequence) -> np.ndarray:
        return random.normal(size=(len(inputs), size)).astype(np.float32)

    return Embedder(draw, draw, 8, embed_patches=draw)
