"""Provides rows and flags for models of other families."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.evaluation.models.tiny_families import write_family
from tests.evaluation.small_run import picture

FLAGS = {
    "model": "", "model_revision": None, "predictions": None, "prediction_key": None, "dtype": "auto",
    "device_map": None, "load_in_4bit": False, "batch_size": 4, "max_new_tokens": 6, "base_model": "",
    "served_model": None,
    "api_key_env": None, "timeout": 10.0, "limit": None, "split": "test",
}  # fmt: skip


def flags(**changed: Any) -> argparse.Namespace:
    """The flags of the command that opening a model reads."""
    return argparse.Namespace(**(FLAGS | changed))


def turns(question: str, answer: str, *before: dict) -> list[dict]:
    return [*before, {"role": "user", "content": question}, {"role": "assistant", "content": answer}]


def one_image() -> list[dict]:
    """Rows of one image each: other shapes, an earlier question, a turn of the system, a token of an image in words."""
    doctor = {"role": "system", "content": "You are a doctor."}
    return [
        {"images": [picture((60, 40), 1)], "messages": turns("Is it a <image> liver?", "Yes")},
        {"images": [picture((40, 60), 2)], "messages": turns("Where is the lesion?", "left", *turns("What?", "MRI"))},
        {"images": [picture((33, 33), 3)], "messages": turns("肝脏?", "是", doctor)},
    ]


def mixed() -> list[dict]:
    """The same, and rows with no image and with two."""
    two = [picture((60, 60), 4), picture((20, 30), 5)]
    none = {"images": [], "messages": turns("No image?", "No")}
    return [*one_image(), none, {"images": two, "messages": turns("Two?", "Yes")}]


def mean_loss(answerer: Any, rows: list[dict]) -> float:
    found = answerer.losses(rows)
    return sum(loss for loss, _ in found) / sum(tokens for _, tokens in found)


@pytest.fixture(scope="session")
def family(tmp_path_factory) -> Callable[[str], Path]:
    """A function: family(name) is the folder of its tiny checkpoint, written once."""
    made: dict[str, Path] = {}

    def folder_of(name: str) -> Path:
        if name not in made:
            made[name] = write_family(name, tmp_path_factory.mktemp(name))
        return made[name]

    return folder_of
