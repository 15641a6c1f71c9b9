"""Scores one file of predictions by every rule, beside answers that never see an image, and marks rules that are gamed.

    medpairs rules results/NAME.predictions.jsonl

Reads the predictions that `medpairs evaluate` writes, lmms-eval's `--log_samples`, or a file of JSON lines with
`prediction`, `reference`, `answer_type` (OPEN or CLOSED) and, if known, `question` and `language`. Prints one table per
language and type of questions. A line of a table is one rule: compare numbers along a line, never between two lines.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

if __package__ in (None, ""):  # run as a script: import the project from its root, not from this folder
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from evaluation.metrics.vqa_accuracy.short_answers import RULES
from evaluation.scoring.blind_answers import COIN, NO_ANSWER, constant_texts
from evaluation.scoring.prediction_files import Answer, read_predictions, read_questions
from evaluation.scoring.rule_tables import HIGHEST_COIN, HIGHEST_NON_ANSWER, markdown, rule_tables
from model_cards.commands.console import CommandError, Parser, command
from model_cards.results import write_json

# The published rules, and this project's own; the others are variants of these.
SHOWN = (
    "exact", "clinical", "lmms_eval", "llava_med_2023_08", "llava_med_2023_12", "medvlmbench", "medevalkit_rules",
    "medgemma",
)  # fmt: skip


@command
def main(argv: list[str] | None = None) -> int:
    """Runs the command; returns its exit status, see `model_cards/commands/console.py`."""
    options = argument_parser().parse_args(argv)
    try:
        answers, others = read_predictions(options.predictions)
        seen = read_questions(options.train) if options.train else None
        tables = rule_tables(answers, seen, options.rules)
        text = report(options, answers, others, seen, tables)
        if options.output_file:
            content = {"predictions": str(options.predictions), "answers": len(answers), "other_rows": others}
            train = {"train": str(options.train) if options.train else None}
            write_json(options.output_file, content | train | {"blind": blind_texts(seen or answers), "tables": tables})
    except (ValueError, OSError) as error:
        raise CommandError(str(error)) from error
    print(text, end="")
    return 0


def argument_parser() -> argparse.ArgumentParser:
    """Returns the parser of the command."""
    parser = Parser(prog="medpairs rules", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("predictions", type=Path, metavar="PREDICTIONS", help="file of predictions, in JSON lines")
    parser.add_argument(
        "--train",
        type=Path,
        metavar="FILE",
        help="train split from which the question prior, the majority and the constant text are taken, JSON lines with "
        "question, reference and answer_type (default: the other questions of PREDICTIONS)",
    )
    parser.add_argument(
        "--rules",
        nargs="+",
        choices=RULES,
        default=list(SHOWN),
        metavar="NAME",
        help=f"rules to score by, among {', '.join(RULES)} (default: {' '.join(SHOWN)})",
    )
    parser.add_argument("--output_file", type=Path, metavar="FILE", help="JSON file for the tables (default: none)")
    return parser


def blind_texts(seen: list[Answer]) -> dict[str, Any]:
    """Returns what the blind answers say, per language."""
    return {"coin": COIN, "no answer": NO_ANSWER, "constant": constant_texts(seen)}


def report(
    options: argparse.Namespace, answers: list[Answer], others: int, seen: list[Answer] | None, tables: list[dict]
) -> str:
    """Returns the tables with a legend."""
    left = f"; {others:,} rows of other types are not scored" if others else ""
    lines = [f"{len(answers):,} answers of {options.predictions}{left}. Scores in percent.", ""]
    lines += [f"{markdown(table)}" for table in tables]
    gamed = sorted(
        {line["rule"] for table in tables for line in table["rules"] if line["gamed_by"]}, key=options.rules.index
    )
    lines.append(
        f"Rules that can be gamed: {', '.join(gamed) or 'none'}. They give a coin more than {HIGHEST_COIN:.0%}, or"
    )
    lines.append(f"a text that answers nothing more than {HIGHEST_NON_ANSWER:.0%}. Answers that never see an image:")
    source = f"in {options.train}" if seen is not None else "among the other rows of the file"
    lines.append(f"- question prior: the most frequent answer to the question {source}, or to its type")
    lines.append("- majority: the most frequent answer of the type and language of the table")
    lines.append(
        f"- coin: {quoted({name: ' or '.join(words) for name, words in COIN.items()}, answers)}, expected value"
    )
    lines.append(f"- no answer: {quoted(NO_ANSWER, answers)}")
    lines.append(f"- constant: {quoted(constant_texts(seen or answers), answers)}")
    for rule in options.rules:
        if RULES[rule].left_out:
            lines.append(f"{rule} leaves out {RULES[rule].left_out}; `of` is followed by the number that it counts.")
    return "\n".join(lines) + "\n"


def quoted(texts: dict[str, str], answers: list[Answer]) -> str:
    """Returns the texts of the languages that occur, in quotation marks."""
    languages = {answer.language for answer in answers}
    return ", ".join(f'"{text}"' for language, text in texts.items() if language in languages)


if __name__ == "__main__":
    sys.exit(main())
