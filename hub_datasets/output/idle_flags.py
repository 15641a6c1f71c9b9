"""Names the flags of a build that had no effect on its result, because of what its sources contain.

Flags that can have no effect on any sources are errors before the build starts, see `options.refuse_idle_flags`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from hub_datasets.records import Reason
from hub_datasets.sources import SOURCES
from hub_datasets.splits.assignment import TEXT, Decisions

RESOLVED = {Reason.CONFLICTING_LABELS: "images with contradicting labels"}  # what options of sources decide about


def idle_flags(report: Mapping[str, Any]) -> Iterator[str]:
    """Yields a line for each flag that was given and changed nothing, from the report of the build.

    A value that is the default counts as not given. Limits, for example `--min_image_side`, have done their work also
    where they reject nothing.
    """
    settings, defaults = report["settings"], report["defaults"]
    given = {name: value for name, value in settings.items() if value != defaults.get(name)}
    if "window" in given and not report["images"]["windowed"]:
        yield f"--window {given['window']} has no effect: no accepted image has more than 8 bits per pixel"
    if given.get("chat_turns") == "multi" and not report["questions"]:
        yield "--chat_turns multi has no effect: no accepted row is a question with an answer"
    near = report["duplicates"]["near"]
    if given.get("near_distance", 0) > defaults["near_distance"] and not near["pairs"]:
        yield f"--near_distance {given['near_distance']} has no effect: no near-duplicates were found"
    if "num_shards" in given:
        yield from too_few_rows(report["shards"], given["num_shards"])
    for source in SOURCES:
        counts = report["sources"].get(source.name)
        for name, choice in source.choices.items():
            if counts and choice.resolves and name in given and not counts["rejected"].get(choice.resolves):
                yield f"--{name} {given[name]} has no effect: {source.name} has no {RESOLVED[choice.resolves]}"
    yield from idle_split_flags(report, given)


def too_few_rows(shards: Mapping[str, Mapping[str, int]], least: int) -> Iterator[str]:
    """Yields a line for each split with fewer rows than the files that were asked for."""
    for config, counts in shards.items():
        for split, number in counts.items():
            if number < least:
                yield f"--num_shards {least}: {config} {split} has only {number:,} rows, and as many files"


def idle_split_flags(report: Mapping[str, Any], given: Mapping[str, Any]) -> Iterator[str]:
    """Yields the lines of the flags that decide about splits."""
    fractions = [f"--{name}" for name in ("val_fraction", "test_fraction") if name in given]
    kept = report["kept_splits"]
    if official := report["official"]:
        for name, counts in official.items():
            if left := counts["rows"] - counts["official"]:
                rows = f"{left:,} of {counts['rows']:,} rows of {name}"
                yield f"--split_by official: {rows} have no official split, and are assigned by their groups"
        if all(counts["rows"] == counts["official"] for counts in official.values()):
            idle = [*fractions, *(["--keep_splits"] if kept else [])]
            if idle:
                yield f"{' and '.join(idle)} has no effect: every row has an official split"
    elif kept and not kept["groups"]:
        yield f"--keep_splits {kept['from']} has no effect: none of its patients, studies or images is in these sources"
    elif kept and fractions and kept["groups"] == kept["of"]:
        yield f"{' and '.join(fractions)} has no effect: every group keeps the split of the earlier build"


def count_questions(decisions: Decisions) -> int:
    """Returns the number of accepted records that are a question with an answer."""
    query = "SELECT count(*) FROM accepted WHERE record ->> ? IS NULL"
    return decisions.database.execute(query, (TEXT,)).fetchone()[0]
