"""Checks which names are paths and which are repositories: a missing folder never becomes a repository on the Hub."""

from __future__ import annotations

import pytest

from model_cards.commands.names import is_path

REPOSITORIES = ["org/m-1.2_x", "gpt2", "google/siglip-base-patch16-224", "database/x", "org/data"]
PATHS = [
    "data", "data/processed", "checkpoints/encoder_finetuned", "outputs/demo", "results/x", "/nope", "/a/b", "a/b/c",
    "", ".", "./a", "../a/b", "~/a", "~", "a b", "a b/c", "org/", "org/x\n", "C:\\data", "C:/data", "data\\processed",
    "s3://bucket/x", "hf://datasets/org/x", "org/x--y", "model_cards/templates",
]  # fmt: skip


@pytest.mark.parametrize("name", REPOSITORIES)
def test_names_of_repositories(name):
    assert not is_path(name)


@pytest.mark.parametrize("name", PATHS)
def test_paths_whether_or_not_something_is_there(name, monkeypatch, request):
    monkeypatch.chdir(request.config.rootpath)
    assert is_path(name)


def test_what_exists_is_a_path(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert not is_path("org/model")
    (tmp_path / "org" / "model").mkdir(parents=True)
    assert is_path("org/model")
