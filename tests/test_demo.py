"""What the demo does with the folder of the demo before, and with what somebody else has put there."""

from __future__ import annotations

import json

import pytest

import demo
from tests.hub_datasets.layouts import tree, write_files

FILES = {"raw/knee/1.png": "a", "results/demo.json": "b", "index.html": "page", "hub/x/y": ""}


@pytest.fixture
def out(tmp_path):
    """A demo that came to its end."""
    folder = write_files(tmp_path / "outputs" / "demo", FILES)
    (folder / "hf_home").mkdir()
    (folder / "hf_home" / "link").symlink_to("../hub/x/y")
    (folder / demo.WRITTEN).write_text(json.dumps(demo.sizes(folder)))
    return folder


def test_the_demo_before_is_deleted(out):
    demo.clear(out)
    assert tree(out.parent) == {} and [path.name for path in out.iterdir()] == []
    demo.clear(out)
    demo.clear(out / "nowhere")
    assert not (out / "nowhere").exists()


@pytest.mark.parametrize("mine", ["thesis.docx", "results/notes/mine.txt", "index.html"])
def test_a_demo_with_somebody_s_own_files_is_renamed(out, mine, capsys):
    write_files(out, {mine: "years of work"})
    before = tree(out)
    (out.parent / "demo-1").mkdir()
    demo.clear(out)
    assert not out.exists() and tree(out.parent / "demo-2") == before
    assert capsys.readouterr().out == f"{out} holds what no finished demo wrote; it is now {out}-2\n"


def test_a_demo_that_was_stopped_is_renamed(out):
    (out / demo.WRITTEN).unlink()
    demo.clear(out)
    assert not out.exists() and len(tree(out.parent / "demo-1")) == len(FILES) + 1


def test_a_link_stays_a_link(out, tmp_path):
    """To a larger disk: what the demo before wrote there is deleted; for anything else the link is renamed."""
    (tmp_path / "link").symlink_to(out, target_is_directory=True)
    demo.clear(tmp_path / "link")
    assert (tmp_path / "link").is_symlink() and tree(out) == {}
    write_files(out, {"thesis.docx": "years of work"})
    demo.clear(tmp_path / "link")
    assert (tmp_path / "link-1").is_symlink() and tree(out) == {"thesis.docx": b"years of work"}
