"""Defines the page that a synthetic CT or MR slice is drawn on, and the body parts that several regions share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from hub_datasets.synthetic.drawings.canvas import (
    paint_mask,
    pixel_grid,
    random_waves,
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


class Shape(NamedTuple):
    """The signed distance to a shape in pixels, positive inside, for the part of the picture that it can cover."""

    rows: slice
    columns: slice
    distance: np.ndarray


class Page:
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

    def shape(self, cx: float, cy: float, rx: float, ry: float, angle: float = 0.0, wave: float = 0.03) -> Shape:
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
        return Shape(rows, columns, distance * np.float32(self.size * self.scale))

    def shape_from_distance(self, distance: np.ndarray) -> Shape:
        """Return the shape of a signed distance that covers the whole picture."""
        return Shape(slice(0, self.size), slice(0, self.size), distance)

    def fill(self, tissue: str, shape: Shape, name: str = "", texture: float = 0.0, edge: float = 1.5) -> None:
        """Draw a shape of a tissue over the picture; its pixels are removed from their previous regions."""
        rows, columns, distance = shape
        mask = soft_mask(distance, edge)
        tone = self.tones[tissue] * self.rng.uniform(0.95, 1.05)
        if texture:
            tone = tone + texture * smooth_noise(self.rng, *distance.shape, self.size / 40)
        self.picture[rows, columns] += (tone - self.picture[rows, columns]) * mask
        self.assign_region(name, shape)

    def assign_region(self, name: str, shape: Shape) -> None:
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


def draw_table(rng, size: int) -> np.ndarray:
    """Return the scanner table, two thin bright arcs below the patient."""
    y0 = rng.uniform(0.86, 0.90) * size

    def paint(draw) -> None:
        for drop, gray in ((0, 255), (0.045, 190)):
            box = (0.12 * size, y0 - (0.18 - drop) * size, 0.88 * size, y0 + drop * size)
            draw.arc(box, 30, 150, fill=gray, width=max(1, size // 110))

    return 0.85 * paint_mask(size, size, paint, 0.5)


def draw_trunk(page: Page, rx: float, ry: float) -> None:
    """Draw the fat and the muscle of the trunk."""
    page.fill("fat", page.shape(0, 0, rx, ry, wave=0.015))
    page.fill("muscle", page.shape(0, 0, 0.93 * rx, 0.90 * ry, wave=0.015), texture=0.02)
    for sign in (-1, 1):
        page.fill("fat", page.shape(0.02 * sign, 0.80 * ry, 0.02, 0.10 * ry, wave=0))


def draw_spine(page: Page, y: float) -> None:
    """Draw a vertebra with its arch around the spinal cord."""
    page.oval("bone", 0, y, 0.060, 0.048, wave=0.02)
    page.oval("bone", 0, y + 0.065, 0.040, 0.035, wave=0.02)
    page.oval("bone", 0, y + 0.11, 0.012, 0.040, wave=0)
    for sign in (-1, 1):
        page.oval("bone", 0.06 * sign, y + 0.06, 0.045, 0.013, 0.4 * sign, wave=0)
    page.oval("cord", 0, y + 0.058, 0.022, 0.018, wave=0, name="Spinal Cord")


def draw_ribs(page: Page, rx: float, ry: float, gap: float) -> None:
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


def place_lesion(page: Page, lesion: Lesion, x: float, front: float, back: float) -> tuple[float, float, float]:
    """Return center x, center y and radius of a lesion at +-x; the patient's left is on the right of the image."""
    cx = (x if lesion.side == "Left" else -x) + page.rng.uniform(-0.015, 0.015)
    cy = (front if lesion.end == "upper" else back) + page.rng.uniform(-0.012, 0.012)
    return cx, cy, LESION_RADIUS[lesion.extent] * page.rng.uniform(0.93, 1.07)
