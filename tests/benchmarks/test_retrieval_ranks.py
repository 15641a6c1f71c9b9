"""The record of the benchmark of exact ranks holds the bar, and a small run gives ranks as in float64."""

from __future__ import annotations

import json

import pytest

from tests.benchmarks.evaluation import retrieval_ranks

BAR = 1.3  # of the bare product and its top 10


def test_the_record_holds_the_bar():
    record = json.loads(retrieval_ranks.RESULT.read_text(encoding="utf-8"))
    sizes = {(case["kind"], case["size"]) for case in record["cases"]}
    assert sizes >= {("trained", 20_000), ("random", 20_000), ("random", 100_000)}
    for case in record["cases"]:
        ours, torch = case["methods"]["medpairs"], case["methods"]["torch"]
        assert case["ratio"] <= BAR and ours["ranks_as_in_float64"] == ours["counted_queries"]
        assert ours["recall_at_10"] == pytest.approx(torch["recall_at_10"], abs=2e-5)
        # Beside the inputs it needs the scores of one chunk, and not all of them.
        assert (
            ours["peak_mib"] - ours["peak_of_inputs_mib"] < 2 * 4 * retrieval_ranks.CHUNK * case["size"] / 2**20 + 150
        )


@pytest.mark.parametrize("kind", retrieval_ranks.KINDS)
def test_a_small_run(kind):
    found = retrieval_ranks.measure("medpairs", kind, 600)
    assert found["ranks_as_in_float64"] == found["counted_queries"] == 600
    assert found["recall_at_10"] == pytest.approx(retrieval_ranks.measure("numpy", kind, 600)["recall_at_10"])
