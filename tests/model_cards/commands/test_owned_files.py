"""Checks that files are deleted by name, folders only if they become empty, and links and mount points not entered."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from model_cards.commands.owned_files import files_below, held_in, remove_files, some, user_places


@pytest.fixture
def folder(tmp_path) -> Path:
    for name in ("out/a", "out/b/c", "out/b/d/e", "elsewhere/precious"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(name)
    (tmp_path / "out/link").symlink_to(tmp_path / "elsewhere", target_is_directory=True)
    (tmp_path / "out/broken").symlink_to(tmp_path / "nowhere")
    (tmp_path / "out/empty").mkdir()
    return tmp_path / "out"


def test_links_are_named_and_not_entered(folder):
    assert files_below(folder) == ["a", "b/c", "b/d/e", "broken", "link"]
    assert files_below(folder / "nowhere") == files_below(folder / "a") == []


def test_a_folder_that_may_not_be_read_is_named(folder, monkeypatch):
    """As `lost+found` on a disk of one's own, which root alone may read."""
    scandir = os.scandir

    def refused(path):
        if Path(path).name == "d":
            raise PermissionError(13, "Permission denied")
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refused)
    assert files_below(folder) == ["a", "b/c", "b/d", "broken", "link"]


def test_only_what_is_named_goes_and_what_that_leaves_empty(folder, tmp_path):
    remove_files(folder, ["b/d/e", "link", "broken", "gone/x"])
    assert files_below(folder) == ["a", "b/c"] and (folder / "empty").is_dir() and not (folder / "b/d").exists()
    assert (tmp_path / "elsewhere/precious").is_file()
    remove_files(folder, ["b/c", "a"])
    assert files_below(folder) == [] and [*folder.iterdir()] == [folder / "empty"]


def test_the_folder_itself_stays(folder, tmp_path):
    (tmp_path / "alias").symlink_to(folder, target_is_directory=True)
    (folder / "empty").rmdir()
    remove_files(tmp_path / "alias", files_below(tmp_path / "alias"))
    assert (tmp_path / "alias").is_symlink() and [*folder.iterdir()] == []


def test_what_a_folder_holds_through_links_too(folder, tmp_path, monkeypatch):
    (tmp_path / "alias").symlink_to(folder / "b")
    places = {"one": tmp_path / "elsewhere", "two": str(tmp_path / "alias"), "three": folder}
    assert held_in(folder, places) == "two" and held_in(folder / "b/d", places) is None
    assert held_in(tmp_path / "alias", places) == "two" and held_in(tmp_path, places) == "one"
    monkeypatch.chdir(folder)
    assert held_in(Path("/"), user_places()) == held_in(folder, user_places()) == "the working directory"
    assert held_in(Path.home(), user_places()) is not None


def test_some_of_many_names():
    assert some([]) == "" and some(["a", "b", "c"]) == "a, b, c" and some("abcde") == "a, b, c and 2 more"
