"""What `pip install` gives a user: the five folders, their templates, the commands; no tests, no Hub."""

from __future__ import annotations

import re
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

from tests.cases import few
from tests.pages import DOCS, ROOT

FOLDERS = ("hub_datasets", "modeling", "trainers", "evaluation", "model_cards")
COMMANDS = ("build", "train-encoder", "train-decoder", "evaluate", "leaderboard")  # with a script of their own, too


@pytest.fixture(scope="module")
def wheel(run, clone, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    words = ("--no-deps", "--no-build-isolation", "--quiet", "--wheel-dir", folder)
    run("python", "-m", "pip", "wheel", clone, *words)
    return next(folder.glob("*.whl"))


@pytest.fixture(scope="module")
def installed(run, wheel, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("installed")
    run("python", "-m", "pip", "install", "--no-deps", "--quiet", "--target", folder, wheel)
    return folder


def test_it_holds_the_five_folders_and_nothing_else(wheel):
    names = zipfile.ZipFile(wheel).namelist()
    folders = {name.split("/")[0] for name in names if ".dist-info" not in name}
    assert folders == {*FOLDERS, "medpairs.py"}


def test_every_file_that_the_code_reads_is_in_it(wheel):
    names = set(zipfile.ZipFile(wheel).namelist())
    for folder, patterns in {
        "model_cards/templates": ["*"],
        "trainers": ["decoder/data/*.jinja", "accelerate_configs/*.yaml"],
        "evaluation": ["metrics/*/README.md", "metrics/*/requirements.txt", "metrics/*/app.py"],
    }.items():
        files = [path for pattern in patterns for path in (ROOT / folder).glob(pattern) if path.is_file()]
        assert files
        for path in files:
            assert path.relative_to(ROOT).as_posix() in names, path


def test_every_module_is_in_it(wheel):
    names = set(zipfile.ZipFile(wheel).namelist())
    modules = {path.relative_to(ROOT).as_posix() for folder in FOLDERS for path in (ROOT / folder).rglob("*.py")}
    assert {"hub_datasets/sources/slake.py", "hub_datasets/synthetic/layouts/slake.py"} < modules <= names


def test_the_extras_are_those_that_the_page_names(wheel):
    (name,) = (name for name in zipfile.ZipFile(wheel).namelist() if name.endswith(".dist-info/METADATA"))
    metadata = zipfile.ZipFile(wheel).read(name).decode()
    install = (DOCS / "install.md").read_text(encoding="utf-8").partition("## Extras")[2].partition("\n## ")[0]
    extras = set(re.findall(r"^Provides-Extra: (\w+)$", metadata, re.MULTILINE)) - {"dev"}
    named = set(re.findall(r"^\| `(\w+)` \|", install, re.MULTILINE))
    assert extras == named and extras >= {"completion", "demo", "dicom", "docs", "ocr", "quantization", "ray", "zh"}


@pytest.mark.parametrize("command", few(COMMANDS, "build"))
def test_the_console_commands_answer(command, installed, run, tmp_path):
    script = installed / "bin" / f"medpairs-{command}"
    process = run(sys.executable, script, "--help", cwd=tmp_path, env={"PYTHONPATH": str(installed)})
    assert process.stdout.startswith(f"usage: medpairs {command} ")


def test_the_console_command_answers(installed, run, tmp_path):
    environment = {"PYTHONPATH": str(installed)}
    script = installed / "bin" / "medpairs"
    said = run(sys.executable, script, "--version", cwd=tmp_path, env=environment).stdout
    assert said == f"medpairs {tomllib.loads((ROOT / 'pyproject.toml').read_text('utf-8'))['project']['version']}\n"
    report = run(sys.executable, script, "env", cwd=tmp_path, env=environment).stdout
    assert f"medpairs: {said.split()[1]}, in {installed}" in report and re.search(r"^  torch \d", report, re.M)
    for name in ("demo", "hub"):
        done = run(sys.executable, script, name, cwd=tmp_path, env=environment, check=False)
        assert done.returncode == 2 and "in a clone of the repository only" in done.stderr


@pytest.mark.slow
def test_an_installed_build_works_outside_the_repository(installed, run, tmp_path):
    environment = {"PYTHONPATH": str(installed)}
    run(
        "python",
        "-m",
        "hub_datasets.generate_sample",
        "--output_dir",
        "raw",
        "--scale",
        "0.05",
        cwd=tmp_path,
        env=environment,
    )
    words = ("--slake_dir", "raw/slake", "--output_dir", "data", "--val_fraction", "0.3")
    run(sys.executable, installed / "bin" / "medpairs", "build", *words, cwd=tmp_path, env=environment)
    assert "slake" in (tmp_path / "data" / "README.md").read_text(encoding="utf-8")
