"""Reads a folder of made-up files with the reader of a flag, and says in a line what became of each record."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from hub_datasets.filesystem.source_folder import Folder, FolderError
from hub_datasets.records import Ignored, RawRecord, Rejection
from hub_datasets.sources import labeled_images, medical_reports
from tests.hub_datasets.layouts import png, write_files

READERS = {"--reports_dir": medical_reports.SOURCE, "--images_dir": labeled_images.SOURCE}
PICTURE = {"a": png(1), "b": png(2), "c": png(3)}  # the bytes behind the letters in the tables of tests
CLEAR = "The lungs are clear and the heart is normal."
FLUID = "A small effusion is seen on the left side."
ZH = "双肺纹理清晰，未见明显异常。"


def entries(folder: Path, files: dict[str, Any], flag: str = "--reports_dir") -> list[RawRecord | Rejection | Ignored]:
    """Writes files (lists and objects as JSON) and returns all that the reader of a flag yields."""
    write_files(folder, {name: content_of(content) for name, content in files.items()})
    return list(READERS[flag].read(Folder(folder)))


def content_of(content: Any) -> bytes | str:
    """Returns the bytes of a file: a letter of PICTURE stands for an image, a list of rows for JSON."""
    if isinstance(content, (list, dict)):
        return json.dumps(content, ensure_ascii=False)
    return PICTURE.get(content, content) if isinstance(content, str) else content


def outcomes(folder: Path, files: dict[str, Any], flag: str = "--reports_dir") -> list[tuple]:
    """Returns (letter of the image, split, what is said) of each record, and the code of each rejection.

    What is said is the text, or the question with its answer; both where a text has a question of its own.
    """
    found = []
    for entry in entries(folder, files, flag):
        if isinstance(entry, Rejection):
            found.append(str(entry.code))
        elif isinstance(entry, RawRecord):
            said = (entry.question, entry.answer) if entry.question else entry.text
            found.append((letter(folder, entry.image), entry.official_split, said))
    return found


def letter(folder: Path, image: str) -> str:
    """Returns the letter of an image's bytes, or the code of what is wrong with it."""
    try:
        data = Folder(folder).read(image)
    except FolderError as error:
        return str(error.code)
    return next((name for name, content in PICTURE.items() if content == data), "?")


def parquet(columns: dict[str, list], features: dict[str, Any] | None = None, **options: Any) -> bytes:
    """Returns a Parquet file; `features` are those that `datasets` writes into its schema."""
    table = pa.table(columns)
    if features:
        table = table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
    file = io.BytesIO()
    pq.write_table(table, file, **options)
    return file.getvalue()


def cell(name: str, path: str | None = None) -> dict[str, Any]:
    """Returns the cell of an Image column."""
    return {"bytes": PICTURE[name], "path": path}
