"""Decides what each column of a table is: image, text, findings, impression, language, patient, split, or metadata."""

from __future__ import annotations

import functools
import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from hub_datasets.records import ColumnNames
from hub_datasets.sources.reports import column_names as known
from hub_datasets.texts.official_splits import SPLIT_COLUMNS
from hub_datasets.texts.patient_ids import PATIENT_COLUMNS, STUDY_COLUMNS, folded

EXPECTED = (
    "a column for the image (image, images, image_path, file_name, image_id, 图像, ...) and one for the text (text, "
    "report, caption, findings, impression, 报告, 影像所见, ...)"
)
NAME_THEM = "name them with --image_column and --text_column"
CAMEL = re.compile(r"(?<=[a-z])(?=[A-Z])")
PARTS = re.compile(r"[\W_]+")
IN_CHINESE = re.compile("[((【]?(中文|汉语|漢語|英文|英语|英語)版?[))】]?")
CHINESE_NAME = re.compile(r"[\u3400-\u9fff]")
CHINESE_HEADER = "zh?"  # texts below a Chinese header beside an English one; the texts decide the language


@dataclass(frozen=True, slots=True)
class TextColumns:
    """The columns that hold the text in one language; empty names for those that are not there.

    Attributes:
        language: the code that the columns' names say; empty if they say none.
    """

    language: str = ""
    text: str = ""
    findings: str = ""
    impression: str = ""

    def names(self) -> list[str]:
        return [name for name in (self.text, self.findings, self.impression) if name]


@dataclass(frozen=True, slots=True)
class Roles:
    """What the columns of a table are.

    Attributes:
        image: columns that may name the image, the preferred one first.
        keys: columns that identify an image by its DICOM header: (keyword, column), the most exact first.
        texts: the columns of the text, one entry per language.
        lacking: the flags that name a column which the table does not have.
    """

    image: tuple[str, ...] = ()
    keys: tuple[tuple[str, str], ...] = ()
    texts: tuple[TextColumns, ...] = ()
    language: str = ""
    patient: str = ""
    split: str = ""
    label: str = ""
    lacking: tuple[str, ...] = ()

    def is_table(self) -> bool:
        """Returns whether the columns are those of a table of reports."""
        return bool((self.image or self.keys) and (self.texts or self.label)) and not {
            "--image_column", "--text_column"
        } & set(self.lacking)  # fmt: skip

    def missing(self) -> list[str]:
        """Returns what a table of reports must have and this one has not."""
        image = [] if self.image or self.keys else ["column for the image"]
        return image + ([] if self.texts or self.label else ["column for the text"])


@functools.lru_cache(4096)  # JSON rows may have any number of columns
def roles_of(header: tuple[str, ...], names: ColumnNames = ColumnNames()) -> Roles:  # noqa: B008 (it is frozen)
    """Returns what each column is, from the names that the user gave and those that are recognized.

    Args:
        header: the columns' names. Of two with the same letters and digits the first is used.
        names: the columns that the user has named, compared exactly, then without case and surrounding blanks.
    """
    given = {flag: find_named(header, column) for flag, column in names.given().items()}
    lacking = tuple(flag for flag, column in given.items() if not column)
    image = given.get("--image_column") or ""
    text = given.get("--text_column") or ""
    taken = {column for column in given.values() if column}
    free = [name for name in header if name not in taken]
    images = (image,) if names.image else recognized(free, known.IMAGE)
    texts = text_columns([name for name in free if name not in images[:1]])
    if names.text:
        texts = (TextColumns(text=text),) if text else ()
    return Roles(
        image=tuple(name for name in images if name),
        keys=() if names.image else tuple((k, c[0]) for k, n in known.DICOM_KEYS.items() if (c := recognized(free, n))),
        texts=texts,
        language=next(iter(recognized(free, known.LANGUAGE)), ""),
        patient=given.get("--patient_column") or "",
        split=(given.get("--split_column") or "") if names.split else next(iter(recognized(free, SPLIT_COLUMNS)), ""),
        label=given.get("--label_column") or "",
        lacking=lacking,
    )


def find_named(header: tuple[str, ...], name: str) -> str:
    """Returns the column that the user has named; empty if there is none."""
    wanted = name.strip().casefold()
    return name if name in header else next((one for one in header if one.strip().casefold() == wanted), "")


def recognized(header: list[str], names: Mapping[str, int]) -> tuple[str, ...]:
    """Returns the columns with one of the names, in the order of the names."""
    found: dict[int, str] = {}
    for name in header:
        if (place := names.get(folded(name))) is not None:
            found.setdefault(place, name)
    return tuple(found[place] for place in sorted(found))


def text_columns(header: list[str]) -> tuple[TextColumns, ...]:
    """Returns the columns of the text by language: those without a language first."""
    by_language: dict[str, dict[str, tuple[int, str]]] = {}
    for name in header:
        bare, language = without_language(name)
        language = language or CHINESE_HEADER * bool(CHINESE_NAME.search(name))
        for kind, names in (("text", known.TEXT), ("findings", known.FINDINGS), ("impression", known.IMPRESSION)):
            place = names.get(folded(bare))
            if place is None and bare != name:
                place = names.get(folded(name))
            if place is None:
                continue
            found = by_language.setdefault(language, {})
            found[kind] = min(found.get(kind, (place, name)), (place, name))
    merge_chinese_headers(by_language)
    texts = (
        TextColumns(language, **{kind: name for kind, (_, name) in found.items()})
        for language, found in by_language.items()
    )
    return tuple(sorted(texts, key=lambda one: (one.language != "", one.language == CHINESE_HEADER)))


def merge_chinese_headers(by_language: dict[str, dict[str, tuple[int, str]]]) -> None:
    """Makes columns with a Chinese header plain ones, unless an English header of the same kind is beside one."""
    chinese = by_language.pop(CHINESE_HEADER, None)
    if chinese is None:
        return
    plain = by_language.setdefault("", {})
    if plain.keys() & chinese.keys():
        by_language[CHINESE_HEADER] = chinese
    else:
        plain |= chinese


def without_language(name: str) -> tuple[str, str]:
    """Returns a column's name without the language in it, and its code: `text_zh`, `findingsEN`, `中文报告`."""
    if found := IN_CHINESE.search(name):
        code = "zh" if found[1] in ("中文", "汉语", "漢語") else "en"
        return name.replace(found[0], ""), code
    parts = [part for part in PARTS.split(CAMEL.sub("_", unicodedata.normalize("NFKC", name)).casefold()) if part]
    for place in (-1, 0):
        if len(parts) > 1 and (code := known.LANGUAGE_PARTS.get(parts[place])):
            return "_".join(parts[:-1] if place else parts[1:]), code
    return name, ""


def prefer(roles: Roles, image: str) -> Roles:
    """Returns the roles with another column as the first choice for the image."""
    return replace(roles, image=(image, *(name for name in roles.image if name != image)))


def described(roles: Roles, header: list[str]) -> tuple[dict[str, list[str]], list[str]]:
    """Returns what the columns were taken for, and those that were not understood, for the report."""
    columns: dict[str, list[str]] = {"image": list(roles.image[:1])}
    for one in roles.texts:
        for kind in ("text",) if one.text else ("findings", "impression"):  # the others are for rows without a text
            if column := getattr(one, kind):
                columns.setdefault(kind, []).append(column)
    patients = [roles.patient] if roles.patient else [name for name in header if folded(name) in PATIENT_COLUMNS]
    columns["patient"] = patients[:1]
    columns["study"] = [name for name in header if folded(name) in STUDY_COLUMNS][:1]
    columns |= {kind: [name] for kind in ("language", "split", "label") if (name := getattr(roles, kind))}
    columns = {kind: names for kind, names in columns.items() if names}
    used = {name for names in columns.values() for name in names}
    return columns, [name for name in header if name not in used]


def listed(row: Mapping[str, Any] | list[str] | tuple[str, ...]) -> str:
    """Returns the columns of a row for a message, on one line."""
    return " ".join(", ".join(row).split())[:500].encode(errors="backslashreplace").decode() or "none"
