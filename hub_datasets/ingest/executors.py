"""Maps a function over tasks in this process, in several processes or on a Ray cluster, in the order of the tasks.

The function must be importable. Tasks and results are dictionaries that can be written as JSON, so that no pickled
objects of this project pass between processes and machines.
"""

from __future__ import annotations

import json
import logging
import os
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from itertools import chain, islice
from pathlib import Path
from typing import Any, Protocol

from hub_datasets.errors import BuildError

ENGINES = ("local", "ray")
Task = dict[str, Any]
FEW = 4  # tasks, which are done faster than another process starts


class Engine(Protocol):
    """Maps a function over tasks."""

    def map(self, function: Callable[[Task], Task], tasks: Iterable[Task]) -> Iterator[Task]:
        """The results of the tasks, in their order. Raises what the function raises."""

    def close(self) -> None:
        """Ends the processes that it has started."""


class InProcess:
    """An engine that runs one task after the other in this process."""

    workers = 1

    def map(self, function: Callable[[Task], Task], tasks: Iterable[Task]) -> Iterator[Task]:
        yield from map(function, tasks)

    def close(self) -> None:
        """Nothing is held."""


class Processes:
    """A pool of processes on this machine. Tasks are submitted as results are taken, so that neither pile up."""

    def __init__(self, workers: int) -> None:
        import multiprocessing
        from concurrent.futures import ProcessPoolExecutor

        self.workers = workers
        context = multiprocessing.get_context("spawn")  # a fork would copy the locks of running threads
        self._pool = ProcessPoolExecutor(workers, mp_context=context, initializer=end_with_parent)

    def map(self, function: Callable[[Task], Task], tasks: Iterable[Task]) -> Iterator[Task]:
        from concurrent.futures.process import BrokenProcessPool

        running: deque = deque()
        try:
            for task in tasks:
                running.append(self._pool.submit(function, task))
                if len(running) >= 2 * self.workers:
                    yield running.popleft().result()
            while running:
                yield running.popleft().result()
        except BrokenProcessPool:
            raise BuildError(
                "a worker process was killed (out of memory?); try again with a smaller --num_proc"
            ) from None
        finally:
            for future in running:
                future.cancel()

    def close(self) -> None:
        self._pool.shutdown(cancel_futures=True)


def end_with_parent() -> None:
    """Ends a worker when the build ends, even if it was killed; otherwise the worker would wait for tasks forever."""
    import multiprocessing
    import signal

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # an interrupt is the parent's to handle
    parent = multiprocessing.parent_process()

    def watch() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


class Ray:
    """Ray Data on the cluster that RAY_ADDRESS names, or on this machine.

    The workers of a cluster must see the same paths, and have the same version of this project installed.
    """

    def __init__(self, workers: int | None) -> None:
        try:
            import ray
        except ImportError:
            raise BuildError("--engine ray requires Ray: pip install 'medpairs[ray]'") from None
        self._ray = ray
        self._ours = not ray.is_initialized()
        if self._ours:
            address = os.environ.get("RAY_ADDRESS")
            size = {} if address else {"num_cpus": workers, "include_dashboard": False}
            with importable_by_others():
                ray.init(address=address, log_to_driver=False, logging_level="error", configure_logging=False, **size)
        self.workers = workers or int(ray.cluster_resources().get("CPU", 1))
        context = ray.data.DataContext.get_current()
        context.execution_options.preserve_order = True
        context.enable_progress_bars = False
        logging.getLogger("ray.data").setLevel(logging.ERROR)  # after its own set-up, which the line above does

    def map(self, function: Callable[[Task], Task], tasks: Iterable[Task]) -> Iterator[Task]:
        lines = [json.dumps(task) for task in tasks]
        if not lines:
            return
        data = self._ray.data.from_items([{"task": line} for line in lines], override_num_blocks=len(lines))
        for row in data.map(OnJson(function)).iter_rows():
            result = json.loads(row["result"])
            if "build_error" in result:
                raise BuildError(result["build_error"])
            if "system_error" in result:
                raise OSError(*result["system_error"])
            yield result["done"]

    def close(self) -> None:
        if self._ours:
            self._ray.shutdown()


@contextmanager
def importable_by_others() -> Iterator[None]:
    """Makes processes that start meanwhile import this code, and not another installed version."""
    before = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(Path(__file__).resolve().parents[2]), before]))
    try:
        yield
    finally:
        del os.environ["PYTHONPATH"]
        if before is not None:
            os.environ["PYTHONPATH"] = before


class OnJson:
    """Wraps a function of a task as a function of a row of Ray Data, which holds the task as JSON.

    Errors for the user are returned as results, because Ray would wrap exceptions in its own and lose their types.
    """

    def __init__(self, function: Callable[[Task], Task]) -> None:
        self.function = function
        self.__name__ = getattr(function, "__name__", type(function).__name__)

    def __call__(self, row: dict[str, str]) -> dict[str, str]:
        try:
            result = {"done": self.function(json.loads(row["task"]))}
        except BuildError as error:
            result = {"build_error": str(error)}
        except OSError as error:
            known = (error.errno, error.strerror, error.filename)
            result = {"system_error": [str(error)] if error.errno is None else known}
        return {"result": json.dumps(result)}


def make_engine(name: str, workers: int) -> InProcess | Processes | Ray:
    """Returns the engine of that name.

    Args:
        name: one of ENGINES.
        workers: number of processes; 1 works in this process. For Ray, the CPUs of an instance that is started here; a
            running cluster has its own.
    """
    if name == "ray":
        return Ray(workers)
    return InProcess() if workers == 1 else Processes(workers)


class LazyEngine:
    """An engine that starts with its first tasks, and runs a few tasks in this process without starting."""

    def __init__(self, name: str, workers: int) -> None:
        self.is_remote = name == "ray"
        self._workers = workers
        self._make = lambda: make_engine(name, workers)
        self._engine: InProcess | Processes | Ray | None = None
        self._closed = False
        self._starting = threading.Lock()

    def map(self, function: Callable[[Task], Task], tasks: Iterable[Task]) -> Iterator[Task]:
        """The results of the tasks, in their order."""
        tasks = iter(tasks)
        first = list(islice(tasks, FEW))
        if len(first) < FEW and self._engine is None and not self.is_remote:
            return InProcess().map(function, first)
        with self._starting:
            if self._closed:
                raise BuildError("stopped")
            if self._engine is None:
                self._engine = self._make()
        return self._engine.map(function, chain(first, tasks))

    @contextmanager
    def in_background(self, function: Callable[..., Any], *arguments: Any) -> Iterator[Callable[[], Any]]:
        """Calls a function that uses this engine in a thread, so that this process can continue with other work.

        Yields a function that waits for the result. With one worker, the function is called immediately.
        """
        if self._workers == 1 or self.is_remote:
            result = function(*arguments)
            yield lambda: result
            return
        from concurrent.futures import ThreadPoolExecutor

        with ThreadPoolExecutor(1) as thread:  # it waits at its end, so that nothing is written after an error
            running = thread.submit(function, *arguments)
            try:
                yield running.result
            except BaseException:
                self.close()  # tasks that have not started are dropped
                raise

    def close(self) -> None:
        """Ends what was started; nothing more is."""
        with self._starting:
            self._closed = True
        if self._engine is not None:
            self._engine.close()
