"""Tests the image cache: the same pixels as without it, decoded once, and intact after kills, races and disk damage."""

from __future__ import annotations

import itertools
import json
import os
import pickle
import re
import shutil
import subprocess
import sys
import time
from dataclasses import replace

import numpy as np
import pytest
import torch

from evaluation.loading import InputError
from evaluation.scoring.encoder import content_id
from tests.cases import few
from tests.forked import Forked
from tests.trainers.chat_images import READER as TILES
from tests.trainers.images.build_cache import READERS, encoded_row
from tests.trainers.images.encoded_images import KINDS, READER, dataset, encoded, picture, stock
from trainers.encoder.data.dataset import EncodedImages, EncoderRows
from trainers.images.cache_builder import cached_images, reserve_space
from trainers.images.cache_reader import MANIFEST, PIXELS, RECORD, TABLE

COUNT = 400


@pytest.fixture(scope="module")
def rows():
    return dataset([*KINDS.values(), *KINDS.values()])


@pytest.fixture
def cache(tmp_path, rows):
    return EncoderRows(rows, READER, tmp_path / "caches").cached


def pixels_of(cached) -> np.ndarray:
    out = np.empty((len(cached.slots), *READER.shape), np.uint8)
    for row in range(len(out)):
        cached.read(row, out[row])
    return out


def reopened(cached):
    return cached_images(cached.folder.parent, READER, len(cached.slots), cached.encoded, 1)


def test_cached_uncached_and_stock_pixels_and_ids_are_the_same(tmp_path, rows):
    cached, plain = EncoderRows(rows, READER, tmp_path, workers=3), EncoderRows(rows, READER)
    batches = [ones.__getitems__(list(range(len(rows)))) for ones in (cached, plain)]
    expected = stock(rows, do_rescale=False, do_normalize=False)
    for row, image in enumerate(rows["image"]):
        for batch in batches:
            assert np.array_equal(batch[row]["pixels"], expected[row])
            assert batch[row]["image_id"] == content_id(image.convert("RGB").tobytes())
            assert batch[row]["group_id"] == content_id(rows[row]["text"])
            assert batch[row]["text"] == rows[row]["text"]


def test_equal_files_are_stored_once_and_known_by_their_slot(tmp_path, rows):
    cached, plain = EncoderRows(rows, READER, tmp_path), EncoderRows(rows, READER)
    assert len(cached.cached.table) == len(KINDS)
    assert (cached.cached.folder / PIXELS).stat().st_size == len(KINDS) * np.prod(READER.shape)
    for ones in (cached, plain):
        groups = ones.image_groups()
        assert np.array_equal(groups[: len(KINDS)], groups[len(KINDS) :])
        assert len(set(groups.tolist())) == len(KINDS)


def test_a_second_start_decodes_nothing_and_leaves_no_lock_or_part(cache, capsys):
    written = (cache.folder / PIXELS).stat().st_mtime_ns
    capsys.readouterr()
    again = reopened(cache)
    assert capsys.readouterr().out == ""
    assert (again.folder / PIXELS).stat().st_mtime_ns == written
    assert sorted(path.name for path in cache.folder.iterdir()) == sorted((PIXELS, TABLE, MANIFEST))
    assert sorted(path.name for path in cache.folder.parent.iterdir()) == [
        cache.folder.name,
        f"{cache.folder.name}.lock",
    ]


def test_another_order_and_more_rows_of_the_same_images_use_the_same_cache(cache, rows):
    shuffled = EncoderRows(rows.shuffle(seed=1).select(range(20)), READER, cache.folder.parent)
    if len(set(shuffled.image_groups().tolist())) == len(KINDS):
        assert shuffled.cached.folder == cache.folder
    turned = EncoderRows(rows.select(range(len(rows) - 1, -1, -1)), READER, cache.folder.parent)
    assert turned.cached.folder == cache.folder
    assert np.array_equal(pixels_of(turned.cached), pixels_of(cache)[::-1])


@pytest.mark.parametrize("change", [{"height": 32}, {"width": 32}, {"resample": 2}, {"draft": True}], ids=str)
def test_what_decides_the_pixels_decides_the_folder(cache, rows, change):
    other = EncoderRows(rows, replace(READER, **change), cache.folder.parent)
    assert other.cached.folder != cache.folder


def test_other_images_have_another_folder(cache, rows):
    assert EncoderRows(rows.select([0, 1]), READER, cache.folder.parent).cached.folder != cache.folder


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"num_workers": 2},
        pytest.param({"num_workers": 1, "multiprocessing_context": "spawn"}, marks=pytest.mark.slow),
    ],
)
def test_a_loader_with_workers_reads_the_same(tmp_path, rows, settings):
    ones = EncoderRows(rows, READER, tmp_path)
    loader = torch.utils.data.DataLoader(ones, batch_size=5, collate_fn=list, **settings)
    read = [row for batch in loader for row in batch]
    assert np.array_equal(np.stack([row["pixels"] for row in read]), pixels_of(ones.cached))
    assert [row["text"] for row in read] == rows["text"][:]


def test_a_pickle_holds_no_pixels(cache):
    unread = len(pickle.dumps(cache))
    pixels_of(cache)
    assert len(data := pickle.dumps(cache)) == unread
    assert np.array_equal(pixels_of(pickle.loads(data)), pixels_of(cache))  # noqa: S301 (made on the line above)


def test_a_damaged_image_is_named_with_row_and_file(tmp_path):
    damaged = dataset([KINDS["PNG"], KINDS["JPEG"][:1500], KINDS["JPEG"]])
    with pytest.raises(InputError, match=r"row 1 \(images/1\.png\).*truncated"):
        EncoderRows(damaged, READER, tmp_path)
    plain = EncoderRows(damaged, READER)
    assert plain[0]["text"] == "text 0"
    with pytest.raises(InputError, match=r"row 1 \(images/1\.png\).*truncated"):
        plain[1]


def test_a_row_without_an_image_and_a_file_that_is_gone_are_named(tmp_path):
    import datasets

    features = datasets.Features({"image": datasets.Image(), "text": datasets.Value("string")})
    gone = str(tmp_path / "gone.png")
    rows = datasets.Dataset.from_dict({"image": [gone, None], "text": ["a", "b"]}, features=features)
    for row in (0, 1):
        with pytest.raises(InputError, match=rf"row {row}.*cannot be read"):
            EncodedImages(rows)(row)


def test_a_dataset_without_images_is_refused():
    import datasets

    with pytest.raises(InputError, match="no column `image` of images"):
        EncodedImages(datasets.Dataset.from_dict({"image": ["a"], "text": ["b"]}))


def test_images_that_lie_beside_the_dataset_are_read(tmp_path):
    import datasets

    (tmp_path / "one.png").write_bytes(KINDS["PNG"])
    features = datasets.Features({"image": datasets.Image(), "text": datasets.Value("string")})
    rows = datasets.Dataset.from_dict({"image": [str(tmp_path / "one.png")], "text": ["a"]}, features=features)
    assert np.array_equal(EncoderRows(rows, READER, tmp_path / "c")[0]["pixels"], READER(KINDS["PNG"], "")[0])


# --- damage ---


def test_a_damaged_picture_is_decoded_again_and_put_right(cache, rows, capsys):
    right = pixels_of(cache)
    with (cache.folder / PIXELS).open("r+b") as file:
        file.seek(int(cache.slots[3]) * right[0].nbytes + 77)
        byte = file.read(1)
        file.seek(-1, os.SEEK_CUR)
        file.write(bytes([byte[0] ^ 255]))
    again = reopened(cache)
    capsys.readouterr()
    assert np.array_equal(pixels_of(again), right)
    assert re.search(r"damaged at --dataset, row 3 ", capsys.readouterr().out)
    assert np.array_equal(pixels_of(reopened(cache)), right)
    assert capsys.readouterr().out == ""


def cut(path, size):
    os.truncate(path, path.stat().st_size + size)


DAMAGE = {
    "pixels cut off": lambda folder: cut(folder / PIXELS, -5000),
    "pixels too long": lambda folder: cut(folder / PIXELS, 5000),
    "pixels gone": lambda folder: (folder / PIXELS).unlink(),
    "table cut off": lambda folder: cut(folder / TABLE, -7),
    "table of zeros": lambda folder: (folder / TABLE).write_bytes(bytes((folder / TABLE).stat().st_size)),
    "table gone": lambda folder: (folder / TABLE).unlink(),
    "no manifest": lambda folder: (folder / MANIFEST).unlink(),
    "manifest no JSON": lambda folder: (folder / MANIFEST).write_text("{"),
    "manifest no object": lambda folder: (folder / MANIFEST).write_text("[]"),
    "manifest of bytes": lambda folder: (folder / MANIFEST).write_bytes(b"\xff\xfe"),
    "empty folder": lambda folder: (shutil.rmtree(folder), folder.mkdir()),
    "table with another checksum of a picture": lambda folder: spoil_table(folder),
}


def spoil_table(folder):
    table = np.fromfile(folder / TABLE, RECORD)
    table["checksum"][2] ^= 1
    table.tofile(folder / TABLE)


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_cache_is_built_again(cache, damage, capsys):
    right, ids = pixels_of(cache), cache.table["note"].tolist()
    DAMAGE[damage](cache.folder)
    capsys.readouterr()
    again = reopened(cache)
    printed = re.search(r"decoding (\d+) images", capsys.readouterr().out)
    assert printed
    assert np.array_equal(pixels_of(again), right)
    assert again.table["note"].tolist() == ids
    assert json.loads((cache.folder / MANIFEST).read_text())["images"] == len(KINDS)
    if damage == "table with another checksum of a picture":
        assert printed[1] == "1"  # what is whole is kept


def test_what_else_lies_in_the_folder_of_a_cache_stays(cache):
    """Where another build of it was killed, too."""
    right = pixels_of(cache)
    (cache.folder / "notes").mkdir()
    (cache.folder / "notes" / "mine.txt").write_text("mine")
    building = shutil.copytree(cache.folder, cache.folder.with_name(f"{cache.folder.name}.building"))
    shutil.rmtree(building / "notes")
    cut(cache.folder / PIXELS, -1)
    assert np.array_equal(pixels_of(reopened(cache)), right)
    assert (cache.folder / "notes" / "mine.txt").read_text() == "mine" and not building.exists()


def test_a_full_disk_is_said_before_any_work(tmp_path):
    with (
        (tmp_path / "file").open("w+b") as file,
        pytest.raises(InputError, match=r"need .* MiB, but only .* MiB are free"),
    ):
        reserve_space(file, 2**60, tmp_path)


def test_a_folder_that_cannot_be_written_is_one_message(tmp_path, rows):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match=r"--image_cache .*file/below: Not a directory. Use another folder, or `none`"):
        EncoderRows(rows, READER, tmp_path / "file" / "below")


# --- images of several tiles ---

SHAPES = [(150, 40), (40, 150), (90, 90)]
TILED = [*KINDS.values(), *(encoded(picture(seed, *size)) for seed, size in enumerate(SHAPES))]


class Files:
    """Encoded images by row."""

    def __init__(self, files):
        self.files = files

    def __call__(self, row):
        return self.files[row], f"row {row}"


def tiled(folder, files=TILED, reader=TILES):
    return cached_images(folder, reader, len(files), Files(files), 3)


def test_only_the_tiles_that_an_image_has_are_kept_each_at_its_place(tmp_path):
    cached = tiled(tmp_path, TILED * 2)
    alone = [TILES(data, "") for data in TILED]
    counts = [len(pixels) for pixels, _ in alone]
    assert set(counts) == {1, 2, 3, 4}
    assert (cached.folder / PIXELS).stat().st_size == sum(counts) * np.prod(TILES.shape)
    for row in range(2 * len(TILED)):
        expected, ratio = alone[row % len(TILED)]
        pixels, note = cached.view(row)
        assert np.array_equal(pixels, expected) and note == ratio
        out = np.empty(expected.shape, np.uint8)
        assert cached.read(row, out) == ratio and np.array_equal(out, expected)


def test_a_view_is_checked_when_a_process_takes_it_first_and_put_right(tmp_path, capsys):
    right = [cached.copy() for cached, _ in map(tiled(tmp_path).view, range(len(TILED)))]
    cached = tiled(tmp_path)
    place = int(cached.starts[cached.slots[2]]) * int(np.prod(TILES.shape)) + 5
    with (cached.folder / PIXELS).open("r+b") as file:
        file.seek(place)
        byte = file.read(1)
        file.seek(place)
        file.write(bytes([byte[0] ^ 255]))
    capsys.readouterr()
    for _ in range(2):
        assert all(np.array_equal(cached.view(row)[0], right[row]) for row in range(len(TILED)))
    assert capsys.readouterr().out.count("damaged at row 2;") == 1
    assert np.shares_memory(cached.view(2)[0], cached.pixels)
    again = pickle.loads(pickle.dumps(cached))  # noqa: S301 (made here)
    assert again.pixels is None and not len(again.verified)
    assert all(np.array_equal(again.view(row)[0], right[row]) for row in range(len(TILED)))
    assert capsys.readouterr().out == ""


def test_a_view_of_a_damaged_file_that_cannot_be_written_is_right_each_time(tmp_path, capsys, monkeypatch):
    cached = tiled(tmp_path)
    right = [view.copy() for view, _ in map(cached.view, range(len(TILED)))]
    spoilt = tiled(tmp_path)
    with (cached.folder / PIXELS).open("r+b") as file:
        file.write(bytes(256))
    first = int(np.flatnonzero(spoilt.slots == 0)[0])
    capsys.readouterr()
    monkeypatch.setattr("trainers.images.cache_reader.write_at", refuse)
    for _ in range(2):
        assert np.array_equal(spoilt.view(first)[0], right[first])
    assert capsys.readouterr().out.count("the image is decoded again") == 2


def refuse(*_):
    raise OSError(30, "Read-only file system")


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_cache_of_tiles_is_built_again(tmp_path, damage, capsys):
    right = [(view.copy(), note) for view, note in map(tiled(tmp_path).view, range(len(TILED)))]
    folder = tiled(tmp_path).folder
    DAMAGE[damage](folder)
    capsys.readouterr()
    again = tiled(tmp_path)
    printed = re.search(r"decoding (\d+) images", capsys.readouterr().out)
    for row, (pixels, note) in enumerate(right):
        view, kept = again.view(row)
        assert np.array_equal(view, pixels) and kept == note
    if damage.startswith("table with"):
        assert printed[1] == "1"  # what is whole is kept


def test_a_count_of_tiles_that_was_changed_is_not_believed(tmp_path):
    """A table of a build that was killed: its numbers of tiles would move all that follow."""
    right = [view.copy() for view, _ in map(tiled(tmp_path).view, range(len(TILED)))]
    folder = tiled(tmp_path).folder
    (folder / MANIFEST).unlink()
    table = np.fromfile(folder / TABLE, RECORD)
    table["tiles"] = table["tiles"][::-1].copy()
    table.tofile(folder / TABLE)
    again = tiled(tmp_path)
    assert all(np.array_equal(again.view(row)[0], right[row]) for row in range(len(TILED)))


def test_an_image_that_changes_while_the_cache_is_built_is_named(tmp_path):
    """Files beside a dataset may: another number of tiles would lie over the next image."""
    asked = []

    def encoded_row(row):
        asked.append(row)
        return TILED[-3 if row == 1 and asked.count(1) == 3 else row], f"row {row}"

    with pytest.raises(InputError, match="row 1: the file was changed while the image cache was built"):
        cached_images(tmp_path, TILES, 4, encoded_row, 1)


@pytest.mark.parametrize("change", [{"tile": 48}, {"max_tiles": 3}, {"resample": 3}, {"draft": True}], ids=str)
def test_what_decides_the_tiles_decides_the_folder(tmp_path, change):
    assert tiled(tmp_path).folder != tiled(tmp_path, reader=replace(TILES, **change)).folder


# --- processes ---


@pytest.fixture(params=few(READERS))
def start(request, tmp_path):
    """`start(folder, milliseconds)`: (a process that builds the cache of COUNT images, the file that it prints to).

    So many milliseconds slower for each image.
    """
    logs = itertools.count()

    def begin(folder, milliseconds):
        log = tmp_path / f"log-{next(logs)}"
        words = [folder, COUNT, milliseconds, request.param]
        return Forked("tests.trainers.images.build_cache", words, log, log), log

    begin.reader = READERS[request.param]
    return begin


def right_pixels(reader):
    import xxhash

    digest = xxhash.xxh3_128()
    for row in range(COUNT):
        digest.update(reader(*encoded_row(row))[0])
    return digest.hexdigest()


def test_a_killed_build_is_gone_on_with(tmp_path, start):
    folder, done, seconds = tmp_path / "caches", 0, time.monotonic() + 300
    process, _ = start(folder, 5)
    try:
        while done < COUNT // 4:
            assert time.monotonic() < seconds
            assert process.poll() is None, "it ended before it could be killed"
            time.sleep(0.01)
            for table in folder.glob(f"*.building/{TABLE}"):
                done = int((np.fromfile(table, RECORD)["checksum"] != 0).sum())
    finally:
        process.kill()
        process.wait()
    assert not list(folder.glob(f"*/{MANIFEST}"))
    again, log = start(folder, 0)
    assert again.wait(120) == 0, log.read_text()
    printed = log.read_text()
    decoded = int(re.search(r"decoding (\d+) images", printed)[1])
    assert 0 < decoded <= COUNT - done
    assert printed.splitlines()[-1] == right_pixels(start.reader)
    assert [path.name for path in folder.glob("*.building")] == []


@pytest.mark.slow
def test_of_several_processes_one_builds_and_the_others_wait(tmp_path, start):
    started = [start(tmp_path / "caches", 10) for _ in range(3)]
    printed = [(process.wait(120), log.read_text()) for process, log in started]
    assert [status for status, _ in printed] == [0, 0, 0], printed
    assert {text.splitlines()[-1] for _, text in printed} == {right_pixels(start.reader)}
    assert sum("decoding" in text for _, text in printed) == 1
    assert sum("another process is building" in text for _, text in printed) >= 1


def test_a_build_whose_first_process_is_killed_is_taken_over_by_the_one_that_waits(tmp_path, start):
    folder = tmp_path / "caches"
    first, _ = start(folder, 50)
    try:
        until(lambda: list(folder.glob(f"*.building/{TABLE}")))
        second, log = start(folder, 0)
        until(lambda: log.exists() and "another process is building" in log.read_text())
    finally:
        first.kill()
        first.wait()
    assert second.wait(120) == 0, log.read_text()
    assert log.read_text().splitlines()[-1] == right_pixels(start.reader)


def until(happened):
    seconds = time.monotonic() + 60
    while not happened():
        assert time.monotonic() < seconds
        time.sleep(0.01)


@pytest.mark.slow
def test_memory_does_not_grow_with_the_number_of_images(tmp_path):
    """90 more photographs, each of 12 MB as pixels, take no 64 MiB more."""
    code = """
import resource, sys
from pathlib import Path
from tests.trainers.images.encoded_images import READER, encoded, picture
from trainers.images.cache_builder import cached_images
data = encoded(picture(1, 2000, 2000), "JPEG")
cached_images(Path(sys.argv[1]), READER, int(sys.argv[2]), lambda row: (data + row.to_bytes(4, "big"), "row"), 2)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)
"""
    peaks = {}
    for count in (10, 100):
        words = [sys.executable, "-c", code, str(tmp_path / str(count)), str(count)]
        peaks[count] = int(subprocess.run(words, capture_output=True, text=True, check=True).stdout.split()[-1])
    assert peaks[100] < peaks[10] + 64


def test_draft_pixels_are_cached_too(tmp_path):
    data = encoded(picture(5, 900, 700), "JPEG")
    reader = replace(READER, draft=True)
    ones = EncoderRows(dataset([data]), reader, tmp_path)
    assert np.array_equal(ones[0]["pixels"], reader(data, "")[0])
    assert not np.array_equal(ones[0]["pixels"], READER(data, "")[0])
