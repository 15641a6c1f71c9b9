"""A small build, once for the tests of this folder."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.evaluation import small_run


@pytest.fixture(scope="session")
def build(tmp_path_factory) -> Path:
    return small_run.write_build(tmp_path_factory.mktemp("build"))
