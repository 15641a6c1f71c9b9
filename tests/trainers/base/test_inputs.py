"""A training from a folder that was pushed names the repository and the commit, where the folder still is that."""

from __future__ import annotations

import json

import pytest

from trainers.base.inputs import BUILD, published_as

COMMIT = "0123456789" * 4


@pytest.fixture
def pushed(tmp_path):
    """A folder with one Parquet file and the manifest of a build that was pushed."""
    (tmp_path / "pairs").mkdir()
    (tmp_path / "pairs" / "train-00000-of-00001.parquet").write_bytes(b"rows")
    (tmp_path / "README.md").write_text("a card that a person edited")
    files = {"pairs/train-00000-of-00001.parquet": 4, "README.md": 7}
    manifest = {"key": "k", "files": files, "pushed": {"repository": "org/med-pairs", "commit": COMMIT}}
    (tmp_path / BUILD).write_text(json.dumps(manifest))
    return tmp_path


def test_the_manifest_is_the_one_that_a_build_writes():
    from hub_datasets.output.earlier_build import MANIFEST

    assert BUILD == MANIFEST


def test_a_pushed_folder_is_its_repository_at_its_commit(pushed):
    assert published_as(str(pushed), "fingerprint") == ("org/med-pairs", COMMIT)


@pytest.mark.parametrize("change", ["another size", "missing", "not pushed", "damaged", "no commit"])
def test_a_folder_that_is_not_what_was_pushed_is_itself(change, pushed):
    shard, manifest = pushed / "pairs" / "train-00000-of-00001.parquet", json.loads((pushed / BUILD).read_text())
    if change == "another size":
        shard.write_bytes(b"more rows")
    elif change == "missing":
        shard.unlink()
    elif change == "not pushed":
        del manifest["pushed"]
    elif change == "no commit":
        manifest["pushed"]["commit"] = "main"
    (pushed / BUILD).write_text("{" if change == "damaged" else json.dumps(manifest))
    assert published_as(str(pushed), "fingerprint") == (str(pushed), "fingerprint")


def test_a_repository_on_the_hub_is_itself():
    assert published_as("org/med-pairs", COMMIT) == ("org/med-pairs", COMMIT)
