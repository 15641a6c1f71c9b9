"""Draws a frontal chest radiograph with the findings it is told to show.

Radiographs are looked at as if facing the patient: the LEFT of the image is the patient's RIGHT. Every `side` here is
the patient's.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hub_datasets.phantoms.canvas import Drawing, blob, clouds, ellipse, grain, grid, painted, random_waves, soft

EFFUSION_TOP = {"small": 0.15, "moderate": 0.32, "large": 0.54}  # height of the fluid, as a share of the lung's
NODULE_RADIUS = {"small": 0.028, "medium": 0.040, "large": 0.060}  # as a share of the image's width
ZONE = {"upper": 0.30, "middle": 0.52, "lower": 0.70}  # height in the lung, from apex to base


@dataclass(frozen=True, slots=True)
class ChestFindings:
    """What a chest film shows. Sides are the patient's: "left" or "right".

    Attributes:
        effusions: side -> "small", "moderate" or "large".
        nodules: (side, "upper" / "middle" / "lower", "small" / "medium" / "large").
        pneumothorax: side of a collapsed lung edge, or None.
        consolidations: (side, "upper" / "lower").
        cardiomegaly: "" or "mild" or "marked".
        pacemaker: a device on the patient's left with its lead in the heart.
    """

    effusions: tuple[tuple[str, str], ...] = ()
    nodules: tuple[tuple[str, str, str], ...] = ()
    pneumothorax: str | None = None
    consolidations: tuple[tuple[str, str], ...] = ()
    cardiomegaly: str = ""
    pacemaker: bool = False

    @property
    def normal(self) -> bool:
        return self == ChestFindings()


@dataclass(frozen=True, slots=True)
class _Frame:
    """Where the chest of one patient lies in the image, in pixels: the middle of the spine, the apex of the lungs, half
    the width of the chest, and the diaphragm of each side.
    """

    size: int
    centre: float
    top: float
    half: float
    base: dict[str, float]

    def lung_x(self, side: str) -> float:
        """Middle of the lung. The patient's left is on the right of the image."""
        return self.centre + (0.56 if side == "left" else -0.56) * self.half


def draw_chest(rng: np.random.Generator, findings: ChestFindings, size: int = 224) -> Drawing:
    """Draw one film of `size` x `size` pixels, 0 black (air) to 1 white (bone, metal).

    Returns:
        The picture, with the regions "Left Lung", "Right Lung" and "Heart" and one for each kind of finding, such as
        "Pleural Effusion".
    """
    x, y = grid(size, size)
    frame = _Frame(
        size=size,
        centre=size * (0.5 + rng.uniform(-0.035, 0.035)),
        top=size * rng.uniform(0.09, 0.16),
        half=size * rng.uniform(0.355, 0.41),
        base={"right": size * rng.uniform(0.74, 0.80), "left": size * rng.uniform(0.77, 0.83)},
    )
    lungs = {side: _lung(frame, side, x, y) for side in ("right", "left")}
    collapsed = _lung(frame, findings.pneumothorax or "left", x, y, drawn_back=rng.uniform(0.26, 0.38))
    regions = {f"{side.title()} Lung": lung > 0 for side, lung in lungs.items()}

    picture = _body(rng, frame, x, y)
    vessels = 0.035 * clouds(rng, size, size, 5) + 0.02 * clouds(rng, size, size, 2.5)
    for side, lung in lungs.items():
        inside = soft(lung, 5)
        hilum = np.hypot(x - frame.centre, 0.8 * (y - 0.47 * size)) / (0.36 * size)
        markings = vessels * (1.25 - np.clip(hilum, 0, 1))
        if findings.pneumothorax == side:  # black and without markings outside of the collapsed lung
            picture = picture - 0.25 * inside * (1 - soft(collapsed, 2))
            markings = markings * soft(collapsed, 2) - 0.05 * (1 - soft(collapsed, 2))
            regions["Pneumothorax"] = (lung > 0) & (collapsed < 0)
        picture = picture * (1 - 0.74 * inside) + (0.11 + markings + 0.10 * np.exp(-np.square(hilum / 0.45))) * inside
    picture = picture + _ribs(frame, size)
    heart = _heart(rng, frame, findings.cardiomegaly, x, y)
    picture = np.maximum(picture, 0.70 * heart)
    regions["Heart"] = heart > 0.5
    if findings.cardiomegaly:
        regions["Cardiomegaly"] = regions["Heart"]
    if findings.pneumothorax:
        picture = picture + 0.30 * _pleural_line(frame, findings.pneumothorax, collapsed, x, y)

    # What fills the lung: (name of the region, mask, grey).
    filled = [("Pneumonia", _consolidation(rng, frame, lungs[f[0]], *f, x, y), 0.52) for f in findings.consolidations]
    filled += [("Nodule", 0.95 * _nodule(rng, frame, *f, x, y), 0.62) for f in findings.nodules]
    filled += [("Pleural Effusion", _fluid(frame, lungs[f[0]], *f, x, y), 0.62) for f in findings.effusions]
    for name, mask, grey in filled:
        picture = np.maximum(picture, picture + (grey - picture) * mask)
        regions[name] = regions.get(name, False) | (mask > 0.4)
    if findings.pacemaker:
        picture = np.maximum(picture, _pacemaker(frame, size))

    picture = picture * rng.uniform(0.90, 1.08) + rng.uniform(-0.02, 0.04)
    picture = picture + 0.03 * clouds(rng, size, size, size / 2.5) + rng.uniform(-0.05, 0.05) * (y / size - 0.5)
    picture = np.clip(picture, 0, 1) ** rng.uniform(0.88, 1.14) + grain(rng, size, size, 0.009)
    return Drawing(picture, regions)


def _lung(frame: _Frame, side: str, x, y, drawn_back: float = 0.0) -> np.ndarray:
    """Return the signed distance (pixels) to one lung: a dome over a diaphragm that curves down to the outside.

    Args:
        drawn_back: share of the lung's width by which it has left the chest wall, 0 for a healthy lung.
    """
    height = frame.base[side] - frame.top
    top = frame.top + 0.45 * drawn_back * height
    across = _across(frame, side, x)
    down = (y - top) / (frame.base[side] - top)  # 0 at the apex, 1 at the base
    wall = 0.98 * np.sqrt(np.clip(1 - np.square(np.clip(0.86 - down, 0, None) / 0.88), 0, 1)) * (1 - drawn_back)
    inner = 0.17 + (0.12 * soft(down - 0.45, 0.5) if side == "left" else 0.03)
    diaphragm = (frame.base[side] - y) + height * (0.26 * np.square(across - 0.45) - 0.02)
    sides = np.minimum(wall - across, across - inner) * frame.half
    return np.minimum(np.minimum(sides, diaphragm), (y - top))


def _across(frame: _Frame, side: str, x) -> np.ndarray:
    """Return 0 at the spine and 1 at the chest wall of this side; the patient's left is on the right of the image."""
    return (x - frame.centre) / frame.half * (1 if side == "left" else -1)


def _body(rng, frame: _Frame, x, y) -> np.ndarray:
    """Shoulders, neck, mediastinum, spine and the bright abdomen, before the lungs are cut out."""
    size = frame.size
    trunk = soft((frame.half * 1.24 - np.abs(x - frame.centre)) + 0.15 * np.clip(y - 0.2 * size, 0, None), 10)
    shoulders = ellipse(x, y, frame.centre, 0.40 * size, 0.62 * size, 0.34 * size, 0, 14)
    picture = 0.03 + 0.50 * np.maximum(trunk * soft(y - 0.36 * size, 80), shoulders)
    neck = soft(0.13 * size - np.abs(x - frame.centre), 12) * soft(0.2 * size - y, 20)
    picture = np.maximum(picture, 0.5 * neck)
    picture = picture + 0.16 * soft(0.075 * size - np.abs(x - frame.centre), 9)  # spine and mediastinum
    trachea = soft(0.022 * size - np.abs(x - frame.centre), 4) * soft(0.36 * size - y, 8)
    picture = picture - 0.14 * trachea
    discs = 0.5 + 0.5 * np.sin(y / size * 2 * np.pi * rng.uniform(13, 15))
    return picture + 0.035 * discs * soft(0.04 * size - np.abs(x - frame.centre), 4)


def _ribs(frame: _Frame, size: int) -> np.ndarray:
    """Return the ribs and collar bones, as added brightness."""

    def paint(draw) -> None:
        width = max(2, round(0.017 * size))
        for rib in range(8):
            y0 = frame.top + size * (0.055 + 0.079 * rib)
            reach = frame.half * min(1.0, 0.62 + 0.11 * rib)
            for sign in (-1, 1):
                bow = [
                    (frame.centre + sign * reach * t, y0 + size * (0.10 * t**2 - 0.045 * np.sin(np.pi * t)))
                    for t in np.linspace(0.14, 1.0, 12)
                ]
                draw.line(bow, fill=105, width=width, joint="curve")
        for sign in (-1, 1):
            bone = [
                (frame.centre + sign * frame.half * t, frame.top + size * (0.085 - 0.085 * t + 0.02 * np.sin(5 * t)))
                for t in np.linspace(0.12, 1.12, 10)
            ]
            draw.line(bone, fill=200, width=width + 1, joint="curve")

    return 0.20 * painted(size, size, paint, 1.0)


def _heart(rng, frame: _Frame, cardiomegaly: str, x, y) -> np.ndarray:
    """Return the heart's shadow: narrower than half the chest, or wider with cardiomegaly."""
    size = frame.size
    ratio = {"": rng.uniform(0.40, 0.45), "mild": rng.uniform(0.58, 0.62), "marked": rng.uniform(0.72, 0.77)}[
        cardiomegaly
    ]
    width = ratio * 2 * frame.half
    cy = min(frame.base.values()) - 0.14 * size
    body = ellipse(x, y, frame.centre + 0.17 * width, cy, 0.52 * width, 0.09 * size + 0.16 * width, 0.55, 6)
    right = ellipse(x, y, frame.centre - 0.10 * width, cy - 0.01 * size, 0.26 * width, 0.13 * size, 0, 6)
    knob = ellipse(x, y, frame.centre + 0.06 * size, 0.36 * size, 0.052 * size, 0.05 * size, 0, 5)
    return np.maximum(np.maximum(body, right), 0.92 * knob) * soft(y - 0.2 * size, 10)


def _pleural_line(frame: _Frame, side: str, collapsed, x, y) -> np.ndarray:
    """Return the thin bright edge of a lung that has left the chest wall."""
    beside = soft((_across(frame, side, x) - 0.34) * frame.half, 6) * soft(frame.base[side] - 0.05 * frame.size - y, 6)
    return np.exp(-np.square(collapsed / 1.3)) * beside


def _consolidation(rng, frame: _Frame, lung, side: str, zone: str, x, y) -> np.ndarray:
    """Return a patchy area that air has left."""
    size = frame.size
    cy = frame.top + (0.28 if zone == "upper" else 0.68) * (frame.base[side] - frame.top)
    patch = soft(blob(x, y, frame.lung_x(side), cy, 0.13 * size, 0.11 * size, random_waves(rng, 6, 0.15)), 14)
    patchy = np.clip(0.75 + 0.22 * clouds(rng, size, size, 7), 0, 1)
    return np.clip(0.9 * patch * patchy * soft(lung, 5), 0, 1)


def _nodule(rng, frame: _Frame, side: str, zone: str, extent: str, x, y) -> np.ndarray:
    """Return a round opacity at half the width of the lung or further out."""
    radius = NODULE_RADIUS[extent] * frame.size * rng.uniform(0.93, 1.07)
    cx = frame.lung_x(side) + frame.half * rng.uniform(0.0, 0.14) * (1 if side == "left" else -1)
    cy = frame.top + (ZONE[zone] + rng.uniform(-0.03, 0.03)) * (frame.base[side] - frame.top)
    return soft(blob(x, y, cx, cy, radius, radius, random_waves(rng, 4, 0.06)), 2)


def _fluid(frame: _Frame, lung, side: str, extent: str, x, y) -> np.ndarray:
    """Return an effusion: it fills the lung from below and climbs towards the chest wall (the meniscus)."""
    height = frame.base[side] - frame.top
    climb = np.square(np.clip(_across(frame, side, x), 0, 1))
    level = frame.base[side] - height * (EFFUSION_TOP[extent] + 0.20 * climb - 0.06)
    return soft(y - level, 6) * soft(lung + 4, 5)


def _pacemaker(frame: _Frame, size: int) -> np.ndarray:
    def paint(draw) -> None:
        cx, cy, r = frame.centre + 0.74 * frame.half, frame.top + 0.13 * size, 0.052 * size
        draw.rounded_rectangle((cx - r, cy - 0.75 * r, cx + r, cy + 0.75 * r), radius=0.4 * r, fill=255)
        tip = (frame.centre + 0.2 * frame.half, frame.base["left"] - 0.06 * size)
        bend = (frame.centre - 0.10 * frame.half, frame.top + 0.30 * size)
        lead = [(cx - r, cy), (frame.centre + 0.1 * frame.half, frame.top + 0.10 * size), bend]
        lead += [(frame.centre - 0.08 * frame.half, frame.base["left"] - 0.2 * size), tip]
        draw.line(lead, fill=250, width=max(1, round(size / 90)), joint="curve")

    return 0.97 * painted(size, size, paint, 0.5)
