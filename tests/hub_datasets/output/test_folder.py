"""Checks when a result is complete and current, and that at an address the last file is written last."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from fsspec.implementations.memory import MemoryFileSystem

from hub_datasets.errors import BuildError
from hub_datasets.filesystem import storage
from hub_datasets.output import parquet as shards_of
from hub_datasets.output.earlier_build import MANIFEST, manifest_of
from hub_datasets.output.folder import KEPT, is_current, is_empty, sizes, written_folder
from tests.hub_datasets.checked import build_here, options_for
from tests.hub_datasets.layouts import png, report_row, tree, write_files, write_reports

FLAGS = ("--val_fraction", "0.3", "--near_distance", "0")


@pytest.fixture(scope="module")
def reports(tmp_path_factory) -> Path:
    return write_reports(tmp_path_factory.mktemp("output"), [report_row(n, patient_id=str(n // 2)) for n in range(12)])


@pytest.fixture(scope="module")
def built(reports, tmp_path_factory) -> Path:
    """A build on this machine; tests that change it take a copy."""
    folder = tmp_path_factory.mktemp("built") / "out"
    build_here({"--reports_dir": reports}, folder, *FLAGS)
    return folder


@pytest.fixture
def copied(built, tmp_path) -> Path:
    return shutil.copytree(built, tmp_path / "copy")


def key_of(folder: Path) -> str:
    return json.loads((folder / MANIFEST).read_text())["key"]


# --- Is it there already?


def test_the_manifest_names_every_file_with_its_size(built):
    content = json.loads((built / MANIFEST).read_text())
    assert content["files"] == {name: len(data) for name, data in tree(built).items() if name != MANIFEST}
    assert {"README.md", "report.json", "pairs/train-00000-of-00001.parquet", "splits.txt"} <= set(content["files"])
    assert is_current(str(built), content["key"])


def test_another_key_is_another_result(built):
    assert not is_current(str(built), key_of(built)[:-1] + "x") and not is_current(str(built), "")


def test_every_file_that_is_missing_or_cut_is_noticed(copied):
    key = key_of(copied)
    for name, content in tree(copied).items():
        path = copied / name
        path.unlink()
        assert not is_current(str(copied), key), name
        path.write_bytes(content[:-1] if content else b"x")
        # the card is there for people to write in: one that was changed is not a reason to build again
        assert is_current(str(copied), key) is (name == "README.md"), name
        path.write_bytes(content)
        assert is_current(str(copied), key)


@pytest.mark.parametrize(
    "content", ["", "{", "[]", "null", "7", '"key"', "{}", '{"key": "k"}', '{"key": "k", "files": null}',
                '{"key": "k", "files": ["README.md"]}', '{"key": "k", "files": {"gone": 1}}', "\xff"]
)  # fmt: skip
def test_a_manifest_that_is_none(tmp_path, content):
    write_files(tmp_path, {MANIFEST: content.encode("latin-1"), "README.md": "x"})
    assert not is_current(str(tmp_path), "k")


def test_a_folder_of_something_else_is_not_current(tmp_path):
    assert not is_current(str(tmp_path / "none"), "k") and is_empty(str(tmp_path / "none"))
    write_files(tmp_path, {"out/README.md": "x"})
    assert not is_current(str(tmp_path / "out"), "k") and not is_empty(str(tmp_path / "out"))


def test_sizes_of_files_that_are_there(tmp_path):
    write_files(tmp_path, {"a": "12", "b/c": "", "d/e": "x"})
    assert sizes(str(tmp_path), ["a", "b/c", "b", "gone"]) == {"a": 2, "b/c": 0}
    assert json.loads(manifest_of("k", {"a": 2})) == {"key": "k", "files": {"a": 2}}


def test_a_build_of_the_same_does_nothing_and_gives_the_same_report(reports, copied):
    """The key does not name the output: a copy of the result is as good as the result."""
    before = {path: path.stat().st_mtime_ns for path in copied.rglob("*")}
    report = build_here({"--reports_dir": reports}, copied, *FLAGS)
    assert {path: path.stat().st_mtime_ns for path in copied.rglob("*")} == before
    assert report == json.loads((copied / "report.json").read_text())


@pytest.mark.parametrize("flags", [("--test_fraction", "0.2"), ("--chat_turns", "multi"), ("--num_shards", "2")])
def test_a_build_of_something_else_asks_before_it_replaces(reports, copied, flags):
    before = tree(copied)
    with pytest.raises(BuildError, match="exists and is not empty; name another folder or add --overwrite"):
        build_here({"--reports_dir": reports}, copied, *FLAGS, *flags)
    assert tree(copied) == before


def test_a_result_with_a_file_cut_is_written_again(reports, copied):
    whole = tree(copied)
    path = copied / "chat/train-00000-of-00001.parquet"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(BuildError, match="--overwrite"):
        build_here({"--reports_dir": reports}, copied, *FLAGS)
    build_here({"--reports_dir": reports}, copied, *FLAGS, "--overwrite")
    assert tree(copied) == whole


def test_splits_to_keep_that_changed_make_another_result(reports, tmp_path):
    """The same flags; but the build whose splits are kept is another one now."""
    earlier = tmp_path / "earlier"
    build_here({"--reports_dir": reports}, earlier, *FLAGS)
    flags = ("--keep_splits", str(earlier), "--near_distance", "0")
    first = build_here({"--reports_dir": reports}, tmp_path / "out", *flags)
    memory = earlier / "splits.txt"
    memory.write_text(memory.read_text().replace(" validation\n", " swapped\n").replace(" train\n", " validation\n")
                      .replace(" swapped\n", " train\n"))  # fmt: skip
    second = build_here({"--reports_dir": reports}, tmp_path / "out", *flags, "--overwrite")
    assert second["splits"] != first["splits"]
    assert second["splits"]["pairs"]["train"] == first["splits"]["pairs"]["validation"]


# --- Written at once


def test_a_folder_of_this_machine_appears_at_once(tmp_path):
    with written_folder(str(tmp_path / "out"), "k", tmp_path / "scratch") as output:
        assert Path(output.address) == output.local
        write_files(output.local, {"README.md": "r", "a/b": "b", ".cache/x": "x"})
        assert not (tmp_path / "out").exists()
    assert set(tree(tmp_path / "out")) == {"README.md", "a/b", MANIFEST}
    assert is_current(str(tmp_path / "out"), "k")


def test_an_error_leaves_no_result(tmp_path):
    with (
        pytest.raises(OSError, match="disk"),
        written_folder(str(tmp_path / "out"), "k", tmp_path / "scratch") as output,
    ):
        write_files(output.local, {"README.md": "r"})
        raise OSError("disk full")
    assert tree(tmp_path) == {}


# --- Behind an address


@pytest.fixture
def address(tmp_path) -> str:
    return f"memory://{tmp_path.name}/out"


def remote_tree(address: str) -> dict[str, bytes]:
    """The content of every file below an address of the memory, but for the cache."""
    filesystem, root = storage.filesystem_of(address)
    names = [name[len(root) + 1 :] for name in filesystem.find(root)]
    return {name: filesystem.cat_file(f"{root}/{name}") for name in names if not name.startswith(".cache/")}


@pytest.fixture
def written_order(monkeypatch) -> list[str]:
    """The files of memory:// in the order in which they were closed, with a minus those that were removed."""
    order: list[str] = []
    real_open, real_put, real_rm = MemoryFileSystem._open, MemoryFileSystem.put_file, MemoryFileSystem.rm

    def opened(self, path, mode="rb", **options):
        if "w" in mode:
            order.append(path)
        return real_open(self, path, mode, **options)

    def removed(self, path, *arguments, **options):
        order.append(f"-{path}")
        return real_rm(self, path, *arguments, **options)

    def put(self, source, target, *arguments, **options):
        real_put(self, source, target, *arguments, **options)
        if target not in order[-1:]:
            order.append(target)

    monkeypatch.setattr(MemoryFileSystem, "_open", opened)
    monkeypatch.setattr(MemoryFileSystem, "put_file", put)
    monkeypatch.setattr(MemoryFileSystem, "rm", removed)
    return order


def test_a_result_behind_an_address_is_that_of_this_machine(reports, built, address):
    build_here({"--reports_dir": reports}, address, *FLAGS)
    found = remote_tree(address)
    assert found == tree(built)
    assert is_current(address, key_of(built))
    assert storage.names_in(f"{address}/.cache")[0].startswith("medical_reports-")
    assert storage.names_in(address.rpartition("/")[0]) == ["out"] and ".cache" in storage.names_in(address)


def test_the_card_and_the_manifest_are_written_last(reports, address, written_order):
    build_here({"--reports_dir": reports}, address, *FLAGS)
    names = [path.partition("/out/")[2] for path in written_order if "/out/" in path and "/.cache/" not in path]
    assert names[-2:] == ["README.md", MANIFEST] and names[0].endswith(".parquet")


def test_what_lies_there_is_no_dataset_while_it_is_replaced(reports, address, written_order, monkeypatch):
    """The old card and manifest go first; a build that fails halfway leaves none, and the next one makes it whole."""
    build_here({"--reports_dir": reports}, address, *FLAGS)
    whole = remote_tree(address)
    del written_order[:]
    real = shards_of.write_shard
    monkeypatch.setattr(shards_of, "write_shard", lambda shard: (_ for _ in ()).throw(OSError("network")))
    with pytest.raises(BuildError, match="cannot be written: network"):
        build_here({"--reports_dir": reports}, address, "--near_distance", "0", "--overwrite")
    assert written_order[0].endswith(f"/out/{KEPT}")
    assert written_order[1].endswith("/out/README.md") and written_order[1].startswith("-")
    left = remote_tree(address)
    assert not {"README.md", MANIFEST} & set(left) and not is_current(address, key_of_bytes(whole))
    assert left[KEPT] == whole["README.md"]
    monkeypatch.setattr(shards_of, "write_shard", real)
    build_here({"--reports_dir": reports}, address, *FLAGS, "--overwrite")
    assert remote_tree(address) == whole


def test_a_card_that_a_person_edited_survives_even_a_build_that_fails(reports, address, monkeypatch):
    build_here({"--reports_dir": reports}, address, *FLAGS)
    card = remote_tree(address)["README.md"] + b"\n## Mine\n"
    with storage.open_file(f"{address}/README.md", "wb") as file:
        file.write(card)
    real = shards_of.write_shard
    monkeypatch.setattr(shards_of, "write_shard", lambda shard: (_ for _ in ()).throw(OSError("network")))
    with pytest.raises(BuildError, match="cannot be written: network"):
        build_here({"--reports_dir": reports}, address, "--near_distance", "0", "--overwrite")
    monkeypatch.setattr(shards_of, "write_shard", real)
    build_here({"--reports_dir": reports}, address, *FLAGS, "--overwrite")
    assert remote_tree(address)["README.md"] == card and KEPT not in remote_tree(address)


def key_of_bytes(files: dict[str, bytes]) -> str:
    return json.loads(files[MANIFEST])["key"]


def test_shards_that_are_no_part_of_the_new_result_are_removed(reports, built, address):
    build_here({"--reports_dir": reports}, address, *FLAGS, "--num_shards", "3")
    assert sum(name.endswith(".parquet") for name in remote_tree(address)) > 4
    build_here({"--reports_dir": reports}, address, *FLAGS, "--overwrite")
    assert remote_tree(address) == tree(built)


def test_a_second_build_behind_an_address_does_nothing(reports, address, written_order):
    first = build_here({"--reports_dir": reports}, address, *FLAGS)
    del written_order[:]
    assert build_here({"--reports_dir": reports}, address, *FLAGS) == json.loads(json.dumps(first))
    assert written_order == []
    with pytest.raises(BuildError, match="exists and is not empty"):
        build_here({"--reports_dir": reports}, address, *FLAGS, "--num_shards", "2")


def test_what_was_read_is_kept_behind_an_address_too(reports, built, address, tmp_path):
    kept = f"memory://{tmp_path.name}/kept"
    cache = f"{kept}/medpairs-cache"  # a folder of its own there
    folder = {"--reports_dir": shutil.copytree(reports, tmp_path / "reports")}
    build_here(folder, tmp_path / "one", *FLAGS, "--cache_dir", kept)
    stage = storage.names_in(cache)
    assert len(stage) == 1
    before = remote_tree(cache)
    build_here(folder, tmp_path / "two", "--near_distance", "0", "--val_fraction", "0.5", "--cache_dir", kept)
    assert remote_tree(cache) == before
    write_files(tmp_path / "reports", {"images/0.png": png(77)})
    build_here(folder, tmp_path / "three", *FLAGS, "--cache_dir", kept)
    assert len(storage.names_in(cache)) == 1 and storage.names_in(cache) != stage
    assert not (tmp_path / ".one.cache").exists()


def test_a_source_behind_an_address(reports, built, address, tmp_path):
    source = f"memory://{tmp_path.name}/reports"
    storage.upload(reports, source)
    options = options_for({"--reports_dir": source}, tmp_path / "out", *FLAGS)
    assert options.folders[0][1].address == source
    build_here({"--reports_dir": source}, tmp_path / "out", *FLAGS)
    for config in ("pairs", "chat"):
        name = f"{config}/train-00000-of-00001.parquet"
        assert pq.read_table(tmp_path / "out" / name).equals(pq.read_table(built / name))
    line = json.loads((tmp_path / "out/chat_instructions.jsonl").read_text().splitlines()[0])
    assert line["image"] == f"{source}/images/0.png" or line["image"].startswith(f"{source}/images/")
