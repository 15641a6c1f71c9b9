"""Checks the encoder input benchmark: exact pixels, rows that differ, and ratios that follow from its times."""

import json

import numpy as np
import pytest

from tests.benchmarks.encoder import image_input
from tests.trainers.images.encoded_images import KINDS

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def result(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bench")
    words = ["--sizes", "64", "--kept_mb", "1", "--repeats", "3", "--output", str(folder / "result.json")]
    assert image_input.main(words) == 0
    return json.loads((folder / "result.json").read_text())


def test_without_real_data_drawn_images_are_measured(result):
    assert [row["collection"] for row in result["collections"]] == ["drawn lesion", "drawn slice"]


def test_cached_pixels_are_exact_and_their_costs_are_compared(result):
    for row in result["collections"]:
        assert row["largest_difference_of_255"] == 0
        assert row["largest_difference_normalised"] < 1e-6
        assert row["bytes_in_cache"] == pytest.approx(3 * 64 * 64, rel=0.05)
        assert row["times_faster"] == pytest.approx(row["stock_ms"] / row["ours_ms"], rel=0.05)
        assert min(row["first_epoch_ms"], row["ours_ms"], row["ours_without_normalisation_ms"]) > 0
    assert result["least_times_faster"] == min(row["times_faster"] for row in result["collections"])


def test_the_recorded_result_is_cheaper_by_the_bar():
    recorded = json.loads(image_input.RESULT.read_text(encoding="utf-8"))
    assert recorded["least_times_faster"] > recorded["bar"] == image_input.BAR
    for row in recorded["collections"]:
        assert row["first_epoch_ms"] > row["ours_ms"] > row["ours_without_normalisation_ms"]


def test_every_row_is_an_image_of_its_own_with_the_pixels_of_its_file():
    files = [KINDS["JPEG"], KINDS["PNG"]]
    rows = image_input.dataset(files, 6)
    images = [np.asarray(image.convert("RGB")) for image in rows["image"]]
    assert all(np.array_equal(images[number], images[number % 2]) for number in range(6))
    from trainers.encoder.data.dataset import EncodedImages

    assert len({bytes(EncodedImages(rows)(number)[0]) for number in range(6)}) == 6


def test_a_folder_without_the_sources_is_refused(tmp_path):
    with pytest.raises(SystemExit, match="no pad_ufes"):
        image_input.collections(tmp_path)
