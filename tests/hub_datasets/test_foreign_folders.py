"""Checks what becomes of folders that users brought and that failed once, where this machine has them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.hub_datasets.foreign_folders import outcome_of, restored

# Rows that are accepted, all that are read; the languages, where it is not English alone.
TAKEN = {
    "abs_linux_same": 4, "bad_quotes": 3, "comma_cell": 4, "dcm_accession": 3, "dcm_noprefix": 2, "excel_txt": 4,
    "extra_top_csv": 3, "findings_impression": 4, "formats_no": 7, "gbk_headers": 4, "hf_jsonl_splits": 6,
    "hf_parquet": 3, "html_rtf": 4, "hub_cache": 3, "id_int": 4, "ids": 4, "llamafactory": 3, "long_report": 2,
    "other_lang": 3, "phi": 3, "r2gen": 6, "r2gen_flat": 6, "symlink_images": 3, "table_apart": 4,
    "table_top_bare": 4, "txt_pairs": 4, "zip_gbk": 3,
}  # fmt: skip
LANGUAGES = {"excel_txt": ("zh",), "gbk_headers": ("zh",), "other_lang": ("de", "es", "fr"), "zip_gbk": ("zh",)}


@pytest.fixture(scope="module")
def cases() -> Path:
    folder = Path(os.environ.get("MEDPAIRS_CASES") or ROOT.parent / "shared" / "cases" / "data")
    if not folder.is_dir():
        pytest.skip(f"cases are not here: {folder}")
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("name", TAKEN)
def test_it_is_taken_whole(cases, tmp_path, name):
    found = outcome_of(cases / name, tmp_path)
    assert (found.error, found.read, found.accepted) == ("", TAKEN[name], TAKEN[name])
    assert found.languages == LANGUAGES.get(name, ("en",))
    assert found.converted == (6 if name == "formats_no" else 0)


@pytest.mark.slow
def test_images_in_cells_are_refused_in_one_short_line(cases, tmp_path):
    error = outcome_of(cases / "b64", tmp_path).error
    assert "holds images as base64 text; write them to files" in error and len(error) < 200 and "\n" not in error


def test_a_file_that_stands_for_a_link_becomes_one(tmp_path):
    case = tmp_path / "in/case"
    case.mkdir(parents=True)
    (tmp_path / "in/other").mkdir()
    (tmp_path / "in/other/a.txt").write_text("a")
    (case / "images").write_text("../other")
    (case / "text.txt").write_text("../gone")
    copy = restored(case, tmp_path / "out")
    assert (copy / "images").is_symlink() and (copy / "images/a.txt").read_text() == "a"
    assert not (copy / "text.txt").is_symlink()
