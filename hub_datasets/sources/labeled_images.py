"""Reads images with labels, captions, questions or conversations: a folder of your own, or one of a known layout.

The layouts are those of `--reports_dir`; in addition, images of which only a label is known are read, and their text is
made from the label. What the images are called in questions differs: nothing says that they are radiographs.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from hub_datasets.filesystem.source_folder import Folder
from hub_datasets.records import ColumnNames, Ignored, RawRecord, Rejection, TableNote
from hub_datasets.sources import medical_reports
from hub_datasets.sources.base import Source
from hub_datasets.sources.known_sets.wording import caption

NAME = "labeled_images"


def read(
    folder: Folder, columns: ColumnNames = medical_reports.RECOGNIZED, notes: list[TableNote] | None = None
) -> Iterator[RawRecord | Rejection | Ignored]:
    """Yields what the reader of reports yields, as records of this source. Raises BuildError as it does."""
    for entry in medical_reports.read_folder(folder, with_labels=True, columns=columns, notes=notes):
        if isinstance(entry, RawRecord):
            entry.source = NAME
            entry.category = "image" if entry.category == "report" else entry.category
            yield entry
        else:
            yield replace(entry, source=NAME)


SOURCE = Source(
    name=NAME,
    flag="--images_dir",
    kind="image",
    read=read,
    tables=True,
    caption=caption,
    title="Images with labels, captions or questions",
    homepage="",
    licence="unknown",
    citation="",
    redistributable=False,  # only their owner can decide
)
