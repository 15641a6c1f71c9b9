"""Checks that packed, nested and remote downloads give the rows of the unpacked folder."""

from __future__ import annotations

import itertools
import json
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cases import few
from tests.hub_datasets.checked import build_here
from tests.hub_datasets.layouts import read_lines, tree, write_four_sources

FLAGS = ("--knee_dir", "--pad_ufes_dir", "--slake_dir", "--reports_dir")


def pack(folder: Path, place: Path, above: str = "") -> Path:
    """A zip file of a folder's files, the names `above` before theirs; the folder goes."""
    place.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(place, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in sorted(path for path in folder.rglob("*") if path.is_file()):
            archive.write(path, above + path.relative_to(folder).as_posix())
    shutil.rmtree(folder)
    return place


def nest(folder: Path) -> Path:
    """The folder in two folders of its own name, as unpacking a download twice leaves it."""
    inner = folder.with_name("moved") / folder.name / folder.name
    inner.parent.mkdir(parents=True)
    folder.rename(inner)
    return inner.parents[1]


def pack_parts(folder: Path) -> Path:
    """Each folder in the folder packed by itself, beside what else is there."""
    for part in [path for path in folder.iterdir() if path.is_dir()]:
        pack(part, part.with_suffix(".zip"), f"{part.name}/")
    return folder


LAYOUTS: dict[str, Callable[[Path], Path | str]] = {
    "one zip in a folder": lambda folder: pack(folder, folder.with_name("in") / f"{folder.name}.zip").parent,
    "the zip itself": lambda folder: pack(folder, folder.with_suffix(".zip"), f"{folder.name}/"),
    "a zip of each folder": pack_parts,
    "nested": nest,
    "an address": lambda folder: f"file://{folder}",
    "the address of a zip": lambda folder: f"file://{pack(folder, folder.with_suffix('.zip'))}",
    "behind a link": lambda folder: Path(shutil.move(folder, folder.with_name("real"))) and link(folder),
}


def link(folder: Path) -> Path:
    folder.symlink_to(folder.with_name("real"), target_is_directory=True)
    return folder


def said(output: Path) -> list[tuple]:
    """Every row but for the names of files: what is said of which pixels, in which split."""
    rows = []
    for line in read_lines(output / "chat_instructions.jsonl"):
        metadata = {key: value for key, value in line["metadata"].items() if key != "items"}
        rows.append((line["split"], line["group_id"], line["category"], line["language"], json.dumps(metadata),
                     [turn["content"] for turn in line["messages"]]))  # fmt: skip
    return sorted(rows, key=repr)


@pytest.fixture(scope="module")
def unpacked(tmp_path_factory) -> dict[str, Path]:
    """A build of each source from its unpacked folder."""
    folder = tmp_path_factory.mktemp("unpacked")
    sources = write_four_sources(folder / "raw")
    for flag in FLAGS:
        build_here({flag: sources[flag]}, folder / "out" / flag, "--val_fraction", "0.3")
    return {flag: folder / "out" / flag for flag in FLAGS}


@pytest.mark.parametrize(
    ("layout", "flag"), few(itertools.product(LAYOUTS, FLAGS), *zip(LAYOUTS, itertools.cycle(FLAGS), strict=False))
)
def test_the_rows_are_those_of_the_unpacked_folder(unpacked, tmp_path, flag, layout):
    if (flag, layout) == ("--reports_dir", "a zip of each folder"):
        pytest.skip("its table names the images by their path")
    address = LAYOUTS[layout](write_four_sources(tmp_path / "raw")[flag])
    before = tree(tmp_path / "raw")
    report = build_here({flag: address}, tmp_path / "out", "--val_fraction", "0.3")
    assert tree(tmp_path / "raw") == before  # nothing is unpacked there, or written
    expected = json.loads((unpacked[flag] / "report.json").read_text())
    for name in ("read", "accepted", "rejected", "images"):
        (one,), (other,) = report["sources"].values(), expected["sources"].values()
        assert one[name] == other[name] and one["accepted"] > 5
    assert report["splits"] == expected["splits"] and report["images"] == expected["images"]
    assert said(tmp_path / "out") == said(unpacked[flag])
