"""PAD-UFES-20: photographs of skin lesions with patient data (Pacheco et al., 2020, doi:10.17632/zr7vgbcyr2.1).

`metadata.csv` has one row for each image; the images lie in `images/imgs_part_{1,2,3}/`. A cell may be empty (not
asked), `UNK` (asked, not known), `True` or `False`: the metadata keeps the three apart, the text uses what is known.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

from hub_datasets.schema import BuildError, Ignored, RawRecord, Reason, Rejection, Source
from hub_datasets.sources.reading import read_csv_rows

NAME = "pad_ufes_20"
DIAGNOSES = {
    "ACK": "actinic keratosis",
    "BCC": "basal cell carcinoma",
    "MEL": "melanoma",
    "NEV": "nevus",
    "SCC": "squamous cell carcinoma",
    "SEK": "seborrheic keratosis",
}
# column: (what a person says of True, what of False)
SYMPTOMS = {
    "itch": ("itches", "does not itch"),
    "grew": ("has grown", "has not grown"),
    "hurt": ("hurts", "does not hurt"),
    "changed": ("has changed", "has not changed"),
    "bleed": ("bleeds", "does not bleed"),
    "elevation": ("is elevated", "is not elevated"),
}
UNKNOWN = ("", "UNK")
# The largest number that a cell can hold; above it, it is a slip of the keyboard or another column's value.
LIMITS = {"age": 130, "fitspatrick": 6, "diameter_1": 1000, "diameter_2": 1000}
REQUIRED = ("patient_id", "lesion_id", "age", "region", "diagnostic", "img_id")


def read(root: Path) -> Iterator[RawRecord | Rejection | Ignored]:
    """Yields a record for every row of `metadata.csv`. Raises BuildError without that file or its columns."""
    table = root / "metadata.csv"
    if not table.is_file():
        raise BuildError(f"{root}: no metadata.csv; --pad_ufes_dir is the folder with metadata.csv and images/")
    images = index_images(root)
    for line, row in read_csv_rows(table, REQUIRED):
        item = f"metadata.csv line {line}"
        if row is None:
            yield Rejection(NAME, item, Reason.MALFORMED_ROW, "the row has another number of cells than the header")
            continue
        item += f" ({row['img_id']})"
        if row["diagnostic"] not in DIAGNOSES:
            known = ", ".join(DIAGNOSES)
            message = f"unknown diagnostic {row['diagnostic']!r}; known are {known}"
            yield Rejection(NAME, item, Reason.MALFORMED_ROW, message)
            continue
        try:
            text = describe(row)
        except ValueError as error:
            yield Rejection(NAME, item, Reason.MALFORMED_ROW, str(error))
            continue
        yield RawRecord(
            source=NAME,
            item=item,
            # an image that is nowhere keeps its name: the check of the image says that it is missing, or outside
            image=images.get(row["img_id"], row["img_id"]),
            category=row["diagnostic"],
            language="en",
            text=text,
            # lesion_id alone is no key: 250 of them occur with two patients
            groups=(f"patient:{row['patient_id']}",),
            metadata=row,
        )


def index_images(root: Path) -> dict[str, str]:
    """Path below the root of every file under `images/`, by file name."""
    files = sorted(path for path in (root / "images").rglob("*") if path.is_file())
    return {path.name: path.relative_to(root).as_posix() for path in files}


def describe(row: dict[str, str]) -> str:
    """A description from the filled cells of a row; nothing is said of a cell that is empty or `UNK`.

    Raises ValueError where the age, a diameter or the skin type is no number or cannot be true.
    """
    text = f"Skin lesion, {DIAGNOSES[row['diagnostic']]}"
    text += {"True": ", confirmed by biopsy", "False": ", diagnosed clinically"}.get(row.get("biopsed", ""), "")
    if row["region"] not in UNKNOWN:
        text += f", on the {row['region'].lower()}"
    person = {"FEMALE": "woman", "MALE": "man"}.get(row.get("gender", ""), "patient")
    if (age := number(row, "age")) is not None:
        text += f" of a {age:g}-year-old {person}"
    if diameters := known_diameters(row):
        text += f", {diameters} mm"
    if skin := number(row, "fitspatrick"):
        text += f", Fitzpatrick skin type {skin:.0f}"
    said = [phrases[0] for column, phrases in SYMPTOMS.items() if row.get(column) == "True"]
    denied = [phrases[1] for column, phrases in SYMPTOMS.items() if row.get(column) == "False"]
    for phrases in (said, denied):
        if phrases:
            text += f". It {join(phrases)}"
    return text + "."


def known_diameters(row: dict[str, str]) -> str:
    """`6 x 5` from the two diameters in millimetres; the few that are recorded as 0.0 were not measured."""
    values = [number(row, column) for column in ("diameter_1", "diameter_2")]
    return " x ".join(f"{value:g}" for value in values if value)


def number(row: dict[str, str], column: str) -> float | None:
    """The number in a cell, None where it is not known. Raises ValueError, naming the column, for anything else."""
    cell = row.get(column, "")
    if cell in UNKNOWN:
        return None
    try:
        value = float(cell)
    except ValueError:
        value = math.nan
    if not 0 <= value <= LIMITS[column]:
        raise ValueError(f"{column} {cell!r}; expected a number from 0 to {LIMITS[column]}")
    return value


def join(phrases: list[str]) -> str:
    """`a, b and c`."""
    return " and ".join(filter(None, (", ".join(phrases[:-1]), phrases[-1])))


SOURCE = Source(
    name=NAME,
    flag="--pad_ufes_dir",
    read=read,
    title="PAD-UFES-20: skin lesion photographs with patient clinical information",
    homepage="https://data.mendeley.com/datasets/zr7vgbcyr2/1",
    licence="CC-BY-4.0",
    citation=(
        "Pacheco, A. G. C., et al.: PAD-UFES-20: a skin lesion dataset composed of patient data and clinical images "
        "collected from smartphones. Data in Brief 32 (2020). doi:10.17632/zr7vgbcyr2.1"
    ),
)
