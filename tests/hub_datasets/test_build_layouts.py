"""Builds from layouts of others, end to end: what is asked and answered, and a built dataset that is read back."""

from __future__ import annotations

import json
from collections import defaultdict
from pathlib import Path

import pytest
from datasets import load_dataset

from hub_datasets.errors import BuildError
from hub_datasets.output.publish import refuse_restricted_sources
from tests.hub_datasets.checked import build_here, options_for, real_names
from tests.hub_datasets.layouts import png, write_files, write_four_sources
from tests.hub_datasets.sources.read_layouts import CLEAR, FLUID, cell, parquet

OFFICIAL = ("--split_by", "official")


def rows_of(folder: Path, config: str) -> list[dict]:
    """The rows of all splits, with the split and without the images."""
    found = load_dataset(str(folder), config, cache_dir=str(folder.with_name("cache")))
    return [
        {"split": split, **row}
        for split, rows in found.items()
        for row in rows.remove_columns("image" if config == "pairs" else "images")
    ]


def said(rows: list[dict]) -> list[tuple]:
    """What the rows of `chat` say, without the question of a template."""
    return sorted(
        (row["split"], row["language"], row["category"], *(turn["content"] for turn in row["plain_messages"]
         if turn["role"] == "assistant" or not row["template_id"]))
        for row in rows
    )  # fmt: skip


@pytest.fixture(scope="module")
def built(tmp_path_factory) -> Path:
    """A small dataset of four sources."""
    folder = tmp_path_factory.mktemp("built")
    build_here(write_four_sources(folder / "raw"), folder / "first", "--val_fraction", "0.3", "--near_distance", "0")
    return folder / "first"


@pytest.mark.parametrize("flag", ["--reports_dir", "--images_dir"])
def test_a_built_dataset_is_read_back_whole(flag, built, tmp_path):
    report = build_here({flag: built}, tmp_path / "again", *OFFICIAL, "--near_distance", "0")
    name = {"--reports_dir": "medical_reports", "--images_dir": "labeled_images"}[flag]
    assert report["sources"][name]["rejected"] == {}
    first, again = (rows_of(folder, "chat") for folder in (built, tmp_path / "again"))
    renamed = [row | {"category": "image"} if row["category"] == "report" else row for row in first]
    assert said(again) == said(renamed if flag == "--images_dir" else first)
    counts = [len(rows_of(folder, "pairs")) for folder in (built, tmp_path / "again")]
    assert counts[0] == counts[1]  # the questions of an image share a caption again
    origins = {json.loads(row["metadata"])["source_dataset"] for row in again}
    assert origins == {"knee_xray", "pad_ufes_20", "slake", "medical_reports"}


def test_questions_texts_and_turns_of_one_folder(tmp_path):
    """A request for a description gives a text and keeps its wording; questions share a caption and a conversation."""
    turns = [("human", "<image>\nDescribe the film."), ("gpt", CLEAR), ("human", "Which side?"), ("gpt", "Left"),
             ("human", "Is it large?"), ("gpt", "No")]  # fmt: skip
    rows = [{"image": "1.png", "conversations": [{"from": who, "value": text} for who, text in turns]}]
    questions = {"image": [{"bytes": png(1), "path": None}, {"bytes": png(1), "path": None}],
                 "question": ["What is it?", "Where is it?"], "answer": ["A film", "Chest"]}  # fmt: skip
    files = {"llava.json": json.dumps(rows), "1.png": png(2), "q.parquet": parquet(questions)}
    folder = write_files(tmp_path / "raw", files)
    build_here({"--images_dir": folder}, tmp_path / "out", "--chat_turns", "multi", "--val_fraction", "0")
    names, pairs = real_names(tmp_path / "out"), defaultdict(list)
    for row in rows_of(tmp_path / "out", "pairs"):
        pairs[names[row["image_path"]]].append(row["text"])
    assert pairs == {
        "labeled_images/1.png": [CLEAR, "Which side? Left. Is it large? No."],
        "labeled_images/q.parquet/0.image": ["What is it? A film. Where is it? Chest."],
    }
    chats = [[turn["content"] for turn in row["plain_messages"]] for row in rows_of(tmp_path / "out", "chat")]
    assert sorted(chats) == [
        ["Describe the film.", CLEAR],
        ["What is it?", "A film", "Where is it?", "Chest"],
        ["Which side?", "Left", "Is it large?", "No"],
    ]


def test_cells_are_read_by_several_processes(tmp_path):
    columns = {"image": [{"bytes": png(n), "path": f"{n}.png"} for n in range(20)], "text": [FLUID] * 20}
    folder = write_files(tmp_path / "raw", {"train.parquet": parquet(columns, row_group_size=6)})
    report = build_here({"--reports_dir": folder}, tmp_path / "out", "--num_proc", "2", "--near_distance", "0")
    assert report["sources"]["medical_reports"]["accepted"] == 20
    lines = (tmp_path / "out/chat_instructions.jsonl").read_text().splitlines()
    assert {json.loads(line)["image"] for line in lines} == {f"{folder}/train.parquet/{n}.png" for n in range(20)}


def test_a_push_of_labeled_images_is_refused_without_the_right(tmp_path):
    folder = write_files(tmp_path / "raw", {"x.parquet": parquet({"image": [cell("a")], "text": [CLEAR]})})
    options = options_for({"--images_dir": folder}, tmp_path / "out")
    with pytest.raises(BuildError, match=r"the license of labeled_images is not known .*--redistribute"):
        refuse_restricted_sources(options.restricted_sources())
