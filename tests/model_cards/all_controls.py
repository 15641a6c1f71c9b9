"""Makes the controls that scores require, for records in tests."""

from __future__ import annotations

from typing import Any

from model_cards.controls import TASK_CONTROLS
from model_cards.results import GENERATION


def all_controls(samples: int = 0, task: str = GENERATION, **metrics: float) -> list[dict[str, Any]]:
    """An entry for each control of a task, with these metrics, or without any and with a reason."""
    if not metrics:
        return [{"name": name, "metrics": {}, "samples": 0, "note": "left out"} for name in TASK_CONTROLS[task]]
    return [{"name": name, "metrics": dict(metrics), "samples": samples, "note": ""} for name in TASK_CONTROLS[task]]
