"""Reads the names of splits and of parts of them, in the form of `datasets`: `test[:100]`, `test[10%:20%]`."""

from __future__ import annotations

import re
from dataclasses import dataclass

from evaluation.loading import InputError

FORM = re.compile(r"(?P<name>[^\[\]]+?)(\[(?P<start>-?\d{1,12}%?)?:(?P<stop>-?\d{1,12}%?)?\])?")


@dataclass(frozen=True)
class SplitSlice:
    """A split or a part of it.

    Attributes:
        name: the split.
        start, stop: the bounds as in the flag, for example `10%` or `-5`; "" for none.
    """

    name: str
    start: str = ""
    stop: str = ""

    @property
    def is_part(self) -> bool:
        return bool(self.start or self.stop)

    def rows(self, length: int) -> range:
        """Returns the numbers of the rows, of `length` rows of the split; percentages are rounded to a row."""
        bounds = [
            default if not text else bound_of(text, length) for text, default in ((self.start, 0), (self.stop, length))
        ]
        return range(length)[slice(*bounds)]


def bound_of(text: str, length: int) -> int:
    """Returns a bound in rows."""
    if not text.endswith("%"):
        return int(text)
    # Half a row is rounded up, so that the end of one part is the start of the next.
    return (int(text[:-1]) * length + 50) // 100


def parse_split(text: str, flag: str = "--split") -> SplitSlice:
    """Returns the split that a flag names.

    Raises:
        InputError: it has another form, or a percentage above 100.
    """
    found = FORM.fullmatch(text.strip())
    bounds = [found["start"] or "", found["stop"] or ""] if found else []
    if not found or any(bound.endswith("%") and abs(int(bound[:-1])) > 100 for bound in bounds):
        raise InputError(f"{flag} {text}: give a split, or a part of it such as test[:100] or test[10%:20%]")
    return SplitSlice(found["name"].strip(), *bounds)
