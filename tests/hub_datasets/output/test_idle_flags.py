"""Checks that a flag without an effect is named, in whole builds of small sources, and one with an effect is not."""

from __future__ import annotations

import pytest

from hub_datasets.build import main
from hub_datasets.errors import BuildError
from tests.hub_datasets.checked import build_here
from tests.hub_datasets.layouts import (
    encoded,
    pad_row,
    picture,
    png,
    report_row,
    slake_row,
    write_files,
    write_knee,
    write_pad,
    write_reports,
    write_slake,
)


@pytest.fixture(scope="module")
def reports(tmp_path_factory):
    return write_reports(tmp_path_factory.mktemp("idle") / "reports", [report_row(n) for n in range(8)])


@pytest.mark.parametrize(
    ("flags", "lines"),
    [
        ((), []),
        (("--window=0:100",), ["--window 0:100 has no effect: no accepted image has more than 8 bits per pixel"]),
        (("--chat_turns", "multi"), ["--chat_turns multi has no effect: no accepted row is a question with an answer"]),
        (("--near_distance", "40"), ["--near_distance 40 has no effect: no near-duplicates were found"]),
        (("--near_distance", "0"), []),
        (("--min_text_chars", "0", "--system_prompt", "Be brief.", "--max_image_pixels", "100000"), []),
    ],
    ids=str,
)
def test_flags_that_change_nothing_on_reports(reports, tmp_path, flags, lines):
    built = build_here({"--reports_dir": reports}, tmp_path / "out", "--val_fraction", "0.3", *flags)
    assert built["idle_flags"] == lines


def test_more_files_than_rows(reports, tmp_path):
    built = build_here({"--reports_dir": reports}, tmp_path / "out", "--num_shards", "5", "--val_fraction", "0.2")
    rows = built["splits"]["pairs"]
    few = [split for split, number in rows.items() if number < 5]
    assert built["idle_flags"] == [
        f"--num_shards 5: {config} {split} has only {rows[split]} rows, and as many files"
        for config in ("pairs", "chat")
        for split in few
    ]
    assert few


def test_flags_that_change_something_are_not_named(tmp_path):
    deep = encoded(picture(1, "L").convert("I;16").point(lambda value: value * 9))
    folder = write_reports(tmp_path / "reports", [report_row(n) for n in range(3)])
    write_files(folder, {"images/0.png": deep})
    slake = write_slake(tmp_path / "slake", train=[slake_row(n, n // 2, f"Question {n}?", "Yes") for n in range(4)])
    sources = {"--reports_dir": folder, "--slake_dir": slake}
    built = build_here(sources, tmp_path / "out", "--window=0:2000", "--chat_turns", "multi", "--val_fraction", "0.3")
    assert built["images"]["windowed"] == 1 and built["idle_flags"] == []


@pytest.mark.parametrize("other", [0, 9])
def test_a_rule_for_conflicts_without_conflicts(tmp_path, other):
    """The second expert gives the same image the same grade, or another one."""
    copies = {"MedicalExpert-I/0Normal/NormalG0 (1).png": 0, "MedicalExpert-II/1Doubtful/DoubtfulG1 (1).png": other}
    copies |= {f"MedicalExpert-I/0Normal/NormalG0 ({n}).png": n for n in range(2, 5)}
    knees = write_knee(tmp_path / "knee", copies)
    built = build_here({"--knee_dir": knees}, tmp_path / "out", "--knee_conflicts", "keep_lower")
    line = "--knee_conflicts keep_lower has no effect: knee_xray has no images with contradicting labels"
    assert built["idle_flags"] == ([] if other == 0 else [line])


def test_another_choice_of_a_source_is_no_rule_for_conflicts(tmp_path):
    """It changes every text, also of a source without contradicting labels."""
    pad = write_pad(tmp_path / "pad", [pad_row(n) for n in range(3)])
    built = build_here({"--pad_ufes_dir": pad}, tmp_path / "out", "--pad_text", "clinical")
    assert built["idle_flags"] == [] and built["settings"]["pad_text"] == "clinical"


def test_a_flag_of_another_source_is_an_error(tmp_path):
    pad = write_pad(tmp_path / "pad", [pad_row(n) for n in range(3)])
    with pytest.raises(BuildError, match=r"^--knee_conflicts requires --knee_dir$"):
        build_here({"--pad_ufes_dir": pad}, tmp_path / "out", "--knee_conflicts", "keep_lower")


def test_splits_of_a_build_that_shares_nothing(reports, tmp_path):
    other = write_reports(tmp_path / "other", [report_row(n) for n in range(4)])
    write_files(other, {f"images/{n}.png": png(9000 + n) for n in range(4)})
    build_here({"--reports_dir": other}, tmp_path / "first", "--val_fraction", "0.3")
    flags = ("--keep_splits", tmp_path / "first", "--val_fraction", "0.3")
    built = build_here({"--reports_dir": reports}, tmp_path / "second", *flags)
    line = "has no effect: none of its patients, studies or images is in these sources"
    assert built["idle_flags"] == [f"--keep_splits {tmp_path / 'first'} {line}"]
    assert built["kept_splits"]["groups"] == 0


def test_shares_where_every_group_is_kept(reports, tmp_path):
    build_here({"--reports_dir": reports}, tmp_path / "first", "--val_fraction", "0.3")
    flags = ("--keep_splits", tmp_path / "first", "--val_fraction", "0.6")
    built = build_here({"--reports_dir": reports}, tmp_path / "second", *flags)
    assert built["idle_flags"] == ["--val_fraction has no effect: every group keeps the split of the earlier build"]
    assert built["kept_splits"] == {"from": str(tmp_path / "first"), "groups": 8, "of": 8}


def test_the_command_prints_them(reports, tmp_path, capsys):
    words = ["--reports_dir", str(reports), "--output_dir", str(tmp_path / "out"), "--window=0:100", "--num_proc", "1"]
    assert main(words) == 0
    assert "--window 0:100 has no effect: no accepted image has more than 8 bits per pixel\n" in capsys.readouterr().out
    assert main(words) == 0  # nothing is left to do, and it is still true
    assert "--window 0:100 has no effect" in capsys.readouterr().out
