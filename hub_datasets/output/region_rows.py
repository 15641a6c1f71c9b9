"""Makes the rows of the config `regions`: images with boxes around what they show, and a mask of it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from hub_datasets.ingest.catalog import Catalog
from hub_datasets.output.columns import Picture, Row, base_columns, image_place, picture_of, shared_metadata
from hub_datasets.records import Ignored
from hub_datasets.splits.assignment import ONE_PICTURE, Accepted, Decisions

SLACK = 1.0  # pixels by which a box may pass the edge of its image, as rounded boxes do


def region_rows(decisions: Decisions, number: int, left_out: list[Ignored]) -> Iterator[Row]:
    """Yields a row for every picture in which a source marks something, once in each split that the picture is in.

    A box outside its image and a mask that cannot be used are left out and added to `left_out`; an image of which
    nothing is left gets no row.
    """
    catalog = Catalog(decisions.stages[number].catalog)
    try:
        if not catalog.has_regions():
            return
        for members in decisions.accepted(number, ONE_PICTURE, by_picture=True):
            found = next(((one, marked) for one in members if (marked := catalog.regions_of(one.path))), None)
            if found is None:
                continue
            accepted, (boxes, mask, image) = found
            kept = [box for box in boxes if is_inside(box, accepted, left_out)]
            pictures = [picture_of(accepted)]
            if mask and is_usable(mask, image, accepted, left_out):
                pictures.append(Picture(accepted, image_place(mask, mask, image), mask))
            if not kept and len(pictures) == 1:
                continue
            metadata = shared_metadata(members)
            metadata.pop("items", None)
            columns = base_columns(members, metadata) | {
                "boxes": [box for _, *box in kept],
                "labels": [name for name, *_ in kept],
                "width": accepted.image["width"],
                "height": accepted.image["height"],
            }
            yield accepted.split, columns, pictures
    finally:
        catalog.close()


def is_inside(box: list, accepted: Accepted, left_out: list[Ignored]) -> bool:
    """Returns whether a box has an area inside its image; otherwise it is added to `left_out`."""
    name, x, y, width, height = box
    right, bottom = accepted.image["width"] + SLACK, accepted.image["height"] + SLACK
    if x >= 0 and y >= 0 and width > 0 and height > 0 and x + width <= right and y + height <= bottom:
        return True
    size = f"{accepted.image['width']} x {accepted.image['height']}"
    why = f"the box {[x, y, width, height]} of {name!r} is not inside the image of {size} pixels"
    left_out.append(Ignored(accepted.record.source, f"regions of {accepted.record.image}", why))
    return False


def is_usable(mask: str, image: dict[str, Any], accepted: Accepted, left_out: list[Ignored]) -> bool:
    """Returns whether a mask was read and fits its image; otherwise it is added to `left_out`."""
    sizes = [(one["width"], one["height"]) for one in (image, accepted.image)]
    if image["code"] is not None:
        why = image["message"]
    elif sizes[0] != sizes[1]:
        why = "{} x {} pixels, and its image has {} x {}".format(*sizes[0], *sizes[1])
    elif image["window"]:
        why = "it has more than 8 bits, and its values would be changed"
    else:
        return True
    why = f"the mask was left out: {why}"
    left_out.append(Ignored(accepted.record.source, accepted.stage.folder.labeled(mask), why))
    return False
