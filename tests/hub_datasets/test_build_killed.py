"""Checks that a build that is killed at any moment leaves no output or the old one, and that the next build succeeds.

SIGKILL goes to the command alone, as the kernel's does when memory runs out: its workers have to end by themselves.
"""

from __future__ import annotations

import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests import drawn_once
from tests.conftest import ROOT
from tests.forked import BUILD, Forked
from tests.hub_datasets.checked import plant_key
from tests.hub_datasets.layouts import (
    encoded,
    picture,
    report_row,
    tree,
    write_files,
    write_four_sources,
    write_reports,
)

PROC = Path("/proc")
HELD_OUT = ("--val_fraction", "0.2", "--test_fraction", "0.2")
FLAGS = (*HELD_OUT, "--num_proc", "2")
WORKERS_END = 10.0  # seconds; they notice at once, but the machine may be busy
WORK = ".out.medpairs-building"
# What a build has just begun to write when it is killed: reading, deciding, writing.
MOMENTS = [
    ".out.cache/scratch", ".out.cache/knee_xray-*/catalogue.sqlite", ".out.cache/knee_xray-*/stage.json",
    ".out.cache/medical_reports-*/catalogue.sqlite", ".out.cache/medical_reports-*/images-000000.bin",
    ".out.cache/medical_reports-*/images-000004.bin", ".out.cache/medical_reports-*/stage.json",
    WORK, ".out.cache/scratch/decisions.sqlite", ".out.cache/scratch/chat-*.jsonl",
    f"{WORK}/pairs/*.parquet", f"{WORK}/chat/*.parquet", f"{WORK}/llama_factory", f"{WORK}/chat_instructions.jsonl",
    f"{WORK}/splits.txt", f"{WORK}/report.json", f"{WORK}/assets", f"{WORK}/README.md", f"{WORK}/.build.json",
]  # fmt: skip


@dataclass(frozen=True)
class Undisturbed:
    """What is built where nobody is killed: the files, those of the cache, and the seconds that it took."""

    sources: dict[str, Path]
    files: dict[str, bytes]
    cache: dict[str, bytes]
    seconds: float


def start(sources: dict[str, Path], output: Path, *more: str, **settings: Any) -> Forked:
    words = [word for flag, folder in sources.items() for word in (flag, folder)]
    plant_key(sources, output)
    return Forked(BUILD, [*words, "--output_dir", output, *more], **settings)


def kill(process: Forked) -> bool:
    """Kills the command, and waits until its workers are gone; True where it had not ended by itself."""
    process.kill()
    process.wait()
    wait_until_alone(process.pid)
    return process.returncode == -signal.SIGKILL


def wait_until_alone(session: int) -> None:
    """Until no process of a command that has ended is there."""
    deadline = time.monotonic() + WORKERS_END
    while left := list(others_of(session)):
        assert time.monotonic() < deadline, f"{left} are still there"
        time.sleep(0.01)


def others_of(session: int) -> Iterator[int]:
    """The processes that a command has started and that run: they share its session."""
    if not PROC.is_dir():
        pytest.skip("processes are counted in /proc, which is not here")
    for place in PROC.iterdir():
        try:
            state, _, _, number = (place / "stat").read_text().rpartition(")")[2].split()[:4]
        except (OSError, ValueError):  # no process, or it has just ended
            continue
        if int(number) == session and state != "Z" and place.name != str(session):
            yield int(place.name)


def wait_for(process: Forked, pattern: str, folder: Path) -> None:
    """Until the build has written something that fits the pattern, or has ended."""
    while process.poll() is None and not any(folder.glob(pattern)):
        time.sleep(0.0005)


def cache_of(output: Path) -> dict[str, bytes]:
    """The files of a cache but for the lock."""
    return {
        name: content for name, content in tree(output.with_name(f".{output.name}.cache")).items() if name != "lock"
    }


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory) -> Undisturbed:
    """A build of a few rows of each source, and of reports enough to keep two workers busy."""
    folder = tmp_path_factory.mktemp("undisturbed")
    sources = write_four_sources(folder / "raw")
    sources["--reports_dir"] = write_reports(folder / "many", [report_row(n, patient_id=n // 3) for n in range(200)])
    bitmaps = {f"images/{n}.png": encoded(picture(n), "BMP") for n in range(0, 200, 2)}  # their copies are in the cache
    write_files(folder / "many", bitmaps)
    write_files(folder / "many", {"images/3.png": "<html>", "images/9.png": b"\x89PNG\r\n\x1a\n cut"})
    for turn in ("warm", "out"):  # the first one reads the libraries from the disk
        begin = time.monotonic()
        assert start(sources, folder / turn, *FLAGS).wait() == 0
        seconds = time.monotonic() - begin
    assert tree(folder / "warm").keys() == tree(folder / "out").keys()
    return Undisturbed(sources, tree(folder / "out"), cache_of(folder / "out"), seconds)


def check_that_nothing_is_lost(expected: Undisturbed, output: Path) -> None:
    """Runs the command again, and compares all that it leaves with what it leaves when nobody is killed."""
    assert start(expected.sources, output, "--overwrite", *FLAGS).wait() == 0
    assert tree(output) == expected.files and cache_of(output) == expected.cache
    assert {path.name for path in output.parent.iterdir()} == {"out", ".out.cache", "out.key", "out.names.jsonl"}


@pytest.mark.slow
def test_a_build_has_workers_to_lose(undisturbed, tmp_path):
    process = start(undisturbed.sources, tmp_path / "out", *FLAGS)
    most = 0
    while process.poll() is None:
        most = max(most, len(list(others_of(process.pid))))
        time.sleep(0.005)
    assert most >= 2
    wait_until_alone(process.pid)


@pytest.mark.slow
@pytest.mark.parametrize("part", range(3))
def test_killed_at_every_step(undisturbed, tmp_path, part):
    """One kill after the other on what the one before left behind, and then a build that is let alone."""
    killed = 0
    for moment in MOMENTS[part::3]:
        process = start(undisturbed.sources, tmp_path / "out", *FLAGS)
        wait_for(process, moment, tmp_path)
        killed += kill(process)
        if (tmp_path / "out").exists():  # a busy machine: the build was faster than the one who watched it
            assert tree(tmp_path / "out") == undisturbed.files, moment
        shutil.rmtree(tmp_path / "out", ignore_errors=True)
    assert killed >= len(MOMENTS) // 3 - 2
    check_that_nothing_is_lost(undisturbed, tmp_path / "out")


@pytest.mark.slow
@pytest.mark.parametrize("part", range(5))
def test_killed_at_random_moments(undisturbed, tmp_path, part):
    """Twenty in all, spread over the time that a build takes: the output does not exist, or it is whole."""
    rng = random.Random(f"{part} {time.time_ns()}")
    for turn in range(4):
        delay = undisturbed.seconds * (turn * 5 + part + rng.random()) / 20
        process = start(undisturbed.sources, tmp_path / "out", *FLAGS)
        time.sleep(delay)
        kill(process)
        if (tmp_path / "out").exists():
            assert tree(tmp_path / "out") == undisturbed.files, f"killed after {delay:.3f} s"
            shutil.rmtree(tmp_path / "out")
        if rng.random() < 0.5:
            for path in (tmp_path / ".out.cache").glob("medical_reports-*"):
                shutil.rmtree(path)
    check_that_nothing_is_lost(undisturbed, tmp_path / "out")


@pytest.mark.slow
def test_an_earlier_build_stays_when_its_successor_is_killed(undisturbed, tmp_path):
    """And what its user has put beside it stays whatever happens."""
    mine = {"thesis.docx": b"years", "pairs/notes.txt": b"of work"}
    earlier = {"report.json": b'{"fingerprint": "", "sources": {}, "splits": {}}'} | mine
    write_files(tmp_path / "out", earlier)
    late = 0
    for moment in MOMENTS[4::3]:
        process = start(undisturbed.sources, tmp_path / "out", "--overwrite", *FLAGS)
        wait_for(process, moment, tmp_path)
        kill(process)
        if tree(tmp_path / "out") != earlier:  # the build was faster than the one who watched it
            assert tree(tmp_path / "out") == undisturbed.files | mine, moment
            shutil.rmtree(tmp_path / "out")
            write_files(tmp_path / "out", earlier)
            late += 1
    assert late <= 1
    assert start(undisturbed.sources, tmp_path / "out", "--overwrite", *FLAGS).wait() == 0
    assert tree(tmp_path / "out") == undisturbed.files | mine
    assert {path.name for path in tmp_path.iterdir()} == {"out", ".out.cache", "out.key", "out.names.jsonl"}


@pytest.mark.slow
def test_killed_while_workers_write_the_shards(tmp_path):
    """So much that writing is a task for workers: they must not go on when nobody waits for them."""
    rows = [report_row(n) for n in range(48)]
    reports = write_reports(tmp_path / "reports", rows)
    for n, row in enumerate(rows):
        picture(n, size=(700, 700)).save(reports / row["image"], compress_level=0)
    flags = ("--num_shards", "4", *HELD_OUT)
    process = start({"--reports_dir": reports}, tmp_path / "out", *flags, "--num_proc", "2")
    most = 0
    while process.poll() is None and not any((tmp_path / WORK).glob("pairs/*.parquet")):
        most = max(most, len(list(others_of(process.pid))))
        time.sleep(0.001)
    assert kill(process) and most >= 2 and not (tmp_path / "out").exists()
    assert start({"--reports_dir": reports}, tmp_path / "out", *flags, "--num_proc", "2").wait() == 0
    assert start({"--reports_dir": reports}, tmp_path / "alone", *flags, "--num_proc", "1").wait() == 0
    assert tree(tmp_path / "out") == tree(tmp_path / "alone")
    assert not (tmp_path / WORK).exists() and len(list((tmp_path / "out/pairs").iterdir())) >= 12


def test_a_build_that_is_killed_leaves_nothing_in_the_folder_for_temporary_files(tmp_path):
    """Such leftovers would be as large as the dataset, and nobody would look for them there."""
    (tmp_path / "tmp").mkdir()
    environment = {"TMPDIR": str(tmp_path / "tmp"), drawn_once.FOLDER: None}  # it draws, which leaves time to kill it
    process = start(write_four_sources(tmp_path / "raw"), tmp_path / "out", *FLAGS, env=environment)
    wait_for(process, ".out.cache/scratch/decisions.sqlite", tmp_path)
    assert kill(process) and tree(tmp_path / "tmp") == {}


@pytest.mark.slow
@pytest.mark.parametrize("moment", [".out.cache/scratch", ".out.cache/medical_reports-*/images-000000.bin", WORK])
def test_ctrl_c_ends_all_of_it_in_one_line(undisturbed, tmp_path, moment):
    """A terminal sends SIGINT to the command and to its workers."""
    words = [str(word) for flag, folder in undisturbed.sources.items() for word in (flag, folder)]
    command = [sys.executable, "medpairs.py", "build", *words, "--output_dir", str(tmp_path / "out"), *FLAGS]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    process = subprocess.Popen(command, cwd=ROOT, start_new_session=True, **pipes)
    wait_for(process, moment, tmp_path)
    os.killpg(process.pid, signal.SIGINT)
    said = process.communicate()[1]
    wait_until_alone(process.pid)
    assert process.returncode == 130, said
    nothing = "no source was read completely, so that the same command begins from the start"
    kept = rf"kept in {tmp_path}/\.out\.cache: [\w, ]+; the same command resumes after these"
    assert re.fullmatch(f"interrupted; ({kept if moment == WORK else f'{kept}|{nothing}'})\n", said)
    check_that_nothing_is_lost(undisturbed, tmp_path / "out")
