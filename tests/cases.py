"""Chooses which cases of a test with many are in the fast suite; `make test-slow` runs the others."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest


def few(cases: Iterable[Any], *fast: Any) -> list[Any]:
    """The cases for `pytest.mark.parametrize`, all slow ones but those of `fast`, or but the first."""
    cases = [*cases]
    kept = fast or cases[:1]
    assert all(case in cases for case in kept), f"{kept} are not all among {cases}"
    return [
        pytest.param(*(case if isinstance(case, tuple) else (case,)), marks=() if case in kept else pytest.mark.slow)
        for case in cases
    ]
