"""Checks builds from several folders of one source: rows of all, distinguished by folder, in any order."""

from __future__ import annotations

import json
import shutil
import zipfile
from pathlib import Path

import fsspec
import pytest
from datasets import Image, load_dataset

from hub_datasets.build import main
from hub_datasets.privacy.key_file import Hasher, read_key
from hub_datasets.privacy.publication import Publication, SourceColumns
from hub_datasets.sources import SOURCES
from hub_datasets.synthetic.marker import write_marker
from tests.cases import few
from tests.hub_datasets.checked import HASHED, build_here, real_names
from tests.hub_datasets.layouts import (
    jpeg,
    pad_row,
    png,
    read_lines,
    report_row,
    slake_row,
    tree,
    write_files,
    write_four_sources,
    write_knee,
    write_pad,
    write_reports,
    write_slake,
)
from tests.hub_datasets.test_build_cache import reading, stages, stamps

FLAGS = ("--val_fraction", "0.3", "--near_distance", "0")
NAMES = {source.flag: source.name for source in SOURCES}


def second_batch(folder: Path) -> dict[str, Path]:
    """More of each source a month later: the same file names with other pictures, and some patients again."""
    reports = write_reports(folder / "reports", [report_row(n, text=f"Later chest X-ray {n}.") for n in range(7)])
    pad = write_pad(folder / "pad", [pad_row(n, lesion_id=f"L{n}") for n in range(6)])
    slake = write_slake(folder / "slake", train=[slake_row(n, n // 3, f"Later question {n}?", "Yes") for n in range(6)])
    files = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*.png")}
    write_files(folder, {name: png(7000 + n) for n, name in enumerate(sorted(files))})
    write_files(slake, {f"imgs/xmlab{n}/source.jpg": jpeg(7100 + n) for n in range(2)})
    knees = {f"MedicalExpert-I/0Normal/NormalG0 ({n}).png": 7200 + n for n in range(5)}
    return {
        "--knee_dir": write_knee(folder / "knee", knees),
        "--pad_ufes_dir": pad,
        "--slake_dir": slake,
        "--reports_dir": reports,
    }


@pytest.fixture
def batches(tmp_path) -> dict[str, list[Path]]:
    first, second = write_four_sources(tmp_path / "in/january"), second_batch(tmp_path / "in/february")
    return {flag: [first[flag], second[flag]] for flag in first}


def folders_of(batches: dict[str, list[Path]], flag: str) -> list[Path]:
    """The two folders of a flag; --images_dir reads those of the reports."""
    return batches.get(flag, batches["--reports_dir"])


def images_of(folder: Path) -> dict[str, bytes]:
    """The published bytes by `image_path`, of private data by the name that the map beside the folder has for it."""
    rows, names = load_dataset(str(folder), "pairs").cast_column("image", Image(decode=False)), real_names(folder)
    paths = ((row["image_path"], row["image"]["bytes"]) for part in rows.values() for row in part)
    return {names.get(path, path): data for path, data in paths}


def labels(report: dict, source: str) -> dict[str, dict]:
    """The parts of the report by the real names of the folders."""
    real = {HASHED.label(source, name): name for name in ("january", "february", "march", "a", "b")}
    return {real.get(label, label): found for label, found in report["sources"][source]["folders"].items()}


def counts(report: dict, flag: str) -> dict[str, int]:
    return {name: report["sources"][NAMES[flag]][name] for name in ("read", "accepted", "images")}


# --- Rows


@pytest.mark.parametrize("flag", few(NAMES, "--reports_dir"))
def test_two_folders_give_the_rows_of_both(batches, tmp_path, flag):
    """argparse alone takes the last one and says nothing."""
    given = folders_of(batches, flag)
    both = build_here({flag: given}, tmp_path / "both", *FLAGS)
    apart = [build_here({flag: folder}, tmp_path / f"alone{n}", *FLAGS) for n, folder in enumerate(given)]
    expected = [counts(report, flag) for report in apart]
    assert all(min(found.values()) >= 2 for found in expected)
    assert counts(both, flag) == {name: sum(found[name] for found in expected) for name in expected[0]}
    assert "folders" not in apart[0]["sources"][NAMES[flag]]
    folders = labels(both, NAMES[flag])
    assert list(folders) == ["february", "january"]  # by name
    found = [{name: folders[label][name] for name in expected[0]} for label in ("january", "february")]
    assert found == expected
    assert all(folder["rejected"] == {} or flag == "--knee_dir" for folder in folders.values())

    prefix = f"{NAMES[flag]}/"
    alone = [images_of(tmp_path / f"alone{n}") for n in range(2)]
    labeled = {
        name.replace(prefix, f"{prefix}{label}/"): data
        for label, images in zip(("january", "february"), alone, strict=True)
        for name, data in images.items()
    }
    assert images_of(tmp_path / "both") == labeled
    assert set(alone[0]) & set(alone[1])  # the same path in both folders, and two pictures
    texts = [set(load_dataset(str(tmp_path / name), "pairs", split="train")["text"]) for name in ("both", "alone1")]
    assert texts[0] & texts[1]


@pytest.mark.parametrize("flag", few(NAMES, "--reports_dir"))
def test_the_order_of_the_flags_changes_nothing(batches, tmp_path, flag):
    given = folders_of(batches, flag)
    build_here({flag: given}, tmp_path / "out", *FLAGS)
    before = tree(tmp_path / "out"), stamps(tmp_path / "out")
    build_here({flag: given[::-1]}, tmp_path / "out", *FLAGS)  # as nothing is to do, without --overwrite
    assert stamps(tmp_path / "out") == before[1]
    build_here({flag: given[::-1]}, tmp_path / "other", *FLAGS)
    assert tree(tmp_path / "other") == before[0]


def test_all_sources_with_two_folders_each_by_the_command(batches, tmp_path, build):
    """With `--flag folder` and `--flag=folder`, and paths that are relative."""
    words = [word for flag, folders in batches.items() for word in (flag, folders[0], f"{flag}={folders[1]}")]
    done = build({}, tmp_path / "out", *words, *FLAGS)
    assert "medical_reports: read 19, accepted 19\n  february: read 7, accepted 7\n  january: read 12" in done.stdout
    report = json.loads((tmp_path / "out/report.json").read_text())
    assert [len(source["folders"]) for source in report["sources"].values()] == [2] * 4
    assert not any(report["leakage"]["leaks"].values())
    card = (tmp_path / "out/README.md").read_text("utf-8")
    assert "accepted rows by folder: `february` 6, `january` 8" in card
    made = Publication(Hasher(read_key(tmp_path / "out.key")), HASHED.columns)
    names = [made.label("medical_reports", name) for name in ("february", "january")]
    assert all(f"`{name}` {count}" in card for name, count in zip(names, (7, 12), strict=True))
    assert "    --slake_dir <folder>/february \\\n    --slake_dir <folder>/january \\\n" in card
    assert str(tmp_path) not in card + json.dumps(report)


def test_paths_of_the_chats_lead_to_the_pictures(batches, tmp_path):
    build_here(batches, tmp_path / "out", *FLAGS)
    published = images_of(tmp_path / "out")
    seen = set()
    for line in read_lines(tmp_path / "out/chat_instructions.jsonl"):
        for path in line.get("images") or [line["image"]]:
            seen.add(path)
            (flag,) = (flag for flag, folders in batches.items() for one in folders if Path(path).is_relative_to(one))
            label = Path(path).relative_to(tmp_path / "in").parts[0]
            place = Path(path).relative_to(batches[flag][label == "february"]).as_posix()
            assert published[f"{line['source_dataset']}/{label}/{place}"] == Path(path).read_bytes()
    assert len(seen) == len(published) == len({*map(Path, seen)})


def test_what_a_single_folder_gives_is_as_it_was(batches, tmp_path):
    """No label anywhere: neither in the rows, nor in what is rejected, passed over or to be looked at."""
    first = batches["--reports_dir"][0]
    rows = [json.loads(line) for line in (first / "reports.jsonl").read_text("utf-8").splitlines()]
    rows += [report_row(20, text=""), report_row(21, text="Call +49 170 1234567.")]
    write_reports(first, rows)
    write_files(first, {"Thumbs.db": b"x"})
    report = build_here({"--reports_dir": first}, tmp_path / "out", *FLAGS)
    assert "folders" not in report["sources"]["medical_reports"]
    assert all(name.startswith("medical_reports/images/") for name in images_of(tmp_path / "out"))
    for name in ("rejections", "review"):
        (line,) = read_lines(tmp_path / f"out/{name}.jsonl")
        assert line["item"].startswith("reports.jsonl line 1")
    card = (tmp_path / "out/README.md").read_text("utf-8")
    assert "by folder" not in card and "several folders" not in card and "--reports_dir <folder> \\" in card


def test_rejections_and_lines_to_review_say_which_folder(batches, tmp_path):
    for folder in batches["--reports_dir"]:
        rows = [report_row(20, text=""), report_row(21, text="Call +49 170 1234567."), report_row(0, image="gone.png")]
        write_files(folder, {"more.jsonl": "\n".join(map(json.dumps, rows)), "images/21.png": png(len(str(folder)))})
        write_files(folder, {"Thumbs.db": b"x"})
    report = build_here({"--reports_dir": batches["--reports_dir"]}, tmp_path / "out", *FLAGS)
    rejected = [line["item"] for line in read_lines(tmp_path / "out/rejections.jsonl")]
    assert rejected == [f"{label}/more.jsonl line {n}" for label in ("february", "january") for n in (1, 3)]
    review = [line["item"] for line in read_lines(tmp_path / "out/review.jsonl")]
    assert review == [f"{label}/more.jsonl line 2" for label in ("february", "january")]
    assert report["sources"]["medical_reports"]["ignored_count"] == 2  # Thumbs.db
    for name in ("rejections.jsonl", "review.jsonl", "report.json"):
        assert str(tmp_path) not in (tmp_path / "out" / name).read_text("utf-8")


# --- Patients and copies


def test_a_patient_of_two_batches_stays_in_one_split(tmp_path):
    batches = []
    for label, word in (("january", "First"), ("february", "Second")):
        rows = [report_row(n, patient_id=f"P{n}", text=f"{word} report {n}.") for n in range(40)]
        folder = write_reports(tmp_path / label, rows)
        write_files(folder, {f"images/{n}.png": png(100 * len(label) + n) for n in range(40)})
        batches.append(folder)
    report = build_here({"--reports_dir": batches}, tmp_path / "out", *FLAGS, "--test_fraction", "0.2")
    assert report["sources"]["medical_reports"]["patients"] == sum(report["groups"].values()) == 40
    assert sum(report["splits"]["pairs"].values()) == 80
    splits: dict[str, set[str]] = {}
    for split, rows in load_dataset(str(tmp_path / "out"), "pairs").items():
        for row in rows:
            splits.setdefault(json.loads(row["metadata"])["patient_id"], set()).add(split)
    assert len(splits) == 40 and all(len(found) == 1 for found in splits.values())
    assert {split for found in splits.values() for split in found} == {"train", "validation", "test"}


def test_a_folder_of_each_patient_with_studies_numbered_from_one(tmp_path):
    """Study 1 of every patient is another one: taken for the same, all patients were one group."""
    folders = []
    for n in range(12):
        rows = [report_row(k, patient_id=f"P{n}", study_id=str(k), text=f"Report {n} {k}.") for k in (1, 2)]
        folder = write_reports(tmp_path / f"patient{n:02d}", rows)
        write_files(folder, {f"images/{k}.png": png(300 + 2 * n + k) for k in (1, 2)})
        folders.append(folder)
    report = build_here({"--reports_dir": folders}, tmp_path / "out", *FLAGS)
    assert sum(report["groups"].values()) == 12 and set(report["splits"]["pairs"]) == {"train", "validation"}


def test_a_second_export_with_all_of_the_first(batches, tmp_path):
    """Nothing is in the dataset twice, and what was in a split stays there."""
    january = batches["--reports_dir"][0]
    grown = shutil.copytree(january, tmp_path / "in/march/reports")
    rows = [report_row(30 + n, text=f"New report {n}.") for n in range(5)]
    write_files(grown, {"new.jsonl": "\n".join(map(json.dumps, rows))})
    write_files(grown, {f"images/{30 + n}.png": png(8000 + n) for n in range(5)})
    build_here({"--reports_dir": january}, tmp_path / "out", *FLAGS)
    before = splits_by_text(tmp_path / "out")
    report = build_here({"--reports_dir": [grown, january]}, tmp_path / "out", *FLAGS, "--overwrite")
    source = report["sources"]["medical_reports"]
    assert (source["read"], source["accepted"], source["rejected"]) == (29, 17, {"duplicate_image": 12})
    assert labels(report, "medical_reports")["march"]["rejected"] == {"duplicate_image": 12}
    assert report["duplicates"]["exact"] == {"medical_reports": 12} and report["moved"] == 0
    messages = {line["item"]: line["message"] for line in read_lines(tmp_path / "out/rejections.jsonl")}
    assert "copy of the image the text of january/reports.jsonl line 3" in messages["march/reports.jsonl line 3"]
    assert before.items() <= splits_by_text(tmp_path / "out").items()


def splits_by_text(folder: Path) -> dict[str, str]:
    return {text: split for split, rows in load_dataset(str(folder), "pairs").items() for text in rows["text"]}


def test_two_copies_of_one_zip_file(tmp_path):
    """Their content is the same to the last bit, and so is what is kept of them."""
    folder = write_reports(tmp_path / "reports", [report_row(n) for n in range(6)])
    (tmp_path / "a").mkdir()
    with zipfile.ZipFile(tmp_path / "a/reports.zip", "w") as file:
        for path in sorted(folder.rglob("*.*")):
            file.write(path, path.relative_to(folder))
    write_files(tmp_path / "b", {"reports.zip": (tmp_path / "a/reports.zip").read_bytes()})
    both = [tmp_path / "b/reports.zip", tmp_path / "a/reports.zip"]
    report = build_here({"--reports_dir": both}, tmp_path / "out", *FLAGS)
    assert {label: found["accepted"] for label, found in labels(report, "medical_reports").items()} == {
        "a": 6, "b": 0,
    }  # fmt: skip
    assert all(name.startswith("medical_reports/a/") for name in images_of(tmp_path / "out"))


# --- What was read is kept by folder


def test_only_the_folder_that_changed_is_read_again(batches, tmp_path):
    january, february = batches["--reports_dir"]
    raw = {"january": january, "february": february}
    with reading(raw) as read:
        build_here({"--reports_dir": january}, tmp_path / "out", *FLAGS)
    assert read == {"january"}
    kept = stamps(tmp_path / ".out.cache")
    with reading(raw) as read:
        build_here({"--reports_dir": [january, february]}, tmp_path / "out", *FLAGS, "--overwrite")
    assert read == {"february"} and kept.items() <= stamps(tmp_path / ".out.cache").items()
    write_files(february, {"images/3.png": png(9999)})
    with reading(raw) as read:
        build_here({"--reports_dir": [february, january]}, tmp_path / "out", *FLAGS, "--overwrite")
    assert read == {"february"} and kept.items() <= stamps(tmp_path / ".out.cache").items()
    assert len([path for path in (tmp_path / ".out.cache").iterdir() if path.is_dir()]) == 2  # and not the earlier one
    with reading(raw) as read:
        build_here({"--reports_dir": [february, january]}, tmp_path / "out", *FLAGS)
        build_here({"--reports_dir": january}, tmp_path / "out", *FLAGS, "--overwrite")
    assert read == set() and list(stages(tmp_path / ".out.cache")) == ["medical_reports"]


def test_a_folder_that_was_renamed_has_other_rows(batches, tmp_path):
    """Its name is in them; what was read of it is not kept by name."""
    january, february = batches["--reports_dir"]
    build_here({"--reports_dir": [january, february]}, tmp_path / "out", *FLAGS)
    moved = january.parent.rename(tmp_path / "in/april") / "reports"
    with reading({"moved": moved, "february": february}) as read:
        build_here({"--reports_dir": [moved, february]}, tmp_path / "out", *FLAGS, "--overwrite")
    assert read == set()
    assert {name.split("/")[1] for name in images_of(tmp_path / "out")} == {"april", "february"}


def test_folders_behind_an_address_and_a_cache_there(batches, tmp_path):
    """One of them here, one there: the rows are those of two folders here, and each is read once."""
    store = fsspec.filesystem("memory")
    january, february = batches["--reports_dir"]
    for name, data in tree(february).items():
        store.pipe(f"/several/february/{name}", data)
    flags = (*FLAGS, "--cache_dir", "memory://several-cache")
    build_here({"--reports_dir": [january, "memory://several/february"]}, tmp_path / "out", *flags)
    build_here({"--reports_dir": [january, february]}, tmp_path / "here", *FLAGS)
    expected = {name.replace("january", "reports"): data for name, data in images_of(tmp_path / "here").items()}
    assert images_of(tmp_path / "out") == expected
    paths = {line["image"].rpartition("/images/")[0] for line in read_lines(tmp_path / "out/chat_instructions.jsonl")}
    assert paths == {str(january), "memory://several/february"}
    report = build_here({"--reports_dir": ["memory://several/february", january]}, tmp_path / "out", *flags)
    assert report["sources"]["medical_reports"]["accepted"] == 19


# --- What may be shared


def test_a_folder_of_ones_own_beside_a_synthetic_one(batches, tmp_path, capsys):
    """Its rows keep their licence, and it is named where it must not be pushed."""
    own, drawn = batches["--reports_dir"]
    write_marker(drawn)
    words = ["--reports_dir", own, "--reports_dir", drawn, "--output_dir", tmp_path / "out", *FLAGS]
    assert main([*map(str, words), "--push_to_hub", "org/never"]) == 2
    assert "the license of medical_reports (january) is not known to allow redistribution" in capsys.readouterr().err
    assert main([*map(str, words)]) == 0
    rows = load_dataset(str(tmp_path / "out"), "pairs")
    names = real_names(tmp_path / "out")
    licences = {(names[row["image_path"]].split("/")[1], row["license"]) for part in rows.values() for row in part}
    assert licences == {("january", "unknown"), ("february", "Apache-2.0")}
    source = json.loads((tmp_path / "out/report.json").read_text())["sources"]["medical_reports"]
    hasher = Hasher(read_key(tmp_path / "out.key"))
    label = Publication(hasher, {"medical_reports": SourceColumns({})}).label("medical_reports", "february")
    assert source["synthetic"] is False and source["folders"][label]["synthetic"] is True
    card = (tmp_path / "out/README.md").read_text("utf-8")
    assert f"**Partly synthetic data.** The images and texts of `medical_reports/{label}` were generated" in card
    assert "**Redistribution not permitted.** The license of `medical_reports`" in card and "machine-generated" in card
    write_marker(own)
    assert main([*map(str, words), "--overwrite"]) == 0
    card = (tmp_path / "out/README.md").read_text("utf-8")
    assert "**Synthetic data.**" in card and "**Redistribution not permitted.**" not in card


def test_a_build_of_which_a_part_may_not_be_shared_is_not_pushed_later(batches, tmp_path, repo_name):
    from hub_datasets.errors import BuildError
    from hub_datasets.output.publish import push_dataset

    own, drawn = batches["--reports_dir"]
    write_marker(drawn)
    build_here({"--reports_dir": [own, drawn]}, tmp_path / "out", *FLAGS)
    with pytest.raises(BuildError, match="the license of medical_reports is not known to allow redistribution"):
        push_dataset(tmp_path / "out", repo_name)
    write_marker(own)
    build_here({"--reports_dir": [own, drawn]}, tmp_path / "out", *FLAGS, "--overwrite")
    assert repo_name in push_dataset(tmp_path / "out", repo_name)
