"""Checks that zip files are read without unpacking, and that harmful ones are refused by name."""

from __future__ import annotations

import os
import random
import stat
import struct
import zipfile
from pathlib import Path

import pytest

from hub_datasets.errors import BuildError
from hub_datasets.filesystem.archives import MAX_OPEN_ARCHIVES
from hub_datasets.filesystem.source_folder import Folder, FolderError
from tests.hub_datasets.folders import (
    MISSING,
    OUTSIDE,
    TOO_LARGE,
    UNREADABLE,
    UNSAFE,
    code_of,
    folder_with_outside,
    names,
    raw_zip,
    sent,
    zipped,
)
from tests.hub_datasets.layouts import png, write_files
from tests.hub_datasets.sources.mutations import mutated


@pytest.fixture
def root(tmp_path):
    return folder_with_outside(tmp_path)


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def test_the_members_of_a_zip_file_are_files_below_it(root):
    inner = zipped({"x.png": png(1)})
    write_files(root, {"folder/Part 1.ZIP": zipped({"a/1.png": png(7), "2.png": png(8), "b/": b"", "in.zip": inner})})
    folder = Folder(root)
    assert names(folder)[:3] == [f"folder/Part 1.ZIP/{name}" for name in ("2.png", "a/1.png", "in.zip/x.png")]
    assert folder.read("folder/Part 1.ZIP/a/1.png") == png(7) and folder.read("folder/Part 1.ZIP/in.zip") == inner
    assert not folder.has("folder/Part 1.ZIP")
    assert folder.read("folder/Part 1.ZIP/in.zip/x.png") == png(1)
    assert code_of(folder, "folder/Part 1.ZIP/in.zip/gone.png") is MISSING
    assert code_of(folder, "folder/Part 1.ZIP/gone.png") is code_of(folder, "folder/Part 1.ZIP/") is MISSING


def test_a_zip_file_may_be_the_whole_folder(root):
    write_files(root, {"all.zip": zipped({"a/1.png": png(7), "in.ZIP.txt": b""})})
    folder = sent(Folder(root / "all.zip"))
    assert names(folder) == ["a/1.png", "in.ZIP.txt"] and folder.read("a/1.png") == png(7)
    assert code_of(folder, "2.png") is MISSING and code_of(folder, "../image.png") is OUTSIDE


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_methods_of_packing(root, method):
    write_files(root, {"a.zip": zipped({"1.png": png(7, size=(300, 300)), "empty": b""}, method)})
    assert Folder(root).read("a.zip/1.png") == png(7, size=(300, 300)) and Folder(root).read("a.zip/empty") == b""


@pytest.mark.parametrize("name", [*(name for name in UNSAFE if not name.endswith("/")), "a\0.png"])
def test_members_with_unsafe_names_are_listed_and_refused(root, name):
    write_files(root, {"a.zip": raw_zip([(name, b"evil"), ("good.png", png(1))])})
    folder = Folder(root)
    (listed,) = (found for found in names(folder) if found.startswith("a.zip/") and found != "a.zip/good.png")
    assert code_of(folder, listed) is OUTSIDE
    assert folder.read("a.zip/good.png") == png(1)
    assert not (root.parent / "evil").exists()


def test_a_member_that_is_a_link(root):
    info = zipfile.ZipInfo("link.png")
    info.external_attr = (stat.S_IFLNK | 0o777) << 16
    write_files(root, {"a.zip": zipped({info: b"/etc/hostname"})})
    assert code_of(root, "a.zip/link.png") is OUTSIDE


def test_a_member_that_occurs_twice(root):
    write_files(root, {"a.zip": raw_zip([("1.png", png(1)), ("1.png", png(2))])})
    folder = Folder(root)
    assert names(folder).count("a.zip/1.png") == 1 and code_of(folder, "a.zip/1.png") is UNREADABLE


def test_members_named_by_other_systems(root):
    write_files(root, {"a.zip": raw_zip([("肺/1.png", png(1)), ("imgs\\2.png", png(2))])})  # UTF-8 without its flag
    folder = Folder(root)
    assert names(folder)[:2] == ["a.zip/imgs/2.png", "a.zip/肺/1.png"]
    assert folder.read("a.zip/肺/1.png") == png(1) and folder.read("a.zip/imgs/2.png") == png(2)


def test_members_that_cannot_be_unpacked(root):
    zips = {"a": raw_zip([("secret.png", png(1))], flags=1), "b": raw_zip([("1", png(1))], method=9),
            "c": raw_zip([("1", png(1))], crc=1), "d": raw_zip([("1", b"\xff" * 99)], method=8)}  # fmt: skip
    write_files(root, {f"{name}.zip": data for name, data in zips.items()})
    for name, words in (("a.zip/secret.png", "encrypted; unpack"), ("b.zip/1", "method"), ("c.zip/1", "CRC"),
                        ("d.zip/1", "cannot be unpacked")):  # fmt: skip
        assert code_of(root, name) is UNREADABLE
        with pytest.raises(FolderError, match=words):
            Folder(root).read(name)


def test_bombs(root):
    zeros = bytes(40 * 1024 * 1024)
    write_files(root, {"a.zip": zipped({"bomb.png": zeros, "small.csv": zeros[:1_000_000]}),
                       "b.zip": zipped({"large.png": os.urandom(5000)})})  # fmt: skip
    folder = Folder(root)
    assert code_of(folder, "a.zip/bomb.png") is TOO_LARGE
    assert folder.read("a.zip/small.csv") == zeros[:1_000_000]
    assert code_of(folder, "b.zip/large.png", limit=4999) is TOO_LARGE


def test_a_bomb_that_declares_another_size(root):
    """More than was declared is never unpacked; what comes out is then not the file."""
    data = bytearray(zipped({"bomb.png": bytes(40 * 1024 * 1024)}))
    data = data.replace(struct.pack("<I", 40 * 1024 * 1024), struct.pack("<I", 1000))
    write_files(root, {"a.zip": bytes(data)})
    assert Folder(root).files()[0].size == 1000
    assert code_of(root, "a.zip/bomb.png") is UNREADABLE


def test_a_zip_file_that_is_cut_off_anywhere(root):
    whole = zipped({f"{n}.png": png(n) for n in range(3)})
    for end in range(0, len(whole), 61):
        write_files(root, {"folder/a.zip": whole[:end]})
        with pytest.raises(BuildError, match=r"root/folder/a.zip: truncated, or not a zip file .*; download it again"):
            Folder(root).files()
        with pytest.raises(BuildError, match="truncated, or not a zip file"):
            Folder(root).read("folder/a.zip/1.png")


def test_what_macos_leaves_beside_a_zip_file_is_none(root):
    write_files(root, {"folder/._a.zip": "Mac OS X"})
    folder = Folder(root)
    assert folder.has("folder/._a.zip") and folder.read("folder/._a.zip") == b"Mac OS X"
    assert code_of(folder, "folder/._a.zip/1.png") is MISSING


def test_a_zip_file_that_changes_while_it_is_read(root):
    write_files(root, {"a.zip": zipped({"1.png": png(1), "2.png": png(2)})})
    folder = Folder(root)
    assert folder.read("a.zip/1.png") == png(1)
    other = sent(folder)
    write_files(root, {"new.zip": zipped({"1.png": png(3), "2.png": png(4)})})
    (root / "new.zip").replace(root / "a.zip")
    for late in (folder, other):
        with pytest.raises(BuildError, match=r"a.zip: the archive changed while it was read; run again"):
            late.read("a.zip/2.png")
    folder.state()
    assert folder.read("a.zip/2.png") == png(4), "after another look it is a new file"


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="open files cannot be counted")
def test_more_zip_files_than_may_be_open(root):
    write_files(root, {f"{n}.zip": zipped({"1.png": png(n)}) for n in range(90)})
    folder = Folder(root)
    before = open_files()
    for n in range(90):
        assert folder.read(f"{n}.zip/1.png") == png(n)
    assert open_files() <= before + MAX_OPEN_ARCHIVES
    del folder
    assert open_files() == before


def test_damaged_zip_files(root):
    """Whatever the bytes are, a file is read as it was, refused by name, or the zip file is."""
    rng = random.Random(1)
    whole = {f"{n}.png": os.urandom(50) * 3 for n in range(4)} | {"肺.txt": b"a" * 1000}
    data, read, refused, unusable = zipped(whole), 0, 0, 0
    for _ in range(300):
        write_files(root, {"a.zip": mutated(data, rng)})
        folder = Folder(root)
        try:
            found = names(folder)
        except BuildError as error:
            assert "\n" not in str(error)
            unusable += 1
            continue
        for name in found:
            try:
                content = folder.read(name)
            except FolderError as error:
                assert repr(name) in str(error)
                refused += 1
            else:
                assert not name.startswith("a.zip/") or content in whole.values() or len(content) == 0
                read += 1
    assert read > 100 and refused > 50 and unusable > 50
