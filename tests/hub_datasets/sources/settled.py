"""Reads a source completely: opens its images, checks texts, and resolves records with equal bytes."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from pathlib import Path

from hub_datasets.filesystem.source_folder import Folder, FolderError
from hub_datasets.records import Ignored, Problem, RawRecord, Rejection
from hub_datasets.sources.base import Source
from hub_datasets.texts.validation import check_text, write_record


def settled(source: Source, path: str | Path, **settings: str) -> list[RawRecord | Rejection]:
    """What becomes of each record, in no order; of those with the same bytes as `source.settle` says."""
    folder = Folder(path)
    done: list[RawRecord | Rejection] = []
    by_content: dict[bytes, list[RawRecord]] = defaultdict(list)
    for record in source.read(folder):
        if isinstance(record, RawRecord):
            problem = write_record(record)
            if isinstance(problem, Problem) or (problem := check_text(record, 5, 1000)):
                done.append(Rejection(source.name, record.item, problem.code, problem.message))
                continue
            try:
                content = folder.read(record.image)
            except FolderError as error:
                done.append(Rejection(source.name, record.item, error.code, error.message))
                continue
            by_content[hashlib.sha256(content).digest()].append(record)
        elif isinstance(record, Rejection):
            done.append(record)
    for records in by_content.values():
        done += source.settle(records, settings) if source.settle else records
    return done


def fates(done: list[RawRecord | Rejection]) -> dict[str, str]:
    """`accepted` or the code of the rejection, by item."""
    found = {one.item: str(one.code) if isinstance(one, Rejection) else "accepted" for one in done}
    assert len(found) == len(done)
    return found


def ignored(found) -> dict[str, str]:
    """What was passed over, and why."""
    return {thing.item: thing.why for thing in found if isinstance(thing, Ignored)}
