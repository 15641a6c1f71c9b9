"""What `tests/forked.py` starts is a process of its own, as a command from the shell is one."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.forked import BUILD, COMMANDS, ROOT, SCRIPTS, Forked, run_main


def main(words: list[str]) -> int:
    """The command of these tests, with the imports that its server has made."""
    match words:
        case ["sleep", place]:
            Path(place).touch()
            time.sleep(600)
        case ["raise"]:
            raise ValueError("a fault")
        case [status]:
            print(os.getpid(), os.getsid(0), Path.cwd(), "tests.preloaded" in sys.modules, sys.stdin.read() == "")
            print("to the errors", file=sys.stderr)
            return int(status)
    return 0


def test_it_is_a_process_of_its_own_with_every_import(tmp_path):
    done = run_main("tests.test_forked", "7", cwd=tmp_path, check=False)
    process, session, *rest = done.stdout.split()
    assert process == session != str(os.getpid())
    assert rest == [str(tmp_path), "True", "True"]
    assert (done.returncode, done.stderr.splitlines()[-1]) == (7, "to the errors")


def test_a_failure_shows_what_was_printed():
    with pytest.raises(AssertionError, match=r"tests\.test_forked 3\nexit code 3\n(.|\n)*to the errors"):
        run_main("tests.test_forked", "3")
    with pytest.raises(AssertionError, match=r"exit code 1\n(.|\n)*ValueError: a fault"):
        run_main("tests.test_forked", "raise")


def test_it_can_be_killed_and_does_not_wait_for_ever(tmp_path):
    process = Forked("tests.test_forked", ["sleep", tmp_path / "begun"])
    until = time.monotonic() + 60
    while not (tmp_path / "begun").exists():
        assert process.poll() is None and time.monotonic() < until
        time.sleep(0.01)
    process.kill()
    assert process.wait(60) == process.returncode == -signal.SIGKILL
    with pytest.raises(AssertionError, match=r"no end after 0\.5 s"):
        run_main("tests.test_forked", "sleep", tmp_path / "again", timeout=0.5)


def test_it_answers_as_the_script_does():
    script = [sys.executable, ROOT / next(path for path, module in SCRIPTS.items() if module == BUILD)]
    for words in (["--help"], ["--nonsense"]):
        done = subprocess.run([*script, *words], capture_output=True, text=True)
        forked = run_main(BUILD, *words, check=False)
        assert (forked.returncode, forked.stdout, forked.stderr) == (done.returncode, done.stdout, done.stderr)


@pytest.mark.parametrize("module", COMMANDS)
def test_every_command_is_where_its_script_is(module):
    assert (ROOT / next(path for path, one in SCRIPTS.items() if one == module)).is_file()
    assert run_main(module, "--help").stdout.startswith("usage: ")
