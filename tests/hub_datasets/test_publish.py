"""To the Hub and back: private, in one commit, only what may leave this machine, and nothing twice."""

from __future__ import annotations

import json

import pytest
from huggingface_hub import HfApi

from tests.hub_datasets.layouts import report_row, tree, write_reports

LOAD = """
import sys
from datasets import load_dataset

pairs = load_dataset(sys.argv[1], "pairs")
print({split: len(part) for split, part in pairs.items()}, pairs["train"][0]["image"].size)
stream = load_dataset(sys.argv[1], "chat", split="train", streaming=True)
row = next(iter(stream))
print(row["images"][0].size, row["messages"][0]["role"], sum(1 for _ in stream))
default = load_dataset(sys.argv[1], split="train")
print(default.column_names)
"""


@pytest.fixture
def reports(tmp_path) -> dict:
    return {"--reports_dir": write_reports(tmp_path / "reports", [report_row(n) for n in range(9)])}


@pytest.fixture
def push(build, tmp_path):
    """Builds and pushes; builds anew where there is an output already."""

    def command(folders, repo: str, *more: str, **options):
        return build(folders, tmp_path / "out", "--overwrite", "--push_to_hub", repo, *more, **options)

    return command


def uploads(log: list[tuple[str, str, int]]) -> list[str]:
    """Paths of the requests that send the content of a large file."""
    return [path for method, path, _ in log if method == "PUT"]


def test_a_pushed_dataset_loads_in_a_fresh_process(push, built_small, run, repo_name):
    done = push(built_small.sources, repo_name, "--val_fraction", "0.3")
    assert done.stdout.rstrip().endswith(f"/datasets/{repo_name}")
    report = json.loads((built_small.folder / "report.json").read_text())
    lines = run("python", "-c", LOAD, repo_name, fresh_home=True).stdout.splitlines()
    assert lines[0] == f"{report['splits']['pairs']} (12, 10)"
    assert lines[1] == f"(12, 10) user {report['splits']['chat']['train']}"
    assert lines[2].startswith("['image', 'image_path', 'text', ")


def test_a_repository_is_private_unless_it_is_asked_to_be_public(push, reports, repo_name):
    push(reports, repo_name)
    push(reports, f"{repo_name}-public", "--public")
    assert HfApi().dataset_info(repo_name).private is True
    assert HfApi().dataset_info(f"{repo_name}-public").private is False
    push(reports, repo_name, "--public")
    assert HfApi().dataset_info(repo_name).private is True  # an existing one stays as it is


def test_only_what_may_leave_this_machine(push, reports, hub, repo_name, tmp_path, tmp_path_factory):
    push(reports, repo_name)
    files = set(HfApi().list_repo_files(repo_name, repo_type="dataset"))
    expected = {name for name in tree(tmp_path / "out") if name.endswith((".parquet", "README.md", "report.json"))}
    assert files - {".gitattributes"} == expected
    local = tmp_path_factory.mktemp("snapshot")
    HfApi().snapshot_download(repo_name, repo_type="dataset", local_dir=local)
    snapshot = {name: content for name, content in tree(local).items() if not name.startswith(".cache")}
    assert set(snapshot) == files
    places = [str(tmp_path).encode(), str(tmp_path.parent).encode(), b"/tmp/", b"/home/"]
    assert not [name for name, content in snapshot.items() if any(place in content for place in places)]


def test_a_second_push_that_changes_nothing_sends_nothing(push, reports, hub, repo_name):
    push(reports, repo_name)
    first = HfApi().list_repo_commits(repo_name, repo_type="dataset")
    before = len(hub.log)
    assert uploads(hub.log)
    push(reports, repo_name)
    assert len(hub.log) > before and uploads(hub.log[before:]) == []
    assert HfApi().list_repo_commits(repo_name, repo_type="dataset")[0].commit_id == first[0].commit_id


def test_a_smaller_build_takes_the_place_of_a_larger_one(push, reports, run, repo_name, tmp_path):
    push(reports, repo_name, "--val_fraction", "0.5")
    commits = len(HfApi().list_repo_commits(repo_name, repo_type="dataset"))
    assert "pairs/validation-00000-of-00001.parquet" in HfApi().list_repo_files(repo_name, repo_type="dataset")
    push(reports, repo_name, "--val_fraction", "0")
    files = HfApi().list_repo_files(repo_name, repo_type="dataset")
    assert {name for name in files if name.endswith(".parquet")} == {
        "pairs/train-00000-of-00001.parquet", "chat/train-00000-of-00001.parquet",
    }  # fmt: skip
    assert len(HfApi().list_repo_commits(repo_name, repo_type="dataset")) == commits + 1
    assert "{'train': 9}" in run("python", "-c", LOAD, repo_name, fresh_home=True).stdout


@pytest.mark.parametrize(
    ("repo", "environment"),
    [
        (None, {"HF_TOKEN": "hf_wrong"}),
        (None, {"HF_TOKEN": "hf_read"}),
        (None, {"HF_TOKEN": None}),
        (None, {"HF_ENDPOINT": "http://127.0.0.1:9"}),
        (None, {"HF_HUB_OFFLINE": "1"}),
        ("org/not a name", {}),
        ("a/b/c", {}),
    ],
    ids=["wrong token", "reader's token", "no token", "no Hub", "offline", "no name", "no repository"],
)
def test_a_push_that_fails_leaves_the_build(push, reports, repo_name, tmp_path, repo, environment):
    done = push(reports, repo or repo_name, env=environment, check=False, fresh_home=True)
    assert done.returncode == 2 and "Traceback" not in done.stderr
    errors = [line for line in done.stderr.splitlines() if "error" in line.lower()]
    assert len(errors) == 1, done.stderr
    assert errors[0].startswith(f"error: --push_to_hub {repo or repo_name}: ")
    assert errors[0].endswith(f"; the build itself is in {tmp_path / 'out'}")
    assert json.loads((tmp_path / "out/report.json").read_text())["splits"]["chat"] == {"train": 9}
