"""Checks the command from end to end: what it reads, rejects and writes, and that it writes the same again."""

from __future__ import annotations

import hashlib
import io
import json
import re
import subprocess
import sys
from collections import Counter, defaultdict
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import PIL.Image
import PIL.ImageOps
import pytest
from datasets import Image, List, load_dataset

from hub_datasets.schema import CONFIGS, features_of
from tests.cases import few
from tests.conftest import ROOT
from tests.hub_datasets.checked import build_here
from tests.hub_datasets.layouts import (
    pad_row,
    read_lines,
    report_row,
    tree,
    write_four_sources,
    write_knee,
    write_pad,
    write_reports,
)

FILES = {
    "README.md", "report.json", "rejections.jsonl", "review.jsonl", "chat_instructions.jsonl", "splits.txt",
    "records.jsonl", "eval.yaml", ".build.json", "llama_factory/dataset_info.json", "croissant.json",
    *(f"assets/{name}.png" for name in ("funnel", "splits", "categories", "text_lengths", "contact_sheet")),
    *(f"assets/classes-{source}.png" for source in ("knee_xray", "pad_ufes_20")),
    *(f"{c}/{s}-00000-of-00001.parquet" for c in CONFIGS for s in ("train", "validation", "test")),
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
    assert {path.name for path in built_sample.folder.parent.iterdir()} == {"out", ".out.cache"}
    stages = {path.name.rpartition("-")[0] for path in (built_sample.folder.parent / ".out.cache").iterdir()}
    assert stages == {"", "knee_xray", "pad_ufes_20", "slake", "medical_reports"}  # without a name: the lock
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
    assert report["sources"]["medical_reports"]["read"] > 30 and report["sources"]["slake"]["read"] == 181


def test_the_knee_files_are_all_accounted_for(built_sample, report, rejections):
    files = [path for path in built_sample.sources["--knee_dir"].rglob("*") if path.is_file()]
    source = report["sources"]["knee_xray"]
    assert source["read"] + len(source["ignored"]) == len(files)
    by_code = Counter(r["code"] for r in rejections if r["source"] == "knee_xray")
    distinct = {hashlib.sha256(path.read_bytes()).digest() for path in files if path.suffix == ".png"}
    unusable = by_code["image_unreadable"] + by_code["image_truncated"] + by_code["image_format"]
    assert source["accepted"] == source["images"] == len(distinct) - unusable - 3  # of 3 images the grades differ


def test_the_regions_are_those_of_the_layout(built_sample, loaded):
    """Every box of `detection.json` and every mask, in the split of the image's questions, and the columns agree."""
    raw = built_sample.sources["--slake_dir"]
    splits = {row["image_path"]: split for split, part in loaded["pairs"].items() for row in part}
    count = 0
    for split, part in load_dataset(str(built_sample.folder), "regions").items():
        for row in part:
            folder = (raw / row["image_path"].removeprefix("slake/")).parent
            boxes = json.loads((folder / "detection.json").read_text())
            assert [(name, box) for found in boxes for name, box in found.items()] == list(
                zip(row["labels"], row["boxes"], strict=True)
            )
            with PIL.Image.open(folder / "mask.png") as mask:
                assert mask.tobytes() == row["mask"].tobytes() and mask.size == row["image"].size
            assert (row["width"], row["height"]) == row["image"].size and splits[row["image_path"]] == split
            count += 1
    assert count == sum(path.startswith("slake/") for path in splits) > 10


def test_the_columns_say_what_the_sources_say(loaded, report):
    names, found = report["classes"], defaultdict(set)
    for part in loaded["pairs"].values():
        for row in part:
            fields = json.loads(row["metadata"])
            kind = found[row["source_dataset"]]
            kind.add((row["label"] is not None, row["patient"] is not None, row["official_split"] is not None))
            with PIL.Image.open(io.BytesIO(row["image"]["bytes"])) as image:
                assert image.size == (row["width"], row["height"])
            if row["source_dataset"] == "knee_xray":
                assert (row["modality"], row["body_part"]) == ("X-ray", "knee")
                assert row["label"] == fields["kellgren_lawrence_grade"]
                assert names[row["label"]] == f"knee_xray/{row['category']}"
            elif row["source_dataset"] == "pad_ufes_20":
                assert names[row["label"]].removeprefix("pad_ufes_20/") in row["text"]
                assert row["body_part"] == fields["region"].lower()
    assert {source: {label for label, *_ in kinds} for source, kinds in found.items()} == {
        "knee_xray": {True}, "pad_ufes_20": {True}, "slake": {False}, "medical_reports": {False},
    }  # fmt: skip
    assert {patient for _, patient, _ in found["pad_ufes_20"]} == {True} == {one for *_, one in found["slake"]}


def test_the_rows_are_those_of_the_report(loaded, report, built_sample):
    for config, dataset in loaded.items():
        assert {split: len(part) for split, part in dataset.items()} == report["splits"][config]
    accepted = sum(source["accepted"] for source in report["sources"].values())
    shown = [row for part in loaded["chat"].values() for row in part]
    forms = Counter((row["source_dataset"], row["context"]) for row in shown)
    assert (
        forms["pad_ufes_20", "clinical"] == forms["pad_ufes_20", "none"] == report["sources"]["pad_ufes_20"]["accepted"]
    )
    assert {source for source, context in forms if context == "clinical"} == {"pad_ufes_20"}
    assert (
        sum(len(row["images"]) for row in shown if row["context"] == "none") == accepted
    )  # a study's images are one conversation
    captions = {
        (row["img_id"], row["q_lang"])
        for row in (json.loads(row["metadata"]) for row in shown if row["source_dataset"] == "slake")
    }
    assert sum(report["splits"]["pairs"].values()) == (
        accepted - report["sources"]["slake"]["accepted"] + len(captions)
    )
    assert report["settings"] == report["defaults"] | {"val_fraction": 0.2, "test_fraction": 0.2}
    assert report["defaults"] == {
        "val_fraction": 0.05, "test_fraction": 0.0, "split_by": "group", "min_text_chars": 5, "max_text_chars": 1000,
        "max_report_chars": 8000, "image_column": "", "text_column": "", "patient_column": "",
        "split_column": "", "label_column": "",
        "max_image_pixels": 64_000_000, "min_image_side": 8, "window": "auto", "ocr": False, "near_distance": 15,
        "chat_turns": "single", "system_prompt": "", "num_shards": 1, "keep_columns": "", "drop_flagged": False,
        "knee_conflicts": "reject", "pad_text": "visible", "ungrounded": "mark", "configs": "pairs,chat,regions",
        "frames": "refuse",
    }  # fmt: skip


def test_no_group_and_no_image_is_in_two_splits(loaded, report):
    groups, images = defaultdict(set), defaultdict(set)
    for config, dataset in loaded.items():
        for split, part in dataset.items():
            for row in part:
                groups[row["group_id"]].add(split)
                for image in [row["image"]] if config == "pairs" else row["images"]:
                    images[hashlib.sha256(image["bytes"]).digest()].add(split)
    assert {len(splits) for splits in groups.values()} == {len(splits) for splits in images.values()} == {1}
    assert Counter(next(iter(splits)) for splits in groups.values()) == report["groups"]
    assert len(groups) < len(images)  # some patients and studies have several images
    assert not any(report["leakage"]["leaks"].values()) and report["leakage"]["checked"]["patient"] > 10


def test_the_texts_keep_to_their_bounds_and_answers_need_not(loaded):
    texts = [row["text"] for part in loaded["pairs"].values() for row in part]
    assert all(5 < len(text) < 1000 for text in texts)
    answers = [row["plain_messages"][1]["content"] for part in loaded["chat"].values() for row in part]
    assert min(map(len, answers)) < 3 and all(answers)


def letters(text: str) -> str:
    """Without signs and blanks, which a caption may write in another way."""
    return re.sub(r"\W+", "", text).lower()


def test_a_slake_pair_is_the_caption_of_its_questions(loaded):
    chats = defaultdict(list)
    for part in loaded["chat"].values():
        for row in part:
            if row["source_dataset"] == "slake":
                chats[row["image_path"], row["language"]].append(row)
    captions = [row for part in loaded["pairs"].values() for row in part if row["source_dataset"] == "slake"]
    repeated = set()
    assert len(captions) == len(chats) and {language for _, language in chats} == {"en", "zh"}
    for row in captions:
        said = chats[row["image_path"], row["language"]]
        assert len(json.loads(row["metadata"])["items"]) == len(said)
        told = 0
        for chat in said:
            (question, answer), fields = (
                (turn["content"] for turn in chat["plain_messages"]),
                json.loads(chat["metadata"]),
            )
            if letters(question) in letters(row["text"]):
                told += 1
                assert letters(answer) in letters(row["text"]) and fields["base_type"] == "vqa"
            elif fields["base_type"] == "vqa":  # said at the beginning, in these words or others
                repeated.add(fields["content_type"])
        assert told >= len(said) / 3
    assert repeated <= {"Modality", "Position", "Organ"}


def test_chat_instructions_are_the_chat_rows_in_their_order(built_sample, loaded):
    lines = read_lines(built_sample.folder / "chat_instructions.jsonl")
    rows = [(split, row) for split, part in loaded["chat"].items() for row in part]
    assert len(lines) == len(rows)
    cleaned = 0
    for line, (split, row) in zip(lines, rows, strict=True):
        assert line["messages"] == row["plain_messages"] and line["split"] == split
        assert [message["role"] for message in line["messages"]] == ["user", "assistant"]
        named = [line["image"]] if len(row["images"]) == 1 else line["images"]
        for path, image in zip(named, row["images"], strict=True):
            if Path(path).read_bytes() != image["bytes"]:  # of a film from a phone, or one of 16 bits
                cleaned += 1
                with PIL.Image.open(path) as given, PIL.Image.open(io.BytesIO(image["bytes"])) as published:
                    assert PIL.ImageOps.exif_transpose(given).size == published.size
        assert line["metadata"] == json.loads(row["metadata"]) and line["source_dataset"] == row["source_dataset"]
        assert not {"plain_messages", "marked_messages", "image_path"} & set(line)
    assert {len(row["images"]) for _, row in rows} == {1, 2} and 0 < cleaned < 10


def test_all_configs_stream_and_decode(built_sample, report):
    for config in CONFIGS:
        stream = load_dataset(str(built_sample.folder), config, streaming=True)
        assert list(stream) == ["train", "validation", "test"]
        assert stream["train"].features == features_of(config, report["classes"])
        row = next(iter(stream["train"]))
        image = row["images"][0] if config == "chat" else row["image"]
        assert image.convert("RGB").size == image.size


@pytest.mark.slow
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


# --- What else can be asked for


def test_all_questions_of_an_image_in_one_conversation(built_small, tmp_path):
    """With the same system prompt before each."""
    flags = ("--chat_turns", "multi", "--system_prompt", "Answer in one sentence.", "--val_fraction", "0")
    build_here({"--slake_dir": built_small.sources["--slake_dir"]}, tmp_path / "out", *flags)
    rows = load_dataset(str(tmp_path / "out"), "chat", split="train")
    assert [len(row["messages"]) for row in rows] == [
        7,
        3,
        7,
        3,
        7,
        3,
    ]  # of each image three English questions, one Chinese one
    for row in rows:
        roles = [turn["role"] for turn in row["messages"]]
        assert roles == ["system", *["user", "assistant"] * (len(roles) // 2)]
        assert row["plain_messages"][0]["content"] == "Answer in one sentence."
        assert row["messages"][0]["content"] == [{"type": "text", "text": "Answer in one sentence."}]
        assert [turn["content"].count("<image>") for turn in row["marked_messages"]][:3] == [0, 1, 0]
        assert len(row["images"]) == 1
    assert len(load_dataset(str(tmp_path / "out"), "pairs", split="train")) == 6


def test_as_many_shards_as_asked_for(built_small, tmp_path):
    """In the order of the rows, so that a reader of all of them sees what one file would show."""
    report = build_here(built_small.sources, tmp_path / "out", "--num_shards", "5", "--val_fraction", "0.3")
    assert report["shards"]["pairs"] == report["shards"]["chat"] == {"train": 5, "validation": 5}
    for config in ("pairs", "chat"):
        one, other = (load_dataset(str(folder), config) for folder in (built_small.folder, tmp_path / "out"))
        assert {split: part.to_list() for split, part in one.items()} == {
            split: part.to_list() for split, part in other.items()
        }


@pytest.mark.parametrize("choice", ["reject", "keep_lower", "keep_higher"])
def test_knees_on_whose_grade_the_experts_differ(tmp_path, choice):
    files = {"MedicalExpert-I/0Normal/NormalG0 (1).png": 1, "MedicalExpert-II/1Doubtful/DoubtfulG1 (1).png": 1,
             "MedicalExpert-I/2Mild/MildG2 (1).png": 2}  # fmt: skip
    report = build_here(
        {"--knee_dir": write_knee(tmp_path / "knee", files)}, tmp_path / "out", "--knee_conflicts", choice
    )
    kept = {"reject": ["Mild"], "keep_lower": ["Mild", "Normal"], "keep_higher": ["Doubtful", "Mild"]}[choice]
    assert sorted(report["rows_by"]["pairs"]["category"]) == kept
    assert report["sources"]["knee_xray"]["rejected"] == {"conflicting_labels": 3 - len(kept)}


# --- The same again


@pytest.mark.parametrize("seeds", few([False, True]))
def test_two_builds_are_the_same_to_the_last_byte(build, tmp_path, seeds):
    """Other folders, other order of creation, another output: only the paths that were given differ.

    With `seeds`, sets have another order in each of the processes, which draw their own pictures.
    """
    written = []
    for name in ("one", "another/place"):
        sources = write_four_sources(tmp_path / name / "raw")
        if name != "one":
            sources = dict(reversed(sources.items()))
        environment = {"PYTHONHASHSEED": str(len(name))} if seeds else None
        build(sources, tmp_path / name / "out", "--val_fraction", "0.3", env=environment)
        files = tree(tmp_path / name / "out")
        instructions = files["chat_instructions.jsonl"].decode()
        assert str(tmp_path / name) in instructions
        files["chat_instructions.jsonl"] = instructions.replace(str(tmp_path / name), "ROOT").encode()
        manifest = json.loads(files.pop(".build.json"))
        assert manifest["files"].pop("chat_instructions.jsonl") == len(instructions.encode())
        files["sizes"] = manifest["files"]
        assert not any(str(tmp_path).encode() in content for content in files.values() if isinstance(content, bytes))
        written.append(files)
    assert written[0] == written[1]


@pytest.mark.slow
def test_relative_folders_stay_relative(build, tmp_path):
    write_reports(tmp_path / "my reports", [report_row(0)])
    command = {"--reports_dir": Path("my reports")}
    words = [sys.executable, ROOT / "hub_datasets/build.py", *next(iter(command.items())), "--output_dir", "out"]
    subprocess.run(words, cwd=tmp_path, check=True, capture_output=True)
    (line,) = read_lines(tmp_path / "out/chat_instructions.jsonl")
    assert line["image"] == "my reports/images/0.png"


@pytest.mark.parametrize("flag", few(["--knee_dir", "--pad_ufes_dir", "--slake_dir", "--reports_dir"]))
def test_any_one_source_will_do(build, built_small, tmp_path, flag):
    build({flag: built_small.sources[flag]}, tmp_path / "out", "--val_fraction", "0")
    one = load_dataset(str(tmp_path / "out"), "pairs", split="train")
    everything = load_dataset(str(built_small.folder), "pairs")
    name = one[0]["source_dataset"]
    texts = [r["text"] for part in everything.values() for r in part if r["source_dataset"] == name]
    assert sorted(one["text"]) == sorted(texts)


def test_what_pairs_of_skin_lesions_say_is_a_choice_and_answers_stay_visible(tmp_path):
    pad = write_pad(tmp_path / "pad", [pad_row(number, elevation="True") for number in range(4)])
    for choice, kinds in (("visible", []), ("clinical", ["age", "biopsy", "measurement", "sex", "symptoms"])):
        report = build_here({"--pad_ufes_dir": pad}, tmp_path / choice, "--pad_text", choice, "--val_fraction", "0")
        pairs, chat = (load_dataset(str(tmp_path / choice), config, split="train") for config in ("pairs", "chat"))
        assert pairs["ungrounded"] == [kinds] * 4 and chat["ungrounded"] == [[]] * 8
        assert chat["context"] == ["none", "clinical"] * 4
        answers = {messages[-1]["content"] for messages in chat["plain_messages"]}
        assert answers == {"Skin lesion on the face: basal cell carcinoma, elevated."}
        assert (set(pairs["text"]) == answers) == (choice == "visible")
        found = report["targets"]["rows"]["pairs"]["pad_ufes_20"]["en"]
        assert (found["ungrounded"], sorted(found["kinds"])) == (4 * bool(kinds), kinds)
        variety = report["targets"]["variety"]["pairs"]["pad_ufes_20"]["train"]
        assert (variety["rows"], variety["distinct"], variety["categories"]) == (4, 1, {"BCC": 4})
