"""Evaluates one encoder or decoder on one split of a dataset, and writes the result to a file.

    medpairs evaluate --model org/siglip-med --dataset org/med-pairs --split test

An encoder is scored by retrieval in both directions, by text and by finding: recall at 1, 5 and 10, mean average
precision and median rank, beside controls that never see an image. A decoder is scored by its short answers (accuracy,
F1 of words), its reports (BLEU, ROUGE-L, chrF), its loss and perplexity, beside controls that do not see the image or
see another one. `--push_to_hub` adds the result to the model's repository and its card.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

if __package__ in (None, ""):  # run as a script: import the project from its root, not from this folder
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from evaluation.classification.flags import add_flags, flags_given, problem_of_flags, settings_of
from evaluation.datasets.flags import add_dataset_flags, check_dataset_flags, column_settings
from evaluation.datasets.split_slices import parse_split
from evaluation.loading import (
    InputError,
    check_dataset,
    check_model,
    check_token,
    dataset_revision,
    print_source,
)
from evaluation.metrics.vqa_accuracy.short_answers import DEFAULT_RULE, RULES
from evaluation.models.flags import add_model_flags, check_model_flags, loading_settings_of
from evaluation.models.source import find_source, is_address, weights_of_source
from model_cards.commands.console import Parser, command, local_folder
from model_cards.controls_text import text_of_controls
from model_cards.results import GENERATION, NAMES, RETRIEVAL, EvaluationResult, is_commit
from model_cards.tables.classification_tables import text_of_details

# The columns by which the subgroups of `--gate` can be declared; the first three are the default.
SUBGROUP_COLUMNS = ("source_dataset", "language", "answer_type", "content_type")

# The flags that choose how answers are scored and which controls stand beside them, with their defaults.
CHOICES = {
    "rule": DEFAULT_RULE,
    "train_split": "train",
    "frozen_encoder": "own",
    "no_image_controls": False,
}


@command
def main(argv: list[str] | None = None) -> int:
    """Runs the command; returns its exit status, see `model_cards/commands/console.py`."""
    options = argument_parser().parse_args(argv)
    check_options(options)
    from evaluation.records.sharing import first_does, processes

    with processes():
        result, path, is_new = evaluate_model(options)
        first_does(lambda: report(options, result, path, is_new))
    return 0


def report(options: argparse.Namespace, result: EvaluationResult, path: Path, is_new: bool) -> None:
    """Prints a result with its controls, and pushes it if this was asked for."""
    shown = ", ".join(f"{NAMES[key]} {value:.4g}" for key, value in result.metrics.items() if key in NAMES)
    print(f"{result.model} on {result.dataset_split}, {result.samples} rows: {shown}")
    print(f"Written to {path}" if is_new else f"The same measurement is already recorded in {path}")
    print(text_of_controls(result), end="")
    print(text_of_details(result), end="")
    if options.gate is not None:
        from evaluation.records.gate import pass_gate

        pass_gate(options.gate, path, options.gate_subgroups)
    if options.push_to_hub:
        from evaluation.publish_results import push_result
        from evaluation.records.run import predictions_path

        pushed = push_result(result, predictions_path(path), create_pr=options.create_pr, public=options.public)
        print(f"Pushed to {pushed}")


def argument_parser() -> argparse.ArgumentParser:
    """Returns the parser of the command."""
    parser = Parser(prog="medpairs evaluate", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_model_flags(parser)
    add_dataset_flags(parser)
    parser.add_argument(
        "--limit",
        type=positive_integer,
        metavar="N",
        help="number of rows, chosen at random with a share for each source (default: all rows)",
    )
    parser.add_argument("--seed", type=seed_number, metavar="N", help="seed of the choice by --limit (default: 0)")
    parser.add_argument(
        "--batch_size", type=positive_integer, metavar="N", default=16, help="rows per batch (default: %(default)s)"
    )
    parser.add_argument(
        "--max_new_tokens",
        type=positive_integer,
        metavar="N",
        default=128,
        help="maximum length in tokens of a decoder's answer (default: %(default)s)",
    )
    parser.add_argument(
        "--rule",
        choices=RULES,
        default=CHOICES["rule"],
        metavar="NAME",
        help=f"rule for a decoder's accuracy: {', '.join(RULES)} (default: %(default)s)",
    )
    parser.add_argument(
        "--train_split",
        metavar="NAME",
        default=CHOICES["train_split"],
        help="split from which a decoder's controls know the answers to questions (default: %(default)s)",
    )
    parser.add_argument(
        "--frozen_encoder",
        metavar="NAME",
        default=CHOICES["frozen_encoder"],
        help="encoder of the control `frozen features`: folder, repository, `own` for the decoder's vision tower, or "
        "`none` to leave it out (default: %(default)s)",
    )
    parser.add_argument(
        "--no_image_controls",
        action="store_true",
        help="do not ask a decoder again with blank, swapped and mirrored images; the tables say so",
    )
    parser.add_argument("--base_model", default="", help="base model, recorded in the result (default: none)")
    parser.add_argument(
        "--output_dir", type=local_folder, default=Path("results"), help="folder for results (default: %(default)s)"
    )
    add_flags(parser, local_folder)
    parser.add_argument(
        "--gate",
        type=Path,
        metavar="RECORD",
        help="record of the last model on the same rows; if the new model is worse in any subgroup beyond chance, "
        "nothing is pushed and the exit status is 2 (default: none)",
    )
    parser.add_argument(
        "--gate_subgroups",
        nargs="+",
        choices=SUBGROUP_COLUMNS,
        metavar="COLUMN",
        help=f"columns whose values are the subgroups of --gate, among {', '.join(SUBGROUP_COLUMNS)} (default: "
        f"{' '.join(SUBGROUP_COLUMNS[:3])})",
    )
    parser.add_argument("--push_to_hub", action="store_true", help="add the result to the model's repository and card")
    parser.add_argument("--create_pr", action="store_true", help="push as a pull request, for a model of another owner")
    parser.add_argument("--public", action="store_true", help="allow pushes to a public repository (default: no)")
    return parser


def positive_integer(text: str) -> int:
    """Converts the value of a flag to an integer of at least 1."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text} is not a positive integer")
    return int(text)


def seed_number(text: str) -> int:
    """Converts the value of a flag to an integer of at least 0."""
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text} is not an integer of at least 0")
    return int(text)


def check_options(options: argparse.Namespace) -> None:
    """Raises InputError, before anything is scored, if the result could not be saved or pushed afterwards."""
    check_model_flags(options)
    for flag in ("create_pr", "public"):
        if getattr(options, flag) and not options.push_to_hub:
            raise InputError(f"--{flag} requires --push_to_hub")
    if options.seed is not None and options.limit is None:
        raise InputError("--seed requires --limit: it chooses the rows, and without a limit all rows are scored")
    if options.gate_subgroups is not None and options.gate is None:
        raise InputError("--gate_subgroups requires --gate")
    if options.gate is not None:
        from evaluation.records.gate import read_last

        read_last(options.gate)
    if options.push_to_hub and (options.limit is not None or parse_split(options.split).is_part):
        flag = "--limit" if options.limit is not None else f"--split {options.split}"
        raise InputError(
            f"{flag} cannot be combined with --push_to_hub, because only results on all rows are published. Leave out "
            "one of the two flags."
        )
    if options.push_to_hub:
        from evaluation.publish_results import check_push, refuse_folder

        refuse_folder(options.model)
    try:
        options.output_dir.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"--output_dir {options.output_dir}: {error.strerror}") from None
    if problem := problem_of_flags(options):
        raise InputError(problem)
    if options.base is not None:
        check_model(options.base, "--base")
    if options.predictions is None and not is_address(options.model):
        check_model(options.model)
    if options.frozen_encoder not in ("own", "none"):
        check_model(options.frozen_encoder, "--frozen_encoder")
    check_dataset(options.dataset)
    if options.push_to_hub:
        check_token(None)
        check_push(options.model, options.public)


def evaluate_model(options: argparse.Namespace) -> tuple[EvaluationResult, Path, bool]:
    """Loads and scores a model, and writes its predictions, one per image or per conversation, and its record.

    Returns:
        the result, the path of the record, and whether it is new.

    Raises:
        InputError: the model or dataset cannot be loaded, or a model of this type cannot be evaluated.
    """
    from evaluation import task_scores
    from evaluation.datasets.rows import load_rows

    # The branch is resolved to a commit once and the commit is used for every download, so that the recorded revision
    # is the evaluated one even if somebody pushes in between.
    source = find_source(options)
    options.model_revision = source.revision or None
    print_source("model", options.model, source.revision)
    task = source.task
    layout, score = ("pairs", task_scores.score_encoder) if task == RETRIEVAL else ("chat", task_scores.score_decoder)
    check_dataset_flags(options, task == RETRIEVAL)
    if task == RETRIEVAL and (chosen := chosen_settings(options)):
        name = next(iter(chosen))
        given = f"--{name}" if chosen[name] is True else f"--{name} {chosen[name]}"
        raise InputError(f"{given} requires a decoder, but --model {options.model} is an encoder")
    if task == GENERATION and (given := flags_given(options)):
        raise InputError(f"--{next(iter(given))} requires an encoder, but --model {options.model} is a decoder")
    revision = dataset_revision(options.dataset, options.dataset_revision)
    options.dataset_revision = revision if is_commit(revision) else None  # other splits are read from the same commit
    print_source("dataset", options.dataset, revision)
    rows = load_rows(options, layout, revision)
    options.dataset_config = rows.config
    draft = EvaluationResult(
        model=source.name,
        model_revision=source.revision,
        weights=weights_of_source(source),
        base_model=options.base_model or source.base,
        task=task,
        dataset=options.dataset,
        dataset_config=rows.config,
        dataset_split=options.split,
        dataset_revision=revision,
        samples=len(rows.scored),
        metrics={},
        settings={name: getattr(options, name) for name in ("limit", "batch_size", "max_new_tokens")}
        | ({} if options.limit is None else {"seed": options.seed or 0})
        | chosen_settings(options)
        | loading_settings_of(options)
        | column_settings(options)
        | source.settings
        | settings_of(options),
    )
    from evaluation.records.run import Run

    with Run(draft, options.output_dir, rows.scored) as run:
        if options.gate is not None:
            from evaluation.records.gate import check_same_rows

            check_same_rows(options.gate, run.contents["dataset"], options.rule)
        scores, predictions = score(options, source, rows, run)
        seeds = {} if options.limit is None else {"limit": options.seed or 0}
        return run.finish(replace(draft, **scores), predictions, seeds)


def chosen_settings(options: argparse.Namespace) -> dict[str, Any]:
    """Returns the rule and the choice of controls as settings, so that results by two of them have files of their own.

    Defaults are left out, so that their file has the same name as before there was anything to choose.
    """
    return {name: getattr(options, name) for name, default in CHOICES.items() if getattr(options, name) != default}


if __name__ == "__main__":
    sys.exit(main())
