"""The README is short and has a picture, and the numbers of all pages are those of the result files."""

from __future__ import annotations

import re

import pytest

from tests.pages import README, blocks, pages
from tests.readme import PICTURE, with_record


@pytest.mark.parametrize("page", pages(), ids=lambda page: page.name)
def test_its_numbers_are_those_of_the_result_files(page):
    text = page.read_text(encoding="utf-8")
    assert text == with_record(text), "write them anew: python -m tests.readme"


def test_the_readme_shows_the_demo_beside_its_controls():
    text = README.read_text(encoding="utf-8")
    for model in ("siglip-med", "llama-med", "siglip-untrained", "llama-untrained"):
        assert re.search(rf"\| (demo/|outputs/demo/){model} +\| +0?\.?\d+", text), model
    retrieval = ("chance", "text frequency", "text length", "metadata prior")
    for control in ("frozen features", "question prior", "majority", "blank image", "mirrored image", *retrieval):
        assert re.search(rf"\| +\| (└ )?{control}", text), control


def test_every_mark_is_filled():
    marks = {mark for page in pages() for mark in re.findall(r"<!-- ([\w]+:\w+) -->", page.read_text(encoding="utf-8"))}
    assert marks == {
        "demo:machine", "demo:tables", "demo:headlines", "summary:table", "encoder:machine", "encoder:table",
        "decoder:machine", "decoder:share", "decoder:table", "decoder_memory:shape", "decoder_memory:table",
        "privacy:table", "families:table", "medpairs:NAME",
    }  # fmt: skip


def test_the_readme_is_short_and_has_a_picture():
    text = README.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 180
    assert PICTURE.is_file() and PICTURE.stat().st_size < 200_000
    assert f"]({PICTURE.relative_to(README.parent).as_posix()})" in text
    first = text.partition("## Measured")[0]
    assert next(iter(blocks(README))).text == "make demo\nmake test\n" and "make demo" in first
