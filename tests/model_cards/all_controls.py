"""Makes the controls that scores of answers require, for records in tests."""

from __future__ import annotations

from typing import Any

from model_cards.controls import CONTROLS


def all_controls(samples: int = 0, **metrics: float) -> list[dict[str, Any]]:
    """An entry for each control, with these metrics, or without any and with a reason."""
    if not metrics:
        return [{"name": name, "metrics": {}, "samples": 0, "note": "left out"} for name in CONTROLS]
    return [{"name": name, "metrics": dict(metrics), "samples": samples, "note": ""} for name in CONTROLS]
