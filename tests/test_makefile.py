"""What `make` deletes: what it made itself, and nothing that a command wrote."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tomllib

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


# When make runs these tests, a make inside them would print the folders that it enters and leaves.
QUIET = "--no-print-directory"


def commands_of(target: str) -> list[str]:
    """What make would run for a target where nothing is installed."""
    if not shutil.which("make"):
        pytest.skip("make is not here")
    words = ("make", QUIET, "--dry-run", "--always-make", target)
    return subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=True).stdout.splitlines()


@pytest.mark.parametrize("target", ["demo", "hub"])
def test_the_demo_installs_the_product_alone(target):
    lines = commands_of(target)
    (installation,) = (line for line in lines if "pip install" in line)
    assert installation.endswith("--constraint constraints.txt --editable '.[demo]'")
    assert lines[-1] == f".venv/bin/python medpairs.py {target}"


@pytest.mark.parametrize("target", ["install", "test", "lint"])
def test_the_tests_have_the_rest(target):
    installations = [line for line in commands_of(target) if "pip install" in line]
    assert [line.rpartition(" ")[2] for line in installations] == ["'.[demo]'", "'.[dev]'"]


def test_what_the_demo_installs_serves_its_hub_and_is_small():
    """Without what only the tests import, which is gigabytes."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"]
    names = {re.match(r"[\w-]+", line)[0] for line in [*project["dependencies"], *extras["demo"]]}
    assert "uvicorn" in names and not names & {"ray", "trl", "rapidocr-onnxruntime", "tensorboard", "pytest", "ruff"}
    (everything,) = (line for line in extras["dev"] if line.startswith("medpairs["))
    assert set(re.findall(r"\w+", everything.partition("[")[2])) == extras.keys() - {"dev", "openclip"}


@pytest.mark.parametrize(("given", "seen"), [({}, "PASSIVE"), ({"OMP_WAIT_POLICY": "ACTIVE"}, "ACTIVE")])
def test_threads_of_make_wait_without_spinning(tmp_path, given, seen):
    if not shutil.which("make"):
        pytest.skip("make is not here")
    more = tmp_path / "more.mk"
    more.write_text("show:\n\t@echo $$OMP_WAIT_POLICY\n")
    environment = {name: value for name, value in os.environ.items() if name != "OMP_WAIT_POLICY"} | given
    words = ["make", QUIET, "-f", ROOT / "Makefile", "-f", more, "show"]
    done = subprocess.run(words, capture_output=True, text=True, check=True, env=environment, cwd=tmp_path)
    assert done.stdout.strip() == seen


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
