"""Prints in which split a patient, study, file, row or hash is, and what became of it.

    medpairs where PAT_46 --dataset data/processed
    medpairs where "reports.csv line 7" --dataset data/processed

ID is what a source calls it: a patient or study ID, the name or path of an image, a row as in `rejections.jsonl` and
`review.jsonl`, a question as `qid 17`, or an `image_path`, `group_id` or hash of the dataset. The answer lists the
accepted rows with their split, rejected ones with the reason (also copies of what was found), and flags to review. A
folder that was downloaded from the Hub has no files that name rows: only Parquet files and `splits.txt` are read.
"""

from __future__ import annotations

import sys
from pathlib import Path

if __package__ in (None, ""):  # run as a script: import the project from its root, not from this folder
    sys.path[0] = str(Path(__file__).resolve().parents[1])

import argparse

from hub_datasets.errors import BuildError, printable
from hub_datasets.filesystem import storage
from model_cards.commands.console import Parser, command

SHOWN = 20  # lines of each kind


def argument_parser() -> argparse.ArgumentParser:
    """Returns the parser of the command's flags."""
    parser = Parser(prog="medpairs where", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("id", metavar="ID", help="patient, study, file, row, question, image_path, group_id or hash")
    parser.add_argument(
        "--dataset",
        default="data/processed",
        metavar="DIR",
        help="folder or address that `medpairs build` wrote (default: %(default)s)",
    )
    parser.add_argument(
        "--limit", type=int, default=SHOWN, help="maximum number of rows of each kind (default: %(default)s)"
    )
    return parser


@command
def main(argv: list[str] | None = None) -> int:
    """The command. Returns the exit status, see `model_cards/commands/console.py`."""
    from hub_datasets.output.search import Findings, find, similar

    arguments = argument_parser().parse_args(argv)
    if arguments.limit < 1:
        raise BuildError(f"--limit is {arguments.limit}; use at least 1")
    if not arguments.id.strip():
        raise BuildError("ID is empty; name a patient, a file, a row or a hash")
    shown = storage.shown(arguments.dataset)
    if not storage.exists(storage.join(arguments.dataset, "splits.txt")):
        raise BuildError(f"--dataset {shown}: no splits.txt there; name a folder that `medpairs build` wrote")
    wanted = arguments.id.strip()
    found: Findings = find(arguments.dataset, wanted)
    if not found.is_anything():
        close = ", ".join(map(printable, similar(arguments.dataset, wanted)))
        hint = f"; similar are: {close}" if close else ""
        raise BuildError(f"{printable(wanted)}: neither a row nor a known patient or image of {shown}{hint}")
    print(printable(wanted))
    for line in found.lines(arguments.limit):
        print(line)
    return 0


if __name__ == "__main__":
    sys.exit(main())
