"""Converts one row of a table to records: finds its images, language, patient and study."""

from __future__ import annotations

import hashlib
import json
import posixpath
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator
from typing import Any

from hub_datasets.records import Problem, RawRecord, Reason, Rejection
from hub_datasets.schema import LANGUAGES
from hub_datasets.sources.reports.language import language_by_majority, language_named
from hub_datasets.sources.reports.tables import EXPECTED, IMAGE_COLUMNS, TEXT_COLUMNS, column, missing
from hub_datasets.texts.patient_ids import patient_of, study_key, study_of

NAME = "medical_reports"
# The kinds of image in the order in which they are preferred where several have one stem.
IMAGE_SUFFIXES = (
    ".png", ".jpg", ".jpeg", ".dcm", ".dicom", ".tif", ".tiff", ".bmp", ".webp", ".gif", ".jp2", ".j2k",
)  # fmt: skip
SEPARATOR = re.compile(r"[;|]")
NUMBERED = re.compile(r"(.+)_[0-9]{1,2}")  # <study>_<number of the image>


class Images:
    """The files of a folder, found by the names that tables give them."""

    def __init__(self, names: Iterable[str]):
        self.names = set(names)
        self.by_stem: dict[str, list[str]] = defaultdict(list)
        for name in sorted(self.names):
            if name.lower().endswith(IMAGE_SUFFIXES):
                self.by_stem[stem_of(name)].append(name)

    def find(self, path: str, table: str) -> str:
        r"""Returns the file of a path below the folder, or below the table's folder; the separator may be `\`.

        A path without a file is returned unchanged, so that the check of the image reports it as missing or outside.
        """
        for given in (path, path.strip().replace("\\", "/")):
            for start in ("", posixpath.dirname(table)):
                name = posixpath.normpath(posixpath.join(start, given)) if given else ""
                if name in self.names:
                    return name
        return path

    def find_stem(self, stem: str) -> str | Problem:
        """Returns the image whose name without its suffix is `stem`, in any folder.

        PNG is preferred to JPEG, and JPEG to DICOM; two files of the same kind are ambiguous.
        """
        found = self.by_stem.get(stem, [])
        if not found:
            suffixes = ", ".join(IMAGE_SUFFIXES)
            return Problem(Reason.IMAGE_MISSING, f"no image {stem!r} with one of the suffixes {suffixes}")
        rank = {name: IMAGE_SUFFIXES.index(posixpath.splitext(name)[1].lower()) for name in found}
        best = [name for name in found if rank[name] == min(rank.values())]
        if len(best) > 1:
            message = f"{stem!r} is ambiguous: {best[0]!r} or {best[1]!r}; give the path, or remove one of them"
            return Problem(Reason.MALFORMED_ROW, message)
        return best[0]


def stem_of(path: str) -> str:
    """Returns the name of an image without its folders and its image suffix."""
    stem, suffix = posixpath.splitext(posixpath.basename(path))
    return stem if suffix.lower() in IMAGE_SUFFIXES else posixpath.basename(path)


def make_records(
    item: str, row: dict[str, Any] | Problem, table: str, images: Images, numbered: bool = False
) -> Iterator[RawRecord | Rejection]:
    """Yields a record for each image that a row names, or one rejection.

    Args:
        item: position of the row.
        table: the name of its file.
        numbered: whether the study is derived from image IDs of the form `<study>_<number>`.
    """
    try:
        yield from records_of_row(item, row, table, images, numbered)
    except UnusableRow as unfit:
        yield Rejection(NAME, item, unfit.problem.code, unfit.problem.message)


class UnusableRow(Exception):
    """Raised for a row of which nothing can be used."""

    def __init__(self, message: str | Problem):
        super().__init__(message)
        self.problem = message if isinstance(message, Problem) else Problem(Reason.MALFORMED_ROW, message)


def records_of_row(item: str, row: Any, table: str, images: Images, numbered: bool) -> Iterator[RawRecord | Rejection]:
    """Yields what `make_records` yields. Raises UnusableRow if nothing in the row can be used."""
    if isinstance(row, Problem):
        raise UnusableRow(row)
    if missing(row):
        raise UnusableRow(
            f"expected {EXPECTED}; the row lacks {' and '.join('/'.join(names) for names in missing(row))}"
        )
    image_column, text_column = column(row, IMAGE_COLUMNS), column(row, TEXT_COLUMNS)
    text = row[text_column]
    if not isinstance(text, str):
        raise UnusableRow(f"no text in the column {text_column}")
    text = text.strip()
    paths = named_images(row[image_column], image_column, table, images)
    language = find_language(row, text)
    study = study_of(row)
    if numbered and not study and (match := NUMBERED.fullmatch(stem_of(paths[0]))):
        study = study_key(match[1])
    groups = tuple(key for key in (patient_of(row), study) if key)
    names = [find_image(path, image_column, table, images) for path in paths]
    conversation = row_key(names, paths, text) if len(paths) > 1 else ""
    for number, name in enumerate(names, 1):
        where = f"{item} image {number}" if len(paths) > 1 else item
        if isinstance(name, Problem):
            yield Rejection(NAME, where, name.code, name.message)
            continue
        yield RawRecord(
            source=NAME,
            item=where,
            image=name,
            category="report",
            language=language,
            text=text,
            groups=groups,
            conversation=conversation,
            metadata={key: value for key, value in row.items() if key != text_column},
        )


def find_image(path: str, image_column: str, table: str, images: Images) -> str | Problem:
    """Returns the file that a path, or an ID in the column `image_id`, refers to."""
    name = images.find(path, table)
    if name not in images.names and image_column.strip().casefold() == "image_id":
        return images.find_stem(path)
    return name


def row_key(names: list[str | Problem], paths: list[str], text: str) -> str:
    """Returns a key for the images of a row, from its content and not its position: rows may be inserted above it."""
    said = [*(path if isinstance(name, Problem) else name for name, path in zip(names, paths, strict=True)), text]
    return f"row:{hashlib.blake2b(json.dumps(said).encode(), digest_size=8).hexdigest()}"


def named_images(value: Any, name: str, table: str, images: Images) -> list[str]:
    """Returns the paths in a row's image column: one text, several separated by `;` or `|`, or a list under `images`.

    Raises UnusableRow for anything else.
    """
    if isinstance(value, list) and name.strip().casefold() == "images":
        paths = value
    elif isinstance(value, str):
        is_one = images.find(value, table) in images.names  # a file's own name may hold the separators
        paths = [value] if is_one else [part.strip() for part in SEPARATOR.split(value) if part.strip()]
    else:
        raise UnusableRow(f"no text in the column {name}")
    if not paths:
        raise UnusableRow(f"the column {name} is empty")
    if not all(isinstance(path, str) and path.strip() for path in paths):
        raise UnusableRow(f"the column {name} contains a value that is not a path")
    return paths if len(paths) > 1 or isinstance(value, list) else [value]


def find_language(row: dict[str, Any], text: str) -> str:
    """Returns the language that a row names, or that of its text. Raises UnusableRow for any other language."""
    value = row.get(column(row, ("language",)) or "")
    if value is None or (isinstance(value, str) and not value.strip()):
        language = language_by_majority(text)
        if language is None:
            raise UnusableRow("the text is neither English nor Chinese")
        return language
    language = language_named(value) if isinstance(value, str) else None
    if language is None:
        expected = f"one of {', '.join(LANGUAGES)}, or the name of one of these languages"
        raise UnusableRow(f"language {value!r:.80}; expected {expected}")
    return language
