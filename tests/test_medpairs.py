"""The console command: what it lists, which files it runs, and what it says where it cannot."""

from __future__ import annotations

import os
import re
import shutil
import sys
import tomllib
from importlib.util import find_spec
from pathlib import Path

import pytest

import medpairs
from tests.conftest import ROOT

HEAVY = ("torch", "datasets", "transformers", "pandas", "numpy", "huggingface_hub", "argparse")
VERSION = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["version"]
# As pip writes it for an entry of [project.scripts].
SCRIPT = "import sys\nfrom medpairs import main\nsys.exit(main())\n"


@pytest.mark.parametrize("flag", ["--help", "-h", "--version"])
def test_help_and_version_import_nothing_heavy(run, flag):
    code = f"import sys, medpairs; medpairs.main([{flag!r}]); print(sorted({{*{HEAVY}}} & sys.modules.keys()))"
    loaded = "[]" if flag != "--version" else "['argparse']"
    assert run("python", "-c", code).stdout.splitlines()[-1] == loaded


def test_help_lists_the_commands_in_the_order_of_use(run):
    said = run("python", "medpairs.py", "--help").stdout
    assert re.findall(r"^  ([\w-]+)  +[A-Z][\w-]+s ", said, re.MULTILINE) == list(medpairs.COMMANDS)
    assert max(map(len, said.splitlines())) <= 110
    assert "exit status: 0 done; 1 " in said and "register-python-argcomplete medpairs" in said


def test_the_version_is_that_of_the_project(run, tmp_path):
    assert run("python", ROOT / "medpairs.py", "--version", cwd=tmp_path).stdout == f"medpairs {VERSION}\n"


def test_without_a_command_the_list_is_an_error(run):
    done = run("python", "medpairs.py", check=False)
    assert done.returncode == 2 and done.stdout == "" and done.stderr.startswith("usage: medpairs COMMAND")


@pytest.mark.parametrize(
    ("word", "hint"),
    [
        ("biuld", "did you mean `medpairs build`?"),
        ("train_encoder", "did you mean `medpairs train-encoder`?"),
        ("evalute", "did you mean `medpairs evaluate`?"),
        ("xyz", "`medpairs --help` lists the commands"),
        ("--output_dir", "`medpairs --help` lists the commands"),
    ],
)
def test_a_wrong_command_is_one_line_with_the_closest_name(capsys, word, hint):
    assert medpairs.main([word, "--help"]) == 2
    assert capsys.readouterr().err == f"error: {word!r} is not a command of medpairs; {hint}\n"


@pytest.mark.parametrize(
    "name", ["sample", "build", "where", "evaluate", "leaderboard", "push-metrics", "env", "clean", "demo"]
)
def test_each_command_names_itself(capsys, monkeypatch, name):
    monkeypatch.chdir(ROOT)
    with pytest.raises(SystemExit) as ended:
        medpairs.main([name, "--help"])
    assert ended.value.code == 0 and capsys.readouterr().out.startswith(f"usage: medpairs {name} [-h]")


@pytest.mark.slow
@pytest.mark.parametrize("name", ["train-encoder", "train-decoder"])
def test_each_training_names_itself(run, name):
    assert run("python", "medpairs.py", name, "--help").stdout.startswith(f"usage: medpairs {name} [RECIPE]")


# --- which files it runs ---


@pytest.fixture
def other_project(tmp_path):
    """A user's own folder with modules of our names."""
    for name in ("evaluation", "trainers", "hub_datasets", "model_cards"):
        (tmp_path / "own" / name).mkdir(parents=True)
        (tmp_path / "own" / name / "__init__.py").write_text(f"raise ImportError('this is the user\\'s own {name}')")
    return tmp_path / "own"


@pytest.mark.parametrize("script", ["medpairs", "medpairs-leaderboard"])
def test_other_folders_of_our_names_are_left_alone(run, other_project, tmp_path, script):
    """In PYTHONPATH, before this project's files, and in the working folder."""
    (tmp_path / script).write_text(SCRIPT)
    words = ["leaderboard"] if script == "medpairs" else []
    path = os.pathsep.join([str(other_project), str(ROOT)])
    done = run(
        "python", tmp_path / script, *words, "--results_dir", tmp_path, cwd=other_project, env={"PYTHONPATH": path},
        check=False,
    )  # fmt: skip
    assert done.returncode == 2
    assert done.stderr == f"error: --results_dir {tmp_path}: no results; write one with `medpairs evaluate`\n"
    plain = run("python", "-c", "import evaluation.leaderboard", env={"PYTHONPATH": path}, cwd=tmp_path, check=False)
    assert "this is the user's own evaluation" in plain.stderr  # which is what Python finds without medpairs.py


def test_the_standard_library_stays_first(monkeypatch):
    """An installed medpairs lies beside packages, of which some replace modules of Python."""
    monkeypatch.setattr(sys, "path", ["", "/own", *(place for place in sys.path if place != str(ROOT))])
    medpairs.put_first()
    library = str(Path(os.__file__).parent)
    assert sys.path.index(library) < sys.path.index(str(ROOT)) < sys.path.index("") < sys.path.index("/own")


@pytest.mark.parametrize("name", ["build", "evaluate"])
def test_the_scripts_of_earlier_versions_run_the_command_of_their_name(run, tmp_path, name):
    (tmp_path / f"medpairs-{name}").write_text(SCRIPT)
    said = run("python", tmp_path / f"medpairs-{name}", "--help").stdout
    assert said.startswith(f"usage: medpairs {name} [-h]")


# --- a clone ---


@pytest.mark.parametrize("name", ["demo", "hub"])
def test_outside_of_a_clone_there_is_no_demo_and_no_hub(run, tmp_path, name):
    shutil.copy(ROOT / "medpairs.py", tmp_path)
    shutil.copytree(ROOT / "model_cards", tmp_path / "model_cards")
    done = run("python", tmp_path / "medpairs.py", name, env={"PYTHONPATH": None}, check=False)
    assert done.returncode == 2 and done.stderr == (
        f"error: medpairs {name} exists in a clone of the repository only; clone it, and run it there\n"
    )


def test_the_hub_is_that_of_the_clone(run, tmp_path):
    """Whatever folder `tests` the working folder has."""
    (tmp_path / "tests").mkdir()
    (tmp_path / "tests" / "__init__.py").write_text("raise ImportError('the user\\'s own tests')")
    said = run("python", ROOT / "medpairs.py", "hub", "--help", cwd=tmp_path, env={"PYTHONPATH": None}).stdout
    assert "--root" in said and "--port" in said


# --- completion ---


def completions(run, line: str, tmp_path) -> list[str]:
    """What the shell is answered for a line that is typed."""
    answer = tmp_path / "answer"
    asked = {
        "_ARGCOMPLETE": "1",
        "_ARGCOMPLETE_IFS": "\n",
        "_ARGCOMPLETE_STDOUT_FILENAME": str(answer),
        "COMP_LINE": line,
        "COMP_POINT": str(len(line)),
        "COMP_TYPE": "9",
    }
    run("python", "medpairs.py", env=asked)
    return [word.strip() for word in answer.read_text().split("\n")]


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("medpairs tr", ["train-encoder", "train-decoder"]),
        ("medpairs build --pu", ["--push_to_hub", "--public"]),
        ("medpairs evaluate --model_", ["--model_revision"]),
        ("medpairs build --split_by off", ["official"]),
        ("medpairs train-encoder --contrastive_b", ["--contrastive_batch_size"]),
        ("medpairs train-decoder --train_sc", ["--train_scope"]),
    ],
)
def test_the_shell_completes_commands_and_flags(run, tmp_path, line, words):
    pytest.importorskip("argcomplete")
    assert completions(run, line, tmp_path) == words


def test_completion_without_its_extra_says_what_to_install(capsys, monkeypatch):
    if find_spec("argcomplete"):
        monkeypatch.setitem(sys.modules, "argcomplete", None)
    monkeypatch.setenv("_ARGCOMPLETE", "1")
    assert medpairs.main([]) == 2
    assert capsys.readouterr().err == "error: completion requires an extra: pip install 'medpairs[completion]'\n"
