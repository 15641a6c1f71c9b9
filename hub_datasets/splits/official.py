"""Checks that every source has official splits where `--split_by official` asks for them, and counts its rows without.

The names of splits in tables and folders are recognized by `texts/official_splits.py`.
"""

from __future__ import annotations

from hub_datasets.errors import BuildError
from hub_datasets.splits.assignment import OFFICIAL_SPLIT, Decisions
from hub_datasets.texts.official_splits import ADVICE


def count_official(decisions: Decisions) -> dict[str, dict[str, int]]:
    """Returns the accepted rows of each source, and those with an official split.

    Raises BuildError, which names it, for a source of which no row has one.
    """
    counts = {}
    query = "SELECT count(*), total(record ->> ? != '') FROM accepted WHERE stage = ?"
    for name, stages in decisions.sources.items():
        found = [decisions.database.execute(query, (OFFICIAL_SPLIT, stage)).fetchone() for stage in stages]
        counts[name] = {"rows": sum(rows for rows, _ in found), "official": int(sum(own for _, own in found))}
    if lacking := [name for name, count in counts.items() if count["rows"] and not count["official"]]:
        raise BuildError(f"--split_by official: {' and '.join(lacking)} has no official splits; {ADVICE}")
    return counts
