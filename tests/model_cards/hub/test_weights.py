"""Checks that a folder and its repository have the same digest of the weights."""

from __future__ import annotations

import hashlib

import pytest
from huggingface_hub import HfApi

from model_cards.hub.weights import folder_weights, repository_weights, weight_names, weights_digest

SHARDS = ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"]


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["config.json", "model.safetensors", "notes.safetensors"], ["model.safetensors"]),
        ([*reversed(SHARDS), "model.safetensors.index.json", "model-1.safetensors"], SHARDS),
        (["model.safetensors", *SHARDS], ["model.safetensors"]),
        (["model.safetensors", "adapter_config.json", "adapter_model.safetensors"], ["adapter_model.safetensors"]),
        (["model.safetensors", "adapter_config.json"], []),
        (["model.safetensors", "adapter_model.safetensors"], ["model.safetensors"]),
        (["README.md"], []),
    ],
)
def test_the_files_that_a_model_is_opened_from(names, expected):
    """The files follow the search order of transformers, which ignores all others."""
    assert weight_names(names) == expected


def test_a_digest_is_that_of_the_bytes_by_name():
    hashes = {name: hashlib.sha256(name.encode()).hexdigest() for name in SHARDS}
    digest = weights_digest(hashes)
    assert len(digest) == 64 and digest == weights_digest(dict(reversed(hashes.items())))
    swapped = dict(zip(hashes, reversed(hashes.values()), strict=True))
    assert weights_digest({}) == "" and weights_digest(swapped) != digest


@pytest.mark.parametrize("names", [["model.safetensors"], SHARDS, ["adapter_config.json", "adapter_model.safetensors"]])
def test_a_folder_and_its_repository_have_the_same_digest(names, repo_name, tmp_path, hub):
    for name in names:
        (tmp_path / name).write_bytes(b"\0" + repo_name.encode() + name.encode())
    api = HfApi()
    api.create_repo(repo_name)
    assert repository_weights(api, repo_name) == ""
    first = api.upload_folder(repo_id=repo_name, folder_path=tmp_path).oid
    digest, since = folder_weights(tmp_path), len(hub.log)
    assert digest and repository_weights(api, repo_name) == digest
    assert not [path for _, path, _ in hub.log[since:] if "/resolve/" in path]  # nothing is downloaded
    (tmp_path / names[-1]).write_bytes(b"\0other")
    assert folder_weights(tmp_path) != digest
    api.upload_folder(repo_id=repo_name, folder_path=tmp_path)
    assert repository_weights(api, repo_name) == folder_weights(tmp_path)
    assert repository_weights(api, repo_name, first) == digest


def test_weights_without_lfs_are_read(repo_name, tmp_path):
    api = HfApi()
    api.create_repo(repo_name)
    api.upload_file(repo_id=repo_name, path_or_fileobj=b"# no LFS\n", path_in_repo=".gitattributes")
    (tmp_path / "model.safetensors").write_bytes(b"plain")
    api.upload_folder(repo_id=repo_name, folder_path=tmp_path)
    (entry,) = api.get_paths_info(repo_name, "model.safetensors")
    assert entry.lfs is None and repository_weights(api, repo_name) == folder_weights(tmp_path)
