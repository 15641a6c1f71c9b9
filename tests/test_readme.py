"""Every command of the README is run as printed, from a copy of the repository, against a Hub on this machine."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys

import pytest

from tests.readme import README, ROOT, blocks, with_record


@pytest.fixture(scope="module")
def stocked_hub(tmp_path_factory) -> dict[str, str]:
    """The environment that `make hub` prints."""
    root = tmp_path_factory.mktemp("stocked-hub")
    command = [sys.executable, "-m", "tests.stocked_hub", "--root", str(root), "--port", "0"]
    server = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    printed = []
    for line in server.stdout:
        printed.append(line)
        if "Ctrl-C" in line:
            break
    environment = dict(re.findall(r"^export (\w+)=(.*)$", "".join(printed), re.MULTILINE))
    assert len(environment) == 4, "".join(printed)
    yield environment
    server.terminate()
    server.wait(timeout=30)


@pytest.mark.slow
def test_every_command_and_every_line_of_python_runs_as_printed(run, stocked_hub, clone):
    """In the order of the page: a later command reads what an earlier one wrote or pushed."""
    page = README.read_text(encoding="utf-8")
    steps = re.findall(r"^```(bash|python)\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    assert len(steps) > 7
    for language, block in steps:
        if language == "python":
            run("python", "-c", block, cwd=clone, env=stocked_hub | {"PYTHONPATH": None})
            continue
        for command in block.strip().splitlines():
            if command.startswith("make "):
                continue  # `make demo` and `make test` are CI's own steps; the test below looks them up
            run(*shlex.split(command), cwd=clone, env=stocked_hub | {"PYTHONPATH": None}, timeout=560)
    for path in ("data/processed/report.json", "checkpoints/decoder_finetuned/README.md", "results/leaderboard.md"):
        assert (clone / path).exists(), path
    leaderboard = (clone / "results/leaderboard.md").read_text(encoding="utf-8")
    assert "org/siglip-med" in leaderboard and "me/decoder\\_finetuned" in leaderboard


def test_the_make_targets_that_it_names_exist():
    named = set(re.findall(r"`make ([\w-]+)`", README.read_text(encoding="utf-8")))
    named |= {command.split()[1] for block in blocks("bash") for command in block.splitlines() if "make " in command}
    assert named >= {"demo", "test", "lint", "hub", "install"}
    for target in named:
        result = subprocess.run(["make", "--dry-run", target], cwd=ROOT, capture_output=True, text=True, env=os.environ)
        assert result.returncode == 0, result.stderr


def test_the_files_that_it_links_exist():
    links = re.findall(r"\]\((?!http)([^)#]+)\)", README.read_text(encoding="utf-8"))
    assert links
    assert [link for link in links if not (ROOT / link).exists()] == []


def test_its_numbers_are_those_of_the_result_file():
    text = README.read_text(encoding="utf-8")
    assert text == with_record(text)
    assert re.search(r"\| demo/siglip-med +\| +0\.\d+", text)
