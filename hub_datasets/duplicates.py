"""Which records say the same of the same image?"""

from __future__ import annotations

from collections.abc import Iterator

from hub_datasets.schema import RawRecord, Reason, Rejection


def drop_repeats(records: list[RawRecord]) -> Iterator[RawRecord | Rejection]:
    """Yields the records of one image, each statement once; a repeated one becomes a rejection that names the first.

    Args:
        records: all records of one source whose images have the same content.
    """
    first: dict[tuple, RawRecord] = {}
    for record in records:
        statement = (record.language, record.text, record.question, record.answer)
        kept = first.setdefault(statement, record)
        if kept is record:
            yield record
        else:
            message = f"says the same of the same image as {kept.item}"
            yield Rejection(record.source, record.item, Reason.DUPLICATE_ROW, message)
