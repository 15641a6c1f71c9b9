"""The build command as a process of its own, in this process, one source on its own, and builds that tests share."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from hub_datasets.generate_sample import FOLDERS, generate
from hub_datasets.sources import SOURCES
from tests import drawn_once
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
def real_pictures() -> Iterator[None]:
    """Builds in this process draw each picture of a card once for the same numbers."""
    with drawn_once.replaced(drawn_once.remembered):
        yield


@pytest.fixture(scope="session")
def build(run) -> Callable[..., subprocess.CompletedProcess]:
    """`build({flag: folder or folders}, output, *more flags)`: the command as a user runs it.

    In one process unless the flags say otherwise: the start of others takes longer than most of these builds.
    """

    def command(folders: Folders, output: Path, *more: str | Path, check: bool = True, **options):
        key = plant_key(folders, output)
        alone = () if "--num_proc" in more else ("--num_proc", "1")
        command = ("python", "hub_datasets/build.py", *words_of(folders), "--output_dir", output, *key, *alone, *more)
        try:
            return run(*command, check=check, **options)
        finally:
            remove_planted_key(output)

    return command


@pytest.fixture(scope="session")
def sample_folder(made_once) -> Path:
    """The smallest synthetic sample."""
    return made_once("small-sample", lambda folder: generate(folder / "raw", scale=0.05)) / "raw"


@pytest.fixture(scope="session")
def sample(sample_folder) -> dict[str, Path]:
    """The folders of the smallest synthetic sample, by flag; `planted_faults.json` lies above them."""
    return {FLAGS[name]: sample_folder / folder for name, folder in FOLDERS.items()}


@pytest.fixture(scope="session")
def built_sample(build, sample, tmp_path_factory) -> Build:
    output = tmp_path_factory.mktemp("built-sample") / "out"
    flags = ("--val_fraction", "0.2", "--test_fraction", "0.2", "--num_proc", "2")
    return Build(output, sample, build(sample, output, *flags))


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
