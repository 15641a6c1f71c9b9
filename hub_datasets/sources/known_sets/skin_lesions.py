"""Reads the tables of HAM10000 and ISIC: dermatoscopic images with a diagnosis, in four published forms.

- HAM10000 (Tschandl et al., 2018): `HAM10000_metadata.csv` with lesion_id, image_id, dx, localization;
- ISIC Challenge 2018 and 2019: `image` and a column of 0 and 1 for each diagnosis;
- ISIC Challenge 2020: image_name, patient_id, diagnosis, benign_malignant;
- the ISIC Archive: isic_id and `diagnosis`, or diagnosis_1 to diagnosis_5, the last of which is the most exact.

Age, sex and how the diagnosis was found cannot be seen in an image: they stay in the metadata.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from hub_datasets.records import RawRecord, Reason, Rejection
from hub_datasets.sources.known_sets.columns import Columns
from hub_datasets.sources.known_sets.contents import Content, make_records
from hub_datasets.sources.known_sets.finder import Finder
from hub_datasets.sources.reports.rows import NAME

DIAGNOSES = {
    "ak": "actinic keratosis",
    "akiec": "actinic keratosis or intraepithelial carcinoma",
    "bcc": "basal cell carcinoma",
    "bkl": "benign keratosis-like lesion",
    "df": "dermatofibroma",
    "mel": "melanoma",
    "nv": "melanocytic nevus",
    "scc": "squamous cell carcinoma",
    "vasc": "vascular lesion",
}
UNKNOWN = ("", "unknown", "unk", "nan", "none", "indeterminate")
IDS = ("image_id", "isic_id", "image_name", "image")
SITES = ("localization", "anatom_site_general", "anatom_site_general_challenge")
ABOUT = "Dermatoscopic image"
COLUMNS = Columns(texts=(("", "text"),), category="category", language="language")


def is_known(header: list[str]) -> bool:
    """Returns whether columns are those of one of the four forms."""
    names = {cell.strip().casefold() for cell in header}
    one_hot = "image" in names and len(names & DIAGNOSES.keys()) >= 4
    archive = "isic_id" in names and any(name.startswith("diagnosis") for name in names)
    return one_hot or archive or {"image_id", "dx"} <= names or {"image_name", "benign_malignant"} <= names


def diagnosis_of(row: dict[str, str]) -> str | None:
    """Returns the diagnosis of a row in words; None if it has none, or several."""
    if "dx" in row:
        given = row["dx"].strip().casefold()
        return DIAGNOSES.get(given) or (None if given in UNKNOWN else given)
    marked = [name for name in DIAGNOSES if row.get(name, "").strip() in ("1", "1.0")]
    if len(marked) == 1:
        return DIAGNOSES[marked[0]]
    exact = [row.get(f"diagnosis_{number}", "") for number in range(5, 0, -1)]
    named = [*exact, row.get("diagnosis", ""), row.get("benign_malignant", "")]
    found = next((name.strip() for name in named if name.strip().casefold() not in UNKNOWN), None)
    return found and (found if found.isupper() else found.lower())


def row_records(
    item: str, row: dict[str, str], name: str, split: str, finder: Finder
) -> Iterator[RawRecord | Rejection]:
    """Yields the record of a row, or a rejection if it has no diagnosis."""
    cells = {column.strip().casefold(): cell for column, cell in row.items()}
    path = next((cells[column] for column in IDS if cells.get(column, "").strip()), "")
    words = diagnosis_of(cells)
    if not path or words is None:
        message = "no image" if not path else "no diagnosis, or several"
        yield Rejection(NAME, item, Reason.MALFORMED_ROW, message)
        return
    site = next((cells[column].strip().lower() for column in SITES if cells.get(column)), "")
    said: dict[str, Any] = dict(row)
    text = f"{ABOUT} of: {words}" + (f", site: {site}." if site not in UNKNOWN else ".")
    lesion = cells.get("lesion_id", "").strip()
    content = Content(
        item,
        said | {"category": words, "text": text, "language": "en"},
        [finder.find(path, name)],
        split,
        groups=(f"lesion:{lesion}",) if lesion else (),
    )
    for record in make_records(content, COLUMNS):
        if isinstance(record, RawRecord):
            record.metadata = said
        yield record
