"""Builds from samples of the real sources, SLAKE, PAD-UFES-20 and OAI knees, and from 3,300 Mendeley names."""

from __future__ import annotations

import csv
import hashlib
import io
import json
from collections import Counter, defaultdict
from pathlib import Path

import PIL.Image
import pytest
from datasets import Image, load_dataset

from hub_datasets.images.metadata import edited, read_coding
from tests.hub_datasets.layouts import png, read_lines, tree, write_files


@pytest.fixture(scope="module")
def built(build, real_data, tmp_path_factory) -> Path:
    folders = {
        "--slake_dir": real_data / "slake",
        "--pad_ufes_dir": real_data / "pad_ufes",
        "--knee_dir": real_data / "knee/oai_kneeKL224",
    }
    output = tmp_path_factory.mktemp("real") / "out"
    build(folders, output, "--val_fraction", "0.2")
    return output


@pytest.fixture(scope="module")
def sources(built) -> dict:
    return json.loads((built / "report.json").read_text("utf-8"))["sources"]


def official(folder: Path) -> list[dict]:
    names = ("train", "validate", "test")
    return [row for name in names for row in json.loads((folder / f"{name}.json").read_text("utf-8"))]


@pytest.mark.slow
def test_slake(built, sources, real_data):
    rows = official(real_data / "slake")
    assert sources["slake"]["read"] == len(rows) == 319
    said = Counter((row["img_id"], row["q_lang"], row["question"], row["answer"]) for row in rows)
    empty = [row["qid"] for row in rows if not row["answer"]]
    repeated = sum(said.values()) - len(said)
    counted = {"duplicate_row": repeated, "text_empty": len(empty)}
    assert sources["slake"]["rejected"] == {code: count for code, count in counted.items() if count}
    chat = [line for line in read_lines(built / "chat_instructions.jsonl") if line["source_dataset"] == "slake"]
    assert len(chat) == sources["slake"]["accepted"]
    by_qid = {row["qid"]: row for row in rows}
    for line in chat:
        row = by_qid[line["metadata"]["qid"]]
        assert [message["content"] for message in line["messages"]] == [row["question"].strip(), row["answer"].strip()]
        assert {key: line["metadata"][key] for key in row} == row
        assert line["metadata"]["official_split"] in ("train", "validation", "test")
    captions = Counter(row["language"] for part in load_dataset(str(built), "pairs").values() for row in part
                       if row["source_dataset"] == "slake")  # fmt: skip
    assert captions == Counter(language for _, language in {(row["img_id"], row["q_lang"]) for row in rows})


def test_the_pad_rows_without_an_image_are_each_named(built, sources, real_data):
    with (real_data / "pad_ufes/metadata.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    images = {path.name for path in (real_data / "pad_ufes/images").rglob("*.png")}
    absent = {f"metadata.csv line {line} ({row['img_id']})" for line, row in enumerate(rows, 2)
              if row["img_id"] not in images}  # fmt: skip
    rejections = [r for r in read_lines(built / "rejections.jsonl") if r["source"] == "pad_ufes_20"]
    assert {r["item"] for r in rejections} == absent and len(rejections) == len(absent) == 50
    assert {r["code"] for r in rejections} == {"image_missing"}
    assert (sources["pad_ufes_20"]["read"], sources["pad_ufes_20"]["accepted"]) == (57, 7)


def test_pad_cells_stay_what_they_were(built, real_data):
    with (real_data / "pad_ufes/metadata.csv").open(newline="") as file:
        rows = {row["img_id"]: row for row in csv.DictReader(file)}
    pairs = [row for part in load_dataset(str(built), "pairs").values() for row in part
             if row["source_dataset"] == "pad_ufes_20"]  # fmt: skip
    assert len(pairs) == 7
    found = [json.loads(row["metadata"]) for row in pairs]
    assert all(cells == rows[cells["img_id"]] for cells in found)
    cells = {cell for row in found for cell in row.values()}
    assert {"", "True", "False"} <= cells and all(isinstance(cell, str) for cell in cells)


def test_oai_knees(sources, built, real_data):
    files = list((real_data / "knee/oai_kneeKL224").rglob("*.png"))
    assert sources["knee_xray"]["read"] == sources["knee_xray"]["accepted"] == len(files) == 15
    patients = defaultdict(set)
    for line in read_lines(built / "chat_instructions.jsonl"):
        if line["source_dataset"] == "knee_xray":
            patients[line["metadata"]["patient_id"]].add((line["group_id"], line["split"]))
            assert Path(line["image"]).stem == line["metadata"]["patient_id"] + line["metadata"]["side"]
    assert len(patients) < 15 and {len(found) for found in patients.values()} == {1}


def test_real_pixels_are_kept_and_nothing_else(built, real_data):
    """The bytes are those of the files but for the metadata of a few photographs."""
    files = [path for path in real_data.rglob("*") if path.suffix in (".png", ".jpg")]
    known = {hashlib.sha256(path.read_bytes()).hexdigest() for path in files}
    cleaned = {hashlib.sha256(edited(data, read_coding(data))).hexdigest() for data in map(Path.read_bytes, files)}
    shown = {path.relative_to(real_data).as_posix(): path for path in files}
    changed = []
    for part in load_dataset(str(built), "pairs").cast_column("image", Image(decode=False)).values():
        for row in part:
            digest = hashlib.sha256(row["image"]["bytes"]).hexdigest()
            if digest in known:
                continue
            assert digest in cleaned
            (path,) = (path for name, path in shown.items() if name.endswith(row["image_path"].rpartition("/")[2]))
            changed.append(path)
            with PIL.Image.open(path) as given, PIL.Image.open(io.BytesIO(row["image"]["bytes"])) as published:
                assert given.mode == published.mode and given.tobytes() == published.tobytes()
    images = json.loads((built / "report.json").read_text("utf-8"))["images"]
    assert 0 < len(changed) < 5 and sum(images["stripped"].values()) >= len(changed)


# --- The real names, folders, copies and conflicts of the Mendeley set, with an image for each content


@pytest.fixture(scope="module")
def mendeley(real_data, tmp_path_factory) -> tuple[Path, list[dict]]:
    (table,) = real_data.glob("knee/gornale*/raw_data.csv")
    with table.open(newline="") as file:
        rows = list(csv.DictReader(file))
    numbers = {file_id: number for number, file_id in enumerate(sorted({row["file_id"] for row in rows}))}
    contents = {file_id: png(number, mode="L", size=(8, 8)) for file_id, number in numbers.items()}
    assert len(set(contents.values())) == len(numbers)
    folder = tmp_path_factory.mktemp("mendeley") / "knee"
    files = {f"Digital Knee X-ray Images/{row['relative_path']}": contents[row["file_id"]] for row in rows}
    return write_files(folder, files), rows


@pytest.mark.slow
def test_the_3300_mendeley_files(build, mendeley, tmp_path):
    folder, rows = mendeley
    grades, experts = defaultdict(set), defaultdict(set)
    for row in rows:
        grades[row["file_id"]].add(row["severity"])
        experts[row["file_id"]].add(row["expert"])
    conflicts = {file_id for file_id, found in grades.items() if len(found) > 1}
    conflicting = sum(row["file_id"] in conflicts for row in rows)
    assert (len(rows), len(grades), len(conflicts)) == (3300, 1633, 11) and conflicting >= 22

    for name, processes in (("one", "1"), ("two", "2")):
        build({"--knee_dir": folder}, tmp_path / name, "--num_proc", processes)
    one, two = tree(tmp_path / "one"), tree(tmp_path / "two")
    assert one == two
    report = json.loads(one["report.json"])["sources"]["knee_xray"]
    assert (report["read"], report["accepted"], report["images"]) == (3300, 1622, 1622)
    assert report["rejected"] == {"conflicting_labels": conflicting, "duplicate_image": 3300 - 1622 - conflicting}

    by_path = {f"Digital Knee X-ray Images/{row['relative_path']}": row["file_id"] for row in rows}
    rejections = read_lines(tmp_path / "one/rejections.jsonl")
    named = {by_path[r["item"]] for r in rejections if r["code"] == "conflicting_labels"}
    assert named == conflicts
    dataset = load_dataset(str(tmp_path / "one"), "pairs")
    kept = Counter()
    for part in dataset.values():
        for path, category, metadata in zip(part["image_path"], part["category"], part["metadata"], strict=True):
            file_id = by_path[path.removeprefix("knee_xray/")]
            (folder_name,) = grades[file_id]
            metadata = json.loads(metadata)
            assert folder_name == f"{metadata['kellgren_lawrence_grade']}{category}"
            assert {f"MedicalExpert-{expert}" for expert in metadata["grade_by_expert"]} == experts[file_id]
            kept[file_id] += 1
    assert set(kept) == set(grades) - conflicts and set(kept.values()) == {1}
