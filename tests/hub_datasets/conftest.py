"""The build command as a process of its own, in this process, one source on its own, and builds that tests share."""

from __future__ import annotations

import hashlib
import pickle
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from hub_datasets.generate_sample import generate
from hub_datasets.sources import SOURCES
from model_cards import dataset_card
from tests.hub_datasets.checked import Checked, Folders, check_source, plant_key, remove_planted_key, words_of
from tests.hub_datasets.layouts import write_four_sources

FLAGS = {source.name: source.flag for source in SOURCES}


@dataclass(frozen=True)
class Build:
    """A finished build: the folder it wrote, the folders it read by flag, and what it printed."""

    folder: Path
    sources: dict[str, Path]
    printed: subprocess.CompletedProcess


@pytest.fixture(scope="session", autouse=True)
def drawn_once() -> Iterator[None]:
    """The pictures of a card are drawn once for the same numbers; a build of a few rows does little else.

    That they are the same bytes each time is a test of `model_cards`, and of builds in two processes.
    """
    drawn: dict[bytes, bytes] = {}

    def once(draw: Callable[..., bytes]) -> Callable[..., bytes]:
        def remembered(*arguments: Any) -> bytes:
            key = hashlib.sha256(pickle.dumps((draw.__name__, arguments))).digest()
            if key not in drawn:
                drawn[key] = draw(*arguments)
            return drawn[key]

        return remembered

    with pytest.MonkeyPatch.context() as patch:
        for name in ("funnel", "split_shares", "categories", "class_shares", "text_lengths", "contact_sheet"):
            patch.setattr(dataset_card, name, once(getattr(dataset_card, name)))
        yield


@pytest.fixture(scope="session")
def build(run) -> Callable[..., subprocess.CompletedProcess]:
    """`build({flag: folder or folders}, output, *more flags)`: the command as a user runs it."""

    def command(folders: Folders, output: Path, *more: str | Path, check: bool = True, **options):
        key = plant_key(folders, output)
        command = ("python", "hub_datasets/build.py", *words_of(folders), "--output_dir", output, *key, *more)
        try:
            return run(*command, check=check, **options)
        finally:
            remove_planted_key(output)

    return command


@pytest.fixture(scope="session")
def sample(tmp_path_factory) -> dict[str, Path]:
    """The smallest synthetic sample, by flag; `planted_faults.json` lies above the folders."""
    folders = generate(tmp_path_factory.mktemp("sample") / "raw", scale=0.05)
    return {FLAGS[name]: folder for name, folder in folders.items()}


@pytest.fixture(scope="session")
def built_sample(build, sample, tmp_path_factory) -> Build:
    output = tmp_path_factory.mktemp("built-sample") / "out"
    split = ("--val_fraction", "0.2", "--test_fraction", "0.2")
    return Build(output, sample, build(sample, output, *split))


@pytest.fixture(scope="session")
def built_small(build, tmp_path_factory) -> Build:
    """A few rows of each source without any fault."""
    folder = tmp_path_factory.mktemp("small")
    sources = write_four_sources(folder / "raw")
    return Build(folder / "out", sources, build(sources, folder / "out", "--val_fraction", "0.3"))


@pytest.fixture(scope="session")
def check(tmp_path_factory) -> Callable[..., Checked]:
    """`check(name of the source, folder, *flags)`: reads a source and checks every record, in this process."""

    def read(name: str, folder: Path, *flags: str) -> Checked:
        return check_source(name, folder, tmp_path_factory.mktemp("checked"), *flags)

    return read
