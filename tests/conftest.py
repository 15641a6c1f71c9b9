"""One Hub on loopback for each pytest process, and the environment that sends every Hugging Face library to it.

The libraries read their environment when they are imported, so all of it is set here, before any test module is.
Workers of pytest-xdist are processes of their own: each has its own Hub and its own cache.
"""

from __future__ import annotations

import contextlib
import gc
import itertools
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests import drawn_once
from tests.forked import SCRIPTS, run_main
from tests.hub_server import Fault, User, serve

if late := sorted({"huggingface_hub", "datasets", "transformers", "evaluate"} & set(sys.modules)):
    raise RuntimeError(f"{', '.join(late)} imported before tests/conftest.py could set HF_ENDPOINT")

USERS = {
    "hf_test": User("tester", "write", orgs=("org",)),
    "hf_read": User("reader", "read"),
    "hf_other": User("other", "write"),
}
FOLDER = tempfile.TemporaryDirectory(prefix="medpairs-tests-", ignore_cleanup_errors=True)
SERVER = serve(Path(FOLDER.name, "hub"), USERS)

# The account, the caches and the offline switches of whoever runs the tests have no say in them.
for name in [n for n in os.environ if n.startswith(("HF_", "HUGGINGFACE_", "HUGGING_FACE_", "TRANSFORMERS_"))]:
    del os.environ[name]
os.environ |= {
    "HF_ENDPOINT": SERVER.endpoint,
    "HF_TOKEN": "hf_test",
    "HF_HOME": str(Path(FOLDER.name, "hf-home")),
    "HF_HUB_DISABLE_XET": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    "NO_PROXY": "127.0.0.1,localhost",
    "no_proxy": "127.0.0.1,localhost",
    "OMP_NUM_THREADS": "1",
    "TOKENIZERS_PARALLELISM": "false",
}
os.environ.setdefault(drawn_once.FOLDER, str(Path(FOLDER.name, "drawn")))  # of all processes of pytest-xdist
drawn_once.compile_once()

# MKL's products are to have the same bits wherever their factors are in memory, as tests of resumed trainings compare
# them. What is set already stays: empty, it leaves MKL as it is.
os.environ.setdefault("MKL_CBWR", "AUTO")

ROOT = Path(__file__).resolve().parents[1]
NOW = 1_800_000_000  # seconds since 1970, on the clock of `waits`
LONGEST = (
    "test_pages.py", "trainers/test_run_decoder.py", "trainers/test_run_encoder.py", "trainers/base/test_trainer.py",
    "trainers/base/test_output_folder.py", "trainers/encoder/test_trainer.py", "trainers/encoder/test_memory.py",
    "trainers/encoder/test_frozen_tower_cache.py", "trainers/decoder/test_memory.py",
    "trainers/decoder/test_trainer.py", "evaluation/test_publish_results.py",
)  # fmt: skip
TAIL = 6000  # characters of a failed command's output that its error shows
numbers = itertools.count(1)


def pytest_configure(config: pytest.Config) -> None:
    gc.disable()  # until all is imported and collected, of which nothing is garbage: a third of that time
    config.option.loadscopereorder = False  # xdist would begin with the files of the most tests


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Moves the longest files to the front: begun last, one is all that one worker does while the other one waits."""
    places = {ROOT / "tests" / name: place for place, name in enumerate(LONGEST)}
    items.sort(key=lambda item: places.get(item.path, len(places)))


def pytest_collection_finish() -> None:
    """Leaves what was imported and collected out of every garbage collection; each training begins with one."""
    gc.freeze()
    gc.enable()


def pytest_unconfigure() -> None:
    SERVER.stop()
    FOLDER.cleanup()


@dataclass(frozen=True)
class Hub:
    """`log` holds `(method, path, status)` of every request that was answered.

    `fault(method, path, status, ...)` makes the Hub fail at the next requests, see `Fault`. Faults that are left over
    are gone after the test.
    """

    endpoint: str
    token: str
    log: list[tuple[str, str, int]]

    @staticmethod
    def fault(*args: Any, **more: Any) -> Fault:
        SERVER.faults.append(Fault(*args, **more))
        return SERVER.faults[-1]


@pytest.fixture(scope="session")
def hub() -> Hub:
    return Hub(SERVER.endpoint, "hf_test", SERVER.log)


@pytest.fixture(autouse=True)
def healthy_hub() -> Iterator[None]:
    """A Hub without faults after every test."""
    yield
    SERVER.faults.clear()


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The seconds of each wait of a push, and of the client in it; none of them passes, and it stays `NOW`."""
    seconds: list[float] = []
    for module in ("model_cards.hub.commit", "huggingface_hub.utils._http"):
        monkeypatch.setattr(f"{module}.time", SimpleNamespace(time=lambda: float(NOW), sleep=seconds.append))
    return seconds


@pytest.fixture
def repo_name(request: pytest.FixtureRequest) -> str:
    """`org/<the test's name>-<n>`: no other test has it."""
    slug = re.sub(r"[^A-Za-z0-9]+", "-", request.node.name).strip("-")[:60].strip("-")
    return f"org/{slug}-{next(numbers)}"


@pytest.fixture(scope="session")
def made_once(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, Callable[[Path], object]], Path]:
    """`made_once(name, make)`: a folder that `make(folder)` has filled, once for all processes of pytest-xdist.

    Nothing may be written there afterwards.
    """
    shared = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:  # each of these processes has a folder of its own in that of all
        shared = shared.parent

    def folder_of(name: str, make: Callable[[Path], object]) -> Path:
        from filelock import FileLock

        folder, complete = shared / f"made-{name}", shared / f"made-{name}.complete"
        with FileLock(shared / f"made-{name}.lock"):
            if not complete.exists():
                shutil.rmtree(folder, ignore_errors=True)  # of a process that failed
                folder.mkdir()
                make(folder)
                complete.touch()
        return folder

    return folder_of


@pytest.fixture(scope="session")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of what is, or would be, in the repository, where commands may write."""
    folder = tmp_path_factory.mktemp("clone")
    listed = ("git", "ls-files", "--cached", "--others", "--exclude-standard", "-z")
    names = subprocess.run(listed, cwd=ROOT, capture_output=True, text=True, check=True).stdout.split("\0")
    for name in filter(None, names):
        if (ROOT / name).is_file():  # and not deleted but not yet committed
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, folder / name)
    return folder


@pytest.fixture(scope="session")
def real_data() -> Path:
    """Samples of the public sources, where this machine has them."""
    folder = Path(os.environ.get("MEDPAIRS_REAL_DATA") or ROOT.parent / "shared" / "real_data")
    if not folder.is_dir():
        pytest.skip(f"real_data is not here: {folder}")
    return folder


@pytest.fixture(scope="session")
def run(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., subprocess.CompletedProcess]:
    """`run(*command, env=None, cwd=None, timeout=300, check=True, fresh_home=False, fork=True)`: a command in its own
    process.

    From the repository's root, with the Hub's environment; a leading `python` is this interpreter. `env` adds variables
    (None takes one away). `fresh_home` gives it empty caches, as on another machine. With `check`, a command that fails
    or takes longer than `timeout` seconds is an AssertionError that shows what it printed.

    A script of the project from the root, with the variables and caches of the tests, is started by `tests/forked.py`,
    without the seconds of its imports; not with `fork=False`, for what differs between two interpreters: the order of
    sets, the modules that are imported.
    """

    def run_command(
        *command: str | Path,
        env: dict[str, str | None] | None = None,
        cwd: str | Path | None = None,
        timeout: float = 300,
        check: bool = True,
        fresh_home: bool = False,
        fork: bool = True,
    ) -> subprocess.CompletedProcess:
        words = [str(word) for word in command]
        if fork and words[0] == "python" and words[1] in SCRIPTS and not (env or cwd or fresh_home):
            return run_main(SCRIPTS[words[1]], *words[2:], timeout=timeout, check=check)
        if words[0] == "python":
            words[0] = sys.executable
        variables = {
            **os.environ,
            "PYTHONPATH": os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")])),
        }
        if fresh_home:
            variables["HF_HOME"] = str(tmp_path_factory.mktemp("hf-home"))
        variables = {name: value for name, value in {**variables, **(env or {})}.items() if value is not None}
        process = subprocess.Popen(
            words,
            cwd=cwd or ROOT,
            env=variables,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            encoding="utf-8",
            errors="replace",
            start_new_session=True,  # so that the workers it starts can be ended with it
        )
        try:
            stdout, stderr = process.communicate(timeout=timeout)
        except BaseException as error:
            with contextlib.suppress(ProcessLookupError):  # it ended by itself just now
                os.killpg(process.pid, signal.SIGKILL)
            stdout, stderr = process.communicate()
            if not isinstance(error, subprocess.TimeoutExpired):
                raise
            raise AssertionError(report(words, f"no end after {timeout} s", stdout, stderr)) from error
        if check and process.returncode != 0:
            raise AssertionError(report(words, f"exit code {process.returncode}", stdout, stderr))
        return subprocess.CompletedProcess(words, process.returncode, stdout, stderr)

    return run_command


@pytest.fixture(scope="session")
def lines_run() -> Callable[[Callable[[], object]], int]:
    """`lines_run(call)`: the lines of Python that a call runs, a measure of its cost that no machine's load changes."""

    def count(call: Callable[[], object]) -> int:
        lines, before = 0, sys.gettrace()

        def trace(frame: object, event: str, argument: object) -> Callable:
            nonlocal lines
            lines += event == "line"
            return trace

        sys.settrace(trace)
        try:
            call()
        finally:
            sys.settrace(before)
        return lines

    return count


def report(words: list[str], outcome: str, stdout: str, stderr: str) -> str:
    return f"{' '.join(words)}\n{outcome}\n--- stdout\n{stdout[-TAIL:]}\n--- stderr\n{stderr[-TAIL:]}"
