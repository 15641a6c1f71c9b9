"""Checks that a dataset of the Hub is read at one commit, and what is said where there is none."""

from __future__ import annotations

import pytest

from hub_datasets.errors import BuildError
from hub_datasets.filesystem.hub_address import advice, pinned, split_commit
from hub_datasets.filesystem.source_folder import Folder
from tests.hub_datasets.checked import build_here
from tests.hub_datasets.layouts import png, read_lines, report_row, write_reports


@pytest.fixture
def dataset(hub, repo_name, tmp_path) -> tuple[str, str]:
    """The address of a dataset with reports, and its commit."""
    from huggingface_hub import HfApi

    api = HfApi(endpoint=hub.endpoint, token=hub.token)
    api.create_repo(repo_name, repo_type="dataset", private=True)
    folder = write_reports(tmp_path / "raw", [report_row(number, patient_id=number) for number in range(3)])
    commit = api.upload_folder(repo_id=repo_name, repo_type="dataset", folder_path=folder).oid
    return f"hf://datasets/{repo_name}", commit


def test_an_address_gets_its_commit_and_stays_as_it_was_read(dataset, hub):
    from huggingface_hub import HfApi

    address, commit = dataset
    found = pinned(address)
    assert found == f"{address}@{commit}" and pinned(found) == found and pinned(f"{address}@main") == found
    assert pinned(f"{address}/images") == f"{found}/images"
    assert split_commit(found) == (address, commit) and split_commit(address) == (address, "")
    before = Folder(found).state()
    api = HfApi(endpoint=hub.endpoint, token=hub.token)
    name = address.removeprefix("hf://datasets/")
    api.upload_file(path_or_fileobj=png(9), path_in_repo="images/0.png", repo_id=name, repo_type="dataset")
    assert Folder(found).state() == before != Folder(pinned(address)).state()
    assert Folder(found).read("images/0.png") == png(3000)


def test_a_build_prints_and_reports_the_commit(dataset, tmp_path, capsys):
    address, commit = dataset
    report = build_here({"--reports_dir": address}, tmp_path / "out", "--val_fraction", "0")
    assert f"--reports_dir {address}: commit {commit}" in capsys.readouterr().out
    assert report["sources"]["medical_reports"]["hub_commits"] == {address: commit}
    assert report["sources"]["medical_reports"]["accepted"] == 3
    assert all(commit in line["image"] for line in read_lines(tmp_path / "out/chat_instructions.jsonl"))


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("hf://datasets/org/there-is-none", "no such dataset on the Hub, or it is private; .*HF_TOKEN"),
        ("hf://datasets/org/a..b", "a..b"),
        ("hf://org/there-is-none/x", "no such model on the Hub"),
    ],
)
def test_what_is_not_there_is_said(address, message):
    with pytest.raises(BuildError, match=message):
        pinned(address)


def test_a_revision_that_is_not_there_is_said(dataset):
    with pytest.raises(BuildError, match="no revision 'v9'"):
        pinned(f"{dataset[0]}@v9")


def test_a_hub_that_fails_is_said(dataset, hub):
    hub.fault("GET", "/api/datasets/.*", 500, times=20)
    with pytest.raises(BuildError, match=r"the Hub does not answer \(HfHubHTTPError\)"):
        pinned(dataset[0])


@pytest.mark.parametrize("address", ["s3://bucket/a", "data/raw", "memory://x", "hf://buckets/org/name/x/y"])
def test_other_addresses_are_unchanged(address):
    assert pinned(address) == address


def test_an_id_is_no_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data").mkdir()
    assert advice("org/raw") == "; a dataset of the Hub is given as hf://datasets/org/raw"
    assert advice("/data/raw") == advice("data/raw") == advice("a/b/c") == advice("../raw") == ""
