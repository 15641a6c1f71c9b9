"""A build that is killed at any moment leaves no output, or the old one, and the next build is as if nothing was."""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from hub_datasets.build import replaced_folder
from tests.conftest import ROOT
from tests.hub_datasets.layouts import tree, write_files


def start(sources: dict[str, Path], output: Path, *more: str) -> subprocess.Popen:
    words = [str(word) for flag, folder in sources.items() for word in (flag, folder)]
    command = [sys.executable, "hub_datasets/build.py", *words, "--output_dir", str(output), *more]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    return subprocess.Popen(command, cwd=ROOT, start_new_session=True, **quiet)


def kill(process: subprocess.Popen) -> bool:
    """Kills the build; True where it had not ended by itself."""
    running = process.poll() is None
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    return running and process.returncode == -signal.SIGKILL


def wait_for(process: subprocess.Popen, pattern: str, folder: Path) -> None:
    """Until the build has written something that fits the pattern, or has ended."""
    while process.poll() is None and not any(folder.glob(pattern)):
        time.sleep(0.001)


@pytest.fixture
def undisturbed(built_sample) -> dict[str, bytes]:
    return tree(built_sample.folder)


FLAGS = ("--val_fraction", "0.2", "--test_fraction", "0.2")
MOMENTS = [".out.building", ".out.building/chat_instructions.jsonl", ".out.building/.scratch/rows/chat-*.jsonl",
           ".out.building/pairs", ".out.building/.scratch/chat-parquet*", ".out.building/chat/*"]  # fmt: skip


def test_killed_at_every_step_of_writing(sample, undisturbed, tmp_path):
    killed = 0
    for moment in MOMENTS:
        process = start(sample, tmp_path / "out", *FLAGS)
        wait_for(process, moment, tmp_path)
        if kill(process):
            killed += 1
            assert not (tmp_path / "out").exists(), moment
        else:  # a busy machine: the build was faster than the one who watched it
            assert tree(tmp_path / "out") == undisturbed, moment
            shutil.rmtree(tmp_path / "out")
    assert killed >= 4
    assert start(sample, tmp_path / "out", *FLAGS).wait() == 0
    assert tree(tmp_path / "out") == undisturbed
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


@pytest.mark.parametrize("seed", range(4))
def test_killed_at_a_random_moment(sample, undisturbed, tmp_path, seed):
    """The output is not there, or it is whole."""
    rng = random.Random(f"{seed} {time.time_ns()}")
    delay = rng.uniform(0.05, 1.5)
    process = start(sample, tmp_path / "out", *FLAGS)
    time.sleep(delay)
    kill(process)
    if (tmp_path / "out").exists():
        assert tree(tmp_path / "out") == undisturbed, f"killed after {delay:.3f} s"
    assert start(sample, tmp_path / "out", "--overwrite", *FLAGS).wait() == 0
    assert tree(tmp_path / "out") == undisturbed
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_an_earlier_build_stays_when_its_successor_is_killed(sample, undisturbed, tmp_path):
    write_files(tmp_path / "out", {"report.json": "{}"})
    for moment in MOMENTS[:4]:
        process = start(sample, tmp_path / "out", "--overwrite", *FLAGS)
        wait_for(process, moment, tmp_path)
        assert kill(process)
        assert tree(tmp_path / "out") == {"report.json": b"{}"}


# --- The replacement of a folder, step by step


def test_a_new_folder_takes_the_place_of_the_old_one(tmp_path):
    write_files(tmp_path / "out", {"old": "old"})
    with replaced_folder(tmp_path / "out") as work:
        write_files(work, {"new": "new"})
        assert tree(tmp_path / "out") == {"old": b"old"}
    assert tree(tmp_path) == {"out/new": b"new"}


def test_an_error_leaves_the_old_one(tmp_path):
    write_files(tmp_path / "out", {"old": "old"})
    with pytest.raises(KeyboardInterrupt), replaced_folder(tmp_path / "out") as work:
        write_files(work, {"new": "new"})
        raise KeyboardInterrupt
    assert tree(tmp_path) == {"out/old": b"old"}


def test_killed_between_the_two_renames(tmp_path):
    """The old folder is aside and the new one not yet in its place: the old one is not lost."""
    write_files(tmp_path, {".out.old/old": "old", ".out.building/new": "new"})
    with pytest.raises(OSError, match="stop"), replaced_folder(tmp_path / "out"):
        raise OSError("stop")
    assert tree(tmp_path) == {"out/old": b"old"}


def test_leftovers_are_removed(tmp_path):
    write_files(tmp_path, {".out.old/old": "old", ".out.building/half": "half", "out/a": "a", ".other.building/x": "x"})
    with replaced_folder(tmp_path / "out") as work:
        assert tree(work) == {}
        write_files(work, {"new": "new"})
    assert tree(tmp_path) == {"out/new": b"new", ".other.building/x": b"x"}
