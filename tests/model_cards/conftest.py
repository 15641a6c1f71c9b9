"""Provides a small build, and a dataset of a few rows with a known report, to the tests of this folder."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.evaluation import small_run
from tests.model_cards import small_dataset


@pytest.fixture(scope="session")
def build(made_once) -> Path:
    return made_once("small-build", small_run.write_build) / "data"


@pytest.fixture(scope="session")
def dataset(tmp_path_factory) -> Path:
    """A folder as a build leaves it, of `small_dataset.ROWS`."""
    folder = tmp_path_factory.mktemp("dataset")
    small_dataset.write_dataset(folder)
    return folder


@pytest.fixture
def report() -> dict:
    return small_dataset.make_report()


@pytest.fixture
def card_of(dataset, tmp_path):
    """A function: card_of(report) is the text of the card of the same rows with that report."""
    return lambda report, samples=(): small_dataset.write_card(tmp_path, dataset, report, samples)
