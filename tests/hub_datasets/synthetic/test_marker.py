"""Checks that the marker of synthetic folders is valid only for the files that it was written for."""

from __future__ import annotations

from pathlib import Path

import pytest

from hub_datasets.filesystem.source_folder import Folder
from hub_datasets.synthetic.marker import MARKER, is_synthetic, write_marker


@pytest.fixture
def marked(tmp_path) -> Path:
    (tmp_path / "a").mkdir()
    (tmp_path / "a/1.txt").write_text("one")
    return write_marker(tmp_path)


def test_a_marked_folder_is_synthetic(marked):
    assert is_synthetic(Folder(marked))
    assert "synthetic" in (marked / MARKER).read_text()
    (marked / MARKER).unlink()
    assert not is_synthetic(Folder(marked))


def test_a_folder_can_be_marked_again(marked):
    (marked / "2.txt").write_text("two")
    assert is_synthetic(Folder(write_marker(marked)))


@pytest.mark.parametrize("change", ["added", "removed", "another size", "empty marker"])
def test_a_changed_folder_is_not_synthetic(marked, change):
    if change == "added":
        (marked / "mine.txt").write_text("my own data")
    elif change == "removed":
        (marked / "a/1.txt").unlink()
    elif change == "another size":
        (marked / "a/1.txt").write_text("longer than before")
    else:
        (marked / MARKER).write_text("")
    assert not is_synthetic(Folder(marked))


def test_the_text_before_the_digest_does_not_matter(marked):
    """Samples of earlier versions have a different text."""
    digest = (marked / MARKER).read_text().split()[-1]
    (marked / MARKER).write_text(f"Drawn by an earlier version.\nOf these files: {digest}\n")
    assert is_synthetic(Folder(marked))
