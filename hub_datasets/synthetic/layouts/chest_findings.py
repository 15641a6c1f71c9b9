"""Chooses what a synthetic chest radiograph shows."""

from __future__ import annotations

import numpy as np

from hub_datasets.synthetic.drawings.chest import ChestFindings

SIDES, ZONES, EXTENTS = ("left", "right"), ("upper", "middle", "lower"), ("small", "medium", "large")


def choose_findings(rng: np.random.Generator) -> ChestFindings:
    """Return up to three findings that do not hide each other."""

    def pick(choices):
        return choices[int(rng.integers(len(choices)))]

    count = int(rng.choice([0, 1, 2, 3], p=[0.07, 0.35, 0.38, 0.20]))
    kinds = rng.permutation(["effusion", "nodule", "pneumothorax", "pneumonia", "heart", "pacemaker"])[:count]
    free = list(SIDES)  # one finding per side, because two would hide each other
    findings: dict = {}
    for kind in sorted(kinds):
        if kind == "heart":
            findings["cardiomegaly"] = pick(("mild", "marked"))
        elif kind == "pacemaker":
            findings["pacemaker"] = True
        elif kind == "effusion" and len(free) == 2 and rng.random() < 0.15:
            findings["effusions"] = tuple((side, pick(("small", "moderate"))) for side in free)
            free.clear()
        elif free:
            side = free.pop(int(rng.integers(len(free))))
            # An enlarged heart covers the lower part of the left lung.
            covered = side == "left" and "heart" in kinds
            if kind == "effusion":
                findings["effusions"] = ((side, pick(("small", "moderate", "large"))),)
            elif kind == "nodule":
                findings["nodules"] = ((side, pick(ZONES[:1] if covered else ZONES), pick(EXTENTS)),)
            elif kind == "pneumonia":
                findings["consolidations"] = ((side, "upper" if covered else pick(("upper", "lower"))),)
            else:
                findings["pneumothorax"] = side
    return ChestFindings(**findings)
