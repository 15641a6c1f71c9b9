"""Checks what a folder lists and reads, on disk, in zip files and at an address, and what it must refuse."""

from __future__ import annotations

import multiprocessing
import os
import socket
import subprocess
import sys
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from hub_datasets.errors import BuildError
from hub_datasets.filesystem.source_folder import MAX_FILE_BYTES, Folder, FolderError
from tests.hub_datasets.folders import (
    MISSING,
    OUTSIDE,
    TOO_LARGE,
    UNREADABLE,
    UNSAFE,
    code_of,
    folder_with_outside,
    names,
    read_all,
    sent,
    zipped,
)
from tests.hub_datasets.layouts import png, write_files


@pytest.fixture
def root(tmp_path):
    return folder_with_outside(tmp_path)


# --- What it lists and reads


def test_files_are_listed_by_name_and_read(root):
    write_files(root, {"a/b/c.txt": "text", "Z.txt": "", "胸片 (1).png": png(3)})
    folder = Folder(root)
    assert names(folder) == ["Z.txt", "a/b/c.txt", "folder/image.png", "image.png", "胸片 (1).png"]
    assert [file.size for file in folder.files()][:2] == [0, 4]
    assert folder.read("a/b/c.txt") == b"text" and folder.read("胸片 (1).png") == png(3) and folder.read("Z.txt") == b""
    assert folder.has("a/b/c.txt") and not folder.has("a/b") and not folder.has("A/b/c.txt") and not folder.has("")


def test_an_address_is_a_path_in_any_form(root, monkeypatch):
    expected = Folder(root).files()
    monkeypatch.chdir(root.parent)
    for address in (str(root), f"{root}/", f"file://{root}", "root", "./root", Path("root")):
        folder = Folder(address)
        assert folder.files() == expected and folder.read("image.png") == png(1)
        assert folder.address == os.fspath(address)
    monkeypatch.chdir("/")
    assert folder.read("folder/image.png") == png(2), "it stays where it was"


def test_names_of_any_bytes(root):
    name = os.fsdecode(b"caf\xe9.png")
    (root / name).write_bytes(png(4))
    folder = Folder(root)
    assert name in names(folder) and folder.read(name) == png(4)
    assert len(folder.state()) == 32


def test_a_folder_that_is_not_there(tmp_path):
    with pytest.raises(BuildError, match="gone: cannot be listed: No such file") as caught:
        Folder(tmp_path / "gone").files()
    assert "\n" not in str(caught.value)


def test_messages_name_a_folder_without_its_password_in_one_line():
    assert Folder("memory://user:secret@host/a").named("b\nc\udce9.csv") == "memory://host/a/b\\nc\\udce9.csv"
    assert Folder("\x1b[2J").named("\u202e\x9b.csv") == r"\x1b[2J/\u202e\x9b.csv"
    assert "secret" not in repr(Folder("memory://user:secret@host/a"))


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_a_folder_that_may_not_be_read(root):
    (root / "folder").chmod(0)
    with pytest.raises(BuildError, match="root/folder/: cannot be listed"):
        Folder(root).files()


# --- What it refuses


@pytest.mark.parametrize("name", UNSAFE)
def test_a_name_that_leads_outside(root, name):
    (root / "files.zip").write_bytes(zipped({"image.png": png(1)}))
    assert code_of(root, name) is OUTSIDE
    assert code_of(root, f"folder/{name}" if name[0] in "." else name) is OUTSIDE
    assert code_of(root, f"files.zip/{name}") is OUTSIDE


def test_absolute_names_of_files_inside_are_refused_too(root):
    for name in (f"{root}/image.png", f"{root}/../outside.png", f"file://{root}/image.png"):
        with pytest.raises(FolderError) as caught:
            Folder(root).read(name)
        assert caught.value.code is OUTSIDE


@pytest.mark.parametrize("name", ["a..b.png", "..a.png", "...png", "a../b.png", "x.C:.png", "a\\b.png", "~", "$HOME"])
def test_names_that_only_look_odd(root, name):
    assert code_of(root, name) is MISSING
    write_files(root, {name: png(5)})
    assert Folder(root).read(name) == png(5)


def test_links_may_not_lead_outside(root):
    (root / "file.png").symlink_to(root.parent / "outside.png")
    (root / "relative.png").symlink_to("../outside.png")
    (root / "linked").symlink_to(root.parent / "outside", target_is_directory=True)
    (root / "twice.png").symlink_to(root / "file.png")
    (root / "files.zip").symlink_to(write_files(root.parent, {"x.zip": zipped({"image.png": png(1)})}) / "x.zip")
    folder = Folder(root)
    for name in ("file.png", "relative.png", "linked/image.png", "twice.png", "files.zip/image.png"):
        assert code_of(folder, name) is OUTSIDE, name
    assert names(folder) == ["file.png", "files.zip", "folder/image.png", "image.png", "relative.png", "twice.png"]
    assert folder.linked_folders() == ["linked"]


def test_a_sibling_whose_name_goes_on_is_outside(root):
    write_files(root.parent, {"root-2/image.png": png(1)})
    (root / "file.png").symlink_to("../root-2/image.png")
    assert code_of(root, "file.png") is OUTSIDE


def test_links_inside_are_fine(root):
    (root / "link.png").symlink_to(root / "folder/image.png")
    (root / "linked").symlink_to("folder", target_is_directory=True)
    folder = Folder(root)
    for name in ("link.png", "linked/image.png"):
        assert folder.read(name) == folder.read(name) == png(2)
    assert names(folder) == ["folder/image.png", "image.png", "link.png"] and folder.linked_folders() == ["linked"]


def test_a_root_behind_a_link_is_a_root(root, tmp_path):
    (tmp_path / "alias").symlink_to(root, target_is_directory=True)
    assert Folder(tmp_path / "alias").read("image.png") == png(1)
    assert code_of(tmp_path / "alias", "../outside.png") is OUTSIDE


def test_what_is_no_file_is_missing(root, monkeypatch):
    os.mkfifo(root / "pipe.png")
    (root / "dangling.png").symlink_to("nothing.png")
    (root / "a.png").symlink_to("b.png")
    (root / "b.png").symlink_to("a.png")
    (root / "loop").symlink_to("loop")
    (root / "more.zip").mkdir()
    with socket.socket(socket.AF_UNIX) as listener:
        monkeypatch.chdir(root)  # the path of a socket may not be long
        listener.bind("socket.png")
        for name in ("nothing.png", "", ".", "folder", "folder/", "pipe.png", "dangling.png", "image.png/1.png",
                     "socket.png", "a.png", "loop/image.png", "gone/1.png", "\ud800.png", "gone.zip/1.png",
                     "more.zip/1.png", "image.png.zip/1.png"):  # fmt: skip
            assert code_of(root, name) is MISSING, name
        assert "pipe.png" in names(Folder(root)), "what is there is named, even if it cannot be read"


@pytest.mark.parametrize("name", ["x" * 300 + ".png", "x/" * 3000 + "1.png"], ids=["name", "path"])
def test_a_name_that_no_file_can_have(root, name):
    assert code_of(root, name) is UNREADABLE


def test_a_file_that_is_too_large_is_not_read(root):
    with (root / "1.png").open("wb") as file:
        file.truncate(MAX_FILE_BYTES + 1)  # a hole: it takes no place on the disk
    assert code_of(root, "1.png") is TOO_LARGE
    assert code_of(root, "image.png", limit=len(png(1)) - 1) is TOO_LARGE
    assert code_of(root, "image.png", limit=len(png(1))) is None


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="no files whose size is not told")
def test_a_file_that_is_larger_than_it_says():
    folder = Folder("/proc/self")
    assert len(folder.read("maps")) > 1000
    assert code_of(folder, "maps", limit=1000) is TOO_LARGE


# --- In other processes and threads


@pytest.fixture
def mixed(root) -> Path:
    return write_files(root, {"a.zip": zipped({f"{n}.png": png(n, size=(50, 50)) for n in range(40)})})


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_it_can_be_sent_to_another_process(mixed, method):
    folder = Folder(mixed)
    expected = read_all(folder)
    with multiprocessing.get_context(method).Pool(2) as pool:
        assert pool.map(read_all, [folder] * 6) == [expected] * 6
    assert read_all(folder) == expected


def test_a_forked_process_does_not_move_the_place_of_its_parent(mixed):
    folder = Folder(mixed)
    expected = read_all(folder)
    for _ in range(3):
        process = multiprocessing.get_context("fork").Process(target=read_all, args=(folder,))
        process.start()
        assert read_all(folder) == expected
        process.join()
        assert process.exitcode == 0


def test_threads_may_share_it(mixed):
    folder = Folder(mixed)
    expected = read_all(folder)
    with ThreadPoolExecutor(8) as pool:
        assert all(found == expected for found in pool.map(lambda _: read_all(folder), range(24)))


def test_errors_survive_the_way_between_processes():
    error = sent(FolderError(MISSING, "'1.png' does not exist"))
    assert (error.code, str(error)) == (MISSING, "'1.png' does not exist")


# --- Its state


def test_the_state_changes_with_every_file(root):
    write_files(root, {"a.zip": zipped({"1.png": png(1)})})
    folder = Folder(root)
    states = [folder.state()]
    assert folder.state() == Folder(root).state() == sent(folder).state() == states[0]

    write_files(root, {"new.png": png(3)})
    states.append(folder.state())
    (root / "new.png").rename(root / "other.png")
    states.append(folder.state())
    write_files(root, {"other.png": png(4)[:-1]})
    states.append(folder.state())
    status = (root / "image.png").stat()
    os.utime(root / "image.png", ns=(status.st_atime_ns, status.st_mtime_ns + 1))
    states.append(folder.state())
    write_files(root, {"a.zip": zipped({"1.png": png(2)})})
    states.append(folder.state())
    write_files(root, {"a.zip": zipped({"2.png": png(2)})})
    states.append(folder.state())
    (root / "link.png").symlink_to("image.png")
    states.append(folder.state())
    (root / "link.png").unlink()
    (root / "link.png").symlink_to("folder/image.png")
    states.append(folder.state())
    (root / "folder/image.png").unlink()
    states.append(folder.state())
    assert len(set(states)) == len(states)
    assert not folder.has("folder/image.png") and folder.has("other.png"), "it has looked again"


def test_a_change_that_keeps_size_and_time_is_seen(root):
    """As `rsync -t` and `cp -p` leave it: the time of the copy's origin."""
    path = root / "image.png"
    folder, status, data = Folder(root), path.stat(), path.read_bytes()
    before = folder.state()
    path.write_bytes(data[:-1] + bytes((data[-1] ^ 1,)))
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert (path.stat().st_size, path.stat().st_mtime_ns) == (status.st_size, status.st_mtime_ns)
    assert folder.state() != before


def test_a_zip_file_packed_anew_with_the_same_content_is_the_same(root):
    write_files(root, {"a.zip": zipped({"1.png": png(1)})})
    state = Folder(root).state()
    write_files(root, {"a.zip": zipped({"1.png": png(1)}, zipfile.ZIP_STORED)})
    assert Folder(root).state() == state


def test_a_local_folder_needs_no_fsspec(root):
    opened = "from hub_datasets.filesystem.source_folder import Folder; Folder(sys.argv[1]).state()"
    code = f"import sys; {opened}; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code, root], capture_output=True, text=True, check=True)
    assert not {"fsspec", "numpy", "PIL", "datasets"} & set(done.stdout.split())


def test_the_start_of_a_file_is_refused_where_the_whole_file_is(tmp_path):
    root = folder_with_outside(tmp_path)
    write_files(root, {"a.zip": zipped({"x.dcm": b"abcdef"})})
    folder = Folder(root)
    assert folder.read_start("image.png", 4) == png(1)[:4] and folder.read_start("a.zip/x.dcm", 3) == b"abc"
    for name in (*UNSAFE, "gone.png"):
        with pytest.raises(FolderError) as error:
            folder.read_start(name, 4)
        assert error.value.code == code_of(folder, name)
