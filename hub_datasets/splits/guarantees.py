"""Says for each source what keeps related images in one split, and what nothing keeps together.

A build promises no more than its sources tell it: a source with patient IDs keeps patients together, one without can
only keep studies, scans and pictures together, and images of one patient may then be in different splits.
"""

from __future__ import annotations

from typing import Any

from hub_datasets.ingest.catalog import to_json
from hub_datasets.splits.assignment import Decisions

KINDS = {"patient": "patient IDs", "study": "studies", "lesion": "lesions", "image": "image numbers"}
PIXELS = "pixels"  # equal images and near-duplicates, in every source
RISK = "images of one patient may be in different splits"


def guarantee(decisions: Decisions, name: str, scans: dict[str, Any] | None) -> dict[str, Any]:
    """Returns what the splits of a source rest on.

    Args:
        scans: the numbers of `scans.find_scans` for this source; None if its images have no order of scans.

    Returns:
        `rests_on`: for example `["patient IDs", "studies", "pixels"]`; `rows`: accepted rows; `rows_with_patient`:
        those with a patient; `warning`: what is not promised, empty if all rows have a patient.
    """
    stages = decisions.sources[name]
    rows = sum(decisions.count("accepted", number) for number in stages)
    having = {kind: count_rows(decisions, stages, kind) for kind in KINDS}
    rests_on = [
        words if having[kind] == rows else f"{words} ({having[kind]:,} of {rows:,} rows)"
        for kind, words in KINDS.items()
        if having[kind]
    ]
    if scans:
        joined = f"{scans['joined']:,} of {scans['images']:,} images are in {scans['scans']:,} scans of several slices"
        rests_on.append(f"scans, by image number, modality and correlation ({joined})")
    rests_on.append(PIXELS if rests_on else f"{PIXELS} only")
    found = {"rests_on": rests_on, "rows": rows, "rows_with_patient": having["patient"]}
    return found | {"warning": warning(rows, having["patient"])}


def count_rows(decisions: Decisions, stages: list[int], kind: str) -> int:
    """Returns the number of accepted records of some stages that have a key of a kind."""
    query = """SELECT count(DISTINCT owner) FROM record_keys JOIN accepted ON accepted.id = owner
        JOIN keys ON keys.id = record_keys.key
        WHERE stage IN (SELECT value FROM json_each(?)) AND keys.key LIKE ?"""
    return decisions.database.execute(query, (to_json(stages), f"%/{kind}:%")).fetchone()[0]


def warning(rows: int, with_patient: int) -> str:
    """Returns what is not promised about patients; empty if all rows have one."""
    if with_patient == rows:
        return ""
    if not with_patient:
        return f"no patient IDs: {RISK}"
    return f"no patient IDs in {rows - with_patient:,} of {rows:,} rows: {RISK}"
