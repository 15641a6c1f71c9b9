"""Checks that what an earlier build has read is not read again, by files on disk and not by time."""

from __future__ import annotations

import json
import os
import shutil
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from datasets import load_dataset

from hub_datasets.build import build, main
from hub_datasets.errors import BuildError
from hub_datasets.filesystem.local_store import LocalStore, contains
from hub_datasets.options import BuildOptions
from hub_datasets.records import RawRecord
from hub_datasets.sources.base import Source
from tests.cases import few
from tests.hub_datasets.checked import build_here, options_for
from tests.hub_datasets.layouts import (
    csv_text,
    encoded,
    pad_row,
    picture,
    png,
    read_lines,
    report_row,
    tree,
    write_files,
    write_four_sources,
    write_reports,
)


@pytest.fixture
def raw(tmp_path) -> dict[str, Path]:
    return write_four_sources(tmp_path / "raw")


def stamps(folder: Path) -> dict[str, tuple[int, int]]:
    """Which file each name is, and when it was last written; without locks."""
    found = {path.relative_to(folder).as_posix(): path.stat() for path in folder.rglob("*") if path.is_file()}
    return {name: (stat.st_ino, stat.st_mtime_ns) for name, stat in found.items() if not name.endswith("lock")}


@contextmanager
def reading(raw: dict[str, Path]) -> Iterator[set[str]]:
    """Gives a set that in the end holds the flags of the folders in which a file was read, but for `read_again`.

    That is how an image gets from its folder into a Parquet file without being examined once more.
    """
    found, opened = set(), LocalStore._descriptor

    def remember(store: LocalStore, name: str) -> tuple[int, int]:
        found.update(flag for flag, folder in raw.items() if contains(os.path.realpath(folder), store.root))
        return opened(store, name)

    LocalStore._descriptor = remember
    try:
        yield found
    finally:
        LocalStore._descriptor = opened


def stages(cache: Path) -> dict[str, str]:
    """The stages in a cache, by source."""
    return {path.name.rpartition("-")[0]: path.name for path in cache.iterdir() if path.is_dir()}


def test_a_rebuild_is_not_hidden_by_the_cache(tmp_path):
    """Same folder, same rows, same sizes; only one word of a text is another: `datasets` has a cache of its own."""
    seen = []
    for word in ("left", "near"):
        source = tmp_path / word
        texts = [f"The {word} lung is clear.", "The heart is of normal size."]
        write_reports(source, [report_row(number, text=text) for number, text in enumerate(texts)])
        command = ["--reports_dir", source, "--output_dir", tmp_path / "data", "--overwrite", "--val_fraction", "0"]
        assert main([str(word) for word in command]) == 0
        seen.append(sorted(load_dataset(str(tmp_path / "data"), "pairs", split="train")["text"])[1])
    assert seen == ["The left lung is clear.", "The near lung is clear."]


def test_where_nothing_changed_nothing_is_done(raw, tmp_path):
    with reading(raw) as read:
        first = build_here(raw, tmp_path / "out", "--val_fraction", "0.3")
    assert read == raw.keys()
    before = stamps(tmp_path / "out"), stamps(tmp_path / ".out.cache")
    with reading(raw) as read:
        assert build_here(raw, tmp_path / "out", "--val_fraction", "0.3") == first  # without --overwrite
        assert build_here(raw, tmp_path / "out", "--val_fraction", "0.3", "--overwrite") == first
    assert read == set()
    assert (stamps(tmp_path / "out"), stamps(tmp_path / ".out.cache")) == before


def test_only_a_source_that_changed_is_read_again(raw, tmp_path):
    build_here(raw, tmp_path / "out")
    old, kept = stages(tmp_path / ".out.cache"), stamps(tmp_path / ".out.cache")
    rows = [pad_row(number) for number in range(9)]
    image = {"images/imgs_part_1/PAT_8_8_1.png": png(7)}
    write_files(raw["--pad_ufes_dir"], {"metadata.csv": csv_text(rows), **image})
    with reading(raw) as read:
        report = build_here(raw, tmp_path / "out", "--overwrite")
    assert read == {"--pad_ufes_dir"}
    assert {name: source["accepted"] for name, source in report["sources"].items()} == {
        "knee_xray": 6, "pad_ufes_20": 9, "slake": 12, "medical_reports": 12,
    }  # fmt: skip
    new = stages(tmp_path / ".out.cache")
    assert {name for name in new if new[name] != old[name]} == {"pad_ufes_20"}
    others = {name: stamp for name, stamp in kept.items() if not name.startswith("pad_ufes_20-")}
    assert len(others) == 6 and others.items() <= stamps(tmp_path / ".out.cache").items()
    assert not any(name.startswith(old["pad_ufes_20"]) for name in stamps(tmp_path / ".out.cache"))


@pytest.mark.parametrize(
    "change",
    few(["a new image", "a changed image", "a missing image", "a renamed image"], "a changed image", "a new image"),
)
def test_every_change_of_a_file_is_seen(tmp_path, change):
    folder = write_reports(tmp_path / "reports", [report_row(number) for number in range(5)])
    build_here({"--reports_dir": folder}, tmp_path / "out")
    path = folder / "images/2.png"
    if change == "a new image":
        write_files(folder, {"images/5.png": png(5)})
    elif change == "a changed image":
        time = path.stat().st_mtime_ns
        path.write_bytes(png(99)[: path.stat().st_size].ljust(path.stat().st_size, b"\0"))
        os.utime(path, ns=(time, time + 1))
    elif change == "a missing image":
        path.unlink()
    else:
        path.rename(path.with_name("other.png"))
    old = stages(tmp_path / ".out.cache")
    build_here({"--reports_dir": folder}, tmp_path / "out", "--overwrite")
    assert stages(tmp_path / ".out.cache").keys() == old.keys() and stages(tmp_path / ".out.cache") != old


def test_other_settings_use_what_was_read(raw, tmp_path):
    build_here(raw, tmp_path / "out")
    kept = stamps(tmp_path / ".out.cache")
    for flags in (["--val_fraction", "0.4", "--test_fraction", "0.2"], ["--chat_turns", "multi"],
                  ["--system_prompt", "Answer briefly."], ["--num_shards", "3"],
                  ["--near_distance", "0"], ["--knee_conflicts", "keep_lower"]):  # fmt: skip
        with reading(raw) as read:
            report = build_here(raw, tmp_path / "out", "--overwrite", *flags)
        name, value = flags[0].removeprefix("--"), flags[1]
        assert str(report["settings"][name]) == value
        assert stamps(tmp_path / ".out.cache") == kept and not read, flags


@pytest.mark.parametrize(
    ("flag", "value"),
    few([("--min_image_side", "9"), ("--window", "0:255"), ("--max_image_pixels", "999"), ("--max_text_chars", "300")]),
)
def test_settings_of_what_is_read_are_asked_again(tmp_path, flag, value):
    folder = {"--reports_dir": write_reports(tmp_path / "reports", [report_row(0), report_row(1)])}
    build_here(folder, tmp_path / "out")
    old = stages(tmp_path / ".out.cache")
    build_here(folder, tmp_path / "out", "--overwrite", flag, value)
    assert stages(tmp_path / ".out.cache")["medical_reports"] != old["medical_reports"]


@pytest.mark.slow
def test_another_version_of_the_code_reads_again(run, clone, tmp_path):
    folder = write_reports(tmp_path / "reports", [report_row(0), report_row(1)])
    for name in ("hub_datasets", "model_cards"):
        shutil.copytree(clone / name, tmp_path / "code" / name)
    command = ("python", "hub_datasets/build.py", "--reports_dir", folder, "--output_dir", tmp_path / "out")
    seen = []
    for _ in range(2):
        run(*command, "--overwrite", env={"PYTHONPATH": None}, cwd=tmp_path / "code")
        seen.append(stages(tmp_path / ".out.cache")["medical_reports"])
        with (tmp_path / "code/hub_datasets/chat/conversations.py").open("a") as file:
            file.write("# another version\n")
    assert seen[0] != seen[1]


def test_a_source_that_is_left_out_keeps_its_stage(raw, tmp_path):
    """A build of some sources says nothing about the others, whose reading may have taken hours."""
    build_here(raw, tmp_path / "out")
    old = stages(tmp_path / ".out.cache")
    build_here({"--slake_dir": raw["--slake_dir"]}, tmp_path / "out", "--overwrite")
    assert stages(tmp_path / ".out.cache") == old
    with reading(raw) as read:
        build_here(raw, tmp_path / "out", "--overwrite")
    assert read == set()


def test_one_cache_for_two_outputs(raw, tmp_path):
    build_here(raw, tmp_path / "one", "--cache_dir", tmp_path / "cache")
    kept = stamps(tmp_path / "cache")
    with reading(raw) as read:
        build_here(raw, tmp_path / "two", "--cache_dir", tmp_path / "cache")
    assert stamps(tmp_path / "cache") == kept and not read and tree(tmp_path / "one") == tree(tmp_path / "two")
    assert {path.name for path in tmp_path.iterdir()} == {
        "raw", "cache", *(f"{name}{end}" for name in ("one", "two") for end in ("", ".key", ".names.jsonl"))
    }  # fmt: skip


def test_a_zip_file_that_is_mended_is_read_again(tmp_path):
    """The damaged one lists the same members, of the same sizes and checksums, as the sound one in its place."""
    folder = write_reports(tmp_path / "reports", [report_row(number) for number in range(5)])
    with zipfile.ZipFile(folder / "images.zip", "w") as archive:
        for path in sorted((folder / "images").iterdir()):
            archive.write(path, f"images/{path.name}")
    shutil.rmtree(folder / "images")
    rows = [report_row(number, image=f"images.zip/images/{number}.png") for number in range(5)]
    write_files(folder, {"reports.jsonl": "".join(json.dumps(row) + "\n" for row in rows)})
    sound = (folder / "images.zip").read_bytes()
    damaged = bytearray(sound)
    damaged[sound.index(b"IDAT") + 9] ^= 1
    for content, accepted in ((bytes(damaged), 4), (sound, 5)):
        write_files(folder, {"images.zip": content})
        report = build_here({"--reports_dir": folder}, tmp_path / "out", "--overwrite")
        assert report["sources"]["medical_reports"]["accepted"] == accepted


# --- Whole or not at all


@pytest.mark.parametrize(
    "damage",
    few(["cut images", "no images", "cut catalog", "no catalog", "manifest", "no list"], "cut images", "no list"),
)
def test_a_stage_that_is_not_whole_is_read_again(raw, tmp_path, damage):
    write_files(raw["--slake_dir"], {"imgs/xmlab1/source.jpg": encoded(picture(1), "BMP")})  # a copy is in the stage
    build_here(raw, tmp_path / "out")
    undisturbed = tree(tmp_path / "out")
    shutil.rmtree(tmp_path / "out")
    stage = tmp_path / ".out.cache" / stages(tmp_path / ".out.cache")["slake"]
    file = stage / {"images": "images-000000.bin", "catalog": "catalogue.sqlite"}.get(damage.split()[-1], "stage.json")
    if damage.startswith("cut"):
        os.truncate(file, file.stat().st_size // 2)
    elif damage in ("no images", "no catalog"):
        file.unlink()
    else:
        file.write_text("{" if damage == "manifest" else "{}")
    build_here(raw, tmp_path / "out")
    assert tree(tmp_path / "out") == undisturbed


@pytest.mark.parametrize(
    "damage", few(["a file less", "a file cut", "no manifest", "a broken manifest"], "a file cut", "a broken manifest")
)
def test_an_output_that_is_not_whole_is_built_again(raw, tmp_path, damage):
    build_here(raw, tmp_path / "out")
    undisturbed = tree(tmp_path / "out")
    shard, manifest = (tmp_path / "out" / name for name in ("chat/train-00000-of-00001.parquet", ".build.json"))
    match damage:
        case "a file less":
            shard.unlink()
        case "a file cut":
            os.truncate(shard, 100)
        case "no manifest":
            manifest.unlink()
        case "a broken manifest":
            manifest.write_text("[1]")
    with pytest.raises(BuildError, match="is not empty"):
        build_here(raw, tmp_path / "out")
    build_here(raw, tmp_path / "out", "--overwrite")
    assert tree(tmp_path / "out") == undisturbed


def test_what_others_put_into_the_output_stays_where_nothing_is_done(raw, tmp_path):
    build_here(raw, tmp_path / "out")
    write_files(tmp_path / "out", {".cache/huggingface/upload.json": "{}"})
    build_here(raw, tmp_path / "out")
    assert (tmp_path / "out/.cache/huggingface/upload.json").is_file()


def test_other_splits_to_keep_are_another_build(raw, tmp_path):
    """`--keep_splits` names a folder; what is in it counts."""
    build_here(raw, tmp_path / "out")
    build_here(raw, tmp_path / "kept", "--keep_splits", tmp_path / "out")
    lines = (tmp_path / "out/splits.txt").read_text().splitlines()
    turned = [line.replace(" train", " test") if number else line for number, line in enumerate(lines)]
    (tmp_path / "out/splits.txt").write_text("\n".join(turned) + "\n")
    report = build_here(raw, tmp_path / "kept", "--keep_splits", tmp_path / "out", "--overwrite")
    assert "train" not in report["splits"]["pairs"] and report["splits"]["pairs"]["test"] > 20


def test_files_that_change_while_they_are_read(tmp_path):
    """Half of the rows would be of one state of the folder and half of another: nothing of it is kept."""
    folder = write_reports(tmp_path / "reports", [report_row(0), report_row(1)])

    def read(found):
        for number in range(2):
            write_files(folder, {"images/1.png": png(number)})
            image = f"images/{number}.png"
            yield RawRecord("moving", f"row {number}", image, "report", "en", text=f"Text {number} of a report.")

    source = Source("moving", "--moving_dir", "report", read, "", "", "unknown", "")
    given = options_for({"--reports_dir": folder}, tmp_path / "out", "--key_file", tmp_path / "out.key")
    fields = {name: getattr(given, name) for name in BuildOptions.__slots__}
    ((_, opened),) = given.folders
    with pytest.raises(BuildError, match=r"--moving_dir .*reports: files changed while they were read; run again"):
        build(BuildOptions(**fields | {"folders": ((source, opened),)}))
    assert {path.name for path in tmp_path.iterdir()} == {"reports"}


def test_the_manifest_names_every_file(raw, tmp_path):
    build_here(raw, tmp_path / "out")
    files = tree(tmp_path / "out")
    manifest = json.loads(files.pop(".build.json"))
    assert manifest["files"] == {name: len(content) for name, content in files.items()}
    assert len(read_lines(tmp_path / "out/chat_instructions.jsonl")) == 46
