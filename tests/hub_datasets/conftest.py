"""The build command as a process of its own, in this process, one source on its own, and builds that tests share."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from hub_datasets.generate_sample import generate
from hub_datasets.sources import SOURCES
from tests.hub_datasets.checked import Checked, Folders, check_source, words_of
from tests.hub_datasets.layouts import write_four_sources

FLAGS = {source.name: source.flag for source in SOURCES}


@dataclass(frozen=True)
class Build:
    """A finished build: the folder it wrote, the folders it read by flag, and what it printed."""

    folder: Path
    sources: dict[str, Path]
    printed: subprocess.CompletedProcess


@pytest.fixture(scope="session")
def build(run) -> Callable[..., subprocess.CompletedProcess]:
    """`build({flag: folder or folders}, output, *more flags)`: the command as a user runs it."""

    def command(folders: Folders, output: Path, *more: str | Path, check: bool = True, **options):
        command = ("python", "hub_datasets/build.py", *words_of(folders), "--output_dir", output, *more)
        return run(*command, check=check, **options)

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
