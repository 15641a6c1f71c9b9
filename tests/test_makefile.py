"""What `make` deletes: what it made itself, and nothing that a command wrote."""

from __future__ import annotations

import shutil

import pytest

from tests.conftest import ROOT
from tests.hub_datasets.layouts import tree, write_files

TOOLS = ("build/lib/a.py", "medpairs.egg-info/PKG-INFO", ".pytest_cache/a", ".ruff_cache/a")
CACHES = ("trainers/__pycache__/a.pyc", "hub_datasets/sources/__pycache__/a.pyc", "tests/__pycache__/a.pyc")
RESULTS = (
    "outputs/demo/siglip-med/model.safetensors", "outputs/hub/models/a", "data/processed/report.json", "thesis.docx",
    "checkpoints/encoder_finetuned/model.safetensors", "results/leaderboard.md", "mine/__pycache__/a.pyc",
    "trainers/run_encoder.py", "elsewhere/bin/python",
)  # fmt: skip


def test_make_clean_deletes_no_result(run, tmp_path):
    if not shutil.which("make"):
        pytest.skip("make is not here")
    shutil.copy(ROOT / "Makefile", tmp_path)
    for folder in ("hub_datasets", "modeling", "trainers", "evaluation", "model_cards", "tests"):
        (tmp_path / folder).mkdir()
    write_files(tmp_path, dict.fromkeys((*TOOLS, *CACHES, *RESULTS), "x"))
    (tmp_path / ".venv").symlink_to("elsewhere", target_is_directory=True)
    run("make", "clean", cwd=tmp_path)
    assert set(tree(tmp_path)) == {"Makefile", *RESULTS}
    assert not (tmp_path / ".venv").is_symlink()
