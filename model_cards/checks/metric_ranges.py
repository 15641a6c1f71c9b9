"""Knows the range of each metric, and refuses values that no measurement can have."""

from __future__ import annotations

import math
import re
from numbers import Real

LARGEST = 1e306  # a perplexity is cut at exp(700), about 1e304
# The first pattern that matches the name of a metric.
RANGES: tuple[tuple[str, float, float], ...] = (
    (r"(finding_)?num_\w+", 0.0, LARGEST),
    (
        r"(chance_)?(\w+_)?(recall_at_\d+|map)|short_f1|accuracy(_\w+)?|exact_match|brevity_penalty|grounded_accuracy",
        0.0,
        1.0,
    ),
    (r"clinical_\w+", 0.0, 1.0),
    (r"(report_|short_)?(bleu|chrf|rouge_l)(_\w+)?", 0.0, 100.0),
    (r"loss|perplexity|length_ratio|\w+_median_rank", 0.0, LARGEST),
)


def check_metric(name: str, value: Real) -> None:
    """Checks a value of a metric. NaN and infinity pass: they are removed from results.

    Raises:
        ValueError: the value is out of the range of the metric, or too large for a float.
    """
    try:
        number = float(value)
    except OverflowError:
        raise ValueError(f"the metric {name} is a number of {len(str(value)):,} digits") from None
    if not math.isfinite(number):
        return
    low, high = next(((low, high) for pattern, low, high in RANGES if re.fullmatch(pattern, name)), (-LARGEST, LARGEST))
    if not low <= number <= high:
        raise ValueError(f"the metric {name} is {number:g}, which is out of its range, {low:g} to {high:g}")
