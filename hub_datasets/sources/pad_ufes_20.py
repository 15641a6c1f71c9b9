"""Reads PAD-UFES-20: photographs of skin lesions with patient data (Pacheco et al., 2020, doi:10.17632/zr7vgbcyr2.1).

`metadata.csv` has one row per image. The images are in `images/imgs_part_{1,2,3}/`; they are found by name in any
subfolder and in the original zip files. If several files have the name, they must have the same bytes; otherwise the
row is ambiguous and is rejected. A cell may be empty (not asked), `UNK` (asked, not known), `True` or `False`: the
metadata keeps these values apart, texts contain only what is known.

The text of a row is what the photograph shows: diagnosis, site and elevation. What it cannot show (age, sex, skin type,
history, symptoms, diameters, biopsy) is the record's `context`, which the question of a second form of its conversation
tells. `--pad_text clinical` puts it into the texts of pairs; the answers of conversations stay what can be seen.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace

from hub_datasets.errors import BuildError
from hub_datasets.filesystem.source_folder import Folder
from hub_datasets.records import Ignored, RawRecord, Reason, Rejection
from hub_datasets.sources import look_alikes
from hub_datasets.sources.base import Choice, Source
from hub_datasets.sources.file_readers import (
    ImageIndex,
    find_files,
    is_junk,
    passed_over,
    passed_over_by_default,
    printable,
    read_csv_rows,
    read_table,
)

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
VISIBLE = "elevation"  # the one of them that a photograph shows
ELEVATION = {"True": "elevated", "False": "not elevated"}
HISTORY = {"skin_cancer_history": "skin cancer", "cancer_history": "cancer of any kind"}
YES = {"True": "yes", "False": "no"}
BIOPSY = {"True": "a biopsy was taken", "False": "no biopsy was taken"}
TEXTS = ("visible", "clinical")
UNKNOWN = ("", "UNK")
NUMBER = re.compile(r"\s*[0-9]{1,9}(\.[0-9]*)?\s*", re.ASCII)
TABLE = "metadata.csv"
# The largest number that a cell can hold; above it, it is a slip of the keyboard or another column's value.
LIMITS = {"age": 130, "fitspatrick": 6, "diameter_1": 1000, "diameter_2": 1000}
SKIN_TYPES = range(1, 7)
REQUIRED = ("patient_id", "lesion_id", "age", "region", "diagnostic", "img_id")


def read(folder: Folder) -> Iterator[RawRecord | Rejection | Ignored]:
    """Yields a record for every row of `metadata.csv`, in any folder, and Ignored for files that no row names.

    Raises BuildError if that file or its columns are missing, or if two of them differ.
    """
    table, *copies = find_files(folder, TABLE) or [None]
    if table is None:
        raise BuildError(
            f"{folder.named()}: no {TABLE}; --pad_ufes_dir must contain {TABLE} and images/"
            f"{look_alikes.advice(folder, '--pad_ufes_dir')}"
        )
    for copy in copies:
        if read_table(folder, copy) != read_table(folder, table):
            raise BuildError(f"{folder.named(copy)}: differs from {table}; keep only one of the two in the folder")
    images = ImageIndex(folder, parts=1)
    used = {table}
    for line, row in read_csv_rows(folder, table, REQUIRED):
        record = make_record(f"{printable(table)} line {line}", row, images)
        if isinstance(record, RawRecord):
            used.add(record.image)
        yield record
    yield from passed_over_by_default(NAME, folder)
    yield from passed_over(NAME, copies, f"the same as {printable(table)}")
    rest = [file.name for file in folder.files() if not is_junk(file.name)]
    yield from passed_over(NAME, [name for name in rest if name not in {*used, *copies}], "not named in any row")


def make_record(item: str, row: dict[str, str] | None, images: ImageIndex) -> RawRecord | Rejection:
    """Returns the record of one row, or the reason why there is none."""

    def malformed(message: str) -> Rejection:
        return Rejection(NAME, item, Reason.MALFORMED_ROW, message)

    if row is None:
        return malformed("the row and the header have different numbers of cells")
    item += f" ({row['img_id']})"
    if row["diagnostic"] not in DIAGNOSES:
        return malformed(f"unknown diagnostic {row['diagnostic']!r}; expected one of {', '.join(DIAGNOSES)}")
    try:
        text, context = describe_visible(row), clinical_context(row)
    except ValueError as error:
        return malformed(str(error))
    found = images.find(row["img_id"])
    if len(found) > 1:
        return malformed(f"{' and '.join(map(repr, found))} are different images; keep only the right one")
    patient, lesion = row["patient_id"], row["lesion_id"]
    groups = [f"patient:{patient}"] if patient not in UNKNOWN else []
    if groups and lesion not in UNKNOWN:  # lesion_id alone is not unique: 250 of them occur with two patients
        groups.append(f"lesion:{patient}/{lesion}")
    return RawRecord(
        source=NAME,
        item=item,
        # an image that is nowhere keeps its name: the reading of the image says that it is missing, or outside
        image=found[0] if found else row["img_id"],
        category=row["diagnostic"],
        language="en",
        text=text,
        groups=tuple(groups),
        metadata=row,
        label=DIAGNOSES[row["diagnostic"]],
        modality="clinical photograph",
        body_part="" if row["region"] in UNKNOWN else row["region"].lower(),
        context=context,
    )


def settle(records: list[RawRecord], settings: dict[str, str]) -> Iterator[RawRecord | Rejection]:
    """Rejects all rows of an image that disagree on the diagnosis, and repeated statements.

    With the setting `pad_text` of `clinical`, the text of a record becomes the clinical one, and the text before that
    its answer.
    """
    from hub_datasets.sources.conflicts import one_label

    for record in one_label(records, settings):
        if isinstance(record, RawRecord) and settings.get("pad_text") == "clinical":
            yield replace(record, text=describe_clinical(record.metadata), answer=record.text)
        else:
            yield record


def describe_visible(row: dict[str, str]) -> str:
    """Describes what a photograph shows: the diagnosis, the site and the elevation, as far as they are known."""
    text = "Skin lesion" if row["region"] in UNKNOWN else f"Skin lesion on the {row['region'].lower()}"
    elevation = ELEVATION.get(row.get(VISIBLE, ""))
    return f"{text}: {DIAGNOSES[row['diagnostic']]}{f', {elevation}' if elevation else ''}."


def describe_clinical(row: dict[str, str]) -> str:
    """Describes a lesion and its patient from all filled cells of a row; empty and `UNK` cells are not mentioned.

    Raises ValueError if the age, a diameter or the skin type is not a number or is impossible.
    """
    text = f"Skin lesion, {DIAGNOSES[row['diagnostic']]}"
    text += {"True": ", confirmed by biopsy", "False": ", not confirmed by biopsy"}.get(row.get("biopsed", ""), "")
    if row["region"] not in UNKNOWN:
        text += f", on the {row['region'].lower()}"
    person = {"FEMALE": "woman", "MALE": "man"}.get(row.get("gender", ""), "patient")
    if (age := number(row, "age")) == 0:
        text += f" of a {person} aged 0 years"
    elif age is not None:
        article = "an" if age in (11, 18) or f"{age:g}".startswith("8") else "a"
        text += f" of {article} {age:g}-year-old {person}"
    if diameters := known_diameters(row):
        text += f", {diameters} mm"
    if skin := skin_type(row):
        text += f", Fitzpatrick skin type {skin}"
    said = [phrases[0] for column, phrases in SYMPTOMS.items() if row.get(column) == "True"]
    denied = [phrases[1] for column, phrases in SYMPTOMS.items() if row.get(column) == "False"]
    for phrases in (said, denied):
        if phrases:
            text += f". It {join_phrases(phrases)}"
    return text + "."


def clinical_context(row: dict[str, str]) -> str:
    """Returns, in sentences, what is known of a lesion and its patient and no photograph shows; empty if nothing is.

    Raises ValueError if the age, a diameter or the skin type is not a number or is impossible.
    """
    person = {"FEMALE": "woman", "MALE": "man"}.get(row.get("gender", ""), "")
    parts = []
    if (age := number(row, "age")) is not None:
        parts.append(f"{person or 'patient'} aged {age:g} year{'s' if age != 1 else ''}")
    elif person:
        parts.append(person)
    if skin := skin_type(row):
        parts.append(f"Fitzpatrick skin type {skin}")
    known = [f"{disease} {YES[row[column]]}" for column, disease in HISTORY.items() if row.get(column) in YES]
    lesion = [f"{diameters} mm"] if (diameters := known_diameters(row)) else []
    for place in (0, 1):
        answer = ("True", "False")[place]
        phrases = [said[place] for column, said in SYMPTOMS.items() if row.get(column) == answer and column != VISIBLE]
        if phrases:
            lesion.append(f"it {join_phrases(phrases)}")
    if biopsy := BIOPSY.get(row.get("biopsed", "")):
        lesion.append(biopsy)
    sentences = [
        ", ".join(parts),
        f"personal or family history: {', '.join(known)}" if known else "",
        f"the lesion: {'; '.join(lesion)}" if lesion else "",
    ]
    return " ".join(f"{sentence[0].upper()}{sentence[1:]}." for sentence in sentences if sentence)


def known_diameters(row: dict[str, str]) -> str:
    """Returns `6 x 5` from the two diameters in millimeters; a few are recorded as 0.0 and were not measured."""
    values = [number(row, column) for column in ("diameter_1", "diameter_2")]
    return " x ".join(f"{value:g}" for value in values if value)


def skin_type(row: dict[str, str]) -> int | None:
    """Returns the Fitzpatrick type; None if it is unknown. Raises ValueError for an invalid type."""
    value = number(row, "fitspatrick")
    if value is not None and value not in SKIN_TYPES:
        raise ValueError(f"fitspatrick {row['fitspatrick'][:50]!r}; expected a whole number from 1 to 6")
    return None if value is None else int(value)


def number(row: dict[str, str], column: str) -> float | None:
    """Returns the number in a cell; None if it is unknown. Raises ValueError, naming the column, for anything else."""
    cell = row.get(column, "")
    if cell in UNKNOWN:
        return None
    if not NUMBER.fullmatch(cell) or float(cell) > LIMITS[column]:
        raise ValueError(f"{column} {cell[:50]!r}; expected a number from 0 to {LIMITS[column]}")
    return float(cell)


def join_phrases(phrases: list[str]) -> str:
    """Joins phrases as `a, b and c`."""
    return " and ".join(filter(None, (", ".join(phrases[:-1]), phrases[-1])))


SOURCE = Source(
    name=NAME,
    flag="--pad_ufes_dir",
    kind="skin_lesion",
    read=read,
    settle=settle,
    official_splits=False,
    choices={
        "pad_text": Choice(
            TEXTS,
            "texts of the pairs of --pad_ufes_dir: `visible` says what the photograph shows, `clinical` adds age, sex, "
            "history, symptoms, size and biopsy",
        )
    },
    redistributable=True,
    title="PAD-UFES-20: skin lesion photographs with patient clinical information",
    homepage="https://data.mendeley.com/datasets/zr7vgbcyr2/1",
    licence="CC-BY-4.0",
    citation=(
        "Pacheco, A. G. C., et al.: PAD-UFES-20: a skin lesion dataset composed of patient data and clinical images "
        "collected from smartphones. Data in Brief 32 (2020). doi:10.17632/zr7vgbcyr2.1"
    ),
    labels=tuple(DIAGNOSES.values()),
    bibtex="""@article{pacheco2020pad,
  author = {Pacheco, Andre G. C. and others},
  title = {{PAD-UFES-20}: a skin lesion dataset composed of patient data and clinical images collected from
    smartphones},
  journal = {Data in Brief},
  volume = {32},
  year = {2020},
  note = {Data: doi:10.17632/zr7vgbcyr2.1}
}""",
)
