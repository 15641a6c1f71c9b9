"""Starts commands of the project in processes of their own, without the seconds that their imports take.

Such a process is a child of a server that has imported everything once. It runs `main` of the command as the script
does, and can be killed like any other. What depends on how Python starts (the script's path, variables that libraries
read when they are imported, empty caches) takes `run` of conftest.py instead.
"""

from __future__ import annotations

import contextlib
import importlib
import multiprocessing
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
BUILD, EVALUATE = "hub_datasets.build", "evaluation.run_evaluation"
TRAIN_ENCODER, TRAIN_DECODER = "trainers.run_encoder", "trainers.run_decoder"
COMMANDS = (BUILD, TRAIN_ENCODER, TRAIN_DECODER, EVALUATE, "evaluation.leaderboard", "evaluation.push_metrics")
SCRIPTS = {f"{module.replace('.', '/')}.py": module for module in COMMANDS}  # by their paths below the root


def server() -> multiprocessing.context.BaseContext:
    """What starts such processes; the first one waits for the imports."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.preloaded"])
    return context


class Forked:
    """A command that runs; to be used as a `subprocess.Popen`.

    Args:
        module: with a function `main` that takes the words and returns the exit status.
        stdout: path of the file that gets what it prints, after what it holds.
        stderr: path of the same for errors.
        prepare: called in the process before the command.
        env: variables for the command; None takes one away. Not for those that libraries read when they are imported.
    """

    def __init__(
        self,
        module: str,
        words: Sequence[str | Path],
        stdout: str | Path = os.devnull,
        stderr: str | Path = os.devnull,
        cwd: str | Path | None = None,
        prepare: Callable[[], None] | None = None,
        env: dict[str, str | None] | None = None,
    ) -> None:
        settings = (module, [str(word) for word in words], str(stdout), str(stderr), str(cwd or ROOT), prepare, env)
        self.process = server().Process(target=child, args=settings)
        self.process.start()

    @property
    def pid(self) -> int:
        """Also the number of its session, in which all processes are that it starts."""
        return self.process.pid

    @property
    def returncode(self) -> int | None:
        return self.process.exitcode

    def poll(self) -> int | None:
        return self.process.exitcode

    def wait(self, timeout: float | None = None) -> int:
        self.process.join(timeout)
        if self.process.exitcode is None:
            raise subprocess.TimeoutExpired(self.process.name, timeout)
        return self.process.exitcode

    def kill(self) -> None:
        self.process.kill()

    def kill_all(self) -> None:
        """Ends the command and all that it has started."""
        with contextlib.suppress(ProcessLookupError):  # it ended by itself just now
            os.killpg(self.pid, signal.SIGKILL)
        self.process.join()


def child(
    module: str,
    words: list[str],
    stdout: str,
    stderr: str,
    cwd: str,
    prepare: Callable[[], None] | None,
    env: dict[str, str | None] | None,
) -> None:
    os.setsid()  # so that the workers it starts can be ended with it
    for place, mode, descriptor in ((os.devnull, "r", 0), (stdout, "a", 1), (stderr, "a", 2)):
        with open(place, mode) as file:  # noqa: PTH123
            os.dup2(file.fileno(), descriptor)
    sys.stdin = os.fdopen(0, closefd=False)  # that of the server is closed
    os.chdir(cwd)
    for name, value in (env or {}).items():
        os.environ.pop(name, None) if value is None else os.environ.__setitem__(name, value)
    sys.argv[:] = [f"{module.replace('.', '/')}.py", *words]
    main = importlib.import_module(module).main
    if prepare is not None:
        prepare()
    sys.exit(main(words))


def run_main(
    module: str,
    *words: str | Path,
    cwd: str | Path | None = None,
    env: dict[str, str | None] | None = None,
    timeout: float = 300,
    check: bool = True,
    prepare: Callable[[], None] | None = None,
) -> subprocess.CompletedProcess:
    """A command from beginning to end.

    With `check`, one that fails or takes longer than `timeout` seconds is an AssertionError that shows what it printed.
    """
    from tests.conftest import report

    with tempfile.TemporaryDirectory() as folder:
        places = Path(folder, "stdout"), Path(folder, "stderr")
        process = Forked(module, words, *places, cwd, prepare, env)
        outcome = ""
        try:
            status = process.wait(timeout)
        except BaseException as error:
            process.kill_all()
            if not isinstance(error, subprocess.TimeoutExpired):
                raise
            status, outcome, check = process.returncode, f"no end after {timeout} s", True
        printed = [place.read_text(encoding="utf-8", errors="replace") for place in places]
    named = [module, *map(str, words)]
    if check and (outcome or status != 0):
        raise AssertionError(report(named, outcome or f"exit code {status}", *printed))
    return subprocess.CompletedProcess(named, status, *printed)
