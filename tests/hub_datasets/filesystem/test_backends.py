"""Checks folders at addresses that fsspec opens: the same names and the same refusals as on disk."""

from __future__ import annotations

import pytest

from hub_datasets.errors import BuildError
from hub_datasets.filesystem.source_folder import Folder
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
