"""Checks archives of every kind: names in any encoding, one in another, and those that could do harm."""

from __future__ import annotations

import gzip
import io
import tarfile
import zipfile
from pathlib import Path

import pytest

from hub_datasets.errors import BuildError
from hub_datasets.filesystem.source_folder import Folder, FolderError
from hub_datasets.records import Reason
from tests.hub_datasets.layouts import write_files

CONTENT = {"a/1.txt": b"one", "a/b/2.txt": b"two", "3.txt": b"three" * 100}


def zipped(files: dict[str, bytes], encoding: str = "", stored: bool = False) -> bytes:
    """A zip file; with an encoding, the names are its bytes without the flag of UTF-8, as old programs write them."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED if stored else zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(name.encode(encoding).hex() + ".hex" if encoding else name, data)
    data = buffer.getvalue()
    for name in files if encoding else ():
        held = name.encode(encoding)
        placeholder = (held.hex() + ".hex").encode()
        data = renamed(data, placeholder, held)
    return data


def renamed(data: bytes, old: bytes, new: bytes) -> bytes:
    """Writes a zip file anew with the raw bytes of one name replaced, lengths and offsets included."""
    source, buffer = zipfile.ZipFile(io.BytesIO(data)), io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for info in source.infolist():
            raw = info.orig_filename.encode("cp437") if not info.flag_bits & 0x800 else info.filename.encode()
            entry = RawName(info.filename)
            entry.raw = new if raw == old else raw
            archive.writestr(entry, source.read(info))
    return buffer.getvalue()


class RawName(zipfile.ZipInfo):
    """An entry whose name is written as the bytes that were given, without the flag of UTF-8."""

    raw = b""

    def _encodeFilenameFlags(self):
        return self.raw, self.flag_bits & ~0x800


def tarred(files: dict[str, bytes], mode: str = "w", **kinds: bytes) -> bytes:
    """A tar file; `kinds` are further members by name, of the kind of a link or a device."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode=mode) as archive:
        for name, data in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            archive.addfile(entry, io.BytesIO(data))
        for name, kind in kinds.items():
            entry = tarfile.TarInfo(name)
            entry.type, entry.linkname = kind, "/etc/passwd"
            archive.addfile(entry)
    return buffer.getvalue()


def contents(folder: Folder, below: str = "") -> dict[str, bytes]:
    names = [file.name for file in folder.files() if file.name.startswith(below)]
    return {name.removeprefix(below): folder.read(name) for name in names}


KINDS = {
    "zip": lambda: zipped(CONTENT), "stored.zip": lambda: zipped(CONTENT, stored=True), "tar": lambda: tarred(CONTENT),
    "tar.gz": lambda: tarred(CONTENT, "w:gz"), "tgz": lambda: tarred(CONTENT, "w:gz"),
}  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("whole", [True, False], ids=["the folder itself", "in a folder"])
def test_an_archive_is_a_folder(kind, whole, tmp_path):
    name = f"data.{kind}"
    write_files(tmp_path, {name: KINDS[kind]()})
    folder = Folder(tmp_path / name) if whole else Folder(tmp_path)
    assert contents(folder, "" if whole else f"{name}/") == CONTENT


@pytest.mark.parametrize(
    ("encoding", "name"),
    [("gbk", "影像/胸片一.txt"), ("cp437", "R\u00f6ntgen/Bild\u00fc.txt"), ("utf-8", "影像/é.txt"), ("", "影像/é.txt")],
)  # fmt: skip
def test_names_in_the_encoding_of_another_system(encoding, name, tmp_path):
    write_files(tmp_path, {"a.zip": zipped({name: b"x"}, encoding)})
    assert contents(Folder(tmp_path)) == {f"a.zip/{name}": b"x"}


@pytest.mark.parametrize(
    ("outer", "inner"), [("zip", "zip"), ("zip", "tar"), ("zip", "tgz"), ("tar", "zip"), ("tgz", "zip"), ("tar", "tar")]
)
def test_an_archive_in_an_archive(outer, inner, tmp_path):
    pack = {"zip": zipped, "tar": tarred, "tgz": lambda files: tarred(files, "w:gz")}
    write_files(tmp_path, {f"all.{outer}": pack[outer]({f"images/part_1.{inner}": pack[inner](CONTENT)})})
    assert contents(Folder(tmp_path), f"all.{outer}/images/part_1.{inner}/") == CONTENT


def test_three_archives_in_each_other_are_refused(tmp_path):
    write_files(tmp_path, {"a.zip": zipped({"b.zip": zipped({"c.zip": zipped(CONTENT)})})})
    with pytest.raises(BuildError, match=r"a\.zip"):
        contents(Folder(tmp_path))


@pytest.mark.parametrize("name", ["../out.txt", "/etc/out.txt", "a/../../out.txt", "C:/out.txt"])
@pytest.mark.parametrize("pack", [zipped, tarred], ids=["zip", "tar"])
def test_names_that_lead_outside_are_not_read(pack, name, tmp_path):
    kind = "zip" if pack is zipped else "tar"
    folder = Folder(write_files(tmp_path / "in", {f"x.{kind}": pack({name: b"x", "good.txt": b"y"})}))
    assert contents(folder, f"x.{kind}/good") == {".txt": b"y"}
    (bad,) = (file.name for file in folder.files() if not file.name.endswith("good.txt"))
    with pytest.raises(FolderError) as refused:
        folder.read(bad)
    assert refused.value.code is Reason.IMAGE_OUTSIDE_ROOT


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE])
def test_links_and_devices_of_a_tar_file_are_not_followed(kind, tmp_path):
    folder = Folder(write_files(tmp_path, {"x.tar": tarred({"good.txt": b"y"}, odd=kind)}))
    assert contents(folder, "x.tar/good") == {".txt": b"y"}
    for file in folder.files():
        if not file.name.endswith("good.txt"):
            with pytest.raises(FolderError):
                folder.read(file.name)


def test_bombs(tmp_path):
    """Zeros that grow by more than 200 times are refused before they are on the disk or in memory."""
    zeros = bytes(64 * 1024 * 1024)
    write_files(tmp_path / "gz", {"x.tar.gz": gzip.compress(tarred({"x": zeros}))})
    with pytest.raises(BuildError, match=r"x\.tar\.gz"):
        contents(Folder(tmp_path / "gz"))
    folder = Folder(write_files(tmp_path / "zip", {"x.zip": zipped({"x": zeros})}))
    with pytest.raises(FolderError) as refused:
        folder.read("x.zip/x")
    assert refused.value.code is Reason.IMAGE_TOO_LARGE or "zip bomb" in refused.value.message


@pytest.mark.parametrize("kind", KINDS)
def test_an_archive_that_is_cut_off_is_one_error(kind, tmp_path):
    data = KINDS[kind]()
    cut = 2300 if kind == "tar" else len(data) // 3  # in the header of its last member
    write_files(tmp_path, {f"x.{kind}": data[:cut]})
    with pytest.raises((BuildError, FolderError), match=rf"x\.{kind}"):
        contents(Folder(tmp_path))


# --- links


def test_links_of_a_hub_cache_are_read(tmp_path):
    repository = tmp_path / "datasets--org--raw"
    write_files(repository, {"blobs/0": "zero", "blobs/1": "one"})
    snapshot = repository / "snapshots/abc"
    snapshot.mkdir(parents=True)
    for name, blob in (("a.txt", "0"), ("b.txt", "1")):
        (snapshot / name).symlink_to(Path("../../blobs") / blob)
    for given in (snapshot, repository):
        assert contents(Folder(given)) == {"a.txt": b"zero", "b.txt": b"one"}


def test_a_link_in_a_hub_cache_to_another_place_is_refused(tmp_path):
    write_files(tmp_path, {"repo/blobs/0": "zero", "secret": "x"})
    snapshot = tmp_path / "repo/snapshots/abc"
    snapshot.mkdir(parents=True)
    (snapshot / "a.txt").symlink_to(tmp_path / "secret")
    with pytest.raises(FolderError, match="--follow_links allows that"):
        Folder(snapshot).read("a.txt")


def test_links_are_followed_on_request(tmp_path):
    write_files(tmp_path, {"nas/1.txt": "one", "nas/more/2.txt": "two", "in/0.txt": "zero"})
    (tmp_path / "in/images").symlink_to(tmp_path / "nas")
    (tmp_path / "in/again").symlink_to(tmp_path / "in")  # a circle
    assert contents(Folder(tmp_path / "in")) == {"0.txt": b"zero"}
    found = contents(Folder(tmp_path / "in", follow_links=True))
    assert found["images/1.txt"] == b"one" and found["images/more/2.txt"] == b"two" and found["0.txt"] == b"zero"
    assert len(found) < 10
