"""Converts one row of a table to records: finds its images, patient, study and split."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator
from typing import Any

from hub_datasets.filesystem.image_suffixes import is_image, stem_of
from hub_datasets.records import Problem, RawRecord, Rejection
from hub_datasets.sources.reports.columns import EXPECTED, Roles
from hub_datasets.sources.reports.image_names import Images
from hub_datasets.sources.reports.row_texts import Reading, UnusableRow, label_of_row, texts_of_row
from hub_datasets.sources.reports.tables import BASE64, SEPARATOR, Table, parse_list
from hub_datasets.texts.official_splits import official_split, split_of_path
from hub_datasets.texts.patient_ids import fold, folded, patient_key, patient_of, places, study_key, study_of

NAME = "medical_reports"
MODALITY_COLUMNS = places("modality 检查类型 检查方式")
BODY_PART_COLUMNS = places("body_part body_part_examined 检查部位 部位")
NUMBERED = re.compile(r"(.+)_[0-9]{1,2}")  # <study>_<number of the image>


def make_records(
    item: str, row: dict[str, Any] | Problem, path: str, table: Table, reading: Reading
) -> Iterator[RawRecord | Rejection]:
    """Yields a record for each image and language of a row, or one rejection.

    Args:
        item: position of the row.
        path: the file of its table.
    """
    try:
        yield from records_of_row(item, row, path, table, reading)
    except UnusableRow as unfit:
        yield Rejection(NAME, item, unfit.problem.code, unfit.problem.message)


def records_of_row(item: str, row: Any, path: str, table: Table, reading: Reading) -> Iterator[RawRecord | Rejection]:
    """Yields what `make_records` yields. Raises UnusableRow if nothing in the row can be used."""
    if isinstance(row, Problem):
        raise UnusableRow(row)
    roles = table.roles(row)
    if not roles.is_table():
        raise UnusableRow(f"expected {EXPECTED}; the row has no {' and no '.join(roles.missing() or ['such columns'])}")
    texts = texts_of_row(row, roles, reading)
    paths, names = images_of_row(row, roles, path, table, reading.images)
    groups = groups_of_row(row, roles, paths if table.numbered else [])
    split = split_of_row(row, roles, bool(table.names.split))
    label = label_of_row(row, roles)
    modality, body_part = first_cell(row, MODALITY_COLUMNS), first_cell(row, BODY_PART_COLUMNS)
    used = {column for said in texts for column in said.columns}
    metadata = {key: value for key, value in row.items() if key not in used}
    for said in texts:
        conversation = row_key(names, paths, said.text) if len(paths) > 1 else ""
        for number, name in enumerate(names, 1):
            where = f"{item} image {number}" if len(paths) > 1 else item
            where += f" ({said.mark})" * bool(said.mark)
            if isinstance(name, Problem):
                yield Rejection(NAME, where, name.code, name.message)
                continue
            yield RawRecord(
                source=NAME,
                item=where,
                image=name,
                category=label or "report",
                language=said.language,
                text=said.text,
                groups=groups,
                conversation=conversation,
                official_split=split or split_of_path(name) or split_of_path(path),
                metadata=dict(metadata),
                label=label,
                modality=modality,
                body_part=body_part,
            )


def first_cell(row: dict[str, Any], names: dict[str, int]) -> str:
    """Returns the text in the first of these columns that a row has; empty if there is none."""
    found = sorted((names[name], written) for written in row if (name := folded(written)) in names)
    value = row[found[0][1]] if found else ""
    return " ".join(value.split()) if isinstance(value, str) else ""


# --- images


def images_of_row(
    row: dict[str, Any], roles: Roles, path: str, table: Table, images: Images
) -> tuple[list[str], list[str | Problem]]:
    """Returns the paths or keys that a row gives for its images, and the file of each or why there is none.

    Raises UnusableRow if the row names no image.
    """
    if table.by_key or not roles.image:
        return images_by_key(row, roles, images)
    column = roles.image[0]
    paths = named_images(row[column], column, path, images)
    return paths, [find_image(one, column, path, images) for one in paths]


def images_by_key(row: dict[str, Any], roles: Roles, images: Images) -> tuple[list[str], list[str | Problem]]:
    """Returns the files whose DICOM headers have the row's identifier, the most exact of those that it has."""
    problem: Problem | None = None
    for keyword, column in roles.keys:
        value = row.get(column)
        if isinstance(value, (str, int)) and str(value).strip():
            found = images.find_key(keyword, str(value))
            if not isinstance(found, Problem):
                return found, list(found)
            problem = problem or found
    raise UnusableRow(problem or f"the column {roles.keys[0][1] if roles.keys else 'of the image'} is empty")


def named_images(value: Any, name: str, path: str, images: Images) -> list[str]:
    """Returns the paths in a row's image column: one, a list, or several between `;`, `|`, commas or line ends.

    Raises UnusableRow for anything else.
    """
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        value = str(value)  # an ID that was read as a number
    if isinstance(value, list):
        if not all(isinstance(one, (str, int)) and not isinstance(one, bool) and str(one).strip() for one in value):
            raise UnusableRow(f"the column {name} contains a value that is not a path")
        paths = [str(one) for one in value]
    elif isinstance(value, str):
        if BASE64.match(value.lstrip()):
            raise UnusableRow(f"the column {name} holds an image as base64 text; write it to a file, and name that")
        paths = [value] if images.has(value, path) else split_cell(value, path, images)
    else:
        raise UnusableRow(f"the column {name} is empty" if value is None else f"no text in the column {name}")
    if not paths:
        raise UnusableRow(f"the column {name} is empty")
    return paths


def split_cell(value: str, path: str, images: Images) -> list[str]:
    """Returns the paths in a cell that is not one file's name; that may hold the separators."""
    if (items := parse_list(value)) is not None:
        return [item for item in items if item.strip()]
    paths = [part.strip() for part in SEPARATOR.split(value) if part.strip()]
    split = []
    for one in paths:
        parts = [part.strip() for part in one.split(",") if part.strip()]
        names = all(is_image(part) or images.has(part, path) for part in parts)
        split += parts if len(parts) > 1 and names and not images.has(one, path) else [one]
    return [value] if len(split) == 1 and split[0] == value.strip() else split


def find_image(path: str, column: str, table: str, images: Images) -> str | Problem:
    """Returns the file that a path, or an ID in a column of IDs, refers to."""
    name = images.find(path, table)
    if isinstance(name, str) and name not in images.names and is_id(path, column):
        return images.find_stem(path.strip())
    return name


def is_id(path: str, column: str) -> bool:
    """Returns whether a cell is the ID of an image and not a path: by its column, or as a number."""
    return fold(column) in ("imageid", "imageids", "imgid", "dicomid", "图像id", "图片id", "影像id") or path.isdecimal()


def row_key(names: list[str | Problem], paths: list[str], text: str) -> str:
    """Returns a key for the images of a row, from its content and not its position: rows may be inserted above it."""
    said = [*(path if isinstance(name, Problem) else name for name, path in zip(names, paths, strict=True)), text]
    return f"row:{hashlib.blake2b(json.dumps(said).encode(), digest_size=8).hexdigest()}"


# --- patient, study and split


def groups_of_row(row: dict[str, Any], roles: Roles, numbered: list[str]) -> tuple[str, ...]:
    """Returns the keys of a row's patient and study.

    Args:
        numbered: image IDs of the form `<study>_<number>`, from which the study is derived.
    """
    patient = patient_key(row.get(roles.patient)) if roles.patient else patient_of(row)
    study = study_of(row)
    if numbered and not study and (match := NUMBERED.fullmatch(stem_of(numbered[0]))):
        study = study_key(match[1])
    return tuple(key for key in (patient, study) if key)


def split_of_row(row: dict[str, Any], roles: Roles, named: bool) -> str:
    """Returns the official split of a row; empty if it has none.

    Raises UnusableRow for a value that is not the name of a split, if the user has named the column.
    """
    value = row.get(roles.split) if roles.split else None
    if value is None or not str(value).strip():
        return ""
    found = official_split(str(value)) or ""
    if not found and named:
        raise UnusableRow(f"split {value!r:.80} in the column {roles.split}; expected train, validation or test")
    return found
