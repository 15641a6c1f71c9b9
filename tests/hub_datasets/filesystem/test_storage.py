"""Checks every function on a local path and at an address, the replacement of folders, and the lock of a build."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import fsspec
import pytest

from hub_datasets.errors import BuildError
from hub_datasets.filesystem import storage
from model_cards.commands.owned_files import files_below
from tests.conftest import ROOT
from tests.hub_datasets.layouts import tree, write_files


@pytest.fixture(params=["path", "file://", "memory://"])
def place(request, tmp_path) -> str:
    """An address where nothing is yet."""
    if request.param == "memory://":
        return f"memory://{tmp_path.name}/place"
    return ("file://" if request.param == "file://" else "") + str(tmp_path / "place")


def put(address: str, content: bytes = b"0123456789") -> str:
    with storage.open_file(address, "wb") as file:
        file.write(content)
    return address


def test_a_file_is_written_with_its_folders_and_read_again(place):
    address = put(storage.join(place, "a", "b.bin"))
    assert storage.read(address) == b"0123456789" and storage.size(address) == 10
    assert storage.exists(address) and storage.exists(storage.join(place, "a"))
    put(address, b"shorter")
    assert storage.read(address) == b"shorter"
    with storage.open_file(address, "rb") as file:
        file.seek(5)
        assert file.read() == b"er"


def test_a_part_of_a_file(place):
    address = put(storage.join(place, "a"))
    assert [storage.read_range(address, *part) for part in ((0, 3), (4, 1), (7, 100), (3, 0))] == [
        b"012", b"4", b"789", b"",
    ]  # fmt: skip


def test_what_is_not_there(place):
    assert storage.size(place) is None and not storage.exists(place) and storage.names_in(place) == []
    storage.remove(place)
    with pytest.raises(FileNotFoundError):
        storage.read(place)


def test_a_folder_has_no_size(place):
    put(storage.join(place, "a", "b"))
    assert storage.size(storage.join(place, "a")) is None


def test_names_in_a_folder(place):
    for name in ("b", "a", "c/d", ".hidden"):
        put(storage.join(place, *name.split("/")))
    assert storage.names_in(place) == [".hidden", "a", "b", "c"]


def test_files_and_folders_are_removed(place):
    for name in ("a", "b", "c/d/e", "c/f"):
        put(storage.join(place, *name.split("/")))
    storage.remove(storage.join(place, "a"))
    storage.remove(storage.join(place, "c"))
    assert storage.names_in(place) == ["b"] and not storage.exists(storage.join(place, "c", "f"))
    storage.remove(place)
    assert not storage.exists(storage.join(place, "b"))


def test_a_link_is_removed_and_what_it_leads_to_is_not(tmp_path):
    write_files(tmp_path, {"precious/a": "a"})
    (tmp_path / "link").symlink_to("precious", target_is_directory=True)
    storage.remove(str(tmp_path / "link"))
    assert tree(tmp_path) == {"precious/a": b"a"} and not (tmp_path / "link").is_symlink()


@pytest.mark.parametrize(
    ("address", "remote"),
    [("data/out", False), ("/data/out", False), ("file:///data/out", False), ("s3://bucket/out", True),
     ("hf://datasets/org/name", True), (Path("data"), False), ("a:/b", False)],
    ids=str,
)  # fmt: skip
def test_which_addresses_are_of_this_machine(address, remote):
    assert storage.is_remote(address) is remote


def test_a_path_for_a_process_elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert storage.absolute("data/out") == storage.absolute(tmp_path / "data/out") == str(tmp_path / "data/out")
    assert storage.absolute(f"file://{tmp_path}/a") == str(tmp_path / "a")
    assert storage.absolute("s3://bucket/out") == "s3://bucket/out"


def test_addresses_are_put_together():
    assert storage.join("s3://bucket/out/", "a", "b.parquet") == "s3://bucket/out/a/b.parquet"
    assert storage.join("memory://out", "a") == "memory://out/a"
    assert storage.join("data/out/", "a", "b") == str(Path("data/out/a/b"))
    assert storage.join(Path("data"), "a") == str(Path("data/a"))
    assert storage.join("file:///data", "a") == str(Path("/data/a"))
    assert storage.local_path("file:///data/a b") == Path("/data/a b")


def test_an_address_that_nothing_opens():
    with pytest.raises(BuildError, match=r"nothing://x: cannot be opened: .*nothing"):
        storage.exists("nothing://x")


# --- A folder copied to an address


def test_a_folder_is_copied_and_what_comes_last_comes_last(tmp_path, monkeypatch):
    write_files(tmp_path / "from", {"README.md": "r", "a/b/c": "c", ".build.json": "m", "z": "z", "a/x": b"\0\xff"})
    filesystem, order = fsspec.filesystem("memory"), []
    real = type(filesystem).put_file

    def put_file(self, source, target, **options):
        order.append(Path(source).relative_to(tmp_path / "from").as_posix())
        return real(self, source, target, **options)

    monkeypatch.setattr(type(filesystem), "put_file", put_file)
    address = f"memory://{tmp_path.name}/to"
    storage.upload(tmp_path / "from", address, ("README.md", ".build.json"))
    assert order == ["a/b/c", "a/x", "z", "README.md", ".build.json"]
    found = {name: storage.read(f"{address}/{name}") for name in order}
    assert found == tree(tmp_path / "from")


# --- A folder of this machine that is replaced


def test_a_new_folder_takes_the_place_of_the_old_one(tmp_path):
    write_files(tmp_path / "out", {"old": "old"})
    with storage.replaced_folder(tmp_path / "out", files_below) as work:
        write_files(work, {"new": "new"})
        assert tree(tmp_path / "out") == {"old": b"old"}
    assert tree(tmp_path) == {"out/new": b"new"}


def test_a_folder_that_was_not_there_and_those_above_it(tmp_path):
    with storage.replaced_folder(tmp_path / "a/b/out", files_below) as work:
        write_files(work, {"new": "new"})
        assert not (tmp_path / "a/b/out").exists()
    assert tree(tmp_path) == {"a/b/out/new": b"new"}


def test_an_error_leaves_the_old_one(tmp_path):
    write_files(tmp_path / "out", {"old": "old"})
    with pytest.raises(KeyboardInterrupt), storage.replaced_folder(tmp_path / "out", files_below) as work:
        write_files(work, {"new": "new"})
        raise KeyboardInterrupt
    assert tree(tmp_path) == {"out/old": b"old"}


def test_killed_between_the_two_renames(tmp_path):
    """The old folder is aside and the new one not yet in its place: the old one is not lost."""
    write_files(tmp_path, {".out.medpairs-old/old": "old", ".out.medpairs-building/new": "new"})
    with pytest.raises(OSError, match="stop"), storage.replaced_folder(tmp_path / "out", files_below):
        raise OSError("stop")
    assert tree(tmp_path) == {"out/old": b"old"}


def test_leftovers_are_removed_and_what_is_beside_stays(tmp_path):
    write_files(
        tmp_path,
        {
            ".out.medpairs-old/old": "old",
            ".out.medpairs-building/half": "half",
            "out/a": "a",
            ".other.medpairs-building/x": "x",
        },
    )
    write_files(tmp_path, {".out.cache/slake-01/stage.json": "{}"})
    with storage.replaced_folder(tmp_path / "out", files_below) as work:
        assert tree(work) == {}
        write_files(work, {"new": "new"})
    assert tree(tmp_path) == {
        "out/new": b"new", ".other.medpairs-building/x": b"x", ".out.cache/slake-01/stage.json": b"{}",
    }  # fmt: skip


def test_a_link_stays_a_link(tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "out").symlink_to("real", target_is_directory=True)
    with storage.replaced_folder(tmp_path / "out", files_below) as work:
        write_files(work, {"new": "new"})
    assert (tmp_path / "out").is_symlink() and tree(tmp_path / "real") == {"new": b"new"}


def not_mine(folder: Path) -> list[str]:
    return [name for name in files_below(folder) if "mine" not in name]


MINE = {"mine.txt": "a", "pairs/mine": "b", "mine/deep/c": "c", "pairs/mine too/d": "d"}


def test_what_is_not_the_old_one_s_own_moves_to_the_new_one(tmp_path):
    """With its folders, empty ones too; of its own nothing is left, no empty folder either."""
    write_files(tmp_path / "out", {"old": "old", "pairs/old": "old", "assets/old": "old"} | MINE)
    (tmp_path / "out/mine/empty").mkdir()
    (tmp_path / "out/mine link").symlink_to(tmp_path / "out" / "mine")
    with storage.replaced_folder(tmp_path / "out", not_mine) as work:
        write_files(work, {"new": "new", "pairs/new": "new"})
    expected = {"new": b"new", "pairs/new": b"new"} | {name: text.encode() for name, text in MINE.items()}
    assert {name: content for name, content in tree(tmp_path / "out").items() if "link" not in name} == expected
    assert (tmp_path / "out/mine/empty").is_dir() and (tmp_path / "out/mine link").is_symlink()
    assert not (tmp_path / "out/assets").exists() and [path.name for path in tmp_path.iterdir()] == ["out"]


@pytest.mark.parametrize("deleted", [0, 1, 2, 3])
def test_killed_while_the_old_one_is_taken_apart(tmp_path, deleted):
    """The next call moves and deletes the rest; nothing of what is not its own is lost."""
    write_files(tmp_path, {f".out.medpairs-old/{name}": text for name, text in MINE.items()})
    old = ["assets/old", "old", "pairs/old"]
    write_files(tmp_path, {f".out.medpairs-old/{name}": "old" for name in old[deleted:]})
    (tmp_path / ".out.medpairs-old/assets").mkdir(exist_ok=True)
    write_files(tmp_path, {"out/pairs/new": "new", "out/assets/new": "new"})
    with pytest.raises(OSError, match="stop"), storage.replaced_folder(tmp_path / "out", not_mine):
        raise OSError("stop")
    expected = {"pairs/new": b"new", "assets/new": b"new"} | {name: text.encode() for name, text in MINE.items()}
    assert tree(tmp_path / "out") == expected and [path.name for path in tmp_path.iterdir()] == ["out"]


def test_what_the_new_one_has_under_the_same_name_is_kept_beside_it(tmp_path, capsys):
    write_files(tmp_path / "out", {"mine": "precious", "old": "old"})
    with storage.replaced_folder(tmp_path / "out", not_mine) as work:
        write_files(work, {"mine": "new"})
    assert tree(tmp_path) == {"out/mine": b"new", ".out.medpairs-old/mine": b"precious"}
    assert f"are kept in {tmp_path}/.out.medpairs-old" in capsys.readouterr().out


def test_hidden_folders_of_others_stay(tmp_path):
    """As somebody may call a copy of an earlier result."""
    write_files(tmp_path, {".out.old/precious": "a", ".out.building/precious": "b", "out/old": "old"})
    with storage.replaced_folder(tmp_path / "out", files_below) as work:
        write_files(work, {"new": "new"})
    assert tree(tmp_path) == {".out.old/precious": b"a", ".out.building/precious": b"b", "out/new": b"new"}


# --- A folder for what is built


def test_a_scratch_folder_lies_in_the_cache_and_is_gone_afterwards(tmp_path):
    write_files(tmp_path, {"cache/scratch/left": "by a killed build", "cache/slake-01/stage.json": "{}"})
    with pytest.raises(OSError, match="stop"), storage.scratch_folder(str(tmp_path / "cache")) as folder:
        assert folder == tmp_path / "cache/scratch" and tree(folder) == {}
        write_files(folder, {"a/b": "c"})
        raise OSError("stop")
    assert tree(tmp_path) == {"cache/slake-01/stage.json": b"{}"} and not folder.exists()


def test_a_scratch_folder_is_of_this_machine(tmp_path):
    address = f"memory://{tmp_path.name}/cache"
    with storage.scratch_folder(address) as folder:
        assert folder.is_dir() and tree(folder) == {}
    assert not folder.exists() and storage.names_in(address) == []


# --- One build at a time

HOLD = """
import sys
from hub_datasets.filesystem import storage
with storage.file_lock(sys.argv[1], "out"):
    print("held", flush=True)
    sys.stdin.read()
"""


def hold(folder) -> subprocess.Popen:
    """Another process that has the lock."""
    command = [sys.executable, "-c", HOLD, str(folder)]
    process = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "held\n"
    return process


@pytest.mark.parametrize("end", ["it ends", "it is killed"])
def test_a_second_build_of_the_same_output_is_refused_until_the_first_ends(tmp_path, end):
    cache = str(tmp_path / ".out.cache")
    process = hold(cache)
    with (
        pytest.raises(BuildError, match="wait for it"),
        storage.file_lock(cache, "wait for it"),
    ):
        raise AssertionError("two at once")
    with storage.file_lock(str(tmp_path / ".other.cache"), "not said"):
        pass
    if end == "it ends":
        process.stdin.close()
    else:
        process.kill()
    process.wait()
    process.stdout.close()
    with storage.file_lock(cache, "not said"):
        pass


def test_behind_an_address_there_is_no_lock(tmp_path):
    address = f"memory://{tmp_path.name}/cache"
    with storage.file_lock(address, "out"), storage.file_lock(address, "out"):
        assert storage.names_in(address) == []
