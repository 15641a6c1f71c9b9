"""A small build of the synthetic sample, and tiny checkpoints, once for the tests of this folder."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def dataset(tmp_path_factory) -> Path:
    """A build with the configs `pairs` and `chat` and the splits train, validation and test."""
    from hub_datasets.build import main
    from hub_datasets.sample_sources import generate

    root = tmp_path_factory.mktemp("sources")
    folders = generate(root / "raw", scale=0.15)
    flags = {"knee_xray": "knee", "pad_ufes_20": "pad_ufes", "slake": "slake", "medical_reports": "reports"}
    sources = [word for name, folder in folders.items() for word in (f"--{flags[name]}_dir", str(folder))]
    output = root / "data"
    splits = ["--val_fraction", "0.2", "--test_fraction", "0.1"]
    assert main([*sources, "--output_dir", str(output), *splits]) == 0
    return output


@pytest.fixture(scope="session")
def pairs(dataset):
    from datasets import load_dataset

    return load_dataset(str(dataset), "pairs")


@pytest.fixture(scope="session")
def chat(dataset):
    from datasets import load_dataset

    return load_dataset(str(dataset), "chat")


@pytest.fixture(scope="session")
def tiny_encoder(tmp_path_factory, pairs) -> Path:
    from modeling.tiny_checkpoints import write_tiny_encoder

    folder = tmp_path_factory.mktemp("encoder")
    write_tiny_encoder(folder, pairs["train"]["text"])
    return folder


@pytest.fixture(scope="session")
def tiny_decoder(tmp_path_factory, chat) -> Path:
    from modeling.tiny_checkpoints import write_tiny_decoder
    from trainers.decoder_collator import CHAT_TEMPLATE

    folder = tmp_path_factory.mktemp("decoder")
    texts = [turn["content"] for messages in chat["train"]["messages"] for turn in messages]
    write_tiny_decoder(folder, texts, CHAT_TEMPLATE)
    return folder
