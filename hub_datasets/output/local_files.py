"""Writes the files of a build that are never published: where each record is, and which groups moved.

`medpairs where` reads them. They name files and rows of the sources.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from hub_datasets.ingest.catalog import Catalog
from hub_datasets.ingest.ingest import Stage
from hub_datasets.output.report import is_shareable, stage_flags
from hub_datasets.privacy.publication import Publication
from hub_datasets.splits.assignment import GROUPS, ITEM, STAGE_SHIFT, Decisions
from hub_datasets.splits.review import Review

RECORDS, MOVED = "records.jsonl", "moved.jsonl"
SHOWN = 20  # groups that moved in the report
LINE = """SELECT json_object('source', ?, 'item', record ->> ?, 'image', image, 'split', accepted.split, 'group', name,
    'keys', json(record -> ?), 'file_keys', json(accepted.groups), 'pixels', pixels, 'content', content)
    FROM accepted JOIN keys ON keys.id = first_key JOIN groups ON groups.root = keys.root
    WHERE stage = ? ORDER BY accepted.id"""


def write_records(folder: Path, decisions: Decisions) -> None:
    """Writes one line of JSON per accepted record: its source, item, image, split, group, keys and hashes.

    Of a rejected record whose row names an image: source, item, image and `rejected`, the code.
    """
    with (folder / RECORDS).open("w", encoding="utf-8", errors="backslashreplace") as file:
        for number, stage in enumerate(decisions.stages):
            lines = decisions.database.execute(LINE, (stage.source.name, ITEM, GROUPS, number))
            file.writelines(f"{line}\n" for line in published(lines, stage.source.name, decisions.publication))
            catalog = Catalog(stage.catalog)
            query = "SELECT id, item, code FROM rejections WHERE stage = ? ORDER BY id"
            for row, item, code in decisions.database.execute(query, (number,)):
                if image := catalog.image_of(row - (number << STAGE_SHIFT)):
                    line = {"source": stage.source.name, "item": item, "image": stage.folder.labeled(image)}
                    file.write(json.dumps(line | {"rejected": code}, ensure_ascii=False) + "\n")
            catalog.close()


def published(lines: Iterable[tuple[str]], source: str, publication: Publication) -> Iterator[str]:
    """Yields the lines of a source; of a private one with the group and the path of the image as they are published."""
    for (line,) in lines:
        if publication.is_private(source):
            found = json.loads(line)
            found["group"] = publication.key(found["group"])
            found["image_path"] = f"{source}/{publication.image(source, found['image'])}"
            line = json.dumps(found, ensure_ascii=False)
        yield line


def write_moved(folder: Path, decisions: Decisions, moved: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """Writes one line of JSON per group that changed its split, with the rows that are the reason, if there are any.

    Returns:
        the first of them for the report, which names only rows of sources that may be published.
    """
    shown: list[dict[str, Any]] = []
    lines = []
    for group in moved:
        rows = group.pop("rows")
        lines.append(group | {"rows": [item for _, item in rows]})
        public = [item for stage, item in rows if is_shareable(decisions.stages[stage])]
        name = decisions.publication.key(group["group"])
        shown.append(group | {"group": name, "rows": public if len(public) == len(rows) else []})
    if lines:
        with (folder / MOVED).open("w", encoding="utf-8", errors="backslashreplace") as file:
            file.writelines(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)
    return shown[:SHOWN]


def check_review(stages: Iterable[Stage], review: Review, publication: Publication) -> None:
    """Raises BuildError for a decision about something that is neither a record nor flagged, after `settle`."""
    for stage in stages if review else ():
        for item, *_ in stage_flags(stage, publication):  # also images without a usable record, and folders
            review.note(stage.source.name, item)
    review.check()
