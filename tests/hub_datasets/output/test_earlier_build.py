"""Checks that `--overwrite` replaces what a build wrote and nothing else, for any output folder."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from hub_datasets.errors import BuildError
from hub_datasets.filesystem import storage
from hub_datasets.output.earlier_build import MANIFEST, contents_of
from tests.hub_datasets.checked import build_here
from tests.hub_datasets.layouts import report_row, tree, write_files, write_reports
from tests.hub_datasets.output.test_folder import remote_tree

FLAGS = ("--val_fraction", "0.3", "--near_distance", "0")
REPORT = '{"fingerprint": "0", "sources": {}, "splits": {}}'
MINE = {"thesis.docx": "years of work", "notes/deep/plan.txt": "plan", "pairs/notes.txt": "p", "assets/draft.svg": "s"}


@pytest.fixture(scope="module")
def reports(tmp_path_factory) -> Path:
    return write_reports(tmp_path_factory.mktemp("reports"), [report_row(n, patient_id=str(n // 2)) for n in range(12)])


@pytest.fixture(scope="module")
def built(reports, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("built") / "out"
    build_here({"--reports_dir": reports}, folder, *FLAGS)
    return folder


@pytest.fixture
def out(built, tmp_path) -> Path:
    return shutil.copytree(built, tmp_path / "out")


@pytest.fixture
def again(reports):
    """`again(output, *flags)`: a build of something else in the place of an earlier one."""

    def build(output: Path | str, *flags: str) -> None:
        shards = () if "--num_shards" in flags else ("--num_shards", "2")
        build_here({"--reports_dir": reports}, output, *FLAGS, *shards, "--overwrite", *flags)

    return build


def refused(again, output: Path | str, *flags: str) -> str:
    before = tree(Path(output))
    with pytest.raises(BuildError) as caught:
        again(output, *flags)
    assert tree(Path(output)) == before
    return str(caught.value)


def test_what_a_build_leaves_is_all_its_own(built):
    contents = contents_of(str(built))
    assert contents.occupied == contents.other == [] and set(contents.own) == set(tree(built))


def test_a_user_s_own_files_beside_a_build_stay(again, out, capsys):
    write_files(out, MINE)
    (out / "link").symlink_to("/usr")
    (out / "notes/empty").mkdir()
    again(out)
    found = tree(out)
    assert {name: found[name].decode() for name in MINE} == MINE
    assert (out / "link").is_symlink() and (out / "notes/empty").is_dir()
    assert "pairs/train-00001-of-00002.parquet" in found and "pairs/train-00000-of-00001.parquet" not in found
    said = f"--overwrite: kept in {out}, because no build wrote it: assets/draft.svg, link, notes and 2 more\n"
    assert said in capsys.readouterr().out
    assert sorted(path.name for path in out.parent.iterdir()) == [".out.cache", "out", "out.key", "out.names.jsonl"]


FOREIGN = {
    "another program's report": {"report.json": '{"tests": 7}', "thesis.docx": "x"},
    "a report that is no JSON": {"report.json": "a report", "notes.txt": "x"},
    "another program's manifest": {MANIFEST: '{"files": ["a"]}', "README.md": "mine"},
    "a dataset of somebody else": {"README.md": "mine", "pairs/train-00000-of-00001.parquet": "x"},
}


@pytest.mark.parametrize("files", FOREIGN.values(), ids=FOREIGN)
def test_a_folder_that_no_build_wrote_to_is_refused(again, files, tmp_path):
    write_files(tmp_path / "out", files)
    said = refused(again, tmp_path / "out")
    assert f"--output_dir {tmp_path}/out contains {', '.join(sorted(files))}, and no build wrote to this folder" in said


OCCUPIED = {
    "review.jsonl": "looked at\n",
    "splits.txt": "# mine",
    "pairs/mine.parquet": "mine",
    "pairs/test-00000-of-00001.parquet": "mine",
    "assets/photo.png": "mine",
}


@pytest.mark.parametrize("name", OCCUPIED)
def test_what_a_person_edited_or_put_under_a_build_s_names_is_refused(again, name, out):
    write_files(out, {name: OCCUPIED[name]})
    said = refused(again, out)
    assert f"--output_dir {out}: {name} is in the way: no build wrote it, or it was edited since" in said


def test_what_a_person_wrote_into_the_card_is_in_the_next_one(again, out):
    card = out / "README.md"
    card.write_text(card.read_text(encoding="utf-8") + "\nScanners of our hospital only.\n", encoding="utf-8")
    again(out)
    assert card.read_text(encoding="utf-8").endswith("\nScanners of our hospital only.\n")
    assert "pairs/train-00001-of-00002.parquet" in tree(out)


@pytest.mark.parametrize("name", ["pairs", "README.md"])
def test_a_link_in_the_place_of_what_a_build_wrote_is_refused(again, name, out, tmp_path):
    """A part that was moved to a larger disk: what lies there is not replaced, and the link is not lost."""
    shutil.move(out / name, tmp_path / "elsewhere")
    (out / name).symlink_to(tmp_path / "elsewhere")
    before = tree(tmp_path / "elsewhere")
    assert f"{name} is in the way" in refused(again, out)
    assert tree(tmp_path / "elsewhere") == before


def test_a_link_to_the_output_folder_stays_a_link(again, out, tmp_path):
    write_files(out, MINE)
    (tmp_path / "link").symlink_to(out, target_is_directory=True)
    again(tmp_path / "link")
    assert (tmp_path / "link").is_symlink() and (out / "thesis.docx").read_text() == MINE["thesis.docx"]
    assert "pairs/train-00001-of-00002.parquet" in tree(out)


def test_a_mounted_disk_in_the_folder_is_refused(again, out, monkeypatch):
    """It cannot be moved into the new build."""
    write_files(out, {"disk/precious": "x"})
    monkeypatch.setattr(Path, "is_mount", lambda path: path.name == "disk")
    assert f"--output_dir {out}: disk is a mount point, which cannot be moved" in refused(again, out)


def test_folders_that_are_never_replaced(again, out, monkeypatch):
    said = "this folder is or contains"
    monkeypatch.chdir(out)
    assert f"--overwrite --output_dir {out}: {said} the working directory; name another" in refused(again, out)
    monkeypatch.chdir(out.parent)
    monkeypatch.setenv("HOME", str(out / "home"))
    assert f"{said} your home folder" in refused(again, out)
    monkeypatch.undo()
    cache = out / "cache" / "medpairs-cache"
    with pytest.raises(BuildError, match=f"{said} --cache_dir {cache}"):
        again(out, "--cache_dir", str(out / "cache"))


def test_a_build_that_was_downloaded_is_known_by_its_report(again, out):
    """The manifest is not pushed."""
    (out / MANIFEST).unlink()
    write_files(out, MINE | {"pairs/mine.parquet": "mine"})
    assert "pairs/mine.parquet is in the way" in refused(again, out)
    (out / "pairs/mine.parquet").unlink()
    again(out)
    assert (out / "thesis.docx").is_file() and "pairs/train-00000-of-00001.parquet" not in tree(out)


# --- Behind an address


@pytest.fixture
def address(tmp_path) -> str:
    return f"memory://{tmp_path.name}/out"


def put(address: str, files: dict[str, str]) -> None:
    for name, text in files.items():
        with storage.open_file(storage.join(address, *name.split("/")), "wb") as file:
            file.write(text.encode())


def test_files_of_others_behind_an_address_stay(again, address):
    again(address)
    put(address, MINE)
    again(address, "--num_shards", "1")
    found = remote_tree(address)
    assert {name: found[name].decode() for name in MINE} == MINE
    assert "pairs/train-00000-of-00001.parquet" in found and "pairs/train-00001-of-00002.parquet" not in found
    assert json.loads(found[MANIFEST])["files"].keys() == found.keys() - MINE.keys() - {MANIFEST}


@pytest.mark.parametrize("name", ["pairs/test-00000-of-00001.parquet", "splits.txt"])
def test_what_is_not_a_build_s_behind_an_address_is_refused(again, address, name):
    again(address)
    put(address, {name: "mine"})
    before = remote_tree(address)
    with pytest.raises(BuildError, match=f"{name} is in the way"):
        again(address, "--num_shards", "1")
    assert remote_tree(address) == before


def test_an_address_that_no_build_wrote_to_is_refused(again, address):
    put(address, {"report.json": '{"tests": 7}', "pairs/train.csv": "x"})
    before = remote_tree(address)
    with pytest.raises(BuildError, match=r"contains pairs/train\.csv, report\.json, and no build wrote to this folder"):
        again(address)
    assert remote_tree(address) == before


def test_a_build_behind_an_address_that_was_killed_is_replaced(again, address):
    """It had removed card and manifest, and had written some shards."""
    again(address)
    whole = remote_tree(address)
    for name in ("README.md", MANIFEST):
        storage.remove(storage.join(address, name))
    put(address, {"pairs/train-00003-of-00007.parquet": "half", "thesis.docx": "mine"})
    again(address)
    assert remote_tree(address) == whole | {"thesis.docx": b"mine"}
