"""Repeated flags, which argparse takes in silence, and how a command ends: one line and an exit status."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from pathlib import Path

import pytest

from model_cards.commands.console import Parser, StoreOnce, local_folder
from tests.conftest import ROOT


def parser_of(kind: type[argparse.ArgumentParser] = Parser) -> argparse.ArgumentParser:
    parser = kind(prog="command")
    parser.add_argument("--dir", type=Path)
    group = parser.add_argument_group("more")
    group.add_argument("--count", "-c", type=int, default=1)
    group.add_argument("--kind", choices=("a", "b"), default="a")
    parser.add_argument("--dims", nargs="+", type=int)
    parser.add_argument("--hub_token")
    parser.add_argument("--text")
    parser.add_argument("--switch", nargs="?", const=True, default=False)
    parser.add_argument("--really", action="store_true")
    parser.add_argument("--source", action="append")
    parser.add_argument("file", nargs="?", default="none")
    return parser


def said(capsys, *words: str) -> str:
    with pytest.raises(SystemExit) as refused:
        parser_of().parse_args(words)
    assert refused.value.code == 2
    return capsys.readouterr().err.splitlines()[-1]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--dir", "x", "--dir", "y"], "argument --dir: given twice, as 'x' and 'y'; give it once"),
        (["--dir=x", "--dir", "y"], "argument --dir: given twice, as 'x' and 'y'; give it once"),
        (["--kind", "a", "--dir", "x", "--ki=b"], "argument --kind: given twice, as 'a' and 'b'; give it once"),
        (["--dir", "x", "--dir", "x"], "argument --dir: given twice, as 'x' and 'x'; give it once"),
        (["--dir", "x", "--dir", "a\nb"], "argument --dir: given twice, as 'x' and 'a\\nb'; give it once"),
        (["--count", "1", "-c", "2"], "argument --count/-c: given twice, as '1' and '2'; give it once"),
        (["--kind", "a", "--kind", "b"], "argument --kind: given twice, as 'a' and 'b'; give it once"),
        (
            ["--dims", "8", "4", "--dims", "2"],
            "argument --dims: given twice, as '8 4' and '2'; give all values after one flag",
        ),
        (["--switch", "on", "--switch", "off"], "argument --switch: given twice, as 'on' and 'off'; give it once"),
        (["--switch", "--switch", "off"], "argument --switch: given twice, as 'True' and 'off'; give it once"),
        (["--dir", "1", "--dir", "2", "--dir", "3"], "argument --dir: given twice, as '1' and '2'; give it once"),
    ],
    ids=str,
)
def test_a_repeated_flag_is_an_error_that_names_both_values(capsys, words, message):
    assert said(capsys, *words) == f"command: error: {message}"
    assert parser_of(argparse.ArgumentParser).parse_args(words)  # who takes the last value and says nothing


def test_what_is_secret_is_not_repeated(capsys):
    assert said(capsys, "--hub_token", "hf_one", "--hub_token", "hf_two") == (
        "command: error: argument --hub_token: given twice; give it once"
    )
    address = "s3://me:key@y@bucket/x?sig=SECRET#part"
    for flag, shown in (("--dir", "s3:/bucket/x"), ("--text", "s3://bucket/x")):  # one of them is a Path
        assert said(capsys, flag, address, flag, "y" * 1000) == (
            f"command: error: argument {flag}: given twice, as '{shown}' and '{'y' * 100}...'; give it once"
        )
    assert "as 'a?#b' and 'c:/d?'" in said(capsys, "--dir", "a?#b", "--dir", "c:/d?")  # paths of this machine


def test_a_switch_that_is_given_twice_says_nothing_new():
    found = parser_of().parse_args(["--really", "--switch", "--really", "--switch"])
    assert found.really is True and found.switch is True


def test_flags_that_collect_their_values_still_do():
    assert parser_of().parse_args(["--source", "a", "--source", "b"]).source == ["a", "b"]


def test_a_flag_given_once_is_what_it_was():
    words = ["--dir", "x", "--count", "3", "--kind", "b", "--dims", "8", "4", "--switch", "--", "y"]
    assert parser_of().parse_args(words) == parser_of(argparse.ArgumentParser).parse_args(words)
    assert parser_of().parse_args([]) == parser_of(argparse.ArgumentParser).parse_args([])
    assert parser_of().format_help() == parser_of(argparse.ArgumentParser).format_help()


def test_a_parser_reads_one_command_line_after_another():
    parser = parser_of()
    for number in range(3):
        assert parser.parse_args(["--count", str(number)]).count == number


def test_a_value_in_place_of_the_default_is_no_repetition():
    """As those of a recipe are."""
    parser = parser_of()
    parser.set_defaults(count=7)
    assert parser.parse_args([]).count == 7 and parser.parse_args(["--count", "8"]).count == 8


def test_every_command_has_such_a_parser():
    """Each flag of the project that takes a value refuses a second one, but those that collect them."""
    from evaluation.run_evaluation import argument_parser as evaluation_parser
    from hub_datasets.options import argument_parser as build_parser
    from hub_datasets.sources import SOURCES
    from trainers.base.parser import FlagParser
    from trainers.decoder.arguments import DecoderArguments, DecoderTrainingArguments
    from trainers.encoder.arguments import EncoderArguments, EncoderTrainingArguments

    encoder, decoder = (EncoderArguments, EncoderTrainingArguments), (DecoderArguments, DecoderTrainingArguments)
    for parser in (build_parser(), evaluation_parser(), FlagParser(encoder), FlagParser(decoder)):
        taking = [action for action in parser._actions if action.nargs != 0]
        others = {action.option_strings[0] for action in taking if not isinstance(action, StoreOnce)}
        assert len(taking) >= 10 and others <= {source.flag for source in SOURCES}
    for room in ("hub_datasets", "trainers", "evaluation", "modeling"):
        for path in (ROOT / room).rglob("*.py"):
            if "benchmarks" not in path.parts:
                assert "ArgumentParser(" not in path.read_text("utf-8").replace("HfArgumentParser(", ""), path


# --- how a command ends ---

ENDS = """
import sys
from model_cards.commands.console import CommandError, Parser, command

@command
def main(argv=None):
    Parser(prog="medpairs x").parse_args(argv)
    {}
    return 0

sys.exit(main([]))
"""


@pytest.mark.parametrize(
    ("code", "status", "said"),
    [
        ("pass", 0, ""),
        ("raise CommandError('--flag x: no; use y')", 2, "error: --flag x: no; use y\n"),
        ("raise KeyboardInterrupt", 130, "interrupted\n"),
        ("e = KeyboardInterrupt(); e.add_note('resume with y'); raise e", 130, "interrupted; resume with y\n"),
        ("raise OSError(30, 'Read-only file system', '/x')", 1,
         "error: /x: Read-only file system; name a folder that can be written\n"),
        ("open('/no/such')", 2, "error: /no/such: No such file or directory\n"),
        ("open('/dev/full', 'w', 1).write('x\\n')", 1,
         "error: No space left on device; free some space, or name a folder on another disk; `medpairs clean` lists "
         "caches that can go\n"),
    ],
)  # fmt: skip
def test_an_end_is_one_line_and_a_status(run, code, status, said):
    done = run("python", "-c", ENDS.format(code), check=False)
    assert (done.returncode, done.stderr) == (status, said)


def test_an_error_of_ours_keeps_its_traceback(run):
    done = run("python", "-c", ENDS.format("raise ZeroDivisionError"), check=False)
    assert done.returncode == 1 and "Traceback" in done.stderr and "ZeroDivisionError" in done.stderr


def test_where_an_error_occurred_is_shown_where_it_is_asked_for(run):
    done = run("python", "-c", ENDS.format("open('/no/such')"), check=False, env={"MEDPAIRS_TRACEBACK": "1"})
    assert done.returncode == 1 and "Traceback" in done.stderr and "FileNotFoundError" in done.stderr


@pytest.mark.parametrize(("words", "unbuffered"), [(("leaderboard", "--help"), ""), (("env",), ""), (("env",), "1")])
def test_a_reader_that_has_gone_ends_a_command_in_silence(words, unbuffered):
    """As `| head -1`."""
    command, pipes = [sys.executable, "medpairs.py", *words], {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    environment = os.environ | {"PYTHONUNBUFFERED": unbuffered}
    process = subprocess.Popen(command, cwd=ROOT, env=environment, text=True, **pipes)
    process.stdout.close()
    assert process.stderr.read() == "" and process.wait() == 141


def test_an_error_of_the_input_behind_one_of_the_environment_has_its_words_and_status_1(run):
    code = (
        "try: open('/dev/full', 'w', 1).write('x\\n')\n    except OSError: raise CommandError('--dir: full') from None"
    )
    done = run("python", "-c", ENDS.format(code), check=False)
    assert (done.returncode, done.stderr) == (1, "error: --dir: full\n")


def test_a_folder_behind_an_address_is_refused():
    assert local_folder("a/b") == Path("a/b")
    with pytest.raises(
        argparse.ArgumentTypeError, match=r"^s3://\.\.\. is not on this machine; name a folder that is$"
    ):
        local_folder("s3://key:secret@bucket/x")


@pytest.mark.parametrize(
    ("command", "flag"),
    [("evaluate", "--output_dir"), ("leaderboard", "--results_dir"), ("sample", "--output_dir"), ("clean", "folders")],
)
def test_no_command_makes_a_folder_of_an_address(run, tmp_path, command, flag):
    words = ["--model", "org/x"] if command == "evaluate" else []
    words += ["s3://bucket/out"] if flag == "folders" else [flag, "s3://bucket/out"]
    done = run("python", ROOT / "medpairs.py", command, *words, cwd=tmp_path, check=False)
    assert done.returncode == 2 and list(tmp_path.iterdir()) == []
    assert "s3://... is not on this machine; name a folder that is" in done.stderr.splitlines()[-1]


@pytest.mark.slow
def test_threads_wait_without_spinning(run):
    """Before torch, which reads it as it is imported; what the user has set stays."""
    code = "import os, sys; import trainers.base.parser; print(os.environ['OMP_WAIT_POLICY'])"
    for given, seen in ((None, "PASSIVE"), ("ACTIVE", "ACTIVE")):
        assert run("python", "-c", code, env={"OMP_WAIT_POLICY": given}).stdout == f"{seen}\n"
