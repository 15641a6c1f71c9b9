"""Compares models: one table for each task and dataset, best first, from the result files of a folder.

    python evaluation/leaderboard.py --results_dir results

Writes `leaderboard.md` and `leaderboard.json` beside the results.
"""

from __future__ import annotations

import argparse
import sys
from collections import defaultdict
from pathlib import Path

if __package__ in (None, ""):  # run as a script: import the project from its root, not from this folder
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from model_cards.results import HEADLINE, NAMES, EvaluationResult, load_results, write_json


def main(argv: list[str] | None = None) -> int:
    """The command. Returns the exit status: 0, or 2 where the input or a flag is at fault."""
    parser = argparse.ArgumentParser(
        prog="medpairs-leaderboard", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--results_dir", type=Path, default=Path("results"), help="(%(default)s)")
    options = parser.parse_args(argv)
    try:
        results = load_results(options.results_dir)
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    if not results:
        print(
            f"error: --results_dir {options.results_dir}: no results; write one with evaluation/run_evaluation.py",
            file=sys.stderr,
        )
        return 2
    tables = rank(results)
    text = "\n".join(markdown(table) for table in tables)
    (options.results_dir / "leaderboard.md").write_text(text, encoding="utf-8")
    write_json(options.results_dir / "leaderboard.json", tables)
    print(text, end="")
    return 0


def rank(results: list[EvaluationResult]) -> list[dict]:
    """One table for each task, dataset, revision and split: scores are compared only on the very same rows.

    Returns:
        tables with `task`, `dataset`, `revision`, `split`, `samples`, `metrics` (columns) and `rows` (`model`, then
        a value for each metric), sorted by the task's first metric.
    """
    groups: dict[tuple, list[EvaluationResult]] = defaultdict(list)
    for result in results:
        limit = result.settings.get("limit")
        groups[
            result.task, result.dataset, result.dataset_revision, result.dataset_split, result.samples, limit
        ].append(result)
    tables = []
    for (task, dataset, revision, split, samples, _), members in sorted(groups.items(), key=lambda item: str(item[0])):
        first, larger_is_better = next(iter(HEADLINE[task].items()))
        members.sort(key=lambda result: result.metrics[first], reverse=larger_is_better)
        chance = {f"chance_{name}" for name in HEADLINE[task]}
        columns = [name for name in [*HEADLINE[task], *sorted(chance)] if name in NAMES and name in members[0].metrics]
        rows = [{"model": member.model} | {name: member.metrics.get(name) for name in columns} for member in members]
        tables.append(
            {"task": task, "dataset": dataset, "revision": revision, "split": split, "samples": samples}
            | {"metrics": columns, "rows": rows}
        )
    return tables


def markdown(table: dict) -> str:
    """A table as Markdown, aligned so that it also reads well on a terminal."""
    from model_cards.rendering import number, table_cell

    header = ["#", "model", *(NAMES[name] for name in table["metrics"])]
    lines = [
        [str(place), table_cell(row["model"]), *(number(row[name]) for name in table["metrics"])]
        for place, row in enumerate(table["rows"], 1)
    ]
    widths = [max(len(line[column]) for line in [header, *lines]) for column in range(len(header))]

    def draw(cells: list[str]) -> str:
        aligned = [
            cell.ljust(width) if column == 1 else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(cells, widths, strict=True))
        ]
        return f"| {' | '.join(aligned)} |\n"

    rule = "|" + "|".join(
        "-" * (width + 2) if column == 1 else "-" * (width + 1) + ":" for column, width in enumerate(widths)
    )
    title = f"{table['task'].replace('_', ' ')} on {table['dataset']} ({table['split']}, {table['samples']:,} rows)"
    return f"**{title}**\n\n{draw(header)}{rule}|\n{''.join(map(draw, lines))}"


if __name__ == "__main__":
    sys.exit(main())
