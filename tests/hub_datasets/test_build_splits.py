"""Checks that a row is in one split with its patient, picture and near-duplicates, and stays there."""

from __future__ import annotations

import json
from collections import defaultdict
from pathlib import Path

import numpy as np
import pytest
from datasets import load_dataset
from PIL import Image

from hub_datasets.sources.slake import SOURCE as SLAKE
from hub_datasets.texts.patient_ids import patient_key
from tests.hub_datasets.checked import HASHED, build_here, real_names
from tests.hub_datasets.image_files import coded, noise, smooth
from tests.hub_datasets.layouts import (
    encoded,
    jpeg,
    picture,
    read_lines,
    report_row,
    slake_row,
    write_files,
    write_reports,
    write_slake,
)
from tests.hub_datasets.sources.test_slake import full_size


def film(number: int) -> Image.Image:
    """Cloudy grays with enough in them to be told from any other film."""
    return noise(number, "L", (24, 20)).resize((96, 80), Image.Resampling.BICUBIC)


def splits_of(folder: Path, config: str = "pairs") -> dict[tuple[str, ...], str]:
    """Where each row is, by all that names it."""
    dataset = load_dataset(str(folder), config)
    columns = ["image_path", "language", "metadata"]
    return {tuple(row.values()): split for split, part in dataset.items() for row in part.select_columns(columns)}


def hashed_patient(value: object) -> str:
    """A patient's ID in the metadata of one's own reports."""
    return HASHED.key(f"medical_reports/{patient_key(value)}").rpartition(":")[2]


def splits_of_patients(folder: Path) -> dict[str, str]:
    return {json.loads(metadata)["patient_id"]: split for (_, _, metadata), split in splits_of(folder).items()}


def test_images_tie_rows_of_different_sources_together(build, tmp_path):
    """The same image in two sources, by another name: one group, whatever else the rows say."""
    slake = write_slake(tmp_path / "slake", train=[slake_row(n, n, "Question?", "Yes") for n in range(40)])
    reports = write_reports(tmp_path / "reports", [report_row(n, patient_id=n // 2) for n in range(80)])
    write_files(reports, {f"images/{2 * n}.png": jpeg(2000 + n) for n in range(40)})
    flags = ("--val_fraction", "0.3", "--test_fraction", "0.3")
    build({"--slake_dir": slake, "--reports_dir": reports}, tmp_path / "out", *flags)
    groups = defaultdict(set)
    number = {hashed_patient(n): n for n in range(40)}
    for line in read_lines(tmp_path / "out/chat_instructions.jsonl"):
        key = line["metadata"].get("img_id", number.get(line["metadata"].get("patient_id")))
        groups[line["group_id"]].add((key, line["split"], line["source_dataset"]))
    assert len(groups) == 40 and set(groups) == {HASHED.key(f"medical_reports/{patient_key(n)}") for n in range(40)}
    for members in groups.values():
        assert len({key for key, _, _ in members}) == len({split for _, split, _ in members}) == 1
        assert {source for _, _, source in members} == {"slake", "medical_reports"}
    assert {split for members in groups.values() for _, split, _ in members} == {"train", "validation", "test"}


def test_the_default_is_95_to_5_without_a_test_set(tmp_path):
    reports = write_reports(tmp_path / "reports", [report_row(n) for n in range(600)])
    splits = build_here({"--reports_dir": reports}, tmp_path / "out")["splits"]
    assert splits["pairs"] == splits["chat"] and set(splits["pairs"]) == {"train", "validation"}
    assert 10 <= splits["pairs"]["validation"] <= 55 and sum(splits["pairs"].values()) == 600


def test_pictures_that_look_alike_stay_together(tmp_path):
    """A film and its smaller, brighter copy in another format: other bytes, other pixels, one picture to a model."""
    rows = [report_row(n) for n in range(60)]
    reports = write_reports(tmp_path / "reports", rows)
    films = [film(number) for number in range(30)]
    images = {f"images/{n}.png": coded(shown, "PNG") for n, shown in enumerate(films)}
    for n, shown in enumerate(films):
        smaller = shown.resize((72, 60), Image.Resampling.LANCZOS).point(lambda value: min(255, value + 12))
        images[f"images/{30 + n}.png"] = coded(smaller, "JPEG", quality=80)
    write_files(reports, images)
    flags = ("--val_fraction", "0.3", "--test_fraction", "0.3")
    report = build_here({"--reports_dir": reports}, tmp_path / "out", *flags)
    assert report["duplicates"]["near"]["clusters"] == 30 and report["leakage"]["leaks"]["near_duplicate"] == 0
    names = real_names(tmp_path / "out")
    places = {names[path].rpartition("/")[2]: split for (path, *_), split in splits_of(tmp_path / "out").items()}
    assert all(places[f"{n}.png"] == places[f"{30 + n}.png"] for n in range(30))
    assert set(places.values()) == {"train", "validation", "test"}


# --- What an earlier build decided stays


def more_rows(reports: Path, rows: list[dict]) -> list[dict]:
    """Adds to a folder: a new patient, new images of old patients, an exact copy and a near-duplicate of old ones."""
    with Image.open(reports / rows[0]["image"]) as old:
        brighter = Image.fromarray(np.clip(np.asarray(old.convert("L"), np.int16) + 3, 0, 255).astype(np.uint8))
    number = len(rows)
    added = [report_row(number + n, patient_id=f"new {n // 3}") for n in range(60)]
    added += [report_row(number + 60 + n, patient_id=row["patient_id"]) for n, row in enumerate(rows[:20])]
    added += [report_row(number + 80, patient_id="copier"), report_row(number + 81, patient_id="imitator")]
    images = {row["image"]: encoded(picture(9000 + n, size=(40, 40))) for n, row in enumerate(added)}
    images[added[-2]["image"]] = (reports / rows[5]["image"]).read_bytes()
    images[added[-1]["image"]] = encoded(brighter)
    write_files(reports, images)
    return added


@pytest.mark.slow
def test_adding_rows_moves_no_old_row(sample, tmp_path):
    """Over the whole sample, and reports of one's own that grow by a half."""
    rows = [report_row(n, patient_id=f"old {n // 2}") for n in range(120)]
    reports = write_reports(tmp_path / "reports", rows)
    write_files(reports, {row["image"]: coded(film(n), "PNG") for n, row in enumerate(rows)})
    sources = {flag: folder for flag, folder in sample.items() if flag != "--reports_dir"} | {"--reports_dir": reports}
    flags = ("--val_fraction", "0.2", "--test_fraction", "0.2")
    build_here(sources, tmp_path / "out", *flags)
    before = {config: splits_of(tmp_path / "out", config) for config in ("pairs", "chat")}

    added = more_rows(reports, rows)
    lines = "".join(json.dumps(row) + "\n" for row in [*added[:40], *rows, *added[40:]])  # not only at the end
    (reports / "reports.jsonl").write_text(lines)
    report = build_here(sources, tmp_path / "out", "--overwrite", *flags)
    assert report["moved"] == 0 and not any(report["leakage"]["leaks"].values())
    groups = {line["image"]: line["group_id"] for line in read_lines(tmp_path / "out/chat_instructions.jsonl")}
    for copy, original in ((added[-1], rows[0]), (added[-2], rows[5])):
        assert groups[str(reports / copy["image"])] == groups[str(reports / original["image"])]
    for config, old in before.items():
        now = splits_of(tmp_path / "out", config)
        assert len(now) == len(old) + len(added)
        assert {key: now[key] for key in old} == old
    names = real_names(tmp_path / "out")
    places = {names.get(path, path).removeprefix("medical_reports/"): split for (path, *_), split in now.items()}
    assert places[added[-2]["image"]] == places[rows[5]["image"]]
    assert places[added[-1]["image"]] == places[rows[0]["image"]]
    new = {places[row["image"]] for row in added[:60]}
    assert new == {"train", "validation", "test"}


@pytest.mark.slow
def test_rows_that_go_and_come_back_are_where_they_were(tmp_path):
    """A name that an earlier build gave to a group, and a gap that it filled, bind the builds that follow."""
    rows = [report_row(n, patient_id=n // 2) for n in range(40)]
    reports = write_reports(tmp_path / "reports", rows)
    flags = ("--val_fraction", "0.2", "--test_fraction", "0.1")
    build_here({"--reports_dir": reports}, tmp_path / "out", *flags)
    first = splits_of(tmp_path / "out")
    for part in (rows[10:], rows[5:30], rows):
        write_files(reports, {"reports.jsonl": "".join(json.dumps(row) + "\n" for row in part)})
        build_here(
            {"--reports_dir": reports}, tmp_path / "out", "--overwrite", "--keep_splits", tmp_path / "out", *flags
        )
        now = splits_of(tmp_path / "out")
        assert len(now) == len(part) and now.items() <= first.items()


def test_old_groups_that_a_new_row_ties_together_become_one(tmp_path):
    """One was in train, one in test: both are in train now, and the report says that a group moved."""
    rows = [report_row(n, patient_id=f"P{n}") for n in range(30)]
    reports = write_reports(tmp_path / "reports", rows)
    flags = ("--val_fraction", "0.3", "--test_fraction", "0.3")
    build_here({"--reports_dir": reports}, tmp_path / "out", *flags)
    places = splits_of_patients(tmp_path / "out")
    one, other = (next(patient for patient, split in places.items() if split == name) for name in ("train", "test"))
    one, other = (next(f"P{n}" for n in range(30) if hashed_patient(f"P{n}") == found) for found in (one, other))
    rows.append(report_row(30, patient_id=one) | {"study_id": "S"})
    rows.append(report_row(31, patient_id=other))
    write_reports(reports, rows)
    write_files(reports, {"images/31.png": (reports / "images/30.png").read_bytes()})
    report = build_here({"--reports_dir": reports}, tmp_path / "out", "--overwrite", *flags)
    now = splits_of_patients(tmp_path / "out")
    assert now == places | {hashed_patient(other): "train"} and report["moved"] == 1
    assert not any(report["leakage"]["leaks"].values())


def test_other_shares_are_other_splits(tmp_path):
    reports = write_reports(tmp_path / "reports", [report_row(n) for n in range(100)])
    build_here({"--reports_dir": reports}, tmp_path / "out", "--val_fraction", "0.1")
    report = build_here({"--reports_dir": reports}, tmp_path / "out", "--overwrite", "--val_fraction", "0.5")
    assert 30 < report["splits"]["pairs"]["validation"] < 70
    fresh = build_here({"--reports_dir": reports}, tmp_path / "fresh", "--val_fraction", "0.5")
    assert report["splits"] == fresh["splits"] and report["fingerprint"] == fresh["fingerprint"]


# --- The sources' own splits


@pytest.fixture(scope="module")
def slake_642(tmp_path_factory) -> Path:
    """SLAKE at its full size: 14,028 rows dealt out as its own files are, and a drawn picture for each image."""
    folder = tmp_path_factory.mktemp("slake-642") / "slake"
    rows = full_size()
    write_files(folder, {f"{name}.json": json.dumps(part, ensure_ascii=False) for name, part in rows.items()})
    return write_files(folder, {f"imgs/xmlab{n}/source.jpg": coded(smooth(n), "JPEG") for n in range(642)})


def official_rows(folder: Path) -> dict[str, set[int]]:
    """The `qid` of the rows of each official file, by split."""
    names = {"train": "train", "validation": "validate", "test": "test"}
    files = {split: json.loads((folder / f"{name}.json").read_text("utf-8")) for split, name in names.items()}
    return {split: {row["qid"] for row in rows} for split, rows in files.items()}


def qids_of(folder: Path) -> dict[str, list[int]]:
    return {
        split: [json.loads(metadata)["qid"] for metadata in part["metadata"]]
        for split, part in load_dataset(str(folder), "chat").items()
    }


@pytest.mark.slow
def test_the_official_splits_of_slake_at_its_full_size(slake_642, tmp_path):
    report = build_here({"--slake_dir": slake_642}, tmp_path / "out", "--split_by", "official")
    assert SLAKE.name in report["sources"]
    source = report["sources"]["slake"]
    assert (source["read"], source["accepted"], source["images"]) == (14_028, 14_013, 642)
    assert source["rejected"] == {"duplicate_row": 14, "text_empty": 1}
    assert report["splits"]["chat"] == {"train": 9_835 - 15, "validation": 2_099, "test": 2_094}
    official, found = official_rows(slake_642), qids_of(tmp_path / "out")
    rejected = {int(line["item"].rpartition("qid ")[2].rstrip(")")) for line in
                read_lines(tmp_path / "out/rejections.jsonl")}  # fmt: skip
    assert {split: set(qids) for split, qids in found.items()} == {
        split: qids - rejected for split, qids in official.items()
    }
    assert sum(map(len, found.values())) == 14_013

    leak = report["leakage"]["official"]["slake"]
    assert leak["images"] == 642 and leak["images_in_several_files"] == 298 and leak["test_rows"] == 2_094
    seen = {split: {row["img_id"] for row in rows} for split, rows in full_size().items()}
    in_both = sum(row["img_id"] in seen["train"] for row in full_size()["test"])
    assert leak["test_rows_seen_in_train"] == in_both > 1_000
    assert report["leakage"]["split_by"] == "official" and report["leakage"]["leaks"]["image"] >= 298
    card = (tmp_path / "out/README.md").read_text("utf-8")
    assert "298 of its 642 images are in more than one of its split files" in card


@pytest.mark.slow
def test_slake_at_its_full_size_by_groups(slake_642, tmp_path):
    """The default: each image in one split, whatever the official files say; the leak that they have is told."""
    report = build_here(
        {"--slake_dir": slake_642}, tmp_path / "out", "--test_fraction", "0.15", "--val_fraction", "0.15"
    )
    assert report["leakage"]["official"]["slake"]["images_in_several_files"] == 298
    assert not any(report["leakage"]["leaks"].values())
    images = defaultdict(set)
    for split, part in load_dataset(str(tmp_path / "out"), "pairs").items():
        for path in part["image_path"]:
            images[path].add(split)
    assert len(images) == 642 and {len(splits) for splits in images.values()} == {1}
    shown = {(row["img_id"], row["q_lang"]) for rows in full_size().values() for row in rows}
    assert sum(report["splits"]["pairs"].values()) == len(shown) > 1_280
    assert 60 < report["groups"]["test"] < 140 and 60 < report["groups"]["validation"] < 140


def test_the_official_splits_of_real_slake(real_data, tmp_path):
    report = build_here({"--slake_dir": real_data / "slake"}, tmp_path / "out", "--split_by", "official")
    official, found = official_rows(real_data / "slake"), qids_of(tmp_path / "out")
    rejected = sum(report["sources"]["slake"]["rejected"].values())
    assert all(set(found[split]) <= qids for split, qids in official.items())
    assert sum(map(len, found.values())) == 319 - rejected and rejected < 5
    leak = report["leakage"]["official"]["slake"]
    assert (leak["images"], leak["images_in_several_files"]) == (15, 9)
    assert "9 of its 15 images" in (tmp_path / "out/README.md").read_text("utf-8")
