"""What a folder lists and reads, on the disk, in zip files and behind an address; and all that it must refuse."""

from __future__ import annotations

import io
import multiprocessing
import os
import pickle
import random
import socket
import stat
import struct
import subprocess
import sys
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from hub_datasets.folder import MAX_FILE_BYTES, MAX_OPEN_ZIPS, Folder, FolderError
from hub_datasets.schema import BuildError, Reason
from tests.hub_datasets.layouts import png, write_files
from tests.hub_datasets.sources.mutations import mutated

OUTSIDE, MISSING = Reason.IMAGE_OUTSIDE_ROOT, Reason.IMAGE_MISSING
UNREADABLE, TOO_LARGE = Reason.IMAGE_UNREADABLE, Reason.IMAGE_TOO_LARGE
UNSAFE = [
    "../outside.png", "folder/../../outside.png", "folder/../image.png", "folder\\..\\..\\outside.png", "..", "a/..",
    "..\\outside.png", ".. /outside.png", "../", "folder/.. ./x",
    "/etc/hostname", "C:\\images\\1.png", "C:image.png", "c:/images/1.png",
    "\\\\server\\share\\1.png", "//server/share/1.png", "\\image.png", "\\\\?\\C:\\1.png",
    "file:///etc/hostname", "https://example.org/1.png", "s3://bucket/1.png", "image.png\0.txt", "\0",
]  # fmt: skip


@pytest.fixture
def root(tmp_path) -> Path:
    """A source's folder with two images, and an image outside of it."""
    write_files(tmp_path, {"outside.png": png(0), "outside/image.png": png(0)})
    return write_files(tmp_path / "root", {"image.png": png(1), "folder/image.png": png(2)})


def zipped(members: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as file:
        for name, data in members.items():
            file.writestr(name, data)
    return buffer.getvalue()


def sent(thing):
    """The same as another process gets it."""
    return pickle.loads(pickle.dumps(thing))  # noqa: S301


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def names(folder: Folder) -> list[str]:
    return [file.name for file in folder.files()]


def code_of(folder: Folder | Path, name: str, **options) -> Reason | None:
    """Why a name is refused; the message names it as it was given, and nothing of this machine."""
    folder = folder if isinstance(folder, Folder) else Folder(folder)
    try:
        folder.read(name, **options)
    except FolderError as error:
        assert repr(name) in str(error) == error.message
        assert str(Path(folder.address).parent) not in str(error).replace(repr(name), "")
        return error.code
    return None


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
    assert Folder("memory://user:secret@host/a").named("b\nc\udce9.csv") == "memory://host/a/b c\\udce9.csv"
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


# --- Zip files


def test_the_members_of_a_zip_file_are_files_below_it(root):
    inner = zipped({"x.png": png(1)})
    write_files(root, {"folder/Part 1.ZIP": zipped({"a/1.png": png(7), "2.png": png(8), "b/": b"", "in.zip": inner})})
    folder = Folder(root)
    assert names(folder)[:3] == [f"folder/Part 1.ZIP/{name}" for name in ("2.png", "a/1.png", "in.zip")]
    assert folder.read("folder/Part 1.ZIP/a/1.png") == png(7) and folder.read("folder/Part 1.ZIP/in.zip") == inner
    assert not folder.has("folder/Part 1.ZIP")
    assert code_of(folder, "folder/Part 1.ZIP/in.zip/x.png") is MISSING
    assert code_of(folder, "folder/Part 1.ZIP/gone.png") is code_of(folder, "folder/Part 1.ZIP/") is MISSING


def test_a_zip_file_may_be_the_whole_folder(root):
    write_files(root, {"all.zip": zipped({"a/1.png": png(7), "in.zip": b""})})
    folder = sent(Folder(root / "all.zip"))
    assert names(folder) == ["a/1.png", "in.zip"] and folder.read("a/1.png") == png(7)
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
        with pytest.raises(BuildError, match=r"root/folder/a.zip: cut off, or no zip file .*; download it again"):
            Folder(root).files()
        with pytest.raises(BuildError, match="cut off"):
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
        with pytest.raises(BuildError, match=r"a.zip: the zip file changed while it was read; run again"):
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
    assert open_files() <= before + MAX_OPEN_ZIPS
    del folder
    assert open_files() == before


def raw_zip(members: list[tuple[str, bytes]], flags: int = 0, method: int = 0, crc: int | None = None) -> bytes:
    """A zip file put together by hand, for what no program writes: stored bytes under names that are not changed."""
    body, directory = b"", b""
    for name, data in members:
        raw = name.encode()
        check = zipfile.crc32(data) if crc is None else crc
        fields = struct.pack("<HHHHHIIIHH", 20, flags, method, 0, 33, check, len(data), len(data), len(raw), 0)
        directory += b"PK\1\2" + struct.pack("<H", 20) + fields + struct.pack("<HHHII", 0, 0, 0, 0, len(body)) + raw
        body += b"PK\3\4" + fields + raw + data
    count = len(members)
    return body + directory + b"PK\5\6" + struct.pack("<HHHHIIH", 0, 0, count, count, len(directory), len(body), 0)


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


# --- In other processes and threads


def read_all(folder: Folder) -> dict[str, bytes]:
    return {name: folder.read(name) for name in names(folder)}


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
    error = sent(FolderError(MISSING, "'1.png' is not there"))
    assert (error.code, str(error)) == (MISSING, "'1.png' is not there")


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


def test_a_zip_file_packed_anew_with_the_same_content_is_the_same(root):
    write_files(root, {"a.zip": zipped({"1.png": png(1)})})
    state = Folder(root).state()
    write_files(root, {"a.zip": zipped({"1.png": png(1)}, zipfile.ZIP_STORED)})
    assert Folder(root).state() == state


# --- Behind an address


@pytest.fixture
def address() -> str:
    import fsspec

    memory = fsspec.filesystem("memory")
    memory.pipe({"/bucket/set/image.png": png(1), "/bucket/set/folder/image.png": png(2),
                 "/bucket/set/a.zip": zipped({"x/1.png": png(3)}), "/bucket/outside.png": png(0),
                 "/bucket/set-2/image.png": png(0)})  # fmt: skip
    yield "memory://bucket/set"
    memory.rm("/bucket", recursive=True)


def test_a_folder_behind_an_address(address):
    for folder in (Folder(address), Folder(address + "/"), sent(Folder(address))):
        assert names(folder) == ["a.zip/x/1.png", "folder/image.png", "image.png"]
        assert read_all(folder) == {"a.zip/x/1.png": png(3), "folder/image.png": png(2), "image.png": png(1)}
        assert [file.size for file in folder.files()] == [len(png(n)) for n in (3, 2, 1)]
        assert code_of(folder, "gone.png") is code_of(folder, "folder") is code_of(folder, "") is MISSING
        assert code_of(folder, "a.zip/gone.png") is MISSING
        assert code_of(folder, "image.png", limit=5) is TOO_LARGE


@pytest.mark.parametrize("name", UNSAFE)
def test_a_name_that_leads_outside_of_an_address(address, name):
    assert code_of(Folder(address), name) is OUTSIDE


def test_the_state_of_an_address(address):
    import fsspec

    memory, folder = fsspec.filesystem("memory"), Folder(address)
    states = [folder.state()]
    assert folder.state() == Folder(address).state() == states[0]
    for change in ({"/bucket/set/new.png": png(3)}, {"/bucket/set/new.png": png(4)},
                   {"/bucket/set/a.zip": zipped({"x/1.png": png(5)})}):  # fmt: skip
        memory.pipe(change)
        states.append(folder.state())
    assert len(set(states)) == 4 and folder.read("a.zip/x/1.png") == png(5)


def test_a_zip_file_behind_an_address(address):
    folder = sent(Folder(f"{address}/a.zip"))
    assert names(folder) == ["x/1.png"] and folder.read("x/1.png") == png(3)


def test_a_dataset_on_a_hub(hub, repo_name, root):
    from huggingface_hub import HfApi

    api = HfApi(endpoint=hub.endpoint, token=hub.token)
    api.create_repo(repo_name, repo_type="dataset")
    write_files(root, {"a.zip": zipped({"x/1.png": png(3)}), "胸片 (1).png": png(4)})
    api.upload_folder(repo_id=repo_name, repo_type="dataset", folder_path=root)
    folder = sent(Folder(f"hf://datasets/{repo_name}"))
    assert read_all(folder) | {".gitattributes": b""} == {
        "image.png": png(1), "folder/image.png": png(2), "a.zip/x/1.png": png(3), "胸片 (1).png": png(4),
        ".gitattributes": b"",
    }  # fmt: skip
    assert code_of(folder, "gone.png") is MISSING and code_of(folder, "../image.png") is OUTSIDE
    state = folder.state()
    assert state == Folder(f"hf://datasets/{repo_name}").state()
    api.upload_file(path_or_fileobj=png(5), path_in_repo="image.png", repo_id=repo_name, repo_type="dataset")
    assert folder.state() != state and folder.read("image.png") == png(5)


def test_an_address_that_cannot_be_opened():
    with pytest.raises(BuildError, match=r"nonsense://bucket: cannot be opened: .*nonsense"):
        Folder("nonsense://bucket")


def test_a_store_that_fails(address, monkeypatch):
    """What a store says may hold a key; only its kind is told."""
    folder = Folder(address)

    def fail(*_, **__):
        raise RuntimeError("https://user:key@store")

    monkeypatch.setattr(folder._store._system, "_open", fail)
    assert code_of(folder, "image.png") is UNREADABLE
    monkeypatch.setattr(folder._store._system, "find", fail)
    with pytest.raises(
        BuildError, match=r"memory://bucket/set: cannot be listed: the store answered with RuntimeError$"
    ):
        folder.state()


def test_a_local_folder_needs_no_fsspec(root):
    code = "import sys; from hub_datasets.folder import Folder; Folder(sys.argv[1]).state(); print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code, root], capture_output=True, text=True, check=True)
    assert not {"fsspec", "numpy", "PIL", "datasets"} & set(done.stdout.split())
