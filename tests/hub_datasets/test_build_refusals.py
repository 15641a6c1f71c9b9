"""Checks input that cannot be built: one clear message, exit status 2, and no new files on disk.

The exception is a source that was read completely, which stays in the cache for the next attempt.
"""

from __future__ import annotations

import functools
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from hub_datasets.options import argument_parser
from tests.cases import few
from tests.conftest import ROOT
from tests.forked import BUILD, Forked, run_main
from tests.hub_datasets.layouts import (
    csv_text,
    encoded,
    pad_row,
    picture,
    png,
    read_lines,
    report_row,
    slake_row,
    tree,
    write_files,
    write_four_sources,
    write_reports,
    write_slake,
)


@pytest.fixture
def raw(tmp_path):
    folder = tmp_path / "raw"
    write_four_sources(folder)
    return folder


def left_in(folder: Path) -> dict[str, bytes]:
    """All files below a folder but for those of whole stages in caches, and the locks there; empty folders, too."""
    stages = {path.parent for path in folder.rglob(".*.cache/*-*/stage.json")}
    found = {
        path.relative_to(folder).as_posix(): path.read_bytes() if path.is_file() else b""
        for path in folder.rglob("*")
        if path.parent not in stages and path not in stages and not (path.name == "lock" and stages)
    }
    caches = {stage.parent.relative_to(folder).as_posix() for stage in stages}
    return {name: content for name, content in found.items() if name not in caches}


@pytest.fixture
def refused(build, tmp_path):
    """`refused({flag: folder}, *more flags)`: the one message of a build that ends with status 2 and writes nothing."""

    def attempt(folders, *more, output=None, **options) -> str:
        before = left_in(tmp_path)
        done = build(folders, output or tmp_path / "out", *more, check=False, **options)
        assert done.returncode == 2, done.stderr
        errors = [line for line in done.stderr.splitlines() if "error: " in line]
        assert len(errors) == 1 and "Traceback" not in done.stderr and done.stdout == "", done.stderr
        assert errors == done.stderr.splitlines() or done.stderr.startswith("usage: ")
        assert left_in(tmp_path) == before
        return errors[0]

    return attempt


def test_a_folder_that_is_not_there(refused, raw, tmp_path):
    message = refused({"--slake_dir": raw / "slake", "--pad_ufes_dir": tmp_path / "gone"})
    assert message == f"error: --pad_ufes_dir {tmp_path / 'gone'}: no such folder"
    file = raw / "pad/metadata.csv"
    assert (
        refused({"--pad_ufes_dir": file})
        == f"error: --pad_ufes_dir {file}: neither a folder nor an archive (.zip, .tar, .tar.gz, .tgz)"
    )


@pytest.mark.parametrize("flag", ["--knee_dir", "--pad_ufes_dir", "--slake_dir", "--reports_dir"])
def test_an_empty_folder(refused, tmp_path, flag):
    (tmp_path / "empty").mkdir()
    assert refused({flag: tmp_path / "empty"}) == f"error: {flag} {tmp_path / 'empty'}: the folder is empty"


@pytest.mark.parametrize("flag", ["--knee_dir", "--pad_ufes_dir", "--slake_dir", "--reports_dir"])
def test_a_folder_of_something_else(refused, tmp_path, flag):
    message = refused({flag: write_files(tmp_path / "other", {"notes.txt": "", "more/1.png": png(1)})})
    assert str(tmp_path / "other") in message


def test_no_source_at_all(refused):
    message = refused({})
    assert (
        "--knee_dir, --pad_ufes_dir, --slake_dir, --reports_dir, --images_dir" in message
        and "medpairs sample" in message
    )


def test_a_table_without_img_id(refused, raw):
    row = {key: cell for key, cell in pad_row(1).items() if key != "img_id"}
    write_files(raw, {"pad/metadata.csv": csv_text([row])})
    message = refused({"--pad_ufes_dir": raw / "pad"})
    assert "metadata.csv: no column img_id; the columns found are: patient_id, lesion_id" in message


@pytest.mark.parametrize("share", [0.01, 0.5, 0.999])
def test_json_that_is_cut_off(refused, raw, share):
    """The other sources of the build are fine; they are not built either."""
    path = raw / "slake/train.json"
    content = path.read_bytes().decode()
    write_files(raw, {"slake/train.json": content[: int(len(content) * share)]})
    message = refused({"--pad_ufes_dir": raw / "pad", "--slake_dir": raw / "slake"})
    assert f"{path}: the file is truncated (" in message and "line 1 column" in message


def test_text_of_another_encoding(refused, raw):
    lines = ["image,text", *(f"{n}.png,Порожнина без рідини" for n in range(5))]
    write_files(raw, {"reports/more.csv": "\n".join(lines).encode("cp1251")})
    message = refused({"--reports_dir": raw / "reports"})
    assert f"{raw / 'reports'}/more.csv: " in message and "save the file as UTF-8" in message


def test_damaged_zip_files(refused, raw, tmp_path):
    with zipfile.ZipFile(tmp_path / "slake.zip", "w") as archive:
        for path in (raw / "slake").rglob("*.json"):
            archive.write(path, path.name)
    content = (tmp_path / "slake.zip").read_bytes()
    write_files(tmp_path, {"cut.zip": content[:-30], "empty.zip": b"", "text.zip": b"<html>not found</html>"})
    for name in ("cut.zip", "empty.zip", "text.zip"):
        message = refused({"--slake_dir": tmp_path / name})
        assert f"{tmp_path / name}: truncated, or not a zip file" in message


def test_addresses_that_cannot_be_opened(refused, raw):
    assert "nosuch://bucket/slake" in refused({"--slake_dir": "nosuch://bucket/slake"})
    assert "memory://nothing/here" in refused({"--slake_dir": "memory://nothing/here"})


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--slake_directory", "x"], "unrecognized arguments: --slake_directory x"),
        (["--seed", "1"], "unrecognized arguments: --seed 1"),
        (["--val_fraction", "half"], "--val_fraction: invalid float value"),
        (["--val_fraction", "nan"], "--val_fraction is nan"),
        (["--val_fraction", "-0.1"], "--val_fraction is -0.1"),
        (["--test_fraction", "-1"], "--test_fraction is -1; both must be at least 0"),
        (["--val_fraction", "0.6", "--test_fraction", "0.4"], "their sum less than 1"),
        (
            ["--min_text_chars", "10", "--max_text_chars", "11"],
            "--max_text_chars is 11; use at least 0, and a maximum that is larger by at least 2",
        ),
        (["--min_text_chars", "-1"], "--min_text_chars is -1"),
        (["--num_proc", "-1"], "--num_proc is -1; use at least 0"),
        (["--num_shards", "0"], "--num_shards is 0; use at least 1"),
        (["--max_image_pixels", "0"], "--max_image_pixels is 0; use at least 1"),
        (["--min_image_side", "0"], "--min_image_side is 0; use at least 1"),
        (["--near_distance", "-1"], "--near_distance is -1; use 0 to 127"),
        (["--near_distance", "128"], "--near_distance is 128; use 0 to 127"),
        (["--window", "9:2"], "--window"),
        (["--window", "wide"], "--window"),
        (["--split_by", "patient"], "--split_by: invalid choice: 'patient'"),
        (["--chat_turns", "both"], "--chat_turns: invalid choice: 'both'"),
        (["--engine", "spark"], "--engine: invalid choice: 'spark'"),
        (["--knee_conflicts", "keep"], "--knee_conflicts: invalid choice: 'keep'"),
        (["--keep_splits", "nowhere"], "--keep_splits nowhere: no splits.txt there"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_flags(refused, raw, flags, words):
    assert words in refused({"--slake_dir": raw / "slake"}, *flags)


def test_an_output_folder_that_is_not_empty(refused, raw, tmp_path):
    write_files(tmp_path / "out", {"mine.txt": "precious"})
    message = f"--output_dir {tmp_path / 'out'} exists and is not empty; name another folder or add --overwrite"
    assert refused({"--slake_dir": raw / "slake"}) == f"error: {message}"


def test_a_folder_that_no_build_has_written_is_not_overwritten(refused, raw, tmp_path):
    """Somebody's own folder, named by mistake."""
    write_files(tmp_path / "out", {"mine.txt": "precious", "pairs/mine.parquet": "precious"})
    message = refused({"--slake_dir": raw / "slake"}, "--overwrite")
    assert f"--output_dir {tmp_path}/out contains mine.txt, pairs/mine.parquet, and no build wrote to this" in message
    assert message.endswith(f"name another one, for example {tmp_path}/out/dataset")


def test_an_output_folder_that_is_a_file(refused, raw, tmp_path):
    write_files(tmp_path, {"out": "precious"})
    assert "is a file" in refused({"--slake_dir": raw / "slake"})
    assert "is a file" in refused({"--slake_dir": raw / "slake"}, "--overwrite")


@pytest.mark.parametrize("output", ["raw/slake", "raw", "raw/alias", "."])
def test_an_output_folder_that_holds_a_source(refused, raw, tmp_path, output):
    """To replace it would be to delete what the build is made from."""
    (raw / "alias").symlink_to(raw / "slake", target_is_directory=True)
    message = refused({"--slake_dir": raw / "slake"}, "--overwrite", output=tmp_path / output)
    assert f"--output_dir {tmp_path / output} contains --slake_dir" in message


def test_another_build_that_is_not_replaced(refused, build, raw, tmp_path):
    """The settings are others, so the output would be another one: not without being asked."""
    build({"--slake_dir": raw / "slake"}, tmp_path / "out")
    message = refused({"--slake_dir": raw / "slake"}, "--val_fraction", "0.3")
    assert message.endswith("exists and is not empty; name another folder or add --overwrite")


def test_splits_that_are_none(refused, raw, tmp_path):
    write_files(tmp_path / "kept", {"splits.txt": "# of another program\nnot a key train\n"})
    message = refused({"--slake_dir": raw / "slake"}, "--keep_splits", tmp_path / "kept")
    assert f"{tmp_path / 'kept/splits.txt'}: splits.txt line 1 is not a key and a split" in message


@contextmanager
def stopped(words: list[str | Path], begun: Callable[[], bool]) -> Iterator[Forked]:
    """A build that has begun and stands still."""
    process = Forked(BUILD, [*words, "--num_proc", "1"])
    while process.poll() is None and not begun():
        time.sleep(0.001)
    os.kill(process.pid, signal.SIGSTOP)
    try:
        yield process
    finally:
        os.kill(process.pid, signal.SIGCONT)


@pytest.mark.parametrize(
    "more",
    [(), pytest.param(("--cache_dir", "elsewhere"), marks=pytest.mark.slow)],
    ids=["one cache", "two caches"],
)
def test_two_builds_at_once(build, raw, tmp_path, more):
    """Of the same output: the second is refused, whatever cache it is given, and the first is not disturbed."""
    flags = [str(tmp_path / word) if word == "elsewhere" else word for word in more]
    words = ["--reports_dir", raw / "reports", "--output_dir", tmp_path / "out"]
    with stopped(words, lambda: (tmp_path / ".out.cache/scratch").exists()) as first:
        second = build({"--slake_dir": raw / "slake"}, tmp_path / "out", "--overwrite", *flags, check=False)
    assert first.wait() == 0
    wait = "wait for it, or name another --output_dir"
    assert second.stderr == f"error: another build is writing {tmp_path / 'out'}; {wait}\n"
    assert second.returncode == 2 and not (tmp_path / "elsewhere").exists()
    report = json.loads((tmp_path / "out/report.json").read_text())
    assert set(report["sources"]) == {"medical_reports"} and report["sources"]["medical_reports"]["accepted"] == 12
    build({"--slake_dir": raw / "slake"}, tmp_path / "out", "--overwrite", *flags)


@pytest.mark.slow
def test_two_builds_at_once_with_one_cache(build, raw, tmp_path):
    cache = ("--cache_dir", str(tmp_path / "cache"))
    words = ["--reports_dir", raw / "reports", "--output_dir", tmp_path / "one", *cache]
    with stopped(words, lambda: any((tmp_path / "cache").glob("*/scratch"))) as first:
        second = build({"--slake_dir": raw / "slake"}, tmp_path / "two", *cache, check=False)
    assert first.wait() == 0 and second.returncode == 2
    place, wait = tmp_path / "cache/medpairs-cache", "wait for it, or name another --cache_dir"
    assert second.stderr == f"error: another build is using the cache {place}; {wait}\n"
    assert {path.name for path in tmp_path.iterdir()} == {"raw", "one", "one.key", "one.names.jsonl", "cache"}


def test_no_row_that_is_fit(refused, tmp_path):
    folder = write_reports(tmp_path / "reports", [report_row(0), report_row(1)])
    shutil.rmtree(folder / "images")
    message = refused({"--reports_dir": folder})
    assert (
        "no row was accepted; 2 were rejected, the first is reports.jsonl line 1: 'images/0.png' does not exist"
        in message
    )
    write_files(folder, {"reports.jsonl": ""})
    assert "no row was accepted; 0 were rejected" in refused({"--reports_dir": folder})
    (folder / "reports.jsonl").write_text(json.dumps(report_row(0, text="no")) + "\n")
    assert "1 were rejected, the first is reports.jsonl line 1: 2 characters" in refused({"--reports_dir": folder})


def test_no_text_that_fits(refused, tmp_path):
    slake = write_slake(tmp_path / "slake", train=[slake_row(0, 0, "Question?", "Yes")])
    assert "no text of a pair is longer than --min_text_chars 5 and shorter than --max_text_chars 10" in refused(
        {"--slake_dir": slake}, "--max_text_chars", "10"
    )


# --- The machine's own errors


def test_an_output_folder_that_cannot_be_made(refused, raw, tmp_path):
    message = refused({"--slake_dir": raw / "slake"}, output=raw / "pad/metadata.csv/out")
    assert message.startswith(f"error: {raw / 'pad/metadata.csv'}/") and message.endswith(": Not a directory")


@pytest.mark.parametrize(
    ("kilobytes", "read_before"),
    [(60, True), *(pytest.param(size, False, marks=pytest.mark.slow) for size in (1, 60))],
)
def test_a_disk_that_is_full(build, raw, tmp_path, kilobytes, read_before):
    """What is read does not fit, or the images do not, or the Parquet files do not."""
    images = {f"images/{n}.png": encoded(picture(n, size=(120, 120)), "BMP") for n in range(4)}  # copied to the cache
    write_files(raw / "reports", images)
    if read_before:
        build({"--reports_dir": raw / "reports"}, tmp_path / "other", "--cache_dir", tmp_path / "cache")
    before = tree(tmp_path)
    limit = functools.partial(resource.setrlimit, resource.RLIMIT_FSIZE, (kilobytes * 1024, kilobytes * 1024))
    words = ("--reports_dir", raw / "reports", "--output_dir", tmp_path / "out", "--cache_dir", tmp_path / "cache")
    done = run_main(BUILD, *words, prepare=limit, check=False)
    assert done.returncode == 1 and "Traceback" not in done.stderr, done.stderr
    (error,) = (line for line in done.stderr.splitlines() if line.startswith("error: "))
    assert f"{tmp_path}/cache" in error and ("disk full" in error or "File too large" in error)
    assert (f"{tmp_path}/out" in error) == (kilobytes == 60)
    assert tree(tmp_path) == before and not (tmp_path / "out").exists()


def without_privileges() -> list[str]:
    """What to put before a command so that permissions hold for it, even where root runs the tests."""
    if os.geteuid() != 0:
        return []
    if not shutil.which("setpriv"):
        pytest.skip("root may read everything, and setpriv is not here")
    dropped = "-dac_override,-dac_read_search"
    return ["setpriv", f"--bounding-set={dropped}", f"--inh-caps={dropped}"]


@pytest.mark.parametrize(
    ("flag", "place"),
    few(
        [
            ("--knee_dir", "knee/MedicalExpert-I"),
            ("--knee_dir", "knee"),
            ("--slake_dir", "slake/train.json"),
            ("--pad_ufes_dir", "pad/metadata.csv"),
            ("--reports_dir", "reports"),
        ],
        ("--slake_dir", "slake/train.json"),
        ("--reports_dir", "reports"),
    ),
)
def test_what_may_not_be_read_is_not_passed_over(run, raw, tmp_path, flag, place):
    folder, command = raw / place.partition("/")[0], without_privileges()
    (raw / place).chmod(0)
    command += [sys.executable, "hub_datasets/build.py", flag, folder, "--output_dir", tmp_path / "out"]
    done = run(*command, check=False)
    (raw / place).chmod(0o700)
    assert done.returncode == 2 and not (tmp_path / "out").exists()
    assert done.stderr.startswith("error: ") and done.stderr.count("\n") == 1
    assert str(raw / place) in done.stderr and "Permission denied" in done.stderr


@pytest.mark.slow
def test_images_that_may_not_be_read_are_rejected_by_name(build, run, raw, tmp_path):
    """And read again by the next build, which has the permission: nothing else has changed since."""
    command, images = without_privileges(), [raw / f"slake/imgs/xmlab{n}/source.jpg" for n in (0, 1)]
    for image in images:
        image.chmod(0)
    command += [sys.executable, "hub_datasets/build.py", "--slake_dir", raw / "slake", "--output_dir", tmp_path / "out"]
    run(*command)
    rejections = read_lines(tmp_path / "out/rejections.jsonl")
    assert len(rejections) == 8 and {rejection["code"] for rejection in rejections} == {"image_unreadable"}
    assert all("cannot be read: Permission denied" in rejection["message"] for rejection in rejections)
    for image in images:
        image.chmod(0o600)
    build({"--slake_dir": raw / "slake"}, tmp_path / "out", "--overwrite")
    assert read_lines(tmp_path / "out/rejections.jsonl") == []


# --- The command itself


def test_help_imports_nothing_heavy():
    code = (
        "import sys, hub_datasets.build as b; b.main(['--help'])"
        "if len(sys.argv) > 1 else print(*sorted({name.partition('.')[0] for name in sys.modules}))"
    )
    command = [sys.executable, "-c", code]
    loaded = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.split()
    heavy = {
        "datasets",
        "numpy",
        "PIL",
        "pydicom",
        "ray",
        "fsspec",
        "tqdm",
        "pandas",
        "pyarrow",
        "torch",
        "transformers",
        "huggingface_hub",
        "evaluate",
        "jinja2",
        "matplotlib",
    }
    assert "hub_datasets" in loaded and not heavy & set(loaded)
    shown = subprocess.run([*command, "help"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    flags = [word for action in argument_parser()._actions for word in action.option_strings]
    assert len(flags) > 25 and all(flag in shown for flag in flags) and "0.05)" in shown


@pytest.mark.slow
def test_the_script_finds_the_project_from_anywhere(raw, tmp_path):
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    command = [sys.executable, ROOT / "hub_datasets/build.py", "--slake_dir", "raw/slake", "--output_dir", "a/b/out"]
    subprocess.run(command, cwd=tmp_path, env=environment, check=True, capture_output=True)
    assert json.loads((tmp_path / "a/b/out/report.json").read_text())["sources"]["slake"]["accepted"] == 12


def test_overwrite_replaces_all_of_an_earlier_build(build, raw, tmp_path):
    build({"--slake_dir": raw / "slake"}, tmp_path / "out", "--num_shards", "3", "--test_fraction", "0.3")
    build({"--slake_dir": raw / "slake"}, tmp_path / "out", "--overwrite")
    build({"--slake_dir": raw / "slake"}, tmp_path / "fresh")
    assert tree(tmp_path / "out") == tree(tmp_path / "fresh")
    assert {path.name for path in tmp_path.iterdir()} == {"raw", "out", "fresh", ".out.cache", ".fresh.cache"}


@pytest.mark.parametrize("place", ["linked", "."])
def test_an_empty_output_folder_is_filled_where_it_is(raw, tmp_path, place):
    """Behind a link, which stays; and as the folder that the command is called in."""
    (tmp_path / "empty").mkdir()
    (tmp_path / "linked").symlink_to("empty", target_is_directory=True)
    here = tmp_path / "empty" if place == "." else tmp_path
    run_main(BUILD, "--slake_dir", raw / "slake", "--output_dir", place, cwd=here)
    assert (tmp_path / "linked").is_symlink() and (tmp_path / "empty/report.json").is_file()
    assert {path.name for path in tmp_path.iterdir()} == {"raw", "empty", "linked", ".empty.cache"}
