"""A folder of one's own: images, and JSON, JSONL or CSV files that say which report belongs to which image.

Each row has `image` (a path below the folder), `text`, and `language` (`en` or `zh`; found from the text where it is
not given). `patient_id` and `study_id`, where a row has them, keep a patient's images in one split.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

from hub_datasets.schema import LANGUAGES, BuildError, Ignored, RawRecord, Reason, Rejection, Source
from hub_datasets.sources.reading import is_junk, printable, read_csv_rows, read_json_array, read_text

NAME = "medical_reports"
SUFFIXES = (".csv", ".json", ".jsonl")
REQUIRED = ("image", "text")
GROUP_KEYS = {"patient_id": "patient", "study_id": "study"}
CHINESE = re.compile(r"[\u3400-\u4dbf\u4e00-\u9fff]")


def read(root: Path) -> Iterator[RawRecord | Rejection | Ignored]:
    """Yields a record for every row of every JSON, JSONL and CSV file directly in the folder.

    Raises BuildError where there is no such file.
    """
    files = sorted(path for path in root.iterdir() if path.suffix.lower() in SUFFIXES and path.is_file())
    if not files:
        raise BuildError(f"{root}: no .json, .jsonl or .csv file with the columns image and text")
    for file in files:
        if is_junk(file):
            yield Ignored(NAME, printable(file.name), "left by the operating system")
            continue
        for item, row in rows_of(file):
            yield make_record(item, row)


def rows_of(file: Path) -> Iterator[tuple[str, object]]:
    """Yields (where it stands, row); a row that could not be parsed is None."""
    suffix, name = file.suffix.lower(), printable(file.name)
    if suffix == ".csv":
        for line, row in read_csv_rows(file, REQUIRED):
            yield f"{name} line {line}", row
    elif suffix == ".json":
        for number, row in enumerate(read_json_array(file), 1):
            yield f"{name} row {number}", row
    else:
        for number, line in enumerate(read_text(file).split("\n"), 1):
            if line.strip():
                try:
                    row = json.loads(line)
                except (ValueError, RecursionError):  # ValueError also for an integer of thousands of digits
                    row = None
                yield f"{name} line {number}", row


def make_record(item: str, row: object) -> RawRecord | Rejection:
    """The record of one row, or why it cannot be one."""
    if row is None:
        message = "not valid JSON, or a row with another number of cells than the header"
        return Rejection(NAME, item, Reason.MALFORMED_ROW, message)
    if not isinstance(row, dict):
        message = f"expected an object with the keys image and text, found {type(row).__name__}"
        return Rejection(NAME, item, Reason.MALFORMED_ROW, message)
    wrong = [key for key in REQUIRED if not isinstance(row.get(key), str)]
    if wrong:
        return Rejection(NAME, item, Reason.MALFORMED_ROW, f"no text in the column {', '.join(wrong)}")
    language = row.get("language") or ("zh" if CHINESE.search(row["text"]) else "en")
    if language not in LANGUAGES:
        message = f"language {language!r}; expected one of {', '.join(LANGUAGES)}"
        return Rejection(NAME, item, Reason.MALFORMED_ROW, message)
    groups = tuple(f"{kind}:{row[key]}" for key, kind in GROUP_KEYS.items() if row.get(key) not in (None, ""))
    return RawRecord(
        source=NAME,
        item=item,
        image=row["image"],
        category="report",
        language=language,
        text=row["text"].strip(),
        groups=groups,
        metadata={key: value for key, value in row.items() if key != "text"},
    )


SOURCE = Source(
    name=NAME,
    flag="--reports_dir",
    read=read,
    title="Medical reports of one's own",
    homepage="",
    licence="unknown",
    citation="",
)
