"""Ranks models in one table per task, dataset and rule, best first, from the result files in a folder.

    medpairs leaderboard --results_dir results

Writes `leaderboard.md` and `leaderboard.json` beside the results.
"""

from __future__ import annotations

import argparse
import sys
from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING

if __package__ in (None, ""):  # run as a script: import the project from its root, not from this folder
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from evaluation.metrics.vqa_accuracy.short_answers import DEFAULT_RULE
from model_cards.commands.console import CommandError, Parser, command, local_folder
from model_cards.controls import check_controls, needs_controls, verdicts
from model_cards.results import (
    GENERATION,
    HEADLINE,
    NAMES,
    PARTS,
    REPORTS,
    EvaluationResult,
    columns_of,
    load_results,
    parts_in,
    write_json,
    write_text,
)
from model_cards.tables.leaderboard_lines import best_first, control_entries, table_lines

if TYPE_CHECKING:
    from evaluation.records.ranking import Predictions


@command
def main(argv: list[str] | None = None) -> int:
    """Runs the command; returns its exit status, see `model_cards/commands/console.py`."""
    parser = Parser(
        prog="medpairs leaderboard", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--results_dir",
        type=local_folder,
        default=Path("results"),
        help="folder with the result files (default: %(default)s)",
    )
    options = parser.parse_args(argv)
    try:
        results = load_results(options.results_dir)
        if not results:
            raise ValueError("no results; write one with `medpairs evaluate`")
        from evaluation.records.ranking import predictions_in

        tables = rank_results(results, predictions_in(options.results_dir))
        text = "\n".join(markdown(table) for table in tables)
        write_text(options.results_dir / "leaderboard.md", text)
        write_json(options.results_dir / "leaderboard.json", tables)
    except (ValueError, OSError) as error:
        raise CommandError(f"--results_dir {options.results_dir}: {error}") from error
    print(text, end="")
    return 0


def rank_results(results: list[EvaluationResult], predictions: Predictions = lambda _: None) -> list[dict]:
    """Makes one table per task, dataset, revision, split, rules and length of answers: others are not comparable.

    If a model has several results on the same rows, the newest one is used. A result of a training, which has a loss
    alone, stands in each table of its rows.

    Args:
        results: the results.
        predictions: returns the predictions of a result, None if they are not there.

    Returns:
        tables with `task`, `part` (short answers and reports have a table each; "" for a table of all metrics),
        `dataset`, `revision`, `split`, `samples`, `rule` (of the accuracies; "" if the table has none),
        `max_new_tokens` (of the answers; None if the table has none), `metrics` (columns) and `rows` (`model`, then a
        value for each metric, None if it was not measured). Rows are sorted by the first metric of the table, equal
        ones by the next metrics; models without a value come last.
        `ranks` has the rank of each row, which models share that cannot be told apart.
        A table with scores also has `controls`, those that never see an image, and each of its rows has
        `controls`, those of the model, `reliance`, and `verdicts`, sentences about the model beside its controls.

    Raises:
        ValueError: a result has scores and not all of their controls.
    """
    return [
        table_of(part, chosen, predictions)
        for members in comparable(results)
        for part, chosen in by_part(list(members.values())).items()
    ]


def by_part(members: list[EvaluationResult]) -> dict[str, list[EvaluationResult]]:
    """Returns the results of each table: of each of PARTS, and of "" for results of earlier versions.

    Results with a loss alone stand in the first table.
    """
    scored = [member for member in members if needs_controls(member.task, member.metrics)]
    parts = [part for part in ("", *PARTS) if any(part in parts_in(member.metrics) for member in scored)] or [""]
    return {
        part: [member for member in members if part in (parts_in(member.metrics) if member in scored else parts[:1])]
        for part in parts
    }


def table_of(part: str, members: list[EvaluationResult], predictions: Predictions) -> dict:
    """Makes the table of results on the same rows: of one of PARTS, or "" for all metrics; see `rank_results`."""
    from evaluation.records.ranking import shared_ranks

    shown = columns_of(members[0].task, part, {name for member in members for name in member.metrics})
    best, *_ = ranked = sorted(members, key=lambda member: sort_key(member, shown))
    table = {"task": best.task, "part": part, "dataset": best.dataset, "revision": best.dataset_revision}
    table |= {"split": best.dataset_split, "samples": best.samples}
    has_accuracy = any(name.startswith("accuracy") for name in shown)
    table |= {"rule": rule_of(best) if has_accuracy else "", "metrics": shown}
    lengths = [member.settings.get("max_new_tokens") for member in ranked if has_answers(member)]
    table["max_new_tokens"] = lengths[0] if lengths else None
    rows = [{"model": member.model} | {name: member.metrics.get(name) for name in shown} for member in ranked]
    if needs_controls(best.task, shown):
        for member in ranked:
            check_controls(member)
        scored = next(member for member in ranked if needs_controls(member.task, member.metrics))
        table["controls"] = control_entries(scored, shown, blind=True)
        for row, member in zip(rows, ranked, strict=True):
            if needs_controls(member.task, member.metrics):  # a result of a training has a loss alone
                row["controls"] = control_entries(member, shown, blind=False)
                row["verdicts"] = verdicts(member, shown)
                if part != REPORTS:  # it is about open and closed questions
                    row["reliance"] = member.reliance
    if sorting := {name: larger for name, larger in HEADLINE[best.task].items() if name in shown}:
        table["ranks"] = shared_ranks(ranked, sorting, predictions)
    return table | {"rows": rows}


def comparable(results: list[EvaluationResult]) -> list[dict[str, EvaluationResult]]:
    """Returns the results of each table by model, see `rank_results`."""
    groups: dict[tuple, dict[str, EvaluationResult]] = defaultdict(dict)
    without_answers: dict[tuple, dict[str, EvaluationResult]] = defaultdict(dict)
    for result in sorted(results, key=lambda result: result.date):
        rows = (result.dataset, result.dataset_config, content_name(result), result.dataset_split, result.samples)
        key = (result.task, *rows, *(str(result.settings.get(name)) for name in ("limit", "seed")))
        if result.task == GENERATION and not has_answers(result):
            without_answers[key][result.model] = result
            continue
        # Which answers the controls know, how long answers may be, and how they are scored.
        settings = tuple(str(result.settings.get(name)) for name in ("train_split", "max_new_tokens"))
        signatures = tuple(
            sorted(item for item in result.signatures.items() if item[0] not in ("accuracy", "clinical", "left_out"))
        )
        groups[(*key, rule_of(result), report_rules(result), *settings, signatures)][result.model] = result
    for key, members in without_answers.items():
        for table in [found for other, found in groups.items() if other[: len(key)] == key] or [groups[key]]:
            table |= {model: result for model, result in members.items() if model not in table}
    return [members for _, members in sorted(groups.items(), key=lambda item: str(item[0]))]


def has_answers(result: EvaluationResult) -> bool:
    """Returns whether a result has scores of answers, which one of a training does not have."""
    return result.task == GENERATION and needs_controls(result.task, result.metrics)


def content_name(result: EvaluationResult) -> str:
    """Returns what names the content of the rows: the revision, or without one the fingerprint in the chain."""
    found = [entry["content"] for entry in result.chain if entry["name"] == "dataset"]
    return result.dataset_revision or "".join(found)


def rule_of(result: EvaluationResult) -> str:
    """Returns the rule of the accuracies. A result without accuracies stands among those by the default rule."""
    return result.signatures.get("accuracy", "").removeprefix("rule:") or DEFAULT_RULE


def report_rules(result: EvaluationResult) -> str:
    """Returns the rules that read the findings of reports; a result without them stands among those of today's."""
    from evaluation.metrics.clinical_consistency.agreement import rules_signature

    return result.signatures.get("clinical", "").partition(",")[0] or rules_signature()


def sort_key(result: EvaluationResult, metrics: list[str]) -> tuple:
    """Returns a key that sorts the best result first by some of its metrics."""
    return *best_first(result.task, {name: result.metrics.get(name) for name in metrics}), result.model


def markdown(table: dict) -> str:
    """Returns a table as Markdown, with aligned columns so that it can also be read in a terminal.

    Below it, each model is compared with the controls that it should beat.

    Raises:
        ValueError: the table has scores and not all of their controls.
    """
    from model_cards.rendering import aligned_table, table_cell

    header = ["#", "model", *(NAMES[name] for name in table["metrics"])]
    lines = [[line.place, table_cell(line.title), *line.cells] for line in table_lines(table)]
    revision = f", revision {table['revision'][:8]}" if table["revision"] else ""
    rule_name = f", rule {table['rule']}" if table.get("rule") else ""  # a table of an earlier version has none
    length = f", at most {table['max_new_tokens']} tokens" if table.get("max_new_tokens") else ""
    rows = f"{table['split']}, {table['samples']:,} rows{revision}{rule_name}{length}"
    title = table_cell(f"{table.get('part') or table['task'].replace('_', ' ')} on {table['dataset']} ({rows})")
    said = [f"- {row['model']}. {verdict}\n" for row in table["rows"] for verdict in row.get("verdicts") or ()]
    below = "\n" + "".join(said) if said else ""
    return f"**{title}**\n\n{aligned_table([header, *lines], texts=[1])}{below}"


if __name__ == "__main__":
    sys.exit(main())
