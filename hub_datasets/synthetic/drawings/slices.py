"""Draws an axial CT or MRI slice of chest, abdomen, pelvis, neck or head with given organs and at most one finding.

A slice is viewed from the feet: the LEFT of the image is the patient's RIGHT, and the back is at the bottom. The gray
level of a tissue depends on the modality: bone is white on CT and black on MRI, fluid is white on T2 and black on T1.
Lengths are shares of the image's side length; the origin is the middle of the body, x points right and y down.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from hub_datasets.synthetic.drawings.canvas import (
    Drawing,
    paint_mask,
    pixel_grid,
    random_waves,
    sensor_noise,
    smooth_noise,
    soft_mask,
    wavy_ellipse_distance,
)

# Gray levels from 0 to 1 of the tissues in each contrast.
TONES = {
    "CT": {
        "air": 0.01, "lung": 0.05, "fat": 0.20, "muscle": 0.44, "bone": 0.96, "cord": 0.50, "fluid": 0.34,
        "vessel": 0.80, "liver": 0.58, "spleen": 0.66, "kidney": 0.76, "bowel": 0.50, "heart": 0.68, "thyroid": 0.78,
        "tumor": 0.36, "mass": 0.60, "gray matter": 0.5, "white matter": 0.45,
    },
    "T1": {
        "air": 0.01, "lung": 0.04, "fat": 0.88, "muscle": 0.36, "bone": 0.20, "cord": 0.50, "fluid": 0.10,
        "vessel": 0.06, "liver": 0.52, "spleen": 0.40, "kidney": 0.46, "bowel": 0.30, "heart": 0.40, "thyroid": 0.50,
        "tumor": 0.22, "mass": 0.40, "gray matter": 0.42, "white matter": 0.62,
    },
    "T2": {
        "air": 0.01, "lung": 0.04, "fat": 0.22, "muscle": 0.16, "bone": 0.10, "cord": 0.90, "fluid": 0.95,
        "vessel": 0.04, "liver": 0.34, "spleen": 0.62, "kidney": 0.78, "bowel": 0.48, "heart": 0.30, "thyroid": 0.50,
        "tumor": 0.85, "mass": 0.60, "gray matter": 0.52, "white matter": 0.36,
    },
}  # fmt: skip

LESION_RADIUS = {"small": 0.030, "large": 0.062}


@dataclass(frozen=True, slots=True)
class Lesion:
    """A finding.

    Attributes:
        name: its name in the answers, for example "Liver Cancer".
        side: the patient's side, "Left" or "Right".
        extent: "small" or "large".
        end: "upper" at the front of the body, which is the upper part of the image, or "lower" at the back.
    """

    name: str
    side: str
    extent: str
    end: str


@dataclass(frozen=True, slots=True)
class Slice:
    """The content of a slice.

    Attributes:
        location: Lung, Abdomen, Brain_Tissue, Pelvic Cavity or Neck.
        contrast: CT, T1 or T2.
        organs: the optional organs of this location that are visible, for example {"Liver", "Left Kidney"}.
        lesion: the finding, or None.
    """

    location: str
    contrast: str
    organs: frozenset[str]
    lesion: Lesion | None = None


class _Shape(NamedTuple):
    """The signed distance to a shape in pixels, positive inside, for the part of the picture that it can cover."""

    rows: slice
    columns: slice
    distance: np.ndarray


class _Page:
    """The picture of a slice while it is drawn, and the named region that each pixel belongs to."""

    def __init__(self, rng: np.random.Generator, scene: Slice, size: int) -> None:
        self.rng, self.tones, self.size = rng, TONES[scene.contrast], size
        # A neck is drawn larger, because its thyroid would otherwise be only a few pixels.
        self.scale = rng.uniform(0.92, 1.06) * (1.5 if scene.location == "Neck" else 1.0)
        self.stretch = rng.uniform(0.94, 1.06)  # width of the patient
        turn, dx, dy = rng.uniform(-0.06, 0.06), rng.uniform(-0.03, 0.03), rng.uniform(-0.04, 0.02)
        x, y = pixel_grid(size, size)
        # Body coordinates of the pixels: image coordinates without the shift, rotation and scale of the patient.
        x, y = x / size - 0.5 - dx, y / size - 0.5 - dy
        cos, sin = float(np.cos(turn)), float(np.sin(turn))
        self.x = (x * cos + y * sin) / (self.scale * self.stretch)
        self.y = (y * cos - x * sin) / self.scale
        self.pose = (cos, sin, dx, dy)
        self.picture = np.zeros((size, size), dtype=np.float32)
        self.names: list[str] = [""]
        # The index in `names` of the region that each pixel belongs to.
        self.map = np.zeros((size, size), dtype=np.uint8)

    def shape(self, cx: float, cy: float, rx: float, ry: float, angle: float = 0.0, wave: float = 0.03) -> _Shape:
        """Return the shape of a wavy ellipse."""
        waves = random_waves(self.rng, 3, wave) if wave else np.zeros((0, 2))
        # The center in image coordinates, to compute the distance only for rows and columns that the shape can cover.
        cos, sin, dx, dy = self.pose
        px, py = cx * self.scale * self.stretch, cy * self.scale
        px, py = px * cos - py * sin + 0.5 + dx, px * sin + py * cos + 0.5 + dy
        reach = max(rx, ry) * self.scale * (1.1 + 3 * wave) + 4 / self.size
        rows, columns = (
            slice(max(0, int((c - reach) * self.size)), max(0, int((c + reach) * self.size) + 1)) for c in (py, px)
        )
        distance = wavy_ellipse_distance(self.x[rows, columns], self.y[rows, columns], cx, cy, rx, ry, waves, angle)
        return _Shape(rows, columns, distance * np.float32(self.size * self.scale))

    def shape_from_distance(self, distance: np.ndarray) -> _Shape:
        """Return the shape of a signed distance that covers the whole picture."""
        return _Shape(slice(0, self.size), slice(0, self.size), distance)

    def fill(self, tissue: str, shape: _Shape, name: str = "", texture: float = 0.0, edge: float = 1.5) -> None:
        """Draw a shape of a tissue over the picture; its pixels are removed from their previous regions."""
        rows, columns, distance = shape
        mask = soft_mask(distance, edge)
        tone = self.tones[tissue] * self.rng.uniform(0.95, 1.05)
        if texture:
            tone = tone + texture * smooth_noise(self.rng, *distance.shape, self.size / 40)
        self.picture[rows, columns] += (tone - self.picture[rows, columns]) * mask
        self.assign_region(name, shape)

    def assign_region(self, name: str, shape: _Shape) -> None:
        """Assign the pixels of a shape to a named region; the name "" means none."""
        if name not in self.names:
            self.names.append(name)
        self.map[shape.rows, shape.columns][shape.distance > 0] = self.names.index(name)

    def region(self, name: str) -> np.ndarray:
        """Return a bool array of the pixels of a named region."""
        return self.map == self.names.index(name)

    def oval(self, tissue: str, cx, cy, rx, ry, angle=0.0, *, name="", wave=0.03, texture=0.0, jitter=0.06) -> None:
        """Fill an ellipse whose position and size vary between patients by the share `jitter` of its size."""
        grow = 1 + self.rng.uniform(-jitter, jitter, 2)
        cx, cy = cx + self.rng.uniform(-jitter, jitter) * rx, cy + self.rng.uniform(-jitter, jitter) * ry
        self.fill(tissue, self.shape(cx, cy, rx * grow[0], ry * grow[1], angle, wave), name, texture)


def draw_slice(rng: np.random.Generator, scene: Slice, size: int) -> Drawing:
    """Draw one slice of `size` x `size` pixels.

    Returns:
        The picture with the regions of its organs and its lesion that have at least 12 pixels.
    """
    page = _Page(rng, scene, size)
    draw = {
        "Lung": _draw_chest,
        "Abdomen": _draw_abdomen,
        "Brain_Tissue": _draw_head,
        "Pelvic Cavity": _draw_pelvis,
        "Neck": _draw_neck,
    }
    draw[scene.location](page, scene)
    picture = page.picture
    if scene.contrast == "CT":
        picture = np.maximum(picture, _draw_table(rng, size))
    else:  # brightness varies with the distance to the coil
        picture = picture * (1 + rng.uniform(-0.14, 0.14) * page.x * 2 + rng.uniform(-0.14, 0.14) * page.y * 2)
    picture = picture * rng.uniform(0.93, 1.07) + sensor_noise(
        rng, size, size, 0.012 if scene.contrast == "CT" else 0.02
    )
    regions = {name: page.region(name) for name in page.names[1:]}
    return Drawing(picture, {name: region for name, region in regions.items() if region.sum() >= 12})


def _draw_table(rng, size: int) -> np.ndarray:
    """Return the scanner table, two thin bright arcs below the patient."""
    y0 = rng.uniform(0.86, 0.90) * size

    def paint(draw) -> None:
        for drop, gray in ((0, 255), (0.045, 190)):
            box = (0.12 * size, y0 - (0.18 - drop) * size, 0.88 * size, y0 + drop * size)
            draw.arc(box, 30, 150, fill=gray, width=max(1, size // 110))

    return 0.85 * paint_mask(size, size, paint, 0.5)


def _draw_trunk(page: _Page, rx: float, ry: float) -> None:
    """Draw the fat and the muscle of the trunk."""
    page.fill("fat", page.shape(0, 0, rx, ry, wave=0.015))
    page.fill("muscle", page.shape(0, 0, 0.93 * rx, 0.90 * ry, wave=0.015), texture=0.02)
    for sign in (-1, 1):
        page.fill("fat", page.shape(0.02 * sign, 0.80 * ry, 0.02, 0.10 * ry, wave=0))


def _draw_spine(page: _Page, y: float) -> None:
    """Draw a vertebra with its arch around the spinal cord."""
    page.oval("bone", 0, y, 0.060, 0.048, wave=0.02)
    page.oval("bone", 0, y + 0.065, 0.040, 0.035, wave=0.02)
    page.oval("bone", 0, y + 0.11, 0.012, 0.040, wave=0)
    for sign in (-1, 1):
        page.oval("bone", 0.06 * sign, y + 0.06, 0.045, 0.013, 0.4 * sign, wave=0)
    page.oval("cord", 0, y + 0.058, 0.022, 0.018, wave=0, name="Spinal Cord")


def _draw_ribs(page: _Page, rx: float, ry: float, gap: float) -> None:
    """Draw short sections of the ribs along the wall of the trunk."""
    phase = page.rng.uniform(0, 0.3)
    for angle in np.arange(-0.35, np.pi + 0.36, 0.36) + phase:
        for sign in (-1, 1):
            theta = np.pi / 2 - sign * angle
            if np.sin(theta) < -0.97:  # the sternum is drawn below
                continue
            tangent = np.arctan2(ry * np.cos(theta), -rx * np.sin(theta))
            page.fill("bone", page.shape(rx * np.cos(theta), ry * np.sin(theta), gap, 0.010, tangent, wave=0))
    page.oval("bone", 0, -ry, 0.05, 0.013, wave=0)


def _place_lesion(page: _Page, lesion: Lesion, x: float, front: float, back: float) -> tuple[float, float, float]:
    """Return center x, center y and radius of a lesion at +-x; the patient's left is on the right of the image."""
    cx = (x if lesion.side == "Left" else -x) + page.rng.uniform(-0.015, 0.015)
    cy = (front if lesion.end == "upper" else back) + page.rng.uniform(-0.012, 0.012)
    return cx, cy, LESION_RADIUS[lesion.extent] * page.rng.uniform(0.93, 1.07)


def _draw_chest(page: _Page, scene: Slice) -> None:
    """Draw a slice of the chest."""
    _draw_trunk(page, 0.44, 0.30)
    _draw_ribs(page, 0.375, 0.245, 0.026)
    for side, cx in (("Right", -0.185), ("Left", 0.185)):
        page.oval("lung", cx, 0.0, 0.150, 0.205, -0.08 * np.sign(cx), name=f"{side} Lung", texture=0.01)
    dots = np.clip(smooth_noise(page.rng, page.size, page.size, page.size / 60) - 1.8, 0, 1) * 0.5
    page.picture += dots * (page.region("Left Lung") | page.region("Right Lung"))
    page.fill("fat", page.shape(0, -0.02, 0.075, 0.17))
    _draw_spine(page, 0.13)
    page.oval("vessel", 0.045, 0.075, 0.030, 0.030, wave=0)
    if "Heart" in scene.organs:
        page.oval("heart", 0.045, -0.065, 0.150, 0.105, 0.5, name="Heart", texture=0.015)
        page.oval("vessel", 0.07, -0.055, 0.055, 0.040, 0.5, jitter=0.2, name="Heart")
    else:
        for cx, cy, r in ((-0.035, -0.10, 0.030), (0.03, -0.11, 0.028), (0.055, -0.06, 0.028)):
            page.oval("vessel", cx, cy, r, r, wave=0)
        page.oval("air", 0, -0.01, 0.026, 0.028, wave=0, name="Trachea")
    lesion = scene.lesion
    if lesion is None:
        return
    cx, cy, radius = _place_lesion(page, lesion, 0.215, -0.085, 0.09)
    if lesion.name == "Pneumonia":
        area = page.shape(cx, cy, radius * 1.7, radius * 1.4, wave=0.12)
        haze = soft_mask(area.distance, 7) * np.clip(
            0.7 + 0.25 * smooth_noise(page.rng, *area.distance.shape, 5), 0.2, 1
        )
        page.picture[area.rows, area.columns] = np.maximum(page.picture[area.rows, area.columns], 0.38 * haze)
        page.assign_region(lesion.name, area)
    elif lesion.name == "Pleural Effusion":  # fluid collects at the back
        level = 0.145 if lesion.extent == "small" else 0.075
        depth = (page.y + 0.15 * np.square(page.x - cx) - level) * page.size
        page.fill(
            "fluid", page.shape_from_distance(np.where(page.region(f"{lesion.side} Lung"), depth, -9.0)), lesion.name
        )
    else:
        page.fill("mass", page.shape(cx, cy, radius, radius * 0.92, wave=0.12), lesion.name, 0.015)


def _draw_abdomen(page: _Page, scene: Slice) -> None:
    """Draw a slice of the abdomen."""
    has = scene.organs.__contains__
    _draw_trunk(page, 0.43, 0.31)
    page.fill("fat", page.shape(0, -0.025, 0.355, 0.235, wave=0.02))
    _draw_ribs(page, 0.378, 0.262, 0.020)
    for sign in (-1, 1):
        page.oval("muscle", 0.085 * sign, 0.185, 0.070, 0.050)
        page.oval("muscle", 0.085 * sign, 0.105, 0.030, 0.035)
    _draw_spine(page, 0.105)
    page.oval("vessel", 0.025, 0.035, 0.026, 0.026, wave=0)
    page.oval("vessel", -0.045, 0.040, 0.028, 0.022, wave=0)
    if has("Small Bowel"):
        for _ in range(15):
            cx, cy = page.rng.uniform(-0.2, 0.2), page.rng.uniform(-0.18, -0.02)
            angle = page.rng.uniform(0, np.pi)
            page.oval("bowel", cx, cy, 0.058, 0.030, angle, name="Small Bowel", texture=0.02)
            page.oval("fluid", cx, cy, 0.030, 0.012, angle, name="Small Bowel", wave=0)
    if has("Spleen"):
        page.oval("spleen", 0.275, 0.055, 0.060, 0.125, -0.35, name="Spleen", wave=0.06, texture=0.012)
    if has("Liver"):
        page.oval("liver", -0.045, -0.115, 0.135, 0.075, 0.15, name="Liver", wave=0.05, texture=0.012)
        page.oval("liver", -0.20, -0.025, 0.155, 0.175, -0.25, name="Liver", wave=0.06, texture=0.012)
        for _ in range(4):
            cx, cy = page.rng.uniform(-0.27, -0.12), page.rng.uniform(-0.12, 0.05)
            page.oval("vessel", cx, cy, 0.022, 0.006, page.rng.uniform(0, 3), wave=0, name="Liver")
    if has("Stomach"):
        page.oval("muscle", 0.165, -0.085, 0.105, 0.070, 0.5, name="Stomach")
        page.oval("fluid", 0.165, -0.085, 0.088, 0.055, 0.5, name="Stomach")
        page.oval("air", 0.150, -0.130, 0.045, 0.022, 0.2, name="Stomach", wave=0)
    if has("Colon"):
        for cx, cy, r in ((0.285, -0.105, 0.052), (0.20, -0.175, 0.045)):
            page.oval("bowel", cx, cy, r, r, name="Colon", wave=0.06)
            page.oval("air", cx, cy, 0.72 * r, 0.72 * r, name="Colon", wave=0.06)
    for side, cx in (("Left", 0.175), ("Right", -0.175)):
        if has(f"{side} Kidney"):
            page.fill("fat", page.shape(cx, 0.115, 0.075, 0.080))
            page.oval("kidney", cx, 0.115, 0.058, 0.066, 0.25 * np.sign(cx), name=f"{side} Kidney", wave=0.03)
            page.oval("fat", 0.82 * cx, 0.112, 0.022, 0.022, name=f"{side} Kidney", wave=0)
    if scene.lesion is not None:
        lesion = scene.lesion
        if lesion.name == "Liver Cancer":
            cx, cy, radius = _place_lesion(page, lesion, 0.215, -0.09, 0.025)
        else:  # Kidney Cancer
            cx, cy, radius = _place_lesion(page, lesion, 0.195, 0.095, 0.14)
            radius *= 0.8
        page.fill("tumor", page.shape(cx, cy, radius, radius * 0.9, wave=0.08), lesion.name, 0.02)


def _draw_head(page: _Page, scene: Slice) -> None:
    """Draw a slice of the head."""
    page.fill("fat", page.shape(0, 0, 0.335, 0.415, wave=0.01))
    page.fill("bone", page.shape(0, 0, 0.312, 0.392, wave=0.008))
    page.fill("fluid", page.shape(0, 0, 0.290, 0.368, wave=0.008))
    brain = np.full(page.map.shape, -9.0, dtype=np.float32)
    rows, columns, brain[rows, columns] = page.shape(0, 0, 0.280, 0.357, wave=0.01)
    folds = np.abs(smooth_noise(page.rng, page.size, page.size, page.size / 22))
    sulci = np.clip(1 - folds / 0.25, 0, 1) * soft_mask(0.055 * page.size - brain, 0.02 * page.size) * (brain > 0)
    page.fill("gray matter", page.shape_from_distance(brain), "Brain", 0.02)
    inner = np.clip(smooth_noise(page.rng, page.size, page.size, page.size / 16), -1.1, 1.1)
    page.fill(
        "white matter", page.shape_from_distance(brain - (0.035 + 0.028 * inner) * page.size), "Brain", 0.015, edge=4
    )
    page.picture += (page.tones["fluid"] - page.picture) * sulci
    page.fill("fluid", page.shape_from_distance(np.minimum(brain, (0.0045 - np.abs(page.x)) * page.size)), "Brain")
    swell = page.rng.uniform(0.8, 1.3)
    for sign in (-1, 1):
        page.oval("gray matter", 0.105 * sign, 0.03, 0.045, 0.075, 0.3 * sign, name="Brain")
        for cy, angle, length in ((-0.085, 0.45, 0.070), (0.085, -0.45, 0.085)):
            page.oval("fluid", 0.042 * sign, cy, 0.021 * swell, length, -angle * sign, name="Brain")
    if scene.lesion is None:
        return
    cx, cy, radius = _place_lesion(page, scene.lesion, 0.145, -0.175, 0.165)
    radius *= 1.15
    tone = page.tones["tumor"]
    around = page.shape(cx, cy, radius * 1.6, radius * 1.6, wave=0.15)
    under = page.picture[around.rows, around.columns]
    under += (
        (tone - under) * 0.75 * soft_mask(around.distance, 0.06 * page.size) * (brain[around.rows, around.columns] > 0)
    )
    if scene.lesion.name == "Brain Edema":
        page.assign_region(scene.lesion.name, around)
        return
    tumor = page.shape(cx, cy, radius, radius, wave=0.10)
    under = page.picture[tumor.rows, tumor.columns]
    under[tumor.distance > 0] = 0.98  # only the rim takes up the contrast agent
    under[tumor.distance > 0.012 * page.size] = 0.18 if tone > 0.5 else 0.55
    page.assign_region(scene.lesion.name, tumor)


def _draw_pelvis(page: _Page, scene: Slice) -> None:
    """Draw a slice of the pelvis."""
    has = scene.organs.__contains__
    _draw_trunk(page, 0.44, 0.29)
    page.fill("fat", page.shape(0, -0.03, 0.18, 0.19, wave=0.06))
    for sign in (-1, 1):
        page.oval("muscle", 0.25 * sign, 0.16, 0.11, 0.075, 0.3 * sign, texture=0.03)
        page.oval("fat", 0.30 * sign, -0.16, 0.08, 0.05)
        page.oval("muscle", 0.25 * sign, -0.10, 0.075, 0.06, texture=0.02)
        page.oval("bone", 0.185 * sign, 0.045, 0.028, 0.095, 0.2 * sign)
        page.oval("muscle", 0.245 * sign, 0.035, 0.078, 0.078, wave=0)
        page.oval("bone", 0.250 * sign, 0.035, 0.063, 0.063, wave=0.01, name="Femoral Head")
        page.oval("bone", 0.355 * sign, 0.055, 0.035, 0.045, 0.4 * sign)
    page.oval("bone", 0, 0.215, 0.055, 0.022, name="Sacrum")
    if has("Small Bowel"):
        for _ in range(7 if has("Bladder") else 13):
            cx, cy = page.rng.uniform(-0.13, 0.13), page.rng.uniform(-0.19, -0.12 if has("Bladder") else 0.04)
            page.oval("bowel", cx, cy, 0.048, 0.026, page.rng.uniform(0, 3), name="Small Bowel", texture=0.02)
    if has("Bladder"):
        page.oval("muscle", 0, -0.045, 0.118, 0.092, name="Bladder", jitter=0.12)
        page.oval("fluid", 0, -0.045, 0.102, 0.077, name="Bladder", jitter=0.04)
    if has("Rectum"):
        page.oval("bowel", 0, 0.125, 0.045, 0.042, name="Rectum")
        page.oval("air", 0, 0.118, 0.026, 0.020, name="Rectum", wave=0.05)
    if scene.lesion is not None:
        cx, cy, radius = _place_lesion(page, scene.lesion, 0.06, -0.075, -0.015)
        page.fill("mass", page.shape(cx, cy, radius * 0.8, radius * 0.8, wave=0.12), scene.lesion.name, 0.015)


def _draw_neck(page: _Page, scene: Slice) -> None:
    """Draw a slice of the neck."""
    page.fill("fat", page.shape(0, 0, 0.225, 0.235, wave=0.02))
    page.fill("muscle", page.shape(0, 0.01, 0.20, 0.205, wave=0.02), texture=0.03)
    for sign in (-1, 1):
        page.fill("fat", page.shape(0.115 * sign, 0.02, 0.05, 0.10, 0.3 * sign, wave=0.08))
        page.oval("muscle", 0.145 * sign, -0.045, 0.032, 0.070, -0.4 * sign, texture=0.02)
        page.oval("vessel", 0.095 * sign, -0.035, 0.020, 0.020, wave=0)
        page.oval("vessel", 0.125 * sign, 0.000, 0.026, 0.020, wave=0)
    _draw_spine(page, 0.045)
    if "Thyroid" in scene.organs:
        for sign in (-1, 1):
            page.oval("thyroid", 0.058 * sign, -0.085, 0.034, 0.058, -0.25 * sign, name="Thyroid", wave=0.05)
        page.oval("thyroid", 0, -0.118, 0.04, 0.012, name="Thyroid", wave=0)
    if "Esophagus" in scene.organs:
        page.oval("bowel", 0.022, -0.028, 0.022, 0.015, name="Esophagus")
    page.oval("air", 0, -0.080, 0.033, 0.037, wave=0, name="Trachea")
    if scene.lesion is not None:
        cx, cy, radius = _place_lesion(page, scene.lesion, 0.070, -0.105, -0.065)
        page.fill("tumor", page.shape(cx, cy, radius * 0.75, radius * 0.75, wave=0.08), scene.lesion.name)
