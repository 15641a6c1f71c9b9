"""Checks that no folder is read twice or inside another one, and that each has a short label."""

from __future__ import annotations

import os
import zipfile
from pathlib import Path

import fsspec
import pytest

from hub_datasets.errors import BuildError
from hub_datasets.filesystem.source_folder import Folder
from hub_datasets.ingest.source_folders import labels
from hub_datasets.options import BuildOptions, argument_parser, read_options
from hub_datasets.sources import SOURCES
from hub_datasets.synthetic.marker import write_marker
from tests.hub_datasets.folders import sent
from tests.hub_datasets.layouts import report_row, write_files, write_reports

FLAGS = [source.flag for source in SOURCES]


@pytest.fixture
def places(tmp_path) -> Path:
    for name in ("a", "b", "c", "a/sub", "b/2024/reports", "c/2024/reports"):
        write_reports(tmp_path / name, [report_row(0)])
    return tmp_path


def options(*words: str | Path, output: str = "out") -> BuildOptions:
    return read_options(argument_parser().parse_args([*map(str, words), "--output_dir", output]))


def folders_of(found: BuildOptions) -> list[tuple[str, str, str]]:
    return [(source.flag, folder.label, Path(folder.address).name) for source, folder in found.folders]


def refused(*words: str | Path) -> str:
    with pytest.raises(BuildError) as error:
        options(*words)
    assert len(str(error.value).splitlines()) == 1
    return str(error.value)


# --- Several folders


@pytest.mark.parametrize("flag", FLAGS)
def test_all_folders_of_a_flag_are_taken_and_their_order_does_not_matter(places, flag):
    """Three folders, of which argparse alone would keep the last."""
    expected = [(flag, "a", "a"), (flag, "b", "b"), (flag, "c", "c")]
    for order in ("cab", "abc", "bca"):
        words = [word for name in order for word in (flag, places / name)]
        assert folders_of(options(*words)) == expected


def test_a_folder_on_its_own_has_no_label(places):
    found = options("--reports_dir", places / "a", "--slake_dir", places / "b", f"--slake_dir={places / 'c'}")
    assert folders_of(found) == [("--slake_dir", "b", "b"), ("--slake_dir", "c", "c"), ("--reports_dir", "", "a")]


def test_the_key_of_a_build_is_the_same_in_any_order(places):
    one, other = (
        options("--reports_dir", places / first, "--reports_dir", places / second)
        for first, second in (("a", "b"), ("b", "a"))
    )
    assert one.key(["1", "2"]) == other.key(["1", "2"]) != one.key(["2", "1"])


@pytest.mark.parametrize("flag", FLAGS)
def test_every_folder_is_checked(places, flag):
    (places / "empty").mkdir()
    write_files(places, {"file.txt": "x"})
    for name, message in (
        ("gone", "no such folder"),
        ("empty", "the folder is empty"),
        ("file.txt", "neither a folder nor an archive (.zip, .tar, .tar.gz, .tgz)"),
    ):
        for words in ((flag, places / "a", flag, places / name), (flag, places / name, flag, places / "a")):
            assert refused(*words) == f"{flag} {places / name}: {message}"


@pytest.mark.parametrize("name", ["a", "b"])
@pytest.mark.parametrize("flag", ["--output_dir", "--cache_dir"])
def test_nothing_is_written_into_any_of_the_folders(places, flag, name):
    both = ("--reports_dir", places / "a", "--reports_dir", places / "b")
    output = places / name / "out" if flag == "--output_dir" else places / "out"
    words = () if flag == "--output_dir" else ("--cache_dir", places / name / "cache")
    with pytest.raises(BuildError, match=rf"{flag} .* is inside --reports_dir {places / name}; name another folder"):
        options(*both, *words, output=str(output))


def test_a_result_that_would_replace_one_of_the_folders(places):
    with pytest.raises(BuildError, match=rf"--output_dir {places}/b contains --reports_dir {places}/b; name another"):
        options("--reports_dir", places / "a", "--reports_dir", places / "b", output=str(places / "b"))


def test_each_folder_that_may_not_be_shared_is_named(places):
    write_marker(places / "b")
    both = ("--reports_dir", places / "a", "--reports_dir", places / "b", "--reports_dir", places / "c")
    assert options(*both).restricted_sources() == ["medical_reports (a)", "medical_reports (c)"]
    assert options(*both[:4]).restricted_sources() == ["medical_reports (a)"]
    write_marker(places / "a")
    assert options(*both[:4]).restricted_sources() == []


# --- The same folder twice, and one in another


@pytest.mark.parametrize("flag", FLAGS)
@pytest.mark.parametrize("again", ["a", "a/", "a//", "./a", "b/../a", "link", "link/", "file://a"])
def test_a_folder_that_is_given_twice(places, flag, again, monkeypatch):
    monkeypatch.chdir(places)
    Path("link").symlink_to("a", target_is_directory=True)
    shown = again.rstrip("/")
    expected = f"{flag} a is given twice" if shown == "a" else f"{flag} a and {flag} {shown} are the same folder"
    assert refused(flag, "a", flag, "c", flag, again) == f"{expected}; give it once"


def test_a_zip_file_that_is_given_twice(places):
    with zipfile.ZipFile(places / "reports.zip", "w") as file:
        file.write(places / "a/reports.jsonl", "reports.jsonl")
    os.link(places / "reports.zip", places / "same.zip")  # another name of the same file
    words = ("--reports_dir", places / "reports.zip", "--reports_dir", places / "same.zip")
    assert refused(*words).endswith("same.zip are the same folder; give it once")


@pytest.mark.parametrize("flag", FLAGS)
@pytest.mark.parametrize("inner", ["a/sub", "link/sub", "to_sub"])
def test_a_folder_in_another_one_of_its_source(places, flag, inner, monkeypatch):
    """Its rows would be read twice."""
    monkeypatch.chdir(places)
    Path("link").symlink_to("a", target_is_directory=True)
    Path("to_sub").symlink_to("a/sub", target_is_directory=True)
    message = f"{flag} {inner} is inside {flag} a, which is read with all its subfolders; give one of the two"
    assert refused(flag, "a", flag, inner) == refused(flag, inner, flag, "a") == message


def test_a_folder_in_that_of_another_source_is_none_of_its_business(places):
    assert len(options("--reports_dir", places / "a", "--slake_dir", places / "a/sub").folders) == 2


def test_names_that_only_begin_alike(places):
    write_reports(places / "a2", [report_row(0)])
    assert len(options("--reports_dir", places / "a", "--reports_dir", places / "a2").folders) == 2


@pytest.mark.parametrize(
    ("one", "other", "message"),
    [
        ("memory://raw/a", "memory://raw/a/", "memory://raw/a/ are the same folder; give it once"),
        ("memory://raw/a", "memory:///raw/a", "memory:///raw/a are the same folder; give it once"),
        ("memory://raw", "memory://raw/a", "--reports_dir memory://raw/a is inside --reports_dir memory://raw, which"),
    ],
)
def test_the_same_behind_an_address(one, other, message):
    fsspec.filesystem("memory").pipe("/raw/a/reports.jsonl", b"{}")
    assert message in refused("--reports_dir", one, "--reports_dir", other)


def test_a_refusal_does_not_show_a_password():
    words = ("--reports_dir", "ftp://me:secret@host/a", "--reports_dir", "ftp://me:secret@host/a/b")
    with pytest.raises((BuildError, OSError)) as error:  # there is no such host
        options(*words)
    assert "secret" not in str(error.value)


def test_folders_of_different_stores_do_not_hold_each_other(places):
    here, there = Folder(places / "a"), Folder("memory://a")
    assert not here.holds(there) and not there.holds(here)
    assert here.holds(Folder(places / "a/sub")) and not Folder(places / "a/sub").holds(here)


# --- Labels


@pytest.mark.parametrize(
    ("addresses", "expected"),
    [
        (["in/january", "in/february"], ["january", "february"]),
        (["/data/in/january/", "february"], ["january", "february"]),
        (["b/2024/reports", "c/2024/reports"], ["b", "c"]),
        (["x/reports.zip", "x/reports"], ["reports.zip", "reports"]),
        (["a/x", "a/y", "b/x"], ["a-x", "a-y", "b-x"]),
        (["s3://bucket/january", "february"], ["january", "february"]),
        (["s3://one/reports", "s3://two/reports/"], ["one", "two"]),
        (["s3://key:secret@one/reports", "https://host/reports.zip?signature=secret"], ["reports", "reports.zip"]),
        (["/reports", "/a/reports"], ["reports", "a-reports"]),
        (["2024\n", "2025\u202e"], ["2024\\n", "2025\\u202e"]),
        (["caf\udce9", "tea"], ["caf\\udce9", "tea"]),
    ],
    ids=str,
)
def test_the_label_is_the_shortest_part_that_differs(addresses, expected, monkeypatch, tmp_path):
    monkeypatch.chdir("/")
    assert labels(addresses, "--reports_dir") == expected
    assert labels(addresses[::-1], "--reports_dir") == expected[::-1]


def test_a_link_keeps_the_name_that_somebody_gave_it(places, monkeypatch):
    monkeypatch.chdir(places)
    Path("first").symlink_to("b/2024/reports", target_is_directory=True)
    found = options("--reports_dir", "first", "--reports_dir", "c")
    assert folders_of(found) == [("--reports_dir", "c", "c"), ("--reports_dir", "first", "first")]


def test_addresses_that_nothing_tells_apart():
    addresses = ["https://host/x.zip?signature=secret", "https://host/x.zip?signature=other"]
    with pytest.raises(BuildError, match=r"^--slake_dir https://host/x\.zip and https://host/x\.zip: .* same name;"):
        labels(addresses, "--slake_dir")


def test_a_label_goes_along_to_another_process(places):
    folder = Folder(places / "a")
    assert folder.labeled("images/1.png") == "images/1.png"
    folder.label = "a"
    assert sent(folder).labeled("images/1.png") == folder.labeled("images/1.png") == "a/images/1.png"
