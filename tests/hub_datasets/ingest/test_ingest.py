"""Checks that each image is examined once, that its bytes are kept, and that unchanged files are not read again."""

from __future__ import annotations

import io
import json
import os
import shutil
import tarfile
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest
import xxhash
from PIL.PngImagePlugin import PngInfo

from hub_datasets.errors import BuildError
from hub_datasets.filesystem import storage
from hub_datasets.filesystem.source_folder import Folder
from hub_datasets.images.validation import ImageSettings, encode_png
from hub_datasets.ingest import ingest
from hub_datasets.ingest.catalog import Catalog
from hub_datasets.ingest.executors import InProcess
from hub_datasets.ingest.image_bytes import bytes_of
from hub_datasets.ingest.ingest import Stage, batches, examine_batch, ingest_folder, remove_stale, stage_keys
from hub_datasets.records import Ignored, Reason, Rejection
from hub_datasets.synthetic.marker import write_marker
from hub_datasets.texts.validation import TextSettings
from tests.hub_datasets.hand_made import report, source_of
from tests.hub_datasets.layouts import (
    encoded,
    jpeg,
    picture,
    png,
    report_row,
    tree,
    write_files,
    write_reports,
)

IMAGES, TEXTS = ImageSettings(), TextSettings()
FLAG = "--reports_dir"


@pytest.fixture
def reports(tmp_path) -> Path:
    return write_reports(tmp_path / "reports", [report_row(n) for n in range(6)])


def staged(folder, root, scratch, source=None, images=IMAGES, engine=None) -> Stage:
    source, folder = source or source_of("medical_reports"), Folder(folder)
    (key,) = stage_keys([(source, folder)], images, TEXTS)
    Path(scratch).mkdir(exist_ok=True)
    return ingest_folder(source, folder, key, images, TEXTS, engine or InProcess(), str(root), Path(scratch))


class Counting(InProcess):
    """An engine that keeps the tasks that it was given."""

    def __init__(self) -> None:
        self.tasks: list[dict] = []

    def map(self, function, tasks):
        for task in tasks:
            self.tasks.append(json.loads(json.dumps(task)))
            yield function(task)


def images_of(stage: Stage) -> dict[str, dict]:
    """The catalog's rows of images, by name, with their published bytes."""
    catalog, found = Catalog(stage.catalog), {}
    for _, _, record, image, _ in catalog.records_by_picture():
        found[record.image] = image | {"data": bytes_of(stage, record.image, image)}
    catalog.close()
    return found


def test_images_stay_in_the_source_folder(reports, tmp_path):
    found = staged(reports, tmp_path / "cache", tmp_path / "scratch")
    images = images_of(found)
    assert {name: image["data"] for name, image in images.items()} == {
        f"images/{n}.png": (reports / f"images/{n}.png").read_bytes() for n in range(6)
    }
    for image in images.values():
        assert image["content"] == xxhash.xxh3_128_hexdigest(image["data"])
        assert (image["format"], image["width"], image["height"]) == ("PNG", 12, 10)
    files = ("catalogue.sqlite", "stage.json")
    assert sorted(tree(tmp_path / "cache")) == [f"medical_reports-{found.key}/{name}" for name in files]
    assert (found.reused, found.synthetic, len(found.key)) == (False, False, 20)


def test_a_stage_holds_what_the_source_folder_does_not_hold_as_it_is_published(reports, tmp_path):
    """Images that were encoded again, in a tar.gz, or with more to remove than is worth a note; EXIF is taken out."""
    folder = images_in_all_ways(reports)
    found = images_of(staged(folder, tmp_path / "cache", tmp_path / "scratch"))
    stays = {name: image["file"] is None for name, image in found.items()}
    assert stays == {"images/0.png": True, "images/1.png": True, "images/2.png": False, "images/3.png": False,
                     "images.zip/4.png": True, "images.tgz/5.png": False, "images.zip/in.zip/6.png": False,
                     "images.tar/7.png": True}  # fmt: skip
    assert (folder / "images/1.png").read_bytes() != found["images/1.png"]["data"]
    for name, image in found.items():
        assert len(image["data"]) == image["length"] and image["content"] == xxhash.xxh3_128_hexdigest(image["data"])
        assert b"Secret" not in image["data"], name


def tar_member(name: str, size: int) -> tarfile.TarInfo:
    found = tarfile.TarInfo(name)
    found.size = size
    return found


def images_in_all_ways(reports: Path) -> Path:
    """1 has EXIF, 2 is a BMP, 3 has 99 texts, 4 is in a zip file, 5 in a tar.gz, 6 in a zip in a zip, 7 in a tar."""
    inner = io.BytesIO()
    with zipfile.ZipFile(inner, "w") as archive:
        archive.writestr("6.png", png(6))
    with zipfile.ZipFile(reports / "images.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("4.png", png(4))
        archive.writestr("in.zip", inner.getvalue())
    for name, mode, number in (("images.tgz", "w:gz", 5), ("images.tar", "w", 7)):
        with tarfile.open(reports / name, mode) as archive:
            archive.addfile(tar_member(f"{number}.png", len(png(number))), io.BytesIO(png(number)))
    texts = PngInfo()
    for number in range(99):
        texts.add_text(f"Secret {number}", "x")
        texts.add(b"pHYs", bytes(9), after_idat=bool(number % 2))  # kept, so that what is removed is in many places
    write_files(reports, {
        "images/1.png": encoded(picture(1), "PNG", exif=b"Exif\0\0Secret"),
        "images/2.png": encoded(picture(2), "BMP"),
        "images/3.png": encoded(picture(3), "PNG", pnginfo=texts),
    })  # fmt: skip
    places = {4: "images.zip", 5: "images.tgz", 6: "images.zip/in.zip", 7: "images.tar"}
    rows = [report_row(n, image=f"{places.get(n, 'images')}/{n}.png") for n in range(8)]
    return write_files(reports, {"reports.jsonl": "".join(json.dumps(row) + "\n" for row in rows)})


def test_images_are_dealt_to_tasks_and_each_is_read_once(tmp_path):
    """However many records name it."""
    rows = [report_row(n, image=f"images/{n % 70}.png") for n in range(210)]
    engine = Counting()
    found = staged(write_reports(tmp_path / "reports", rows), tmp_path / "cache", tmp_path / "s", engine=engine)
    assert [len(task["names"]) for task in engine.tasks] == [4] * 17 + [2]
    assert sorted(name for task in engine.tasks for name in task["names"]) == sorted({row["image"] for row in rows})
    assert len({task["target"] for task in engine.tasks}) == 18
    images = images_of(found)
    assert len(images) == 70 and len({image["data"] for image in images.values()}) == 70
    assert Catalog(found.catalog).count_read() == 210


def test_what_did_not_change_is_not_read_again(reports, tmp_path):
    first = staged(reports, tmp_path / "cache", tmp_path / "s")
    shutil.move(reports / "images", tmp_path / "aside")  # nothing can be read any more
    aside = Folder(reports)

    def read(folder):
        raise AssertionError("read again")

    source = source_of("medical_reports", read=read)
    again = ingest_folder(source, aside, first.key, IMAGES, TEXTS, InProcess(), str(tmp_path / "cache"), tmp_path / "s")
    assert again.reused and again.address == first.address and Catalog(again.catalog).count_images() == 6


@pytest.mark.parametrize("kind", ["text", "image", "new file", "touched", "renamed", "gone"])
def test_the_key_changes_with_every_file(reports, kind):
    def key() -> str:
        return stage_keys([(source_of("medical_reports"), Folder(reports))], IMAGES, TEXTS)[0]

    before = key()
    assert key() == before
    table = reports / "reports.jsonl"
    match kind:
        case "text":
            table.write_bytes(table.read_bytes().replace(b"focal", b"local"))
        case "image":
            (reports / "images/3.png").write_bytes(png(99))
        case "new file":
            (reports / "notes.txt").touch()
        case "touched":
            os.utime(table, ns=(1, 1))
        case "renamed":
            (reports / "images/3.png").rename(reports / "images/9.png")
        case "gone":
            (reports / "images/3.png").unlink()
    assert key() != before


def test_the_key_changes_with_the_settings_and_the_code_and_not_with_the_place(reports, tmp_path, monkeypatch):
    source = source_of("medical_reports")

    def key(folder=reports, images=IMAGES, texts=TEXTS) -> str:
        return stage_keys([(source, Folder(folder))], images, texts)[0]

    keys = [key(), key(images=replace(IMAGES, min_side=9)), key(images=replace(IMAGES, ocr=True)),
            key(images=replace(IMAGES, window="0:9")), key(images=replace(IMAGES, max_pixels=9)),
            key(texts=TextSettings(6)), key(texts=TextSettings(5, 999))]  # fmt: skip
    monkeypatch.setattr(ingest, "code_version", lambda: "another")
    keys.append(key())
    assert len(set(keys)) == len(keys)
    before = key()
    shutil.move(reports, tmp_path / "moved")
    assert key(tmp_path / "moved") == before


def test_the_version_of_the_code_is_that_of_every_file_of_this_folder(tmp_path, monkeypatch):
    before = ingest.code_version()
    shutil.copytree(Path(ingest.__file__).parents[1], tmp_path / "hub_datasets")
    monkeypatch.setattr(ingest, "__file__", str(tmp_path / "hub_datasets/ingest/ingest.py"))
    assert ingest.code_version.__wrapped__() == before
    with (tmp_path / "hub_datasets/sources/slake.py").open("a") as file:
        file.write("#\n")
    assert ingest.code_version.__wrapped__() != before


def test_what_a_killed_build_left_is_read_again(reports, tmp_path):
    reports = images_in_all_ways(reports)
    whole = staged(reports, tmp_path / "whole", tmp_path / "s")
    half = tmp_path / "cache" / Path(whole.address).name
    write_files(half, {"catalogue.sqlite": b"half", "images-000000.bin": b"half", "images-000007.bin": b"old"})
    found = staged(reports, tmp_path / "cache", tmp_path / "s")
    assert not found.reused and tree(half).keys() == tree(Path(whole.address)).keys()
    assert images_of(found) == images_of(whole)


def test_a_source_that_changes_while_it_is_read(reports, tmp_path):
    real = source_of("medical_reports").read

    def read(folder):
        yield from real(folder)
        (reports / "images/new.png").write_bytes(png(9))

    source = source_of("medical_reports", read=read)
    with pytest.raises(BuildError, match=f"{FLAG} .*: files changed while they were read; run again"):
        staged(reports, tmp_path / "cache", tmp_path / "s", source=source)
    assert not list((tmp_path / "cache").rglob("stage.json"))
    assert staged(reports, tmp_path / "cache", tmp_path / "s").reused is False


def test_a_source_that_this_project_drew(reports, tmp_path):
    write_marker(reports)
    assert staged(reports, tmp_path / "cache", tmp_path / "s").synthetic is True


def test_a_stage_behind_an_address(reports, tmp_path):
    root = f"memory://{tmp_path.name}/cache"
    reports = images_in_all_ways(reports)
    found = staged(reports, root, tmp_path / "s")
    assert found.address == f"{root}/medical_reports-{found.key}"
    assert storage.names_in(found.address) == [
        "catalogue.sqlite", "images-000000.bin", "images-000001.bin", "stage.json",
    ]  # fmt: skip
    local = staged(reports, tmp_path / "cache", tmp_path / "s")
    assert images_of(found) == images_of(local)
    shutil.rmtree(tmp_path / "s")  # a later build has another scratch folder
    again = staged(reports, root, tmp_path / "s2")
    assert again.reused and images_of(again) == images_of(local)


# --- What a source yields


def test_everything_that_a_source_yields_is_kept_with_what_became_of_it(tmp_path):
    folder = write_files(tmp_path / "raw", {f"images/{n}.png": png(n) for n in range(4)})
    found = [
        report(0),
        Ignored("medical_reports", "Thumbs.db", "no image"),
        Rejection("medical_reports", "line 1", Reason.MALFORMED_ROW, "no JSON"),
        report(2, text=" "),
        report(3, text="short"),
        report(4, "images/1.png", text="x" * 8000),
        report(5, "images/2.png", metadata={"x": float("nan")}),
        report(6, "images/none.png"),
        report(7, "../secret.png"),
        report(8, "images/3.png", text="caf\udce9 is no text"),
    ]
    source = source_of("medical_reports", read=lambda folder: iter(found))
    catalog = Catalog(staged(folder, tmp_path / "cache", tmp_path / "s", source=source).catalog)
    assert {rejection.item: str(rejection.code) for _, rejection in catalog.rejections()} == {
        "line 1": "malformed_row", "line 2": "text_short", "line 3": "text_short", "line 4": "text_long",
        "line 5": "malformed_row", "line 6": "image_missing", "line 7": "image_outside_root",
        "line 8": "malformed_row",
    }  # fmt: skip
    assert [record.item for _, _, record, *_ in catalog.records_by_picture()] == ["line 0"]
    assert list(catalog.ignored()) == [("Thumbs.db", "no image")]
    # images of records that cannot be used are not read at all
    assert list(catalog.image_names()) == ["images/0.png", "images/none.png", "../secret.png"]


# --- A worker's task


def test_a_task_writes_the_images_that_can_be_used_one_after_the_other(tmp_path):
    bmp, other = encoded(picture(1), "BMP"), encoded(picture(5), "BMP")
    files = {"a.png": bmp, "b.jpg": jpeg(2), "c.png": png(3)[:50], "d.png": png(4), "e.png": other}
    folder = write_files(tmp_path / "raw", files)
    task = {"folder": str(folder), "reading": "k", "names": ["a.png", "b.jpg", "c.png", "gone.png", "d.png", "e.png"],
            "settings": {"max_pixels": 1000, "min_side": 8, "window": "auto", "ocr": False},
            "target": str(tmp_path / "new/images-000003.bin")}  # fmt: skip
    found = examine_batch(json.loads(json.dumps(task)))["images"]
    assert json.loads(json.dumps(found)) == found
    assert [one.get("code") for one in found] == [None, None, "image_truncated", "image_missing", None, None]
    content = (tmp_path / "new/images-000003.bin").read_bytes()
    coded = [encode_png(picture(number)) for number in (1, 5)]
    assert content == b"".join(coded)
    for one, data in zip([found[0], found[5]], coded, strict=True):
        assert one["file"] == "images-000003.bin" and content[one["offset"] :][: one["length"]] == data
    assert all("file" not in found[place] and found[place]["edits"] == "" for place in (1, 4))
    assert not (tmp_path / "new/images-000004.bin").exists()
    examine_batch(task | {"names": ["d.png"], "target": str(tmp_path / "new/images-000004.bin")})
    assert not (tmp_path / "new/images-000004.bin").exists()


def test_batches():
    assert list(batches("abcdef", 6)) == [["a", "b", "c", "d"], ["e", "f"]] and list(batches("", 0)) == []
    sizes = [len(batch) for batch in batches(map(str, range(2000)), 2000)]
    assert sum(sizes) == 2000 and sizes[:10] == [32] * 10 and sizes[-3:] == [4, 4, 2] and sizes == sorted(sizes)[::-1]


# --- What is not needed any more


@pytest.mark.parametrize("remote", [False, True])
def test_old_stages_of_the_same_sources_are_removed(reports, tmp_path, remote):
    root = f"memory://{tmp_path.name}/cache" if remote else str(tmp_path / "cache")
    kept = staged(reports, root, tmp_path / "s")
    old, own = "medical_reports-" + "0123456789" * 2, "medical_reports-2019"  # a folder of somebody's own
    others = (f"{old}/x", f"{own}/x", "slake-0123/x", "lock", "medical_reports/x", "other-medical_reports-01/x")
    for name in others:
        with storage.open_file(storage.join(root, name), "wb") as file:
            file.write(b"x")
    remove_stale(root, [kept])
    assert storage.names_in(root) == sorted(
        [Path(kept.address).name, own, "lock", "medical_reports", "other-medical_reports-01", "slake-0123"]
    )
