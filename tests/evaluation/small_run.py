"""Makes small inputs for tests: a build of the synthetic sample, tiny checkpoints, pictures.

These are plain functions; the `conftest.py` of each folder that needs them turns them into fixtures.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests import drawn_once

DATASET, ENCODER, DECODER = "org/small-pairs", "org/small-siglip", "org/small-llama"
TOKEN = "hf_test"

TEXTS = [
    "Knee X-ray, Kellgren-Lawrence grade 2: mild osteoarthritis.",
    "MRI image, abdomen. Does the picture contain liver? Yes.",
    "MRI图像，腹部。图片中包含肝脏吗?包含。",
    "Describe this medical image: The lesion measures 1.5 cm on the left side.",
]


def write_build(root: Path) -> Path:
    """A build of the synthetic sample with the splits train, validation and test."""
    from hub_datasets.build import main
    from hub_datasets.generate_sample import FOLDERS, generate

    raw = root / "raw"
    generate(raw, scale=0.02)
    sources = [word for folder in FOLDERS.values() for word in (f"--{folder}_dir", str(raw / folder))]
    more = ["--val_fraction", "0.2", "--test_fraction", "0.1", "--num_proc", "1"]
    data = root / "data"
    with drawn_once.blank():
        assert main([*sources, "--output_dir", str(data), *more]) == 0
    return data


def rows_of(build: Path, split: str) -> int:
    """Returns the number of rows of `pairs` in a split, from the report of the build."""
    return json.loads((build / "report.json").read_text("utf-8"))["splits"]["pairs"][split]


def write_encoder(folder: Path) -> Path:
    from modeling.tiny_checkpoints import write_tiny_encoder

    write_tiny_encoder(folder, TEXTS)
    return folder


def write_decoder(folder: Path) -> Path:
    from modeling.tiny_checkpoints import write_tiny_decoder
    from trainers.decoder.data.collator import CHAT_TEMPLATE

    write_tiny_decoder(folder, TEXTS, CHAT_TEMPLATE)
    return folder


def train_encoder(run: Callable, folder: Path) -> str:
    """Trains the encoder ENCODER on DATASET and pushes it; returns all that the command printed."""
    return train(run, "encoder", ENCODER, folder)


def train_decoder(run: Callable, folder: Path) -> str:
    return train(run, "decoder", DECODER, folder, "--num_samples", "2", "--max_new_tokens", "8")


def train(run: Callable, kind: str, name: str, folder: Path, *flags: str) -> str:
    command = f"trainers/run_{kind}.py --dataset {DATASET} --tiny --max_steps 2 --logging_steps 1 --output_dir {folder}"
    hub = f"--push_to_hub --hub_model_id {name} --hub_token {TOKEN}"
    done = run("python", *command.split(), *hub.split(), *flags)
    return done.stdout + done.stderr


def picture(size: tuple[int, int], seed: int, mode: str = "RGB") -> Any:
    """An image of noise."""
    import numpy as np
    from PIL import Image

    noise = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    return Image.fromarray(noise).convert(mode)
