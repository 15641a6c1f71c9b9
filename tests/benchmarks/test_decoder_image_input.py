"""Checks the decoder input benchmark: the pixels are exact, and its ratios follow from its times."""

import json

import pytest

from tests.benchmarks.decoder import image_input

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def result(tmp_path_factory):
    output = tmp_path_factory.mktemp("bench") / "result.json"
    words = ["--tile", "112", "--kept_mb", "1", "--repeats", "3", "--workers", "0", "1", "--output", str(output)]
    assert image_input.main(words) == 0
    return json.loads(output.read_text())


def test_cached_tiles_are_exact_and_their_costs_are_compared(result):
    photographs, slices = result["collections"]
    assert photographs["tiles_an_image"] == slices["tiles_an_image"] == 4
    for row in result["collections"]:
        assert row["largest_difference_normalised"] < 1e-6
        assert row["bytes_in_cache"] == pytest.approx(4 * 3 * 112 * 112, rel=0.05)
        assert row["times_faster"] == pytest.approx(row["stock_ms"] / row["ours_ms"], rel=0.05)
        assert row["rows"] == 13 * row["images"]
        assert all(row[name] > 0 for name in row if name.endswith(("_ms", "_ms_a_batch")))
        assert {"loader_of_1_workers_ms_a_batch", "loader_of_0_workers_ms_a_batch"} < row.keys()
    assert result["least_times_faster"] == min(row["times_faster"] for row in result["collections"])


def test_the_recorded_result_is_cheaper_by_the_bar():
    recorded = json.loads(image_input.RESULT.read_text(encoding="utf-8"))
    assert recorded["least_times_faster_without_normalisation"] > recorded["bar"] == image_input.BAR
    for row in recorded["collections"]:
        assert row["first_epoch_ms"] > row["ours_ms"] > row["ours_without_normalisation_ms"] > row["view_ms"]


def test_a_draft_changes_photographs_and_leaves_slices_alone(result):
    photographs, slices = result["collections"]
    assert 0 < photographs["draft_mean_difference_of_255"] < 2
    assert slices["draft_largest_difference_of_255"] == 0


def test_a_folder_without_the_sources_is_refused(tmp_path):
    with pytest.raises(SystemExit, match="no pad_ufes"):
        image_input.collections(tmp_path)
