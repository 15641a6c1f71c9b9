"""Checks the ranges of metrics."""

from __future__ import annotations

import math

import pytest

from model_cards.checks.metric_ranges import RANGES, check_metric
from model_cards.results import NAMES

IN_RANGE = {
    "recall_at_5": (0, 1), "chance_image_to_text_recall_at_1": (0.0, 1.0), "accuracy": (0.5, 1),
    "accuracy_open_zh": (0, 1), "exact_match": (0, 1), "bleu": (0, 100), "bleu_1_en": (0, 100.0),
    "clinical_f1": (0, 1), "clinical_f1_detailed_zh": (0.5, 1),
    "loss": (0, 700.5), "perplexity": (1, 1e304), "num_samples_open": (0, 10**9),
    "text_to_image_median_rank": (1, 10**6), "another": (-1e9, 1e9),
}  # fmt: skip
OUT_OF_RANGE = {
    "recall_at_5": (-0.01, 1.01), "accuracy_closed": (-1, 100), "bleu": (-1, 100.5), "loss": (-0.1,),
    "clinical_f1": (-0.1, 1.1),
    "num_images": (-1,), "another": (-1e307, 1e307), "chance_recall_at_5": (2,), "length_ratio": (-1,),
}  # fmt: skip


@pytest.mark.parametrize(("name", "value"), [(name, value) for name, values in IN_RANGE.items() for value in values])
def test_possible_values_pass(name, value):
    check_metric(name, value)


@pytest.mark.parametrize(
    ("name", "value"), [(name, value) for name, values in OUT_OF_RANGE.items() for value in values]
)
def test_impossible_values_are_refused(name, value):
    with pytest.raises(ValueError, match=f"the metric {name} is .*, which is out of its range"):
        check_metric(name, value)


def test_a_number_that_is_no_float_is_refused():
    with pytest.raises(ValueError, match="the metric bleu is a number of 401 digits"):
        check_metric("bleu", 10**400)


def test_what_is_not_finite_passes():
    for value in (math.nan, math.inf, -math.inf):
        check_metric("bleu", value)


def test_every_metric_of_a_table_has_a_range():
    import re

    assert all(any(re.fullmatch(pattern, name) for pattern, _, _ in RANGES) for name in NAMES)
