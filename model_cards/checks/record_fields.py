"""Checks the nested fields of a record, of which tables read only what they know to be there."""

from __future__ import annotations

from numbers import Real
from typing import Any


def is_control(entry: Any) -> bool:
    """Returns whether an element of `EvaluationResult.controls` has the fields that tables read, of their types."""
    if not isinstance(entry, dict) or not isinstance(entry.get("name", ""), str):
        return False
    metrics, real, differences = (entry.get(name, {}) for name in ("metrics", "real", "difference"))
    if not all(isinstance(found, dict) for found in (metrics, real, differences)):
        return False
    numbers = [*metrics.values(), *real.values(), entry.get("samples", 0 if not metrics else None)]
    if not all(is_number(value) for value in numbers):
        return False
    for found in differences.values():  # the difference and its bounds, which may be unknown
        if not isinstance(found, list) or len(found) != 3 or not is_number(found[0]):
            return False
        if not all(bound is None or is_number(bound) for bound in found[1:]):
            return False
    return True


def is_part(part: Any) -> bool:
    """Returns whether an element of `EvaluationResult.parts` has the fields that tables read, of their types."""
    if not isinstance(part, dict):
        return False
    metrics, intervals = part.get("metrics"), part.get("intervals", {})
    if not isinstance(metrics, dict) or not isinstance(intervals, dict):
        return False
    bounds = [bound for found in intervals.values() for bound in (found if isinstance(found, list) else [None])]
    lengths = all(isinstance(found, list) and len(found) == 2 for found in intervals.values())
    return lengths and all(map(is_number, [part.get("samples"), part.get("groups"), *metrics.values(), *bounds]))


def is_number(value: Any) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool)
