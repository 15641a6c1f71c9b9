"""Parses JSON from files that others may have written, and refuses what no honest file of this project contains."""

from __future__ import annotations

import json
import math
from typing import Any

# Records have about 6 levels; Python's own parser fails only at about 1,000, and then with a RecursionError.
DEEPEST = 32
LONGEST_NUMBER = 40  # characters; the longest float in its shortest exact form has 24


def parse_json(text: str | bytes) -> Any:
    """Parses JSON. NaN and infinity, which are not JSON but which Python writes, are read as None.

    Raises:
        ValueError: the text is not JSON, is nested more deeply than DEEPEST levels, repeats a key, or has a number that
            is beyond the range of a float or longer than LONGEST_NUMBER characters. The message says which.
    """
    try:
        content = json.loads(
            text,
            parse_int=parse_integer,
            parse_float=parse_float,
            parse_constant=lambda _: None,
            object_pairs_hook=without_repeated_keys,
        )
    except RecursionError:
        raise ValueError(f"nested more deeply than {DEEPEST} levels") from None
    check_depth(content)
    return content


def parse_integer(digits: str) -> int:
    """Converts the digits of an integer. Raises ValueError if there are too many of them."""
    check_length(digits)
    return int(digits)


def parse_float(digits: str) -> float:
    """Converts a decimal number. Raises ValueError if it is too long or beyond the range of a float."""
    check_length(digits)
    if not math.isfinite(value := float(digits)):
        raise ValueError(f"the number {digits} is beyond the range of a float")
    return value


def check_length(digits: str) -> None:
    if len(digits) > LONGEST_NUMBER:
        raise ValueError(f"a number has {len(digits):,} characters, of at most {LONGEST_NUMBER}: {digits[:20]}...")


def without_repeated_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Returns the object of the pairs. Raises ValueError if a key is repeated, because readers would differ."""
    found = dict(pairs)
    if len(found) < len(pairs):
        keys = [key for key, _ in pairs]
        repeated = next(key for key in keys if keys.count(key) > 1)
        raise ValueError(f"the key {repeated[:60]!r} is repeated")
    return found


def check_depth(content: Any) -> None:
    """Raises ValueError if lists and objects are nested more deeply than DEEPEST levels."""
    level = [content]
    for _ in range(DEEPEST + 1):
        level = [inner for outer in level for inner in children(outer)]
        if not level:
            return
    raise ValueError(f"nested more deeply than {DEEPEST} levels")


def children(content: Any) -> list[Any]:
    if isinstance(content, dict):
        return list(content.values())
    return content if isinstance(content, list) else []
