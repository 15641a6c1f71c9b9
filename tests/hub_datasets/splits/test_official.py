"""Checks `--split_by official`: which rows keep splits of tables and folders, and which sources are refused."""

from __future__ import annotations

import json
from collections import Counter

import pytest

from hub_datasets.errors import BuildError
from hub_datasets.splits.official import count_official
from tests.hub_datasets.checked import build_here
from tests.hub_datasets.hand_made import decide, make_stage, question, report, source_of
from tests.hub_datasets.layouts import pad_row, png, read_lines, report_row, write_files, write_pad, write_reports


def splits_of(folder) -> dict[str, str]:
    return {line["text"]: line["split"] for line in pairs_of(folder)}


def pairs_of(folder) -> list[dict]:
    lines = read_lines(folder / "chat_instructions.jsonl")
    return [line | {"text": line["messages"][-1]["content"]} for line in lines]


def test_a_column_is_an_official_split(tmp_path):
    names = ["Train", "val", "测试集", "train", "dev"]
    rows = [report_row(n, split=names[n % 5]) for n in range(20)]
    folder = write_reports(tmp_path / "r", rows)
    built = build_here({"--reports_dir": folder}, tmp_path / "out", "--split_by", "official")
    assert built["splits"]["chat"] == {"train": 8, "validation": 8, "test": 4}
    assert built["official"] == {"medical_reports": {"rows": 20, "official": 20}} and built["idle_flags"] == []
    expected = {
        row["text"]: ("train", "validation", "test", "train", "validation")[n % 5] for n, row in enumerate(rows)
    }
    assert splits_of(tmp_path / "out") == expected


def test_the_folders_of_an_imagefolder_are_official_splits(tmp_path):
    """The table of each split is in its folder."""
    texts = {}
    for place, (name, split) in enumerate({"train": "train", "valid": "validation", "test": "test"}.items()):
        rows = [{"file_name": f"im{n}.png", "text": f"Finding {place} {n} of a chest film."} for n in range(4)]
        images = {f"{name}/im{n}.png": png(10 * place + n) for n in range(4)}
        write_files(tmp_path / "r", {f"{name}/metadata.jsonl": "\n".join(map(json.dumps, rows))} | images)
        texts |= {row["text"]: split for row in rows}
    build_here({"--reports_dir": tmp_path / "r"}, tmp_path / "out", "--split_by", "official")
    assert splits_of(tmp_path / "out") == texts


def test_without_the_flag_they_are_kept_in_the_report_only(tmp_path):
    folder = write_reports(tmp_path / "r", [report_row(n, split="test") for n in range(20)])
    built = build_here({"--reports_dir": folder}, tmp_path / "out", "--val_fraction", "0.3")
    assert set(built["splits"]["chat"]) == {"train", "validation"} and built["official"] == {}
    assert built["leakage"]["official"]["medical_reports"]["test_rows"] == 20


def test_rows_without_an_official_split_are_named(tmp_path):
    rows = [report_row(n, split="test" if n < 15 else "fold 3") for n in range(20)]
    folder = write_reports(tmp_path / "r", rows)
    built = build_here({"--reports_dir": folder}, tmp_path / "out", "--split_by", "official", "--val_fraction", "0.2")
    line = "5 of 20 rows of medical_reports have no official split, and are assigned by their groups"
    assert built["idle_flags"] == [f"--split_by official: {line}"]
    assert built["splits"]["chat"]["test"] == 15 and set(built["splits"]["chat"]) >= {"train", "test"}


@pytest.mark.parametrize("flags", [("--val_fraction", "0.2"), ("--test_fraction", "0.2")])
def test_shares_have_no_effect_on_rows_with_official_splits(tmp_path, flags):
    folder = write_reports(tmp_path / "r", [report_row(n, split=("train", "test")[n % 2]) for n in range(6)])
    built = build_here({"--reports_dir": folder}, tmp_path / "out", "--split_by", "official", *flags)
    assert built["idle_flags"] == [f"{flags[0]} has no effect: every row has an official split"]


def test_a_source_that_never_has_splits_is_refused_before_it_is_read(tmp_path):
    pad = write_pad(tmp_path / "pad", [pad_row(n) for n in range(3)])
    with pytest.raises(
        BuildError, match=r"--split_by official: pad_ufes_20 has no official splits; leave it out, or use"
    ):
        build_here({"--pad_ufes_dir": pad}, tmp_path / "out", "--split_by", "official")
    assert not (tmp_path / ".out.cache").exists()


def test_a_source_of_which_no_row_has_a_split_is_refused(tmp_path):
    folder = write_reports(tmp_path / "r", [report_row(n) for n in range(4)])
    with pytest.raises(BuildError, match=r"medical_reports has no official splits; .*column `split`"):
        build_here({"--reports_dir": folder}, tmp_path / "out", "--split_by", "official")
    assert not (tmp_path / "out").exists()


def test_rows_are_counted_by_source(tmp_path):
    questions = [question(n, n, official_split=("train", "")[n % 2]) for n in range(6)]
    stages = (
        make_stage(tmp_path / "a", questions, source=source_of("slake")),
        make_stage(tmp_path / "b", [report(n, official_split="test") for n in range(3)]),
    )
    decisions, _ = decide(tmp_path / "d", *stages, split_by="official")
    assert count_official(decisions) == {
        "slake": {"rows": 6, "official": 3}, "medical_reports": {"rows": 3, "official": 3},
    }  # fmt: skip
    assert Counter(one.split for (one,) in decisions.accepted(1)) == {"test": 3}
