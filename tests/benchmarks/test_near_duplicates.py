"""Checks the near-duplicate benchmark on a small sample, and that its record meets the targets of the project."""

from __future__ import annotations

import json

import numpy as np
import pytest

from tests.benchmarks.dataset.near_duplicates import RESULT, all_pairs, clusters, expected_pairs, labels, patient

# Near-duplicates that the sample contains on purpose: brighter copies of knees, and films that were exported twice.
PLANTED = {"synthetic knee_xray": 2, "synthetic medical_reports": 2}


@pytest.mark.slow
def test_a_small_run(run, tmp_path):
    output = tmp_path / "result.json"
    command = ["python", "tests/benchmarks/dataset/near_duplicates.py", "--counts", "2000", "--scale", "0.05"]
    printed = run(*command, "--output", output).stdout
    result = json.loads(output.read_text(encoding="utf-8"))
    assert [row["same_clusters"] for row in result["search"]] == [True, True]
    assert result["search"][0]["edges"] >= 200
    assert len(result["hashes"]) == 3
    assert {row["collection"].split()[0] for row in result["images"]} == {"synthetic"}
    for row in result["images"]:
        assert row["pairs_joined"][str(result["distance"])] <= PLANTED.get(row["collection"], 0)
        assert row["altered"]["JPEG of quality 75"]["found"] == 1
        assert row["altered"]["mirrored (another image)"]["found"] == 0
    assert "mirrored" in printed and "same_clusters: True" in printed


def test_the_recorded_result_meets_what_the_project_promises():
    result = json.loads(RESULT.read_text(encoding="utf-8"))
    largest = [row for row in result["search"] if row["count"] == 1_000_000]
    assert len(largest) == 2 and all(row["processor_seconds"] < 60 for row in largest)
    assert all(row["same_clusters"] for row in result["search"] if "same_clusters" in row)
    for row in result["images"]:
        assert row["pairs_joined"][str(result["distance"])] <= PLANTED.get(row["collection"], 0)


def test_all_pairs_and_their_clusters():
    hashes = np.zeros((5, 32), np.uint8)
    hashes[1, 0], hashes[3, 4:6], hashes[4] = 0b11, 0b1111_1111, 255
    pairs = all_pairs(hashes)
    assert pairs.tolist() == [[0, 1], [0, 2], [1, 2]]
    assert labels(5, pairs) == [0, 0, 0, 3, 4]


def test_the_planted_hashes_are_many_kinds():
    hashes = clusters(np.random.default_rng(0), 3000)
    assert hashes.shape == (3000, 32)
    assert len(np.unique(hashes, axis=0)) < 2950
    assert len(all_pairs(hashes)) > 400


def test_both_knees_of_a_patient_are_one_patient(tmp_path):
    assert patient(tmp_path / "9000099L.png") == patient(tmp_path / "9000099R.png") == "9000099"
    assert patient(tmp_path / "source.jpg") != patient(tmp_path / "other" / "source.jpg")


def test_chance_is_that_of_independent_bits_where_they_are():
    apart = np.random.default_rng(0).binomial(256, 0.5, 20_000).tolist()
    at_96 = sum(bits <= 96 for bits in apart) / len(apart)
    assert np.isclose(expected_pairs(apart, 112, 2), sum(bits <= 112 for bits in apart) / len(apart), rtol=0.3)
    assert expected_pairs(apart, 96, 2) < max(at_96, 1e-3)
