"""Recomputes a record from what it rests on, without a connection, and names the first link that does not hold.

    medpairs verify results/NAME.json

A record has a chain of hashes: dataset -> checkpoint -> answers -> predictions -> score -> record. The rows, the
weights and the predictions are hashed again where they are at hand. Questions and references are compared with the
dataset, and the scores, intervals and controls of a decoder are computed again from the answers by the recorded rule.
What cannot be checked is listed as `not at hand`, never as `ok`.

Exit status: 0 every link holds; 1 no link is wrong, but some are not at hand; 2 a link does not hold.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if __package__ in (None, ""):  # run as a script: import the project from its root, not from this folder
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from evaluation.loading import InputError
from model_cards.commands.console import Parser, command
from model_cards.results import parse_result, record_fields

if TYPE_CHECKING:
    from evaluation.record_checks import Evidence

OK, ABSENT = "ok", "not at hand"
INCOMPLETE = 1


@command
def main(argv: list[str] | None = None) -> int:
    """Runs the command; returns its exit status, see `model_cards/commands/console.py`."""
    options = argument_parser().parse_args(argv)
    for name in ("HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE", "TRANSFORMERS_OFFLINE"):
        os.environ[name] = "1"  # before `datasets` and `huggingface_hub` are imported
    from evaluation.record_checks import CHECKS, AbsentError, BrokenError, check_link
    from evaluation.records.chain import LINKS

    evidence = read_evidence(options)
    absent = []
    for name, check in CHECKS.items():
        try:
            if name in LINKS:
                check_link(evidence, name)
            state, said = OK, check(evidence)
        except AbsentError as error:
            absent.append(name)
            state, said = ABSENT, str(error)
        except BrokenError as error:
            what = f"the link `{name}` does not hold" if name in LINKS else f"the {name} are not those of the answers"
            raise InputError(f"{options.record}: {what}: {error}") from None
        print(f"{name:12} {state:12} {said}")
    if absent:
        print(f"Not verified: {', '.join(absent)}. Nothing that could be checked is wrong.")
        return INCOMPLETE
    print(f"Verified: {evidence.result.model} on {evidence.result.dataset} ({evidence.result.dataset_split}).")
    return 0


def argument_parser() -> argparse.ArgumentParser:
    """Returns the parser of the command."""
    parser = Parser(prog="medpairs verify", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("record", type=Path, metavar="RECORD", help="result file of `medpairs evaluate`")
    parser.add_argument(
        "--dataset", metavar="NAME", help="where the dataset is now: folder or repository (default: as recorded)"
    )
    parser.add_argument(
        "--model", metavar="NAME", help="where the model is now: folder or repository (default: as recorded)"
    )
    parser.add_argument(
        "--predictions", type=Path, metavar="FILE", help="file of the predictions (default: beside RECORD)"
    )
    return parser


def read_evidence(options: argparse.Namespace) -> Evidence:
    """Reads the record. Raises InputError if it is not one, or has no chain."""
    from evaluation.record_checks import Evidence
    from evaluation.records.run import predictions_path

    try:
        text = options.record.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{options.record}: {getattr(error, 'strerror', None) or 'not a text in UTF-8'}") from None
    try:
        fields, result = record_fields(text), parse_result(text)
    except (ValueError, TypeError) as error:
        raise InputError(f"{options.record}: the link `record` does not hold: not a result file ({error})") from None
    if not result.chain:
        raise InputError(
            f"{options.record}: it has no chain of hashes, because it was written by a training or by an earlier "
            "version. Evaluate the model again with `medpairs evaluate`."
        )
    predictions = options.predictions or predictions_path(options.record)
    dataset, model = options.dataset or result.dataset, options.model or result.model
    return Evidence(text, fields, result, dataset, model, predictions)


if __name__ == "__main__":
    sys.exit(main())
