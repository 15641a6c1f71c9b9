"""The command from end to end: what it reads, what it rejects, what it writes, and that it writes the same again."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from collections import Counter, defaultdict
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from datasets import Image, List, load_dataset

from hub_datasets.schema import Reason, chat_features, pair_features
from tests.conftest import ROOT
from tests.hub_datasets.layouts import (
    four_sources,
    jpeg,
    png,
    raw_png,
    read_lines,
    report_row,
    slake_row,
    tree,
    write_files,
    write_knee,
    write_reports,
    write_slake,
)

FILES = {
    "README.md", "report.json", "rejections.jsonl", "chat_instructions.jsonl",
    *(f"{c}/{s}-00000-of-00001.parquet" for c in ("pairs", "chat") for s in ("train", "validation", "test")),
}  # fmt: skip


@pytest.fixture(scope="module")
def report(built_sample) -> dict:
    return json.loads((built_sample.folder / "report.json").read_text("utf-8"))


@pytest.fixture(scope="module")
def rejections(built_sample) -> list[dict]:
    return read_lines(built_sample.folder / "rejections.jsonl")


@pytest.fixture(scope="module")
def loaded(built_sample) -> dict:
    """Both configs, with the bytes of their images."""
    pairs, chat = (load_dataset(str(built_sample.folder), config) for config in ("pairs", "chat"))
    pairs = pairs.cast_column("image", Image(decode=False))
    return {"pairs": pairs, "chat": chat.cast_column("images", List(Image(decode=False)))}


def test_what_a_build_leaves_behind(built_sample):
    assert set(tree(built_sample.folder)) == FILES
    assert [path.name for path in built_sample.folder.parent.iterdir()] == ["out"]
    printed = built_sample.printed.stdout
    assert "slake: read 181, accepted 176 (" in printed and f"Written to {built_sample.folder}" in printed


def test_the_rejections_are_the_planted_faults_and_the_copies_of_knees(built_sample, rejections):
    faults = json.loads((built_sample.sources["--slake_dir"].parent / "planted_faults.json").read_text())
    others = [rejection for rejection in rejections if rejection["code"] != "duplicate_image"]
    for fault in faults:
        (found,) = (r for r in others if r["source"] == fault["source"] and fault["key"] in r["item"])
        assert found["code"] == fault["code"] and found["message"]
    assert len(others) == len(faults) > 20
    assert {r["source"] for r in rejections if r["code"] == "duplicate_image"} == {"knee_xray"}


def test_everything_read_is_accepted_or_rejected(report, rejections):
    for name, source in report["sources"].items():
        assert source["accepted"] + sum(source["rejected"].values()) == source["read"] > 0
        assert source["rejected"] == Counter(r["code"] for r in rejections if r["source"] == name)
    assert len(rejections) == sum(sum(source["rejected"].values()) for source in report["sources"].values())
    assert report["sources"]["medical_reports"]["read"] == 31 and report["sources"]["slake"]["read"] == 181


def test_the_knee_files_are_all_accounted_for(built_sample, report, rejections):
    files = [path for path in built_sample.sources["--knee_dir"].rglob("*") if path.is_file()]
    source = report["sources"]["knee_xray"]
    assert source["read"] + len(source["ignored"]) == len(files)
    by_code = Counter(r["code"] for r in rejections if r["source"] == "knee_xray")
    distinct = {hashlib.sha256(path.read_bytes()).digest() for path in files if path.suffix == ".png"}
    unusable = by_code["image_unreadable"] + by_code["image_format"]
    assert source["accepted"] == source["images"] == len(distinct) - unusable - 3  # of 3 images the grades differ


def test_the_rows_are_those_of_the_report(loaded, report, built_sample):
    for config, dataset in loaded.items():
        assert {split: len(part) for split, part in dataset.items()} == report["splits"][config]
    accepted = sum(source["accepted"] for source in report["sources"].values())
    assert sum(report["splits"]["chat"].values()) == accepted
    captions = {
        (row["img_id"], row["q_lang"])
        for part in loaded["chat"].values()
        for row in part["metadata"]
        if "img_id" in row and "qid" in row
    }
    assert sum(report["splits"]["pairs"].values()) == (
        accepted - report["sources"]["slake"]["accepted"] + len(captions)
    )
    assert report["settings"] == {
        "val_fraction": 0.2, "test_fraction": 0.2, "min_text_chars": 5, "max_text_chars": 1000,
        "max_image_pixels": 64_000_000,
    }  # fmt: skip


def test_no_group_and_no_image_is_in_two_splits(loaded, report):
    groups, images = defaultdict(set), defaultdict(set)
    for config, dataset in loaded.items():
        for split, part in dataset.items():
            for row in part:
                image = row["image"] if config == "pairs" else row["images"][0]
                groups[row["group_id"]].add(split)
                images[hashlib.sha256(image["bytes"]).digest()].add(split)
    assert {len(splits) for splits in groups.values()} == {len(splits) for splits in images.values()} == {1}
    assert Counter(next(iter(splits)) for splits in groups.values()) == report["groups"]
    assert len(groups) < len(images)  # some patients and studies have several images


def test_the_texts_keep_to_their_bounds_and_answers_need_not(loaded):
    texts = [row["text"] for part in loaded["pairs"].values() for row in part]
    assert all(5 < len(text) < 1000 for text in texts)
    answers = [row["messages"][1]["content"] for part in loaded["chat"].values() for row in part]
    assert min(map(len, answers)) < 3 and all(answers)


def test_a_slake_pair_is_the_caption_of_its_questions(loaded):
    chats = defaultdict(list)
    for part in loaded["chat"].values():
        for row in part:
            if row["source_dataset"] == "slake":
                chats[row["image_path"], row["language"]].append(row)
    captions = [row for part in loaded["pairs"].values() for row in part if row["source_dataset"] == "slake"]
    assert len(captions) == len(chats) and {language for _, language in chats} == {"en", "zh"}
    for row in captions:
        said = chats[row["image_path"], row["language"]]
        assert len(row["metadata"]["items"]) == len(said)
        assert all(message["content"].rstrip(".。") in row["text"] for chat in said for message in chat["messages"])


def test_chat_instructions_are_the_chat_rows_in_their_order(built_sample, loaded):
    lines = read_lines(built_sample.folder / "chat_instructions.jsonl")
    rows = [(split, row) for split, part in loaded["chat"].items() for row in part]
    assert len(lines) == len(rows)
    for line, (split, row) in zip(lines, rows, strict=True):
        assert line["messages"] == row["messages"] and line["split"] == split
        assert [message["role"] for message in line["messages"]] == ["user", "assistant"]
        assert Path(line["image"]).read_bytes() == row["images"][0]["bytes"]
        assert line["metadata"] == row["metadata"] and line["source_dataset"] == row["source_dataset"]


def test_both_configs_stream_and_decode(built_sample):
    for config, features in (("pairs", pair_features()), ("chat", chat_features())):
        stream = load_dataset(str(built_sample.folder), config, streaming=True)
        assert list(stream) == ["train", "validation", "test"]
        assert stream["train"].features == features
        row = next(iter(stream["train"]))
        image = row["image"] if config == "pairs" else row["images"][0]
        assert image.convert("RGB").size == image.size


def test_a_process_that_leaves_a_stream_half_read_ends_well(built_sample, run):
    """pyarrow's threads outlive the interpreter where nothing stops them: about one process in seven then aborts."""
    code = f"from datasets import load_dataset\nprint(next(iter(load_dataset({str(built_sample.folder)!r}, 'chat',"
    code += " split='train', streaming=True)))['language'])"
    with ThreadPoolExecutor(4) as pool:
        done = list(pool.map(lambda _: run("python", "-c", code, check=False), range(12)))
    assert {(process.returncode, process.stdout.strip() in ("en", "zh")) for process in done} == {(0, True)}


def test_the_card_says_that_the_sample_is_synthetic(built_sample, report):
    card = (built_sample.folder / "README.md").read_text("utf-8")
    assert "Synthetic data" in card and report["fingerprint"] in card


# --- Every reason in one build


def test_every_reason_there_is(build, tmp_path):
    """Small folders that hold each fault once."""
    huge, grey16 = raw_png(20_000, 20_000, 8, 2), raw_png(1, 1, 16, 0, b"\0\1\0")
    rows = [report_row(n) for n in range(12)]
    rows[1] |= {"image": "gone.png"}
    rows[2] |= {"image": "../gone.png"}
    rows[6] |= {"text": ""}
    rows[7] |= {"text": "short"}
    rows[8] |= {"text": "x" * 1000}
    rows[9] = '{"image": '
    rows[10] = rows[0] | {"image": "images/0.png"}
    reports = write_reports(tmp_path / "reports", rows)
    images = {"images/3.png": "<html>", "images/4.png": png(4)[:200], "images/5.png": huge, "images/11.png": grey16}
    write_files(reports, images)
    knee = write_knee(tmp_path / "knee", {"train/0/1.png": 1, "val/0/2.png": 1, "train/1/3.png": 2, "val/2/4.png": 2})
    build({"--reports_dir": reports, "--knee_dir": knee}, tmp_path / "out")
    codes = {r["item"]: r["code"] for r in read_lines(tmp_path / "out/rejections.jsonl")}
    expected = ["image_missing", "image_outside_root", "image_format", "image_unreadable", "image_too_large",
                "text_empty", "text_short", "text_long", "malformed_row", "duplicate_row", "image_format"]  # fmt: skip
    assert codes == {f"reports.jsonl line {n}": code for n, code in enumerate(expected, 2)} | {
        "val/0/2.png": "duplicate_image", "train/1/3.png": "conflicting_labels", "val/2/4.png": "conflicting_labels",
    }  # fmt: skip
    assert set(codes.values()) == set(Reason)


# --- Splits of a build


def test_images_tie_rows_of_different_sources_together(build, tmp_path):
    """The same image in two sources, by another name: one group, whatever else the rows say."""
    slake = write_slake(tmp_path / "slake", train=[slake_row(n, n, "Question?", "Yes") for n in range(40)])
    reports = write_reports(tmp_path / "reports", [report_row(n, patient_id=n // 2) for n in range(80)])
    write_files(reports, {f"images/{2 * n}.png": jpeg(2000 + n) for n in range(40)})
    flags = ("--val_fraction", "0.3", "--test_fraction", "0.3")
    build({"--slake_dir": slake, "--reports_dir": reports}, tmp_path / "out", *flags)
    groups = defaultdict(set)
    for line in read_lines(tmp_path / "out/chat_instructions.jsonl"):
        key = line["metadata"].get("img_id", line["metadata"].get("patient_id"))
        groups[line["group_id"]].add((key, line["split"], line["source_dataset"]))
    assert len(groups) == 40 and set(groups) == {f"medical_reports/patient:{n}" for n in range(40)}
    for members in groups.values():
        assert len({key for key, _, _ in members}) == len({split for _, split, _ in members}) == 1
        assert {source for _, _, source in members} == {"slake", "medical_reports"}
    assert {split for members in groups.values() for _, split, _ in members} == {"train", "validation", "test"}


def test_the_default_is_95_to_5_without_a_test_set(build, tmp_path):
    reports = write_reports(tmp_path / "reports", [report_row(n) for n in range(600)])
    build({"--reports_dir": reports}, tmp_path / "out")
    splits = json.loads((tmp_path / "out/report.json").read_text())["splits"]
    assert splits["pairs"] == splits["chat"] and set(splits["pairs"]) == {"train", "validation"}
    assert 10 <= splits["pairs"]["validation"] <= 55 and sum(splits["pairs"].values()) == 600


# --- The same again


def test_two_builds_are_the_same_to_the_last_byte(build, tmp_path):
    """Other folders, other order of creation, another output: only the paths that were given differ."""
    written = []
    for name in ("one", "another/place"):
        sources = four_sources(tmp_path / name / "raw")
        if name != "one":
            sources = dict(reversed(sources.items()))
        build(sources, tmp_path / name / "out", "--val_fraction", "0.3", env={"PYTHONHASHSEED": str(len(name))})
        files = tree(tmp_path / name / "out")
        instructions = files["chat_instructions.jsonl"].decode()
        assert str(tmp_path / name) in instructions
        files["chat_instructions.jsonl"] = instructions.replace(str(tmp_path / name), "ROOT").encode()
        assert not any(str(tmp_path).encode() in content for content in files.values())
        written.append(files)
    assert written[0] == written[1]


def test_relative_folders_stay_relative(build, tmp_path):
    write_reports(tmp_path / "my reports", [report_row(0)])
    command = {"--reports_dir": Path("my reports")}
    words = [sys.executable, ROOT / "hub_datasets/build.py", *next(iter(command.items())), "--output_dir", "out"]
    subprocess.run(words, cwd=tmp_path, check=True, capture_output=True)
    (line,) = read_lines(tmp_path / "out/chat_instructions.jsonl")
    assert line["image"] == "my reports/images/0.png"


@pytest.mark.parametrize("flag", ["--knee_dir", "--pad_ufes_dir", "--slake_dir", "--reports_dir"])
def test_any_one_source_will_do(build, built_small, tmp_path, flag):
    build({flag: built_small.sources[flag]}, tmp_path / "out", "--val_fraction", "0")
    one = load_dataset(str(tmp_path / "out"), "pairs", split="train")
    everything = load_dataset(str(built_small.folder), "pairs")
    name = one[0]["source_dataset"]
    texts = [r["text"] for part in everything.values() for r in part if r["source_dataset"] == name]
    assert sorted(one["text"]) == sorted(texts)
