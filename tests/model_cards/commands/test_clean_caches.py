"""What `medpairs clean` shows and deletes: caches of real commands, and nothing else."""

from __future__ import annotations

import contextlib
import os
import pty
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from evaluation.loading import load_splits
from model_cards.commands.clean_caches import Cache, folders_below, main, size_text
from tests.conftest import ROOT
from tests.forked import BUILD, run_main
from tests.hub_datasets.layouts import tree, write_files, write_four_sources

MINE = {"home/datasets/medpairs-pixels/notes.txt": "mine", "data/.processed.cache/thesis.docx": "mine"}


@pytest.fixture(scope="module")
def built(tmp_path_factory) -> Path:
    """A folder where a build and an evaluation's reading of its output have left their caches."""
    from datasets import config

    folder = tmp_path_factory.mktemp("used")
    write_four_sources(folder / "sample")
    run_main(BUILD, "--slake_dir", "sample/slake", "--val_fraction", "0.3", "--num_proc", "1", cwd=folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(config, "HF_DATASETS_CACHE", folder / "home" / "datasets")  # as HF_HOME says it
        load_splits(str(folder / "data/processed"), "chat", ["train"])
    return folder


@pytest.fixture
def used(built, tmp_path):
    """Such a folder for one test, where a person has left files, too."""
    shutil.copytree(built, tmp_path, dirs_exist_ok=True)
    pixels = tmp_path / "home/datasets/medpairs-pixels"
    name = "0" * 32
    files = {f"{name}/{file}": "x" * 2048 for file in ("pixels.u8", "images.table", "manifest.json")}
    write_files(pixels, files | {f"{name}.lock": "", f"{name}/vision-{'a' * 32}.npy": "", f"{name}/mine.npy": "mine"})
    write_files(tmp_path, MINE)
    return tmp_path


@pytest.fixture
def clean(run, used):
    def command(*words, **options):
        environment = {"HF_HOME": str(used / "home")}
        return run("python", ROOT / "medpairs.py", "clean", *words, cwd=used, env=environment, **options)

    return command


def test_it_shows_and_asks_and_deletes_only_caches(clean, used):
    before = tree(used)
    said = clean().stdout
    for line in ("sources that builds have read  ", "images as pixels  ", "copies of dataset folders  "):
        assert line in said
    assert said.endswith("Nothing was deleted; `medpairs clean --yes` deletes them\n") and tree(used) == before

    said = clean("--yes").stdout
    left = tree(used)
    assert f"Deleted {used}/data/.processed.cache; other files in it stay\n" in said
    gone = {name for name in before if name not in left}
    assert all(name.startswith(("data/.processed.cache/", "home/datasets/")) for name in gone)
    assert {name for name in left if ".cache" in name or name.startswith("home")} >= {
        *MINE, f"home/datasets/medpairs-pixels/{'0' * 32}/mine.npy",
    }  # fmt: skip
    assert not [name for name in left if name.endswith((".arrow", ".bin", ".sqlite", "pixels.u8", ".lock"))]
    assert {name: left[name] for name in left if name not in gone} == left and "data/processed/report.json" in left
    assert clean().stdout == "No caches below data or HF_HOME\n"


def test_a_cache_that_a_build_uses_stays(clean, used):
    from hub_datasets.filesystem import storage

    with storage.file_lock(str(used / "data/.processed.cache"), "taken"):
        before = tree(used / "data")
        done = clean("--yes", check=False)
        assert done.returncode == 1 and tree(used / "data") == before
    assert done.stderr == f"error: {used}/data/.processed.cache: a build is using it; it was not deleted\n"


@pytest.mark.slow
def test_a_terminal_is_asked(used):
    """With the answer no, and then yes."""
    environment = os.environ | {"HF_HOME": str(used / "home")}
    for answer, deleted in ((b"n\n", False), (b"y\n", True)):
        leader, follower = pty.openpty()
        command = [sys.executable, str(ROOT / "medpairs.py"), "clean"]
        process = subprocess.Popen(command, cwd=used, env=environment, stdin=follower, stdout=follower, stderr=follower)
        os.close(follower)
        os.write(leader, answer)
        said = b""
        with contextlib.suppress(OSError):  # Linux's way to say that the other end is closed
            while part := os.read(leader, 4096):
                said += part
        assert process.wait() == 0 and b"Delete them? [y/N]" in said
        os.close(leader)
        assert (list((used / "data/.processed.cache").glob("slake-*")) == []) == deleted, said


def test_what_cannot_be_deleted_is_named(tmp_path, capsys, monkeypatch):
    (tmp_path / "a").write_text("x")

    @contextlib.contextmanager
    def held():
        raise PermissionError(13, "Permission denied")
        yield

    assert main([lambda _: [Cache("kind", tmp_path, ("a",), held)]], ["--yes"]) == 1
    assert capsys.readouterr().err == f"error: {tmp_path}: Permission denied; it was not deleted\n"
    assert (tmp_path / "a").exists()


def test_links_are_not_entered(tmp_path):
    write_files(tmp_path, {"a/b/c/d/e/f": "", "elsewhere/x": ""})
    (tmp_path / "a" / "link").symlink_to(tmp_path / "elsewhere")
    found = [path.relative_to(tmp_path / "a").as_posix() for path in folders_below(tmp_path / "a", depth=2)]
    assert found == [".", "b", "b/c"] and list(folders_below(Path("/no/such"))) == []


@pytest.mark.parametrize(
    ("size", "text"), [(0, "0 bytes"), (1536, "1.5 KiB"), (3 << 30, "3.0 GiB"), (1 << 60, "1048576.0 TiB")]
)
def test_sizes_are_read_aloud(size, text):
    assert size_text(size) == text
