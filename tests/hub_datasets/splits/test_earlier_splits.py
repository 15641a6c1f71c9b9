"""Checks `--keep_splits ORG/NAME`: the splits of a dataset on the Hub at a printed commit, or a clear error."""

from __future__ import annotations

import re

import pytest
from huggingface_hub import HfApi

from hub_datasets.build import main
from hub_datasets.errors import BuildError
from hub_datasets.splits.earlier_splits import is_hub_name, pinned_address
from tests.hub_datasets.checked import build_here
from tests.hub_datasets.layouts import read_lines, report_row, write_files, write_reports

FLAGS = ("--val_fraction", "0.3", "--test_fraction", "0.3")


@pytest.fixture
def pushed(hub, repo_name, tmp_path, monkeypatch):
    """A build of 30 reports, in a private repository."""
    monkeypatch.setenv("HF_TOKEN", hub.token)
    reports = write_reports(tmp_path / "reports", [report_row(n, patient_id=f"P{n}") for n in range(30)])
    build_here({"--reports_dir": reports}, tmp_path / "first", *FLAGS)
    api = HfApi(endpoint=hub.endpoint, token=hub.token)
    api.create_repo(repo_name, repo_type="dataset", private=True)
    api.upload_file(path_or_fileobj=tmp_path / "first/splits.txt", path_in_repo="splits.txt", repo_id=repo_name,
                    repo_type="dataset")  # fmt: skip
    return repo_name, api, reports


def splits_of(folder) -> dict[str, str]:
    return {line["metadata"]["patient_id"]: line["split"] for line in read_lines(folder / "chat_instructions.jsonl")}


def test_the_splits_of_a_dataset_on_the_hub_are_kept(pushed, tmp_path, capsys):
    name, api, reports = pushed
    commit = api.dataset_info(name).sha
    words = ["--reports_dir", reports, "--output_dir", tmp_path / "second", "--keep_splits", name, "--num_proc", "1"]
    words += ["--key_file", tmp_path / "first.key"]  # IDs are hashed with the same key
    assert main([str(word) for word in (*words, "--val_fraction", "0.05")]) == 0
    assert splits_of(tmp_path / "second") == splits_of(tmp_path / "first")
    said = capsys.readouterr().out
    assert f"--keep_splits reads hf://datasets/{name}@{commit}\n" in said


def test_a_revision_is_kept_when_the_branch_moves(pushed, tmp_path):
    name, api, reports = pushed
    api.create_tag(name, tag="v1", repo_type="dataset")
    api.upload_file(path_or_fileobj=b"# nothing\n", path_in_repo="splits.txt", repo_id=name, repo_type="dataset")
    built = build_here({"--reports_dir": reports}, tmp_path / "second", "--keep_splits", f"{name}@v1")
    assert splits_of(tmp_path / "second") == splits_of(tmp_path / "first")
    assert built["kept_splits"]["groups"] == 30 and re.search(r"@[0-9a-f]{40}$", built["kept_splits"]["from"])
    built = build_here({"--reports_dir": reports}, tmp_path / "third", "--keep_splits", name)
    assert built["kept_splits"]["groups"] == 0


def test_the_splits_of_ids_with_another_key(tmp_path):
    """They would be those of nobody in this build, and every patient would get a new split."""
    reports = write_reports(tmp_path / "reports", [report_row(n, patient_id=f"P{n}") for n in range(3)])
    build_here({"--reports_dir": reports}, tmp_path / "first")
    write_files(tmp_path, {"other.key": (tmp_path / "first.key").read_text().replace("00", "ff")})
    with pytest.raises(BuildError) as refused:
        build_here(
            {"--reports_dir": reports}, tmp_path / "second", "--keep_splits", tmp_path / "first", "--key_file",
            tmp_path / "other.key",
        )  # fmt: skip
    assert str(refused.value) == (
        f"--keep_splits {tmp_path / 'first'}: its IDs are hashed with the key of that build; add --key_file "
        f"{tmp_path / 'first.key'}"
    )


def test_a_dataset_without_splits(hub, repo_name, pushed, tmp_path):
    _, api, reports = pushed
    api.create_repo(f"{repo_name}-other", repo_type="dataset")
    with pytest.raises(BuildError, match=r"--keep_splits hf://datasets/.*-other@.*: no splits\.txt there; name"):
        build_here({"--reports_dir": reports}, tmp_path / "out", "--keep_splits", f"{repo_name}-other")


def test_a_dataset_that_does_not_exist(pushed):
    with pytest.raises(BuildError, match=r"^--keep_splits org/gone: neither a folder on this machine nor a dataset"):
        pinned_address("org/gone")


def test_a_private_dataset_without_a_token(pushed, monkeypatch):
    monkeypatch.delenv("HF_TOKEN")
    monkeypatch.setenv("HF_HUB_DISABLE_IMPLICIT_TOKEN", "1")
    with pytest.raises(BuildError, match="log in with `hf auth login`"):
        pinned_address(pushed[0])


def test_a_revision_that_does_not_exist(pushed):
    with pytest.raises(BuildError, match="this dataset has no revision 'v9'"):
        pinned_address(f"{pushed[0]}@v9")


def test_offline(pushed, run, tmp_path):
    words = ("--reports_dir", pushed[2], "--output_dir", tmp_path / "out", "--keep_splits", pushed[0])
    done = run("python", "medpairs.py", "build", *words, check=False, env={"HF_HUB_OFFLINE": "1"})
    said = done.stderr.strip().splitlines()[-1]
    assert done.returncode == 1
    assert said.startswith(f"error: --keep_splits {pushed[0]}: the Hub is not asked, because HF_HUB_OFFLINE or ")


@pytest.mark.parametrize(
    ("address", "is_name"),
    [("org/med-pairs", True), ("org/x@main", True), ("./org/x", False), ("/org/x", False), ("org", False),
     ("hf://datasets/org/x", False), ("a/b/c", False), ("", False), ("~/x", False), ("org/", False)],
)  # fmt: skip
def test_what_is_a_name_on_the_hub(address, is_name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert is_hub_name(address) is is_name


def test_a_folder_of_that_name_comes_first(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "org/med-pairs").mkdir(parents=True)
    assert not is_hub_name("org/med-pairs")
