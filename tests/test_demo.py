"""What the demo does with the folder of the demo before and what others put there, and with the processes it starts."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

import demo
import demo_processes
from model_cards.commands.console import CommandError
from model_cards.commands.environment_report import version
from tests.hub_datasets.layouts import tree, write_files

FILES = {"raw/knee/1.png": "a", "results/demo.json": "b", "index.html": "page", "hub/x/y": ""}


@pytest.fixture
def out(tmp_path):
    """A demo that came to its end."""
    folder = write_files(tmp_path / "outputs" / "demo", FILES)
    (folder / "hf_home").mkdir()
    (folder / "hf_home" / "link").symlink_to("../hub/x/y")
    (folder / demo.WRITTEN).write_text(json.dumps(demo.sizes(folder)))
    return folder


def test_the_demo_before_is_deleted(out):
    demo.clear(out)
    assert tree(out.parent) == {} and [path.name for path in out.iterdir()] == []
    demo.clear(out)
    demo.clear(out / "nowhere")
    assert not (out / "nowhere").exists()


@pytest.mark.parametrize("mine", ["thesis.docx", "results/notes/mine.txt", "index.html"])
def test_a_demo_with_somebody_s_own_files_is_renamed(out, mine, capsys):
    write_files(out, {mine: "years of work"})
    before = tree(out)
    (out.parent / "demo-1").mkdir()
    demo.clear(out)
    assert not out.exists() and tree(out.parent / "demo-2") == before
    assert capsys.readouterr().out == f"{out} holds what no finished demo wrote; it is now {out}-2\n"


def test_a_demo_that_was_stopped_is_renamed(out):
    (out / demo.WRITTEN).unlink()
    demo.clear(out)
    assert not out.exists() and len(tree(out.parent / "demo-1")) == len(FILES) + 1


def test_a_link_stays_a_link(out, tmp_path):
    """To a larger disk: what the demo before wrote there is deleted; for anything else the link is renamed."""
    (tmp_path / "link").symlink_to(out, target_is_directory=True)
    demo.clear(tmp_path / "link")
    assert (tmp_path / "link").is_symlink() and tree(out) == {}
    write_files(out, {"thesis.docx": "years of work"})
    demo.clear(tmp_path / "link")
    assert (tmp_path / "link-1").is_symlink() and tree(out) == {"thesis.docx": b"years of work"}


# --- the processes ---

PROC = Path("/proc")
SECONDS = 240


@pytest.fixture
def mark(monkeypatch) -> str:
    """A variable of the environment that only the demo's processes have."""
    if not PROC.is_dir():
        pytest.skip("processes are found in /proc, which is not here")
    value = uuid.uuid4().hex
    monkeypatch.setenv("DEMO_MARK", value)
    return value


def marked(mark: str) -> Iterator[int]:
    """The processes with the mark, but for this one."""
    for place in PROC.iterdir():
        with contextlib.suppress(OSError):
            if (
                place.name.isdecimal()
                and int(place.name) != os.getpid()
                and mark.encode() in (place / "environ").read_bytes()
            ):
                yield int(place.name)


@pytest.fixture
def children(monkeypatch):
    monkeypatch.setattr(demo_processes, "children", demo_processes.Children())
    yield demo_processes.children
    demo_processes.children.end()


def test_commands_run_beside_each_other_and_say_which_they_are(children, capsys):
    demo_processes.run_beside({"a": ["medpairs --version", "medpairs --help"], "b": ["medpairs --version"]}, {})
    lines = capsys.readouterr().out.splitlines()
    assert lines.count("a       | $ medpairs --version") == lines.count("b       | $ medpairs --version") == 1
    assert lines.count(f"a       | medpairs {version()}") == lines.count(f"b       | medpairs {version()}") == 1
    assert "a       | commands, in the order of use:" in lines
    assert len(children.running) == 3


def test_a_lane_that_fails_ends_the_other(children, mark, tmp_path, capsys):
    lanes = {"hub": [f"medpairs hub --root {tmp_path} --port 0"], "wrong": ["medpairs nonsense --help"]}
    with pytest.raises(CommandError, match=r"^the demo stops here: exit status 2 of `medpairs nonsense`$"):
        demo_processes.run_beside(lanes, {})
    assert list(marked(mark)) == []
    assert "wrong   | error: 'nonsense' is not a command of medpairs" in capsys.readouterr().out
    with pytest.raises(CommandError, match=r"^the demo has ended$"):
        children.start(["true"], None)


def test_what_a_process_has_started_ends_with_it(children, mark):
    """Though it takes no notice of SIGTERM."""
    deaf = (
        "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('deaf', flush=True); time.sleep(99)"
    )
    parent = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {deaf!r}])"
    process = children.start([sys.executable, "-c", parent], None, stdout=subprocess.PIPE)
    assert process.stdout.readline() == "deaf\n" and len(list(marked(mark))) == 2
    children.end()
    deadline = time.monotonic() + SECONDS
    while list(marked(mark)):
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.mark.slow
@pytest.mark.parametrize(("number", "moment"), [(signal.SIGTERM, "Hub on "), (signal.SIGINT, "encoder | {'loss'")])
def test_a_demo_that_is_ended_leaves_nothing_running(clone, mark, number, moment):
    command = [sys.executable, "medpairs.py", "demo"]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    process = subprocess.Popen(command, cwd=clone, env=os.environ | {"PYTHONPATH": ""}, **pipes)
    printed = []
    for line in process.stdout:
        printed.append(line)
        if line.startswith(moment):
            process.send_signal(number)
    assert process.wait() == 130, "".join(printed)
    assert printed[-1] == "interrupted; everything that the demo started has ended; what it wrote is in outputs/demo\n"
    assert list(marked(mark)) == []
