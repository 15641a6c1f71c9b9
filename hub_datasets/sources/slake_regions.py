"""Reads the boxes and masks that SLAKE has beside its images: `detection.json` and `mask.png`.

`detection.json` is a list of objects with one name and its box, `[{"Liver": [33.0, 67.0, 98.0, 108.0]}]`, and empty for
60 of the 642 images. A name can occur several times. In `mask.png`, an image of the same size, each name has one gray
level in all images.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from typing import Any

from hub_datasets.filesystem.source_folder import Folder, FolderError
from hub_datasets.records import Ignored, Regions
from hub_datasets.sources.file_readers import printable

BOXES, MASK = "detection.json", "mask.png"
MAX_BYTES = 1024 * 1024  # the largest real file has less than 4 KB
MAX_BOXES = 1000
MAX_NAME = 100  # characters


def read_regions(folder: Folder, source: str, used: set[str]) -> Iterator[Regions | Ignored]:
    """Yields the regions of each image in `used`, and Ignored for a file of boxes that cannot be used.

    The files that are read are added to `used`.
    """
    names = {file.name for file in folder.files()}
    for image in sorted(used & names):
        place = image.rpartition("/")[0]
        boxes, mask = (f"{place}/{name}".lstrip("/") for name in (BOXES, MASK))
        if image in (boxes, mask) or not {boxes, mask} & names:
            continue
        used |= {boxes, mask} & names
        found: tuple = ()
        if boxes in names:
            try:
                found = parse_boxes(folder.read(boxes, MAX_BYTES))
            except FolderError as error:
                yield Ignored(source, printable(boxes), error.message)
            except (ValueError, RecursionError) as error:
                yield Ignored(source, printable(boxes), f"not a list of boxes like [{{name: [x, y, w, h]}}]: {error}")
        if found or mask in names:
            yield Regions(source, image, found, mask if mask in names else "")


def parse_boxes(content: bytes) -> tuple[tuple[str, float, float, float, float], ...]:
    """Returns the boxes of a file. Raises ValueError, saying what is wrong, for content of another form."""
    entries = json.loads(content.decode("utf-8-sig"))
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise ValueError("expected a list of objects")
    boxes = [(name, *box_of(name, box)) for entry in entries for name, box in entry.items()]
    if len(boxes) > MAX_BOXES:
        raise ValueError(f"{len(boxes):,} boxes; at most {MAX_BOXES:,} are read")
    return tuple(boxes)


def box_of(name: str, box: Any) -> list[float]:
    """Returns the four numbers of a box. Raises ValueError if they or its name are something else."""
    if not 0 < len(name) <= MAX_NAME or not name.isprintable():
        raise ValueError(f"a name is not one line of 1 to {MAX_NAME} characters")
    numbers = box if isinstance(box, list) else []
    if len(numbers) != 4 or any(type(one) not in (int, float) or not math.isfinite(one) for one in numbers):
        raise ValueError(f"the box of {name!r} is not four numbers")
    return [float(one) for one in numbers]
