"""Runs the commands of the demo, one after the other or beside each other, and ends them with all that they started."""

from __future__ import annotations

import contextlib
import os
import shlex
import shutil
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Iterator
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from pathlib import Path
from typing import Any

from model_cards.commands.console import CommandError

SECONDS_TO_END = 10  # that a process is given before it is killed


class Children:
    """The processes that run, each with a process group of its own, so that what they start ends with them."""

    def __init__(self) -> None:
        self.running: list[subprocess.Popen] = []
        self.lock, self.ended = threading.Lock(), False
        self.starting = self.interrupted = False

    def start(self, words: list[str], environment: dict[str, str] | None, **more: Any) -> subprocess.Popen:
        """A process with more variables in its environment; `more` is what Popen takes."""
        with self.lock:
            if self.ended:
                raise CommandError("the demo has ended")
            self.starting = True
            try:
                process = subprocess.Popen(
                    words, env=child_environment(environment), text=True, start_new_session=True, **more
                )
                self.running.append(process)
            finally:
                self.starting = False
        if self.interrupted:
            raise KeyboardInterrupt
        return process

    def interrupt(self, *_: Any) -> None:
        """Handles a signal that ends the demo; a process that is just being started is noted first, and so ends too.

        Raises:
            KeyboardInterrupt: here, or at the end of the start.
        """
        self.interrupted = True
        if not self.starting:
            raise KeyboardInterrupt

    def end(self) -> None:
        """Ends all of them, by force where they take too long. None is started any more."""
        with self.lock:
            self.ended = True
        running = [process for process in self.running if process.poll() is None]
        # The first one is the Hub: if it ended before its clients, they would report a lost connection.
        self.end_together(running[1:])
        self.end_together(running[:1])

    def end_together(self, running: list[subprocess.Popen]) -> None:
        """Ends some of the processes at the same time."""
        for process in running:
            self.tell(process, signal.SIGTERM)
        deadline = time.monotonic() + SECONDS_TO_END
        for process in running:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(max(0.0, deadline - time.monotonic()))
            self.tell(process, getattr(signal, "SIGKILL", signal.SIGTERM))  # whatever is left of its group
            process.wait()

    @staticmethod
    def tell(process: subprocess.Popen, number: int) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):  # nobody is left in the group
            if hasattr(os, "killpg"):
                os.killpg(process.pid, number)
            elif process.poll() is None:
                process.terminate()


children = Children()


@contextlib.contextmanager
def hub(root: Path, token: str) -> Iterator[dict[str, str]]:
    """Starts the Hub of the tests on this machine; gives the environment in which all libraries use it.

    Args:
        root: folder that keeps the repositories; beside it lies the cache of the libraries.
    """
    words = [sys.executable, "-m", "tests.hub_server", "--root", str(root), "--token", token]
    server = children.start(words, None, stdout=subprocess.PIPE)
    line = server.stdout.readline().strip()
    if not line.startswith("Hub on "):
        raise CommandError("the Hub did not start")
    print(f"\n{line}")
    yield {
        "HF_ENDPOINT": line.removeprefix("Hub on "),
        "HF_TOKEN": token,
        "HF_HOME": str(root.with_name("hf_home").resolve()),
        "HF_HUB_DISABLE_XET": "1",  # the server stores files by LFS
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    }
    server.terminate()
    server.wait(timeout=30)


def run(line: str, environment: dict[str, str] | None = None) -> None:
    """Prints a command and runs it; a failure ends the demo."""
    print(f"\n$ {line}", flush=True)
    begin = time.monotonic()
    check(children.start(words_of(line), environment).wait(), line)
    print(f"({time.monotonic() - begin:.0f} s)", flush=True)


def run_beside(lanes: dict[str, list[str]], environment: dict[str, str]) -> None:
    """Runs the commands of each lane one after the other, and the lanes beside each other, a thread for each.

    On a single core the lanes run in their order. What they print is printed line by line, behind the lane's name.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    environment = environment | {"TQDM_DISABLE": "1", "HF_DATASETS_DISABLE_PROGRESS_BARS": "1"}
    if cores < 2 * len(lanes):
        environment["OMP_NUM_THREADS"] = "1"

    def run_lane(name: str) -> None:
        for line in lanes[name]:
            print(f"{name:8}| $ {line}", flush=True)
            begin = time.monotonic()
            both = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
            process = children.start(words_of(line), environment, **both, errors="replace")
            for printed in process.stdout:
                print(f"{name:8}| {printed}", end="", flush=True)
            check(process.wait(), line)
            print(f"{name:8}| ({time.monotonic() - begin:.0f} s)", flush=True)

    with ThreadPoolExecutor(min(cores, len(lanes))) as pool:
        try:
            running = [pool.submit(run_lane, name) for name in lanes]
            for lane in wait(running, return_when=FIRST_EXCEPTION).done:
                lane.result()
        except BaseException:
            children.end()  # else the other lane would be waited for
            raise


def words_of(line: str) -> list[str]:
    """The words of a printed command; `medpairs` is that of this clone, installed or not."""
    program, *words = shlex.split(line)
    if program != "medpairs":
        raise ValueError(line)
    return [sys.executable, str(Path(__file__).resolve().with_name("medpairs.py")), *words]


def check(status: int, line: str) -> None:
    """Raises CommandError, which ends the demo, where a command has failed."""
    if status:
        raise CommandError(f"the demo stops here: exit status {status} of `{line.split(' --')[0]}`")


def run_code(code: str, environment: dict[str, str], quiet: bool = False) -> str:
    """Runs a few lines in a fresh process with an empty cache; returns what they print."""
    code = code.strip()
    if not quiet:
        print("\n" + textwrap.indent(code, ">>> "), flush=True)
    home = {"HF_HOME": f"{environment['HF_HOME']}_fresh"}
    shutil.rmtree(home["HF_HOME"], ignore_errors=True)
    process = children.start([sys.executable, "-c", code], environment | home, stdout=subprocess.PIPE)
    printed, _ = process.communicate()
    check(process.returncode, "python -c")
    if not quiet:
        print(printed, end="", flush=True)
    return printed


def child_environment(extra: dict[str, str] | None) -> dict[str, str]:
    """This process's environment, without the account and caches of whoever runs the demo."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "HUGGING"))}
    return kept | {"TOKENIZERS_PARALLELISM": "false", "HF_HUB_OFFLINE": "0"} | (extra or {})


def processor_seconds() -> float:
    """The processor time of this process and of all that it started and that have ended."""
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system
