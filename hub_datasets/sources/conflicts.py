"""Settles records that share an image: repeated texts and contradicting labels."""

from __future__ import annotations

from collections.abc import Iterator

from hub_datasets.records import RawRecord, Reason, Rejection

NAMED = 5  # a rejection names as many other records


def drop_repeats(records: list[RawRecord], settings: dict[str, str]) -> Iterator[RawRecord | Rejection]:
    """Yields the records of one image without repeated statements, which become rejections that name the first.

    The first record receives the groups of its repeats, because all of them must stay in one split.

    Args:
        records: all records of one source whose images have the same pixels.
        settings: the source's own options; not used.
    """
    first: dict[tuple, RawRecord] = {}
    settled: list[RawRecord | Rejection] = []
    for record in records:
        kept = first.setdefault((record.language, record.text, record.question, record.answer), record)
        if kept is record:
            settled.append(record)
            continue
        kept.groups = tuple(dict.fromkeys(kept.groups + record.groups))
        if record.image == kept.image:
            code, message = Reason.DUPLICATE_ROW, f"repeats for the same image the text of {kept.item}"
        else:
            code, message = Reason.DUPLICATE_IMAGE, f"repeats for a copy of the image the text of {kept.item}"
        settled.append(Rejection(record.source, record.item, code, message))
    yield from settled  # only now: a record's groups are complete when all have been seen


def one_label(records: list[RawRecord], settings: dict[str, str]) -> Iterator[RawRecord | Rejection]:
    """Works like `drop_repeats` for sources whose category is a diagnosis: an image can have only one.

    If the categories differ, the right one is unknown: all the records are rejected, each naming the others.

    Args:
        records: all records of one source whose images have the same pixels.
        settings: the source's own options; not used.
    """
    if len({record.category for record in records}) == 1:
        yield from drop_repeats(records, settings)
        return
    for record in records:
        others = [f"{other.item} is {other.category}" for other in records if other.category != record.category]
        named = "; ".join(others[:NAMED]) + (f"; and {len(others) - NAMED} more" if len(others) > NAMED else "")
        message = f"the same image is {record.category} here and another category elsewhere: {named}"
        yield Rejection(record.source, record.item, Reason.CONFLICTING_LABELS, message)
