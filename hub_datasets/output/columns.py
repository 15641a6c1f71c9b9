"""Makes the columns that the rows of all configs have, and locates their images."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from hub_datasets.splits.assignment import Accepted
from hub_datasets.splits.groups import key_digest
from hub_datasets.splits.review import MARK
from hub_datasets.texts.grounding.policy import ORIGINAL

SYNTHETIC_LICENSE = "Apache-2.0"  # that of the program which draws them


@dataclass(frozen=True, slots=True)
class Picture:
    """An image of a row.

    Attributes:
        accepted: the record that it belongs to.
        place: where its bytes are, see `image_place`.
        path: its path below its folder.
    """

    accepted: Accepted
    place: dict[str, Any]
    path: str


Row = tuple[str, dict[str, Any], list[Picture]]  # split, columns, images


def base_columns(members: list[Accepted], metadata: dict[str, Any]) -> dict[str, Any]:
    """Returns the columns that all configs have, for the records of a row; `official_split` is null if they differ."""
    accepted = members[0]
    record, official = accepted.record, {member.record.official_split for member in members}
    return {
        "image_path": f"{record.source}/{record.image}",
        "source_dataset": record.source,
        "category": record.category,
        "license": license_of(accepted),
        "official_split": record.official_split or None if len(official) == 1 else None,
        "patient": hashed_key(accepted, "patient"),
        "study": hashed_key(accepted, "study"),
        "modality": record.modality or None,
        "body_part": record.body_part or None,
        "group_id": accepted.group_id,
        "metadata": json.dumps(metadata, ensure_ascii=False),
    }


def hashed_key(accepted: Accepted, kind: str) -> str | None:
    """Returns the hash of a record's patient or study, as `splits.txt` has it; None where the source names none.

    Of several, for example those of two copies of one picture, it is the first in alphabetical order; `group_id` is the
    same for all of them.
    """
    source, in_file = accepted.record.source, accepted.image["groups"]
    keys = [*accepted.record.groups, *(json.loads(in_file) if in_file != "[]" else ())]  # most files tell nothing
    found = sorted(key for key in keys if key.startswith(f"{kind}:"))
    return key_digest(f"{source}/{found[0]}") if found else None


def license_of(accepted: Accepted) -> str:
    """Returns the license of a row: its source's, or the project's if the images are synthetic."""
    return SYNTHETIC_LICENSE if accepted.stage.synthetic else accepted.stage.source.licence


def shared_metadata(members: list[Accepted]) -> dict[str, Any]:
    """Returns the fields that are equal in all records, the items, and the answers before sentences were taken out."""
    first, *others = every = [member.record.metadata for member in members]
    shared = {key: value for key, value in first.items() if all(other.get(key) == value for other in others)}
    if ORIGINAL not in shared and any(ORIGINAL in one for one in every):
        shared[ORIGINAL] = [one.get(ORIGINAL) for one in every]
    if reviewed := [member.record.item for member in members if MARK in member.record.metadata]:
        shared[MARK] = reviewed  # the records whose text a person replaced
    return shared | {"items": [member.record.item for member in members]}


def picture_of(accepted: Accepted) -> Picture:
    """Returns the image of a record."""
    return Picture(accepted, image_place(accepted.record.image, accepted.path, accepted.image), accepted.path)


def image_place(published: str, path: str, image: Mapping[str, Any]) -> dict[str, Any]:
    """Returns where the bytes of an image are in the stage of its record.

    Args:
        published: the path under which it is published.
        path: its path below the source folder.
        image: its row in the catalog.

    Returns:
        `name` and `content`: what Parquet says of it, and the hash of its bytes; `length`: their number; `offset`: of
        the first byte in `file` of the stage's folder, or -1 where `file` is in the source folder; `edits`: what
        becomes of that file.
    """
    staged = image["file"] is not None
    return {
        "file": image["file"] if staged else path,
        "offset": image["offset"] if staged else -1,
        "edits": image["edits"] or "",
        "length": image["length"],
        "name": published.rsplit("/", 1)[-1],
        "content": image["content"],
    }
