"""Draws a frontal chest radiograph with given findings.

A radiograph is viewed as if facing the patient: the LEFT of the image is the patient's RIGHT. Every `side` in this
module is the patient's.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hub_datasets.synthetic.drawings.canvas import (
    Drawing,
    ellipse_mask,
    paint_mask,
    pixel_grid,
    random_waves,
    sensor_noise,
    smooth_noise,
    soft_mask,
    wavy_ellipse_distance,
)

EFFUSION_TOP = {"small": 0.15, "moderate": 0.32, "large": 0.54}  # height of the fluid as a share of the lung's height
NODULE_RADIUS = {"small": 0.028, "medium": 0.040, "large": 0.060}  # as a share of the image's width
ZONE = {"upper": 0.30, "middle": 0.52, "lower": 0.70}  # vertical position from apex (0) to base (1) of the lung


@dataclass(frozen=True, slots=True)
class ChestFindings:
    """The findings of a chest radiograph. Sides are the patient's, "left" or "right".

    Attributes:
        effusions: pairs of side and amount ("small", "moderate" or "large").
        nodules: triples of side, zone ("upper", "middle" or "lower") and size ("small", "medium" or "large").
        pneumothorax: side of the collapsed lung, or None.
        consolidations: pairs of side and zone ("upper" or "lower").
        cardiomegaly: "", "mild" or "marked".
        pacemaker: whether there is a pacemaker on the patient's left with its lead in the heart.
    """

    effusions: tuple[tuple[str, str], ...] = ()
    nodules: tuple[tuple[str, str, str], ...] = ()
    pneumothorax: str | None = None
    consolidations: tuple[tuple[str, str], ...] = ()
    cardiomegaly: str = ""
    pacemaker: bool = False

    @property
    def normal(self) -> bool:
        """Whether there is no finding."""
        return self == ChestFindings()


@dataclass(frozen=True, slots=True)
class _Frame:
    """The position of one patient's chest in the image, in pixels.

    Attributes:
        size: side length of the image.
        center: x of the spine.
        top: y of the apex of the lungs.
        half: half the width of the chest.
        base: y of the diaphragm on each side.
    """

    size: int
    center: float
    top: float
    half: float
    base: dict[str, float]

    def lung_x(self, side: str) -> float:
        """Return x of the middle of the lung; the patient's left is on the right of the image."""
        return self.center + (0.56 if side == "left" else -0.56) * self.half


def draw_chest(rng: np.random.Generator, findings: ChestFindings, size: int = 224) -> Drawing:
    """Draw one radiograph of `size` x `size` pixels, from 0 (black, air) to 1 (white, bone and metal).

    Returns:
        The picture with the regions "Left Lung", "Right Lung" and "Heart" and one region per kind of finding, for
        example "Pleural Effusion".
    """
    x, y = pixel_grid(size, size)
    frame = _Frame(
        size=size,
        center=size * (0.5 + rng.uniform(-0.035, 0.035)),
        top=size * rng.uniform(0.09, 0.16),
        half=size * rng.uniform(0.355, 0.41),
        base={"right": size * rng.uniform(0.74, 0.80), "left": size * rng.uniform(0.77, 0.83)},
    )
    lungs = {side: _lung_distance(frame, side, x, y) for side in ("right", "left")}
    collapsed = _lung_distance(frame, findings.pneumothorax or "left", x, y, collapse=rng.uniform(0.26, 0.38))
    regions = {f"{side.title()} Lung": lung > 0 for side, lung in lungs.items()}

    picture = _draw_body(rng, frame, x, y)
    vessels = 0.035 * smooth_noise(rng, size, size, 5) + 0.02 * smooth_noise(rng, size, size, 2.5)
    for side, lung in lungs.items():
        inside = soft_mask(lung, 5)
        hilum = np.hypot(x - frame.center, 0.8 * (y - 0.47 * size)) / (0.36 * size)
        markings = vessels * (1.25 - np.clip(hilum, 0, 1))
        if findings.pneumothorax == side:  # outside the collapsed lung: black and without lung markings
            picture = picture - 0.25 * inside * (1 - soft_mask(collapsed, 2))
            markings = markings * soft_mask(collapsed, 2) - 0.05 * (1 - soft_mask(collapsed, 2))
            regions["Pneumothorax"] = (lung > 0) & (collapsed < 0)
        picture = picture * (1 - 0.74 * inside) + (0.11 + markings + 0.10 * np.exp(-np.square(hilum / 0.45))) * inside
    picture = picture + _draw_ribs(frame, size)
    heart = _heart_mask(rng, frame, findings.cardiomegaly, x, y)
    picture = np.maximum(picture, 0.70 * heart)
    regions["Heart"] = heart > 0.5
    if findings.cardiomegaly:
        regions["Cardiomegaly"] = regions["Heart"]
    if findings.pneumothorax:
        picture = picture + 0.30 * _pleural_line_mask(frame, findings.pneumothorax, collapsed, x, y)

    # Findings within the lungs: name of the region, mask, gray level.
    filled = [
        ("Pneumonia", _consolidation_mask(rng, frame, lungs[f[0]], *f, x, y), 0.52) for f in findings.consolidations
    ]
    filled += [("Nodule", 0.95 * _nodule_mask(rng, frame, *f, x, y), 0.62) for f in findings.nodules]
    filled += [("Pleural Effusion", _effusion_mask(frame, lungs[f[0]], *f, x, y), 0.62) for f in findings.effusions]
    for name, mask, gray in filled:
        picture = np.maximum(picture, picture + (gray - picture) * mask)
        regions[name] = regions.get(name, False) | (mask > 0.4)
    if findings.pacemaker:
        picture = np.maximum(picture, _pacemaker_mask(frame, size))

    picture = picture * rng.uniform(0.90, 1.08) + rng.uniform(-0.02, 0.04)
    picture = picture + 0.03 * smooth_noise(rng, size, size, size / 2.5) + rng.uniform(-0.05, 0.05) * (y / size - 0.5)
    picture = np.clip(picture, 0, 1) ** rng.uniform(0.88, 1.14) + sensor_noise(rng, size, size, 0.009)
    return Drawing(picture, regions)


def _lung_distance(frame: _Frame, side: str, x, y, collapse: float = 0.0) -> np.ndarray:
    """Return the signed distance in pixels to one lung, a dome above a diaphragm that curves down at the outer side.

    Args:
        collapse: share of the lung's width by which it is detached from the chest wall, 0 for a healthy lung.
    """
    height = frame.base[side] - frame.top
    top = frame.top + 0.45 * collapse * height
    across = _spine_to_wall(frame, side, x)
    down = (y - top) / (frame.base[side] - top)  # 0 at the apex, 1 at the base
    wall = 0.98 * np.sqrt(np.clip(1 - np.square(np.clip(0.86 - down, 0, None) / 0.88), 0, 1)) * (1 - collapse)
    inner = 0.17 + (0.12 * soft_mask(down - 0.45, 0.5) if side == "left" else 0.03)
    diaphragm = (frame.base[side] - y) + height * (0.26 * np.square(across - 0.45) - 0.02)
    sides = np.minimum(wall - across, across - inner) * frame.half
    return np.minimum(np.minimum(sides, diaphragm), (y - top))


def _spine_to_wall(frame: _Frame, side: str, x) -> np.ndarray:
    """Return a coordinate that is 0 at the spine and 1 at the chest wall of the patient's `side`."""
    return (x - frame.center) / frame.half * (1 if side == "left" else -1)


def _draw_body(rng, frame: _Frame, x, y) -> np.ndarray:
    """Draw shoulders, neck, mediastinum, spine and the bright abdomen, without the lungs."""
    size = frame.size
    trunk = soft_mask((frame.half * 1.24 - np.abs(x - frame.center)) + 0.15 * np.clip(y - 0.2 * size, 0, None), 10)
    shoulders = ellipse_mask(x, y, frame.center, 0.40 * size, 0.62 * size, 0.34 * size, 0, 14)
    picture = 0.03 + 0.50 * np.maximum(trunk * soft_mask(y - 0.36 * size, 80), shoulders)
    neck = soft_mask(0.13 * size - np.abs(x - frame.center), 12) * soft_mask(0.2 * size - y, 20)
    picture = np.maximum(picture, 0.5 * neck)
    picture = picture + 0.16 * soft_mask(0.075 * size - np.abs(x - frame.center), 9)  # spine and mediastinum
    trachea = soft_mask(0.022 * size - np.abs(x - frame.center), 4) * soft_mask(0.36 * size - y, 8)
    picture = picture - 0.14 * trachea
    discs = 0.5 + 0.5 * np.sin(y / size * 2 * np.pi * rng.uniform(13, 15))
    return picture + 0.035 * discs * soft_mask(0.04 * size - np.abs(x - frame.center), 4)


def _draw_ribs(frame: _Frame, size: int) -> np.ndarray:
    """Return the brightness that ribs and collar bones add."""

    def paint(draw) -> None:
        width = max(2, round(0.017 * size))
        for rib in range(8):
            y0 = frame.top + size * (0.055 + 0.079 * rib)
            reach = frame.half * min(1.0, 0.62 + 0.11 * rib)
            for sign in (-1, 1):
                bow = [
                    (frame.center + sign * reach * t, y0 + size * (0.10 * t**2 - 0.045 * np.sin(np.pi * t)))
                    for t in np.linspace(0.14, 1.0, 12)
                ]
                draw.line(bow, fill=105, width=width, joint="curve")
        for sign in (-1, 1):
            bone = [
                (frame.center + sign * frame.half * t, frame.top + size * (0.085 - 0.085 * t + 0.02 * np.sin(5 * t)))
                for t in np.linspace(0.12, 1.12, 10)
            ]
            draw.line(bone, fill=200, width=width + 1, joint="curve")

    return 0.20 * paint_mask(size, size, paint, 1.0)


def _heart_mask(rng, frame: _Frame, cardiomegaly: str, x, y) -> np.ndarray:
    """Return the mask of the heart, which is narrower than half the chest unless there is cardiomegaly."""
    size = frame.size
    ratio = {"": rng.uniform(0.40, 0.45), "mild": rng.uniform(0.58, 0.62), "marked": rng.uniform(0.72, 0.77)}[
        cardiomegaly
    ]
    width = ratio * 2 * frame.half
    cy = min(frame.base.values()) - 0.14 * size
    body = ellipse_mask(x, y, frame.center + 0.17 * width, cy, 0.52 * width, 0.09 * size + 0.16 * width, 0.55, 6)
    right = ellipse_mask(x, y, frame.center - 0.10 * width, cy - 0.01 * size, 0.26 * width, 0.13 * size, 0, 6)
    knob = ellipse_mask(x, y, frame.center + 0.06 * size, 0.36 * size, 0.052 * size, 0.05 * size, 0, 5)
    return np.maximum(np.maximum(body, right), 0.92 * knob) * soft_mask(y - 0.2 * size, 10)


def _pleural_line_mask(frame: _Frame, side: str, collapsed, x, y) -> np.ndarray:
    """Return the mask of the thin bright edge of a collapsed lung."""
    lateral = soft_mask((_spine_to_wall(frame, side, x) - 0.34) * frame.half, 6)
    above_base = soft_mask(frame.base[side] - 0.05 * frame.size - y, 6)
    return np.exp(-np.square(collapsed / 1.3)) * (lateral * above_base)


def _consolidation_mask(rng, frame: _Frame, lung, side: str, zone: str, x, y) -> np.ndarray:
    """Return the mask of a patchy consolidation."""
    size = frame.size
    cy = frame.top + (0.28 if zone == "upper" else 0.68) * (frame.base[side] - frame.top)
    waves = random_waves(rng, 6, 0.15)
    patch = soft_mask(wavy_ellipse_distance(x, y, frame.lung_x(side), cy, 0.13 * size, 0.11 * size, waves), 14)
    patchy = np.clip(0.75 + 0.22 * smooth_noise(rng, size, size, 7), 0, 1)
    return np.clip(0.9 * patch * patchy * soft_mask(lung, 5), 0, 1)


def _nodule_mask(rng, frame: _Frame, side: str, zone: str, extent: str, x, y) -> np.ndarray:
    """Return the mask of a round opacity in the middle or outer part of the lung."""
    radius = NODULE_RADIUS[extent] * frame.size * rng.uniform(0.93, 1.07)
    cx = frame.lung_x(side) + frame.half * rng.uniform(0.0, 0.14) * (1 if side == "left" else -1)
    cy = frame.top + (ZONE[zone] + rng.uniform(-0.03, 0.03)) * (frame.base[side] - frame.top)
    return soft_mask(wavy_ellipse_distance(x, y, cx, cy, radius, radius, random_waves(rng, 4, 0.06)), 2)


def _effusion_mask(frame: _Frame, lung, side: str, extent: str, x, y) -> np.ndarray:
    """Return the mask of an effusion, which fills the lung from below and rises towards the chest wall (meniscus)."""
    height = frame.base[side] - frame.top
    climb = np.square(np.clip(_spine_to_wall(frame, side, x), 0, 1))
    level = frame.base[side] - height * (EFFUSION_TOP[extent] + 0.20 * climb - 0.06)
    return soft_mask(y - level, 6) * soft_mask(lung + 4, 5)


def _pacemaker_mask(frame: _Frame, size: int) -> np.ndarray:
    """Return the mask of a pacemaker and its lead."""

    def paint(draw) -> None:
        cx, cy, r = frame.center + 0.74 * frame.half, frame.top + 0.13 * size, 0.052 * size
        draw.rounded_rectangle((cx - r, cy - 0.75 * r, cx + r, cy + 0.75 * r), radius=0.4 * r, fill=255)
        tip = (frame.center + 0.2 * frame.half, frame.base["left"] - 0.06 * size)
        bend = (frame.center - 0.10 * frame.half, frame.top + 0.30 * size)
        lead = [(cx - r, cy), (frame.center + 0.1 * frame.half, frame.top + 0.10 * size), bend]
        lead += [(frame.center - 0.08 * frame.half, frame.base["left"] - 0.2 * size), tip]
        draw.line(lead, fill=250, width=max(1, round(size / 90)), joint="curve")

    return 0.97 * paint_mask(size, size, paint, 0.5)
