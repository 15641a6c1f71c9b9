"""Checks pushes to the Hub: private, in one commit, only shareable files, and without repetition."""

from __future__ import annotations

import functools
import json
import os
import posixpath
import re
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from huggingface_hub import DatasetCard, HfApi

from hub_datasets.errors import BuildError
from hub_datasets.output.publish import check_push, push_dataset
from hub_datasets.synthetic.marker import MARKER, write_marker
from tests.conftest import ROOT
from tests.forked import BUILD, Forked, run_main
from tests.hub_datasets.layouts import csv_text, pad_row, png, report_row, tree, write_files, write_pad, write_reports

EARLIER = ("repos/create", "preupload/", "objects/batch")  # what is asked of the Hub before a file is sent
HELD_OUT = ("--val_fraction", "0.3", "--test_fraction", "0.3")


def drawn(folder: Path, count: int) -> dict[str, Path]:
    """Reports that are marked as synthetic, so that they may be shared, by flag."""
    write_reports(folder, [report_row(n) for n in range(count)])
    return {"--reports_dir": write_marker(folder)}


@pytest.fixture
def reports(tmp_path) -> dict[str, Path]:
    return drawn(tmp_path / "reports", 40)


@pytest.fixture
def push(build, tmp_path):
    """Builds and pushes; builds anew where there is an output already."""

    def command(folders, repo: str, *more: str, **options):
        return build(folders, tmp_path / "out", "--overwrite", "--push_to_hub", repo, *more, **options)

    return command


def uploads(log: list[tuple[str, str, int]]) -> list[str]:
    """Paths of the requests that send the content of a large file."""
    return [path for method, path, _ in log if method == "PUT"]


def files_of(repo: str) -> set[str]:
    return set(HfApi().list_repo_files(repo, repo_type="dataset"))


def load(repo: str) -> dict:
    """What another process finds in a repository; of each name the caches know nothing before."""
    return json.loads(run_main("tests.hub_datasets.loaded", repo).stdout)


@pytest.mark.slow
def test_a_pushed_dataset_loads_in_a_fresh_process(push, built_small, run, repo_name):
    done = push(built_small.sources, repo_name, "--val_fraction", "0.3", "--redistribute")
    assert done.stdout.rstrip().endswith(f"/datasets/{repo_name}")
    report = json.loads((built_small.folder / "report.json").read_text())
    found = json.loads(run("python", "-m", "tests.hub_datasets.loaded", repo_name, fresh_home=True).stdout)
    assert found["default"][:3] == ["image", "image_path", "text"]
    for config in ("pairs", "chat"):
        assert found[config]["plain"] == found[config]["stream"] == report["splits"][config]
        assert found[config]["same"] and found[config]["size"] == [12, 10]


@pytest.mark.slow
def test_the_folder_remembers_where_it_was_pushed_until_it_is_built_again(push, build, reports, repo_name, tmp_path):
    push(reports, repo_name)
    manifest = json.loads((tmp_path / "out" / ".build.json").read_text())
    commit = HfApi().dataset_info(repo_name).sha
    assert manifest["pushed"] == {"repository": repo_name, "commit": commit}
    assert ".build.json" not in files_of(repo_name)
    again = build(reports, tmp_path / "out", "--overwrite")  # nothing to do: it is still what was pushed
    assert json.loads((tmp_path / "out" / ".build.json").read_text()) == manifest, again.stdout
    build(reports, tmp_path / "out", "--overwrite", *HELD_OUT)
    assert "pushed" not in json.loads((tmp_path / "out" / ".build.json").read_text())


def test_a_folder_without_a_manifest_is_not_given_one(reports, build, repo_name, tmp_path, hub):
    """A dataset that was downloaded from the Hub is not a build's folder."""
    build(reports, tmp_path / "out")
    (tmp_path / "out" / ".build.json").unlink()
    push_dataset(tmp_path / "out", repo_name)
    assert not (tmp_path / "out" / ".build.json").exists()


@pytest.mark.slow
def test_the_card_says_of_the_splits_what_is_loaded(push, reports, repo_name):
    push(reports, repo_name, *HELD_OUT, "--num_shards", "3")
    card = DatasetCard.load(repo_name, repo_type="dataset")
    found = load(repo_name)
    infos = {info["config_name"]: info for info in card.data.to_dict()["dataset_info"]}
    for config in ("pairs", "chat"):
        said = {split["name"]: split["num_examples"] for split in infos[config]["splits"]}
        assert said == found[config]["plain"] and set(said) == {"train", "validation", "test"}
        row = re.search(rf"^\| rows of `{config}` \|(.*)\|\s*$", card.text, re.MULTILINE)
        assert [int(cell.replace(",", "")) for cell in row[1].split("|")] == list(said.values())
    assert {name.partition("/")[0] for name in files_of(repo_name) if "00002-of-00003" in name} == {"pairs", "chat"}


def test_a_repository_is_private_unless_it_is_asked_to_be_public(push, reports, repo_name):
    push(reports, repo_name)
    push(reports, f"{repo_name}-public", "--public")
    assert HfApi().dataset_info(repo_name).private is True
    assert HfApi().dataset_info(f"{repo_name}-public").private is False
    push(reports, repo_name, "--public")
    assert HfApi().dataset_info(repo_name).private is True  # an existing one stays as it is


def test_a_repository_that_is_public_is_refused_unless_that_is_meant(push, reports, repo_name, tmp_path):
    HfApi().create_repo(repo_name, repo_type="dataset", private=False)
    done = push(reports, repo_name, check=False)
    assert done.returncode == 2 and done.stderr.splitlines()[-1] == (
        f"error: --push_to_hub {repo_name}: the repository is public; add --public to push to it"
    )
    assert not (tmp_path / "out").exists()  # it is refused before the build
    assert files_of(repo_name) == {".gitattributes"}
    push(reports, repo_name, "--public")
    assert "README.md" in files_of(repo_name)


# --- What may leave this machine


def test_data_that_may_not_be_shared_is_refused(push, hub, repo_name, tmp_path):
    """Before anything is read or asked of the Hub."""
    own = {"--reports_dir": write_reports(tmp_path / "own", [report_row(n) for n in range(9)])}
    pad = {"--pad_ufes_dir": write_pad(tmp_path / "pad", [pad_row(n) for n in range(9)])}
    before = len(hub.log)
    done = push(own | pad, repo_name, check=False)
    assert done.returncode == 2 and done.stdout == ""
    assert done.stderr == (
        "error: --push_to_hub: the license of medical_reports is not known to allow redistribution; "
        "leave this source out, or add --redistribute if you have the right to publish it\n"
    )
    assert len(hub.log) == before and {path.name for path in tmp_path.iterdir()} == {"own", "pad"}
    push(pad, repo_name)
    push(own | pad, f"{repo_name}-all", "--redistribute")
    assert "pairs/train-00000-of-00001.parquet" in files_of(repo_name) & files_of(f"{repo_name}-all")
    with pytest.raises(BuildError, match="the license of medical_reports is not known"):
        push_dataset(tmp_path / "out", f"{repo_name}-direct")  # a build that is there already
    assert not HfApi().repo_exists(f"{repo_name}-direct", repo_type="dataset")


def test_only_what_may_leave_this_machine(push, reports, repo_name, tmp_path, tmp_path_factory):
    write_files(
        reports["--reports_dir"], {"more.jsonl": json.dumps(report_row(99) | {"image": "images/no.png"}) + "\n"}
    )
    secret = report_row(98, text="Call Dr. Eva Sommer at +49 170 1234567 about the left lung.") | {
        "image": "images/9.png"
    }
    write_files(reports["--reports_dir"], {"secret.jsonl": json.dumps(secret) + "\n"})
    write_marker(reports["--reports_dir"])
    push(reports, repo_name, *HELD_OUT)
    here = tree(tmp_path / "out")
    assert all(here[name] for name in ("rejections.jsonl", "review.jsonl", "chat_instructions.jsonl"))
    expected = {name for name in here if name.endswith((".parquet", ".png"))}
    expected |= {"README.md", "report.json", "croissant.json", "splits.txt", "eval.yaml"}
    expected.add("llama_factory/dataset_info.json")
    files = files_of(repo_name)
    assert files - {".gitattributes"} == expected
    assert {"assets/contact_sheet.png", "assets/funnel.png"} <= files

    local = tmp_path_factory.mktemp("snapshot")
    HfApi().snapshot_download(repo_name, repo_type="dataset", local_dir=local)
    snapshot = {name: content for name, content in tree(local).items() if not name.startswith(".cache")}
    assert set(snapshot) == files and all(snapshot[name] == here[name] for name in expected)
    places = [str(tmp_path).encode(), str(tmp_path.parent).encode(), b"/tmp/", b"/home/"]
    assert not [name for name, content in snapshot.items() if any(place in content for place in places)]
    for entry in json.loads(snapshot["llama_factory/dataset_info.json"]).values():
        assert posixpath.normpath(f"llama_factory/{entry['file_name']}") in files


# --- Again


def test_a_second_push_that_changes_nothing_sends_nothing(push, reports, hub, repo_name):
    push(reports, repo_name)
    first = HfApi().list_repo_commits(repo_name, repo_type="dataset")
    before = len(hub.log)
    assert uploads(hub.log)
    push(reports, repo_name)
    assert len(hub.log) > before and uploads(hub.log[before:]) == []
    assert not [path for _, path, _ in hub.log[before:] if "/commit/" in path]
    assert HfApi().list_repo_commits(repo_name, repo_type="dataset")[0].commit_id == first[0].commit_id


@pytest.mark.slow
def test_a_smaller_build_takes_the_place_of_a_larger_one(push, reports, repo_name):
    """In one commit: shards, the benchmark of a test split, and pictures that are no more."""
    push(reports, repo_name, *HELD_OUT, "--num_shards", "4")
    commits = len(HfApi().list_repo_commits(repo_name, repo_type="dataset"))
    assert {"pairs/validation-00003-of-00004.parquet", "eval.yaml"} <= files_of(repo_name)
    (reports["--reports_dir"] / MARKER).unlink()  # no picture of it is shown now
    push(reports, repo_name, "--val_fraction", "0", "--redistribute")
    files = files_of(repo_name)
    assert {name for name in files if name.endswith(".parquet")} == {
        "pairs/train-00000-of-00001.parquet", "chat/train-00000-of-00001.parquet",
    }  # fmt: skip
    assert not {"eval.yaml", "assets/contact_sheet.png"} & files and "assets/funnel.png" in files
    assert len(HfApi().list_repo_commits(repo_name, repo_type="dataset")) == commits + 1
    assert load(repo_name)["pairs"]["plain"] == {"train": 40}


@pytest.mark.slow
def test_what_others_put_into_the_repository_stays(push, reports, repo_name):
    push(reports, repo_name)
    notes = {"path_or_fileobj": b"Ours.\n", "path_in_repo": "NOTES.md", "repo_type": "dataset"}
    HfApi().upload_file(repo_id=repo_name, **notes)
    push(reports, repo_name, "--val_fraction", "0.4")
    assert "NOTES.md" in files_of(repo_name)


@pytest.mark.parametrize(
    "name",
    [
        "pairs/extra.parquet",
        *(
            pytest.param(name, marks=pytest.mark.slow)
            for name in ("assets/logo.png", "chat/notes.md", "pairs/more/train-1.parquet")
        ),
    ],
)
def test_files_of_people_beside_ours_stay(name, push, reports, repo_name):
    push(reports, repo_name)
    HfApi().upload_file(repo_id=repo_name, repo_type="dataset", path_or_fileobj=b"\0mine", path_in_repo=name)
    push(reports, repo_name, "--val_fraction", "0.4")
    assert {name, "pairs/validation-00000-of-00001.parquet"} <= files_of(repo_name)


PUSH = "import sys; from hub_datasets.output.publish import push_dataset; push_dataset(sys.argv[1], sys.argv[2])"


@pytest.mark.slow
def test_two_processes_that_push_at_once_leave_one_of_their_builds(build, hub, repo_name, tmp_path):
    """Both have seen the same commit before either writes: what the first one writes, the second has to replace."""
    rows = {}
    for count in (20, 30):
        build(drawn(tmp_path / f"raw-{count}", count), tmp_path / str(count), "--num_shards", str(count // 10))
        rows[count] = json.loads((tmp_path / f"{count}/report.json").read_text())["splits"]["pairs"]
    HfApi().create_repo(repo_name, repo_type="dataset", private=True)
    hold, since = threading.Event(), len(hub.log)
    held = hub.fault("POST", f"{repo_name}/commit/", times=2, hold=hold)
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    processes = [
        subprocess.Popen([sys.executable, "-c", PUSH, tmp_path / str(count), repo_name], cwd=ROOT, env=environment)
        for count in rows
    ]
    end = time.monotonic() + 120
    while held.times and time.monotonic() < end:
        time.sleep(0.01)
    hold.set()
    assert [process.wait(120) for process in processes] == [0, 0]
    answered = [status for method, path, status in hub.log[since:] if f"{repo_name}/commit/" in path]
    assert sorted(answered) == [200, 200, 412]
    last = json.loads(Path(HfApi().hf_hub_download(repo_name, "report.json", repo_type="dataset")).read_text())
    count = sum(last["splits"]["pairs"].values())
    parquet = {name for name in files_of(repo_name) if name.endswith(".parquet")}
    assert parquet == {name for name in tree(tmp_path / str(count)) if name.endswith(".parquet")}
    assert load(repo_name)["pairs"]["plain"] == rows[count]


@pytest.mark.slow
def test_a_busy_hub_is_asked_again(push, reports, hub, repo_name):
    hub.fault("POST", "/commit/", 429, headers={"retry-after": "1"})
    hub.fault("POST", "/commit/", 503, headers={"retry-after": "0"})
    done = push(reports, repo_name)
    said = re.findall(r"^The Hub answers (\d+).*: trying again in (\d+) s", done.stdout, re.MULTILINE)
    assert said == [("429", "1"), ("503", "0")]
    assert "pairs/train-00000-of-00001.parquet" in files_of(repo_name)


# --- The card that a person edited


def edited(text: str) -> str:
    text = text.replace("license: apache-2.0", "license: cc-by-nc-4.0  # corrected")
    return text.replace("\n# Medical", "\n# My own") + "\n## Mine\n\nWritten by hand.\n"


def upload_card(repo: str, text: str) -> None:
    HfApi().upload_file(repo_id=repo, repo_type="dataset", path_or_fileobj=text.encode(), path_in_repo="README.md")


def card_of(repo: str) -> str:
    return Path(HfApi().hf_hub_download(repo, "README.md", repo_type="dataset")).read_text("utf-8")


@pytest.mark.slow
@pytest.mark.parametrize("place", ["folder", "repository"])
def test_an_edited_card_survives_a_larger_build(place, push, reports, repo_name, tmp_path):
    path = tmp_path / "out/README.md"
    push(reports, repo_name, *HELD_OUT)
    if place == "folder":
        path.write_text(edited(path.read_text("utf-8")), "utf-8")
    else:
        upload_card(repo_name, edited(card_of(repo_name)))
    before = card_of(repo_name)
    write_reports(reports["--reports_dir"], [report_row(n) for n in range(50)])
    write_marker(reports["--reports_dir"])
    done = push(reports, repo_name, *HELD_OUT, "--num_shards", "2")
    assert "README.md" not in done.stdout  # there is nothing to say
    card = card_of(repo_name)
    assert "license: cc-by-nc-4.0  # corrected\n" in card and card.endswith("\n## Mine\n\nWritten by hand.\n")
    assert "\n# My own image-text pairs" in card and "\n# Medical" not in card
    report = json.loads((tmp_path / "out/report.json").read_text())
    assert report["fingerprint"] in card and report["fingerprint"] not in before
    assert (place == "folder") is (card == path.read_text("utf-8"))
    found = load(repo_name)  # by the keys that say how many rows there are
    assert found["pairs"]["plain"] == report["splits"]["pairs"] and sum(report["splits"]["pairs"].values()) == 50


def test_a_card_edited_after_the_build_is_pushed_without_building_again(push, reports, repo_name, build, tmp_path):
    push(reports, repo_name)
    path = tmp_path / "out/README.md"
    path.write_text(edited(path.read_text("utf-8")), "utf-8")
    report = (tmp_path / "out/report.json").stat().st_mtime_ns  # which a build would replace
    build(reports, tmp_path / "out", "--push_to_hub", repo_name)
    assert (tmp_path / "out/report.json").stat().st_mtime_ns == report
    assert card_of(repo_name) == path.read_text("utf-8")


def test_where_both_were_edited_the_one_in_the_repository_stays(push, reports, repo_name, tmp_path):
    push(reports, repo_name)
    path = tmp_path / "out/README.md"
    path.write_text(edited(path.read_text("utf-8")), "utf-8")
    theirs = card_of(repo_name) + "\n## Theirs\n"
    upload_card(repo_name, theirs)
    done = push(reports, repo_name)
    assert "README.md was changed both here and in the repository: the text there stays\n" in done.stdout
    card = card_of(repo_name)
    assert card == theirs.replace("license: apache-2.0", "license: cc-by-nc-4.0")
    assert path.read_text("utf-8").endswith("Written by hand.\n")


@pytest.mark.slow
def test_a_card_that_was_never_ours_gets_the_keys_of_the_data(push, reports, repo_name):
    HfApi().create_repo(repo_name, repo_type="dataset", private=True)
    mine = "---\nlicense: mit  # mine\nconfigs:\n- config_name: own\n  data_files: own.csv\n---\n# Mine\n"
    HfApi().upload_file(repo_id=repo_name, repo_type="dataset", path_or_fileobj=b"a\n1\n", path_in_repo="own.csv")
    upload_card(repo_name, mine)
    done = push(reports, repo_name)
    said = "README.md contains no medpairs blocks and keeps its text; updated keys: configs, dataset_info\n"
    assert said in done.stdout
    card = card_of(repo_name)
    assert card.startswith("---\nlicense: mit  # mine\nconfigs:\n") and card.endswith("---\n# Mine\n")
    assert sum(load(repo_name)["pairs"]["plain"].values()) == 40
    names = [config["config_name"] for config in DatasetCard.load(repo_name, repo_type="dataset").data.configs]
    assert names == ["pairs", "chat", "own"]


@pytest.mark.parametrize("text", [None, "# Mine\n"])
def test_a_card_without_the_keys_of_the_data_is_not_pushed(text, build, reports, repo_name, tmp_path):
    build(reports, tmp_path / "out")
    (tmp_path / "out/README.md").unlink()
    if text:
        (tmp_path / "out/README.md").write_text(text)
    with pytest.raises(BuildError, match=r"README\.md lacks configs and dataset_info, .*; build again; the build"):
        push_dataset(tmp_path / "out", repo_name)
    assert not HfApi().repo_exists(repo_name, repo_type="dataset")


def test_a_card_that_is_not_yaml_is_named_by_the_build(build, reports, tmp_path):
    build(reports, tmp_path / "out")
    (tmp_path / "out/README.md").write_text("---\na: [\n---\n# Mine\n")
    done = build(reports, tmp_path / "out", "--overwrite", "--val_fraction", "0.4", check=False)
    assert done.returncode == 2 and "Traceback" not in done.stderr
    assert re.search(r"^error: README\.md: its front matter is not YAML .*; correct or remove it$", done.stderr, re.M)
    assert (tmp_path / "out/README.md").read_text() == "---\na: [\n---\n# Mine\n"


@pytest.mark.slow
def test_a_source_that_grew_is_pushed_again(push, repo_name, tmp_path):
    rows = [pad_row(n) for n in range(30)]
    pad = {"--pad_ufes_dir": write_pad(tmp_path / "pad", rows)}
    push(pad, repo_name)
    rows.append(pad_row(30))
    write_files(tmp_path / "pad", {"metadata.csv": csv_text(rows), "images/imgs_part_1/PAT_30_30_1.png": png(77)})
    push(pad, repo_name)
    assert sum(load(repo_name)["pairs"]["plain"].values()) == 31


@pytest.mark.slow
@pytest.mark.parametrize("moment", [f"/{name}" for name in ("commit/", "lfs/", *EARLIER)])
def test_a_push_that_is_killed_can_be_run_again(push, hub, repo_name, tmp_path, moment):
    """By SIGKILL, as the Hub has carried out such a request and has not answered."""
    reports = drawn(tmp_path / "reports", 50 + len(moment))  # other files than in other tests, which are sent already
    flags = (*HELD_OUT, "--num_shards", "8")
    words = ["--reports_dir", reports["--reports_dir"], "--output_dir", tmp_path / "out", *flags]
    before = len(hub.log)
    hold = threading.Event()
    # None of them is answered, because several files are sent at a time.
    held = hub.fault("PUT" if moment == "/lfs/" else "POST", moment, done=True, hold=hold, times=1000)
    process = Forked(BUILD, [*words, "--push_to_hub", repo_name])
    assert held.carried_out.wait(120)
    process.kill()
    assert process.wait() == -signal.SIGKILL
    held.times = 0
    hold.set()
    end = time.monotonic() + 30
    while not any(moment in path for _, path, _ in hub.log[before:]):
        assert time.monotonic() < end
        time.sleep(0.01)
    sent = uploads(hub.log[before:])
    parquet = [name for name in tree(tmp_path / "out") if name.endswith(".parquet")]
    assert len(parquet) == 48 and (len(sent) < len(parquet) or moment == "/commit/")
    if HfApi().repo_exists(repo_name, repo_type="dataset"):  # all of it or nothing
        there = {name for name in files_of(repo_name) if name.endswith(".parquet")}
        assert there == set(parquet) if moment == "/commit/" else there in (set(), set(parquet))

    again = len(hub.log)
    push(reports, repo_name, *flags)
    assert not set(sent) & set(uploads(hub.log[again:]))  # what had arrived is not sent twice
    assert {name for name in files_of(repo_name) if name.endswith(".parquet")} == set(parquet)
    report = json.loads((tmp_path / "out/report.json").read_text())
    assert load(repo_name)["chat"]["plain"] == report["splits"]["chat"]
    titles = [commit.title for commit in HfApi().list_repo_commits(repo_name, repo_type="dataset")]
    assert titles.count("Build of the dataset") == 1


# --- What the Hub refuses


@pytest.mark.parametrize(
    ("environment", "status", "words"),
    [
        ({"HF_TOKEN": None}, 2, "; log in with `hf auth login`"),
        *(
            pytest.param(*case, marks=pytest.mark.slow)
            for case in (
                ({"HF_TOKEN": "hf_wrong"}, 2, "; log in with `hf auth login`"),
                (
                    {"HF_TOKEN": "hf_read"},
                    2,
                    "the token is read-only; log in with a write token: `hf auth login`",
                ),
                (
                    {"HF_ENDPOINT": "http://127.0.0.1:9"},
                    1,
                    "no connection to 127.0.0.1:9: [Errno 111] Connection refused; check",
                ),
                ({"HF_HUB_OFFLINE": "1"}, 1, "the Hub is not asked, because HF_HUB_OFFLINE"),
            )
        ),
    ],
    ids=["no token", "wrong token", "reader's token", "no Hub", "offline"],
)
def test_a_push_that_cannot_work_is_refused_before_the_build(
    push, reports, repo_name, tmp_path, environment, status, words
):
    done = push(reports, repo_name, env=environment, check=False, fresh_home=True)
    assert done.returncode == status and done.stderr.count("\n") == 1
    assert done.stderr.startswith(f"error: --push_to_hub {repo_name}: ") and words in done.stderr
    assert "hf_" not in done.stderr and list(tmp_path.glob("out*")) == list(tmp_path.glob(".out*")) == []


def test_a_push_that_fails_leaves_the_build(push, reports, hub, repo_name, tmp_path):
    hub.fault("POST", "/commit/", 403)
    done = push(reports, repo_name, check=False)
    assert done.returncode == 2 and "Traceback" not in done.stderr
    (error,) = (line for line in done.stderr.splitlines() if "error" in line.lower())
    assert error.startswith(f"error: --push_to_hub {repo_name}: ")
    assert error.endswith(f"; the build itself is in {tmp_path / 'out'}")
    assert sum(json.loads((tmp_path / "out/report.json").read_text())["splits"]["chat"].values()) == 40


@pytest.mark.parametrize("repo", ["org/not a name", "a/b/c", "org/"])
def test_a_name_that_no_repository_has_is_refused_before_anything_is_read(push, reports, hub, repo, tmp_path):
    before = len(hub.log)
    done = push(reports, repo, check=False)
    assert done.returncode == 2
    assert not (tmp_path / "out").exists()
    assert done.stderr.startswith(f"error: --push_to_hub {repo}: ")
    assert len(hub.log) == before


def test_a_build_behind_an_address_is_not_pushed(tmp_path):
    for refuse in (push_dataset, functools.partial(check_push, public=True)):
        with pytest.raises(BuildError, match="memory://bucket/out is not on this machine; push from a folder that is"):
            refuse("memory://bucket/out", "org/any")
