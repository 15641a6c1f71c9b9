# PYTHON_ARGCOMPLETE_OK
"""The console command: `medpairs build`, `medpairs train-encoder`, ...; each is `main` of a module of its own.

    medpairs --help
    python medpairs.py --help       # the same in a clone where nothing is installed

The module is imported when its command is called, so that `--help` and `--version` are fast. It is found beside this
file, whatever other folders called `evaluation` or `trainers` are in PYTHONPATH. The scripts `medpairs-build`,
`medpairs-evaluate`, ... of earlier versions run this, too.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import argparse

ROOT = Path(__file__).resolve().parent
WRONG = 2  # exit status, as in model_cards/commands/console.py, which is imported only by a command
CLONE_ONLY = "exists in a clone of the repository only; clone it, and run it there"


def build(words: list[str]) -> int:
    """Builds a dataset from raw folders: reads, validates, splits, publishes."""
    from hub_datasets.build import main

    return main(words)


def sample(words: list[str]) -> int:
    """Draws synthetic source folders, to try things out."""
    from hub_datasets.generate_sample import main

    return main(words)


def where(words: list[str]) -> int:
    """Finds a patient, file or row in a built dataset: its split, or why it was rejected."""
    from hub_datasets.where import main

    return main(words)


def train_encoder(words: list[str]) -> int:
    """Fine-tunes a SigLIP encoder on image-text pairs."""
    from trainers.run_encoder import main

    return main(words)


def train_decoder(words: list[str]) -> int:
    """Fine-tunes Llama 3.2 Vision on image chats."""
    from trainers.run_decoder import main

    return main(words)


def evaluate(words: list[str]) -> int:
    """Scores a model on a split of a dataset."""
    from evaluation.run_evaluation import main

    return main(words)


def leaderboard(words: list[str]) -> int:
    """Ranks the results of a folder, in one table per task and dataset."""
    from evaluation.leaderboard import main

    return main(words)


def rules(words: list[str]) -> int:
    """Scores a file of predictions by every rule, beside answers that never see an image."""
    from evaluation.rules import main

    return main(words)


def verify(words: list[str]) -> int:
    """Recomputes a record from what it rests on, and names the link that does not hold."""
    from evaluation.verify import main

    return main(words)


def speed(words: list[str]) -> int:
    """Times a model beside the plain loop of transformers, with its memory."""
    from evaluation.speed import main

    return main(words)


def push_metrics(words: list[str]) -> int:
    """Publishes the metrics as Spaces for `evaluate.load`."""
    from evaluation.push_metrics import main

    return main(words)


def demo(words: list[str]) -> int:
    """Runs the complete pipeline on synthetic data (in a clone)."""
    if not (ROOT / "demo.py").is_file():
        return refuse(f"medpairs demo {CLONE_ONLY}")
    os.chdir(ROOT)  # the demo names its files from there
    from demo import main

    return main(words)


def hub(words: list[str]) -> int:
    """Starts a Hub on this machine with stand-ins for the real checkpoints (in a clone)."""
    if not (ROOT / "tests" / "stocked_hub.py").is_file():
        return refuse(f"medpairs hub {CLONE_ONLY}")
    # A program of its own: nothing here imports the tests. With -P a folder `tests` of the working folder is not taken.
    places = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    command = [sys.executable, "-P", "-m", "tests.stocked_hub", *words]
    os.execve(sys.executable, command, {**os.environ, "PYTHONPATH": os.pathsep.join(places)})  # noqa: S606


def env(words: list[str]) -> int:
    """Prints what a bug report needs: versions, machine, settings."""
    from model_cards.commands.environment_report import main

    return main(words)


def clean(words: list[str]) -> int:
    """Lists caches with their sizes and asks before it deletes them."""
    from evaluation.folder_caches import folder_caches
    from hub_datasets.ingest_caches import ingest_caches
    from model_cards.commands.clean_caches import main
    from trainers.images.caches import pixel_caches

    return main([ingest_caches, pixel_caches, folder_caches], words)


# In the order of use. The docstrings are what `--help` says.
COMMANDS: dict[str, Callable[[list[str]], int]] = {
    "sample": sample,
    "build": build,
    "where": where,
    "train-encoder": train_encoder,
    "train-decoder": train_decoder,
    "evaluate": evaluate,
    "rules": rules,
    "verify": verify,
    "speed": speed,
    "leaderboard": leaderboard,
    "push-metrics": push_metrics,
    "demo": demo,
    "hub": hub,
    "env": env,
    "clean": clean,
}


def main(argv: list[str] | None = None) -> int:
    """Runs the command that the words name, and returns its exit status."""
    put_first()
    words = sys.argv[1:] if argv is None else list(argv)
    if argv is None and (script := Path(sys.argv[0]).stem).startswith("medpairs-"):
        words = [script.removeprefix("medpairs-"), *words]
    if "_ARGCOMPLETE" in os.environ:
        return complete()
    name, rest = (words[0], words[1:]) if words else ("", [])
    if name in COMMANDS:
        from model_cards.commands.console import command

        return command(COMMANDS[name])(rest)
    if name in ("-h", "--help"):
        print(usage())
        return 0
    if name == "--version":
        from model_cards.commands.environment_report import version

        print(f"medpairs {version()}")
        return 0
    if not name:
        print(usage(), file=sys.stderr)
        return WRONG
    import difflib

    close = difflib.get_close_matches(name, COMMANDS, n=1)
    hint = f"did you mean `medpairs {close[0]}`?" if close else "`medpairs --help` lists the commands"
    return refuse(f"{name!r} is not a command of medpairs; {hint}")


def put_first() -> None:
    """Makes this project's folders win over folders of the same names in PYTHONPATH and in the working folder.

    Only the standard library stays before them: beside an installed medpairs may be packages that replace parts of it.
    """
    library = Path(os.__file__).parent
    standard = [place for place in sys.path if Path(place) in (library, library / "lib-dynload")]
    others = [place for place in sys.path if place not in (*standard, str(ROOT))]
    sys.path[:] = [*standard, str(ROOT), *others]


def usage() -> str:
    """What `--help` prints."""
    width = max(map(len, COMMANDS))
    lines = [f"  {name:{width}}  {summary(function)}" for name, function in COMMANDS.items()]
    return "\n".join(
        [
            "usage: medpairs COMMAND [FLAGS]    `medpairs COMMAND --help` lists the flags of a command",
            "       medpairs --version",
            "",
            "commands, in the order of use:",
            *lines,
            "",
            "exit status: 0 done; 1 a disk, the network or the Hub failed, and the same command may succeed later;",
            "  2 a flag or an input is wrong; 130 interrupted. MEDPAIRS_TRACEBACK=1 shows where an error occurred.",
            "completion: pip install 'medpairs[completion]', then in bash or zsh",
            '  eval "$(register-python-argcomplete medpairs)"',
        ]
    )


def summary(function: Callable[[list[str]], int]) -> str:
    """What a command does, for `--help` and for the shell."""
    return (function.__doc__ or "").rstrip(".")


def refuse(message: str) -> int:
    """Prints an error in one line, and returns its exit status."""
    print(f"error: {message}", file=sys.stderr)
    return WRONG


# --- completion in a shell ---


def complete() -> int:
    """Answers the shell: the commands, and the flags of the command that is typed."""
    try:
        import argcomplete
    except ImportError:
        return refuse("completion requires an extra: pip install 'medpairs[completion]'")
    import argparse

    words = os.environ.get("COMP_LINE", "").split()
    parser = argparse.ArgumentParser(prog="medpairs")
    parser.add_argument("--version", action="store_true", help="print the version")
    names = parser.add_subparsers()
    for name, function in COMMANDS.items():
        parents = [flags] if name in words[1:2] and (flags := parser_of(name)) else []
        names.add_parser(name, help=summary(function), parents=parents, conflict_handler="resolve")
    argcomplete.autocomplete(parser)  # prints what fits and ends the process
    return WRONG


def parser_of(name: str) -> argparse.ArgumentParser | None:
    """The flags of a command; None where they are few.

    Those of the trainings take seconds to import. Their names are in a file that `python -m tests.flags_page` writes.
    """
    if name == "build":
        from hub_datasets.options import argument_parser

        return argument_parser()
    if name == "evaluate":
        from evaluation.run_evaluation import argument_parser

        return argument_parser()
    if name == "rules":
        from evaluation.rules import argument_parser

        return argument_parser()
    if name == "speed":
        from evaluation.speed import argument_parser

        return argument_parser()
    if name == "verify":
        from evaluation.verify import argument_parser

        return argument_parser()
    if name.startswith("train-"):
        import argparse

        parser = argparse.ArgumentParser()
        lines = (ROOT / "trainers" / "flag_names.txt").read_text(encoding="utf-8").splitlines()
        for flag in next(line.split()[1:] for line in lines if line.startswith(f"{name} ")):
            parser.add_argument(flag)
        return parser
    return None


if __name__ == "__main__":
    sys.exit(main())
