"""Checks that several processes give what one gives."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from evaluation.records import sharing
from evaluation.records.sharing import batches, share

FLAGS = ["--max_new_tokens", "4", "--batch_size", "3", "--limit", "32", "--frozen_encoder", "none"]


def test_batches_are_those_of_one_process():
    assert [list(batch) for batch in batches(7, 3)] == [[0, 1, 2], [3, 4, 5], [6]]
    assert batches(0, 3) == []


@pytest.mark.parametrize("world", [1, 2, 3, 8])
@pytest.mark.parametrize("size", [0, 1, 5, 6])
def test_each_item_is_done_once_and_comes_back_in_order(monkeypatch, world, size):
    """Threads stand for the processes."""
    import threading
    from concurrent.futures import ThreadPoolExecutor

    place, meeting, parts, asked = threading.local(), threading.Barrier(world), {}, []

    def gathered(value: list) -> list:
        parts[place.number] = value
        meeting.wait(10)
        return [parts[number] for number in range(world)]

    def work(item: int) -> int:
        asked.append(item)
        return item * item

    def process(number: int) -> list[int]:
        place.number = number
        return share(list(range(size)), work)

    monkeypatch.setattr(sharing, "world_size", lambda: world)
    monkeypatch.setattr(sharing, "rank", lambda: place.number)
    monkeypatch.setattr(sharing, "gathered", gathered)
    with ThreadPoolExecutor(world) as pool:
        assert list(pool.map(process, range(world))) == [[item * item for item in range(size)]] * world
    assert sorted(asked) == list(range(size))


def evaluate(root: Path, model: Path, data: Path, folder: Path, processes: int, *flags: str):
    """Runs the program in a number of processes; returns the finished process."""
    script = [str(root / "evaluation" / "run_evaluation.py")]
    launch = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", str(processes)]
    command = [sys.executable, *(launch if processes > 1 else []), *script, "--model", str(model)]
    command += ["--dataset", str(data), "--output_dir", str(folder), *flags]
    return subprocess.run(command, capture_output=True, text=True, timeout=500)


def files(folder: Path) -> dict[str, str]:
    """Returns the predictions and the record without what differs between two runs of one measurement."""
    found = {}
    for path in folder.iterdir():
        text = path.read_text(encoding="utf-8")
        if path.suffix == ".json":
            record = json.loads(text)
            record["chain"].pop()
            for name in ("date", "provenance"):
                del record[name]
            text = json.dumps(record)
        found[path.name] = text
    return found


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["decoder", "encoder"])
def test_two_processes_equal_one(build, encoder, decoder, tmp_path, request, kind):
    model, flags = (decoder, FLAGS) if kind == "decoder" else (encoder, ["--batch_size", "3"])
    for processes in (1, 2):
        done = evaluate(request.config.rootpath, model, build, tmp_path / str(processes), processes, *flags)
        assert done.returncode == 0, done.stderr
        assert done.stdout.count("Written to ") == 1  # one process prints and writes
    assert files(tmp_path / "1") == files(tmp_path / "2")
    (record,) = (tmp_path / "2").glob("*--*.json")
    assert json.loads(record.read_text(encoding="utf-8"))["provenance"]["processes"] == 2


@pytest.mark.slow
def test_the_failure_of_one_process_ends_all(build, decoder, tmp_path, request):
    """Only the second process cannot write its journal."""
    blocked = tmp_path / "blocked.py"
    blocked.write_text(BLOCKED, encoding="utf-8")
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2", str(blocked)]
    command += ["--model", str(decoder), "--dataset", str(build), "--output_dir", str(tmp_path / "none"), *FLAGS]
    done = subprocess.run(command, capture_output=True, text=True, timeout=200, cwd=request.config.rootpath)
    assert done.returncode != 0 and "no room for process 1" in done.stderr
    assert not list((tmp_path / "none").glob("*--*.json"))


BLOCKED = """
import os, sys
sys.path.insert(0, os.getcwd())
from evaluation.loading import InputError
from evaluation.records.journal import Journal
from evaluation.run_evaluation import main
append = Journal.append
def fails(self, entry):
    if os.environ["RANK"] == "1" and "keys" in entry:
        raise InputError("no room for process 1")
    append(self, entry)
Journal.append = fails
sys.exit(main())
"""
