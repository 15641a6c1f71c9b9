"""Checks that all engines give the same results in the same order, and what happens when a task or process fails."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from hub_datasets.errors import BuildError
from hub_datasets.filesystem.source_folder import Folder, FolderError
from hub_datasets.images.validation import ImageSettings
from hub_datasets.ingest import ingest
from hub_datasets.ingest.catalog import Catalog
from hub_datasets.ingest.executors import FEW, InProcess, LazyEngine, Processes, Ray, make_engine
from hub_datasets.ingest.ingest import batches
from hub_datasets.output import folder as output
from hub_datasets.texts.validation import TextSettings
from tests.conftest import ROOT
from tests.hub_datasets.checked import Folders, build_here
from tests.hub_datasets.hand_made import source_of
from tests.hub_datasets.ingest import executor_tasks
from tests.hub_datasets.layouts import jpeg, png, report_row, slake_row, tree, write_files, write_reports, write_slake

no_ray = pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="the extra `ray` is not installed")
with_ray = (no_ray, pytest.mark.slow)  # it takes seconds to start


@pytest.fixture(scope="module")
def processes():
    engine = Processes(2)
    yield engine
    engine.close()


@pytest.fixture(scope="module")
def ray(tmp_path_factory):
    """A Ray of two workers on this machine, started where neither the code nor the data is."""
    import ray

    assert not ray.is_initialized()
    with contextlib.chdir(tmp_path_factory.mktemp("elsewhere")):
        engine = Ray(2)
    yield engine
    engine.close()
    assert not ray.is_initialized()


@pytest.fixture(params=["in process", "processes", pytest.param("ray", marks=with_ray)])
def engine(request):
    if request.param == "in process":
        return InProcess()
    return request.getfixturevalue(request.param)


def tasks(count: int) -> list[dict]:
    """Every third takes longer than the two that follow."""
    return [{"number": n, "text": f"肺 {n}\n", "seconds": 0.05 * (n % 3 == 0)} for n in range(count)]


@pytest.mark.parametrize("count", [0, 1, 30])
def test_results_come_in_the_order_of_the_tasks(engine, count):
    found = list(engine.map(executor_tasks.square, iter(tasks(count))))
    assert [(one["number"], one["square"], one["text"]) for one in found] == [
        (n, n * n, f"肺 {n}\n") for n in range(count)
    ]


def test_the_work_is_done_where_it_was_said(engine):
    workers = {one["process"] for one in engine.map(executor_tasks.square, tasks(20))}
    if isinstance(engine, InProcess):
        assert workers == {os.getpid()}
    else:
        assert os.getpid() not in workers and 1 <= len(workers) <= 2 == engine.workers


@pytest.mark.parametrize("error", ["build", "system", "store"])
def test_what_a_task_raises_reaches_the_caller(engine, error):
    """As it was, so that the command can say it in one line; the engine can be used again."""
    expected = executor_tasks.ERRORS[error]
    some = [{"number": n} | ({"error": error} if n == 5 else {}) for n in range(12)]
    with pytest.raises(type(expected)) as raised:
        list(engine.map(executor_tasks.fail, some))
    assert str(raised.value) == str(expected)
    assert [one["number"] for one in engine.map(executor_tasks.square, tasks(3))] == [0, 1, 2]


def test_a_fault_in_a_task_is_not_hidden(engine):
    with pytest.raises(Exception, match="a fault in this code"):
        list(engine.map(executor_tasks.fail, [{"number": n, "error": "value"} for n in range(5)]))


def test_an_error_with_two_parts_survives_the_way(processes):
    with pytest.raises(FolderError) as raised:
        list(processes.map(executor_tasks.fail, [{"number": 0, "error": "folder"}]))
    assert (raised.value.code, raised.value.message) == ("image_missing", "no file")


# --- Processes


def test_tasks_are_taken_as_results_are(processes):
    """A million tasks do not pile up, and neither do their results."""
    taken, most = 0, 0

    def some():
        nonlocal taken
        for task in tasks(40):
            taken += 1
            yield task

    for done, _ in enumerate(processes.map(executor_tasks.square, some())):
        most = max(most, taken - done)
        if done < 30:
            assert taken < 40
    assert taken == 40 and 2 <= most <= 2 * processes.workers


def test_who_stops_listening_leaves_no_work_behind(processes):
    results = processes.map(executor_tasks.square, ({"number": n, "seconds": 0.01} for n in range(10**9)))
    assert [next(results)["number"] for _ in range(3)] == [0, 1, 2]
    results.close()
    assert [one["number"] for one in processes.map(executor_tasks.square, tasks(2))] == [0, 1]


def test_an_interrupt_is_the_parents_to_handle(processes):
    assert len(list(processes.map(executor_tasks.interrupted, tasks(4)))) == 4


def test_a_worker_that_is_killed():
    engine = Processes(2)
    with pytest.raises(BuildError, match=r"a worker process was killed \(out of memory\?\).* smaller --num_proc"):
        list(engine.map(executor_tasks.die, tasks(20)))
    engine.close()


PARENT = """
import sys
from hub_datasets.ingest.executors import Processes
from tests.hub_datasets.ingest.executor_tasks import wait
if __name__ == "__main__":
    list(Processes(2).map(wait, [{"folder": sys.argv[1]} for _ in range(8)]))
"""


def has_ended(process: int) -> bool:
    """True for a process that is gone, or of which only the exit status is left."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="no /proc here to look for processes in")
def test_workers_end_when_their_parent_is_killed(tmp_path):
    write_files(tmp_path, {"parent.py": PARENT, "workers/.keep": ""})
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    parent = subprocess.Popen([sys.executable, tmp_path / "parent.py", tmp_path / "workers"], env=environment)
    try:
        until = time.monotonic() + 60
        while len(workers := [int(path.name) for path in (tmp_path / "workers").glob("[0-9]*")]) < 2:
            assert parent.poll() is None and time.monotonic() < until
            time.sleep(0.05)
        assert not any(has_ended(worker) for worker in workers) and parent.pid not in workers
    finally:
        parent.send_signal(signal.SIGKILL)
        parent.wait()
    until = time.monotonic() + 20
    while not all(has_ended(worker) for worker in workers):
        assert time.monotonic() < until, "workers are left"
        time.sleep(0.05)


# --- Which engine


def test_few_tasks_are_done_here():
    engine = LazyEngine("local", 2)
    found = list(engine.map(executor_tasks.square, tasks(FEW - 1)))
    assert {one["process"] for one in found} == {os.getpid()} and len(found) == FEW - 1
    assert list(engine.map(executor_tasks.square, [])) == [] and engine._engine is None
    engine.close()


def test_many_tasks_are_done_by_others_and_all_that_follow_too():
    engine = LazyEngine("local", 2)
    found = list(engine.map(executor_tasks.square, iter(tasks(FEW + 2))))
    assert [one["number"] for one in found] == list(range(FEW + 2))
    assert os.getpid() not in {one["process"] for one in found}
    assert os.getpid() not in {one["process"] for one in engine.map(executor_tasks.square, tasks(1))}
    engine.close()


def test_one_worker_is_this_process():
    engine = LazyEngine("local", 1)
    assert {one["process"] for one in engine.map(executor_tasks.square, tasks(9))} == {os.getpid()}
    assert isinstance(make_engine("local", 1), InProcess) and not engine.is_remote


@pytest.mark.parametrize("workers", [1, 2])
def test_something_else_is_done_meanwhile(workers):
    engine = LazyEngine("local", workers)

    def squares() -> list[int]:
        return [one["square"] for one in engine.map(executor_tasks.square, tasks(FEW + 2))]

    with engine.in_background(squares) as finished:
        assert finished() == [number**2 for number in range(FEW + 2)]
    engine.close()


def test_an_error_meanwhile_leaves_nothing_running():
    engine, written = LazyEngine("local", 2), []

    def write() -> None:
        written.extend(engine.map(executor_tasks.square, tasks(2_000)))

    before = threading.active_count()
    with pytest.raises(ValueError, match="broken"), engine.in_background(write):
        raise ValueError("broken")
    assert len(written) < 100 and threading.active_count() <= before
    engine.close()


def test_the_engine_has_as_many_processes_as_it_was_told():
    engine = make_engine("local", 3)
    assert isinstance(engine, Processes) and engine.workers == 3
    engine.close()


def test_ray_that_is_not_installed(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(BuildError, match=r"--engine ray requires Ray: pip install 'medpairs\[ray\]'"):
        make_engine("ray", 2)
    engine = LazyEngine("ray", 2)
    assert engine.is_remote
    with pytest.raises(BuildError, match="requires Ray"):
        engine.map(executor_tasks.square, tasks(1))
    engine.close()


# --- Whole builds

FLAGS = ("--val_fraction", "0.2", "--num_shards", "3")


@pytest.fixture(scope="module")
def sources(tmp_path_factory) -> Folders:
    """200 reports in two folders, some of them unfit, and 60 images with questions: more than a few tasks of each."""
    folder = tmp_path_factory.mktemp("engines")
    rows = [report_row(n, patient_id=str(n // 2), text=f"Chest X-ray {n}: clear.") for n in range(140)]
    reports = write_reports(folder / "reports", rows)
    write_files(reports, {"images/17.png": png(17)[:90], "images/90.png": b"no image", "images/99.png": png(3005)})
    (reports / "images/40.png").unlink()
    later = [report_row(n, patient_id=str(n), text=f"Later chest X-ray {n}: clear.") for n in range(60)]
    later = write_reports(folder / "later", later)
    write_files(later, {f"images/{n}.png": png(5000 + n) for n in range(0, 60, 2)})  # the others are pictures of before
    slake = write_slake(folder / "slake", train=[slake_row(n, n // 2, f"Question {n}?", "42") for n in range(120)])
    write_files(slake, {"imgs/xmlab3/source.jpg": jpeg(2004)})  # the same picture twice
    return {"--reports_dir": [reports, later], "--slake_dir": slake}


@pytest.fixture(scope="module")
def alone(sources, tmp_path_factory) -> dict[str, bytes]:
    """What one process writes."""
    folder = tmp_path_factory.mktemp("alone")
    report = build_here(sources, folder / "out", *FLAGS)
    assert sum(report["sources"]["medical_reports"]["rejected"].values()) == 3
    assert all(path.name == "lock" or len(batches_of(path)) > FEW for path in (folder / ".out.cache").iterdir())
    return tree(folder / "out")


def batches_of(stage: Path) -> list[list[str]]:
    """The tasks in which the images of a stage were examined."""
    catalog = Catalog(stage / "catalogue.sqlite")
    found = list(batches(catalog.image_names(), catalog.count_images()))
    catalog.close()
    return found


@pytest.mark.slow
def test_two_processes_write_the_same_bytes(sources, alone, tmp_path, monkeypatch):
    monkeypatch.setattr(output, "WORTH_A_TASK", 0)  # the Parquet files, too, are written by the workers
    build_here(sources, tmp_path / "out", *FLAGS, "--num_proc", "2")
    assert tree(tmp_path / "out") == alone
    assert [path.name for path in (tmp_path / ".out.cache").iterdir() if path.name.startswith("rows")] == []


@no_ray
@pytest.mark.slow
def test_ray_writes_the_same_bytes(sources, alone, ray, tmp_path):
    """Images are read and Parquet files are written by its workers; a Ray that was there before is left running."""
    build_here(sources, tmp_path / "out", *FLAGS, "--engine", "ray", "--num_proc", "2")
    assert tree(tmp_path / "out") == alone
    assert not (tmp_path / ".out.cache/rows").exists()
    assert len(list(ray.map(executor_tasks.square, tasks(3)))) == 3


@no_ray
@pytest.mark.slow
def test_the_command_works_on_the_cluster_that_ray_address_names(sources, alone, ray, tmp_path, build):
    import ray as ray_itself

    address = {"RAY_ADDRESS": ray_itself.get_runtime_context().gcs_address}
    build(sources, tmp_path / "out", *FLAGS, "--engine", "ray", env=address)
    assert tree(tmp_path / "out") == alone
    assert len(list(ray.map(executor_tasks.square, tasks(3)))) == 3


def test_folders_are_those_of_the_build_wherever_the_workers_are(engine, tmp_path, monkeypatch):
    """A path from here is another one where a Ray was started; the code of the workers is this one."""
    write_reports(tmp_path / "my reports", [report_row(n) for n in range(40)])
    monkeypatch.chdir(tmp_path)
    Path("scratch").mkdir()
    source, folder, settings = source_of("medical_reports"), Folder("my reports"), (ImageSettings(), TextSettings())
    (key,) = ingest.stage_keys([(source, folder)], *settings)
    stage = ingest.ingest_folder(source, folder, key, *settings, engine, str(tmp_path / "cache"), Path("scratch"))
    assert list(Catalog(stage.catalog).rejections()) == []
    found = list(engine.map(executor_tasks.code_of, [{"number": n} for n in range(4)]))
    assert {one["file"] for one in found} == {ingest.__file__}


def test_a_cut_zip_file_is_an_error_of_the_build_in_every_engine(processes, tmp_path):
    """A worker finds out; the build says it."""
    write_reports(tmp_path / "raw", [report_row(n) for n in range(3)])
    shutil.make_archive(str(tmp_path / "folder/images"), "zip", tmp_path / "raw")
    whole = (tmp_path / "folder/images.zip").read_bytes()
    (tmp_path / "folder/images.zip").write_bytes(whole[:-30])
    task = {"folder": str(tmp_path / "folder"), "reading": "r", "names": ["images.zip/images/1.png"],
            "settings": {}, "target": str(tmp_path / "target.bin")}  # fmt: skip
    for engine in (InProcess(), processes):
        with pytest.raises(BuildError, match=r"images\.zip"):
            list(engine.map(ingest.examine_batch, [task]))
