"""The commands of the project and their parsers, for the pages that name commands and flags.

A parser is taken from the command itself, at the moment when it prints its help: no list of flags is kept anywhere.
"""

from __future__ import annotations

import argparse
import contextlib
import re
import shlex
import tomllib
from pathlib import Path
from unittest import mock

import medpairs
from tests import stocked_hub
from tests.pages import ROOT

NAMES = tuple(medpairs.COMMANDS)
# The commands that are scripts in a clone, too.
SCRIPTS = {
    "hub_datasets/generate_sample.py": "sample",
    "hub_datasets/build.py": "build",
    "trainers/run_encoder.py": "train-encoder",
    "trainers/run_decoder.py": "train-decoder",
    "evaluation/run_evaluation.py": "evaluate",
    "evaluation/leaderboard.py": "leaderboard",
    "evaluation/verify.py": "verify",
    "evaluation/push_metrics.py": "push-metrics",
    "demo.py": "demo",
}
# Programs of others that the pages name; what follows them is not checked.
OTHERS = {"hf", "git", "cd", "source", "export", "set", "llamafactory-cli", "ray", "brew", "sudo", "xcode-select", "py"}


class Found(BaseException):
    """Carries the parser that was about to print its help."""

    def __init__(self, parser: argparse.ArgumentParser) -> None:
        super().__init__()
        self.parser = parser


def parser_of(command: str) -> argparse.ArgumentParser:
    """The parser of a command of `medpairs`."""

    def stop(parser: argparse.ArgumentParser, *_: object) -> None:
        raise Found(parser)

    main = stocked_hub.main if command == "hub" else medpairs.COMMANDS[command]  # `hub` starts another program
    with mock.patch.object(argparse.ArgumentParser, "print_help", stop), contextlib.chdir(ROOT):
        try:
            main(["--help"])
        except Found as found:
            return found.parser
    raise AssertionError(f"medpairs {command} --help printed no help")


def problem(command: str) -> str:
    """What is wrong with a command of a page that is not run; empty where nothing is."""
    words = shlex.split(command, comments=True)
    while words and re.fullmatch(r"[A-Z_]+=\S*", words[0]):
        words.pop(0)
    program, *rest = words or [""]
    if program == "medpairs":
        return problem_of(rest[0], rest[1:]) if rest and rest[0] in NAMES else f"no command medpairs {rest[:1]}"
    if program in ("python", "python3") and rest[:1] and rest[0].endswith(".py"):
        return problem_of(SCRIPTS[rest[0]], rest[1:]) if rest[0] in SCRIPTS else f"no script {rest[0]}"
    if program in ("python", "python3", "py"):
        return "" if rest[:2] in (["-m", "venv"], ["-m", "pip"]) or "venv" in rest else f"not known: {command}"
    if program == "accelerate":
        return problem_of_launch(rest)
    if program == "pip":
        return problem_of_install(rest)
    if program == "make":
        named = {word for word in rest if "=" not in word}
        return "" if named <= targets() else f"no target {sorted(named - targets())}"
    return "" if program in OTHERS or program.startswith(".venv") else f"a program that is not known: {program}"


def problem_of(name: str, words: list[str]) -> str:
    """What the parser of a command says of flags; empty where it takes them."""
    said = []
    parser = parser_of(name)
    with (
        contextlib.suppress(SystemExit),
        mock.patch.object(type(parser), "error", lambda _, message: said.append(message)),
    ):
        parser.parse_args([word for word in words if word != "--help"])
    return f"medpairs {name}: {said[0]}" if said else ""


def problem_of_launch(words: list[str]) -> str:
    """What is wrong with `accelerate launch`: its own flags, its file of settings, or the script's flags."""
    from accelerate.commands.launch import launch_command_parser

    if words[:1] != ["launch"]:
        return f"not known: accelerate {' '.join(words)}"
    found = launch_command_parser().parse_args(words[1:])
    if found.config_file and not Path(ROOT, found.config_file).is_file():
        return f"no file {found.config_file}"
    return problem(shlex.join(["python", found.training_script, *found.training_script_args]))


def problem_of_install(words: list[str]) -> str:
    """What is wrong with `pip install`: an extra that does not exist, a file that does not."""
    known = set(tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["optional-dependencies"])
    named = {
        extra
        for word in words
        for group in re.findall(r"(?:\.|medpairs)\[([\w,]+)\]", word)
        for extra in group.split(",")
    }
    missing = [word for word in words if word.endswith(".txt") and not (ROOT / word).is_file()]
    if named - known:
        return f"no extra {sorted(named - known)}"
    if missing:
        return f"no file {missing}"
    tested = set((ROOT / "constraints.txt").read_text("utf-8").split())
    others = [word for word in words if "==" in word and word not in tested]
    return f"not the versions of constraints.txt: {others}" if others else ""


def targets() -> set[str]:
    """The targets of the Makefile."""
    return set(re.findall(r"^([a-z][\w-]*):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE))
