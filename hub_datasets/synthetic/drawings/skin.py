"""Draws a close-up photograph of a skin lesion from a row of clinical data.

All visible properties of such a row are drawn: the diagnosis as color, border and texture; the diameters as size; the
skin tone; the body region as surroundings; elevation as light and shadow; bleeding; scratch marks; a red halo for pain;
a paler rim for growth; a second color for change; pen marks for a biopsy; wrinkles and sun spots for age; body hair.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from PIL import Image

from hub_datasets.synthetic.drawings.canvas import (
    ellipse_mask,
    paint_mask,
    pixel_grid,
    random_waves,
    sensor_noise,
    smooth_noise,
    soft_mask,
    to_image,
    wavy_ellipse_distance,
)

FIELD_MM = 32.0  # side length of the photographed skin in millimeters

# RGB from 0 to 1 of the Fitzpatrick skin types 1 to 6.
TONES = (
    (0.93, 0.78, 0.71),
    (0.87, 0.69, 0.59),
    (0.80, 0.60, 0.47),
    (0.68, 0.48, 0.35),
    (0.50, 0.33, 0.23),
    (0.33, 0.21, 0.15),
)
LIMBS = ("ARM", "FOREARM", "HAND", "THIGH", "FOOT")
WHITE, BLOOD = (0.97, 0.95, 0.90), (0.42, 0.02, 0.03)


@dataclass(frozen=True, slots=True)
class Lesion:
    """The visible properties of a lesion and its surroundings.

    Attributes:
        diagnosis: ACK, BCC, MEL, NEV, SCC or SEK.
        length_mm: the larger diameter, 2 to 28 millimeters.
        width_mm: the smaller diameter.
        tone: Fitzpatrick skin type, 1 to 6.
        region: body region as named in the dataset, for example FOREARM.
        age: the patient's age in years.
        hairy: whether there is body hair.
        elevated: whether the lesion is elevated.
        bleeding: whether the lesion bleeds.
        scratched: whether there are scratch marks, because the lesion itches.
        sore: whether there is a red halo, because the lesion hurts.
        grown: whether the lesion has grown.
        changed: whether the lesion has changed its color.
        biopsied: whether there are a surgeon's pen marks.
        shape_seed: seed of the lesion's shape, equal for photographs of the same lesion.
    """

    diagnosis: str
    length_mm: float
    width_mm: float
    tone: int
    region: str
    age: int
    hairy: bool
    elevated: bool
    bleeding: bool
    scratched: bool
    sore: bool
    grown: bool
    changed: bool
    biopsied: bool
    shape_seed: int


def draw_lesion(rng: np.random.Generator, lesion: Lesion, size: int) -> Image.Image:
    """Draw one photograph of the lesion: mode RGB, `size` x `size` pixels that show 32 x 32 mm of skin.

    `lesion.shape_seed` determines the lesion; `rng` determines position, rotation, light and noise of the photograph.
    """
    lesion_rng = np.random.default_rng(lesion.shape_seed)
    x, y = pixel_grid(size, size)
    light = float(rng.uniform(0, 2 * np.pi))
    picture = _draw_skin(rng, lesion, size, x, y)
    picture = _draw_region(rng, lesion.region, picture, x, y)

    cx, cy = size * (0.5 + rng.uniform(-0.1, 0.1, 2))
    turn = float(lesion_rng.uniform(0, np.pi) + rng.uniform(-0.25, 0.25))
    rx, ry = (d / 2 / FIELD_MM * size for d in (lesion.length_mm, lesion.width_mm))
    rough = {"MEL": 0.20, "ACK": 0.16, "SCC": 0.10, "BCC": 0.06, "SEK": 0.04, "NEV": 0.02}[lesion.diagnosis]
    waves = random_waves(lesion_rng, 7 if rough > 0.1 else 4, rough)
    distance = wavy_ellipse_distance(x, y, cx, cy, rx, ry, waves, turn)
    radius = float(np.sqrt(rx * ry))

    if lesion.sore:
        halo = np.exp(-np.square(np.clip(-distance, 0, None) / (0.10 * size)))
        picture = _mix_color(picture, (0.85, 0.30, 0.28), 0.55 * halo)
    if lesion.grown:  # the new rim is paler than the old lesion inside it
        picture = _mix_color(picture, (0.78, 0.50, 0.42), 0.55 * soft_mask(distance + 0.035 * size, 2))
    if lesion.elevated:  # a shadow falls on the skin, away from the light
        shadow = wavy_ellipse_distance(
            x - 0.035 * size * np.cos(light), y - 0.035 * size * np.sin(light), cx, cy, rx, ry, waves, turn
        )
        picture = picture * (1 - 0.45 * soft_mask(shadow, 0.04 * size))[..., None]
    picture = PAINTERS[lesion.diagnosis](lesion_rng, picture, distance, radius, size)
    if lesion.changed:  # half of the lesion has a different color
        half = soft_mask((x - cx) * np.cos(turn + 0.6) + (y - cy) * np.sin(turn + 0.6), 0.3 * radius)
        picture = _mix_color(picture, (0.20, 0.13, 0.22), 0.55 * half * soft_mask(distance, 2))
    if lesion.elevated:
        picture = _shade_dome(picture, distance, radius, light, x, y, cx, cy)
    if lesion.bleeding:
        picture = _draw_blood(lesion_rng, picture, x, y, cx, cy, radius)
    if lesion.biopsied:
        picture = _draw_pen_marks(rng, picture, cx, cy, min(0.45 * size, max(rx, ry) + 0.13 * size))
    if lesion.scratched:
        picture = _draw_scratches(rng, picture, cx, cy, size)
    picture = _draw_hairs(rng, picture, size, lesion)

    shade = 1 + rng.uniform(0.05, 0.16) * ((x / size - 0.5) * np.cos(light) + (y / size - 0.5) * np.sin(light)) * -2
    picture = (
        picture * shade[..., None] * rng.uniform(0.92, 1.06) * (1 + rng.uniform(-0.02, 0.02, 3)).astype(np.float32)
    )
    return to_image(picture + sensor_noise(rng, size, size, 0.006)[..., None])


def _mix_color(picture: np.ndarray, color: tuple[float, float, float] | np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Blend a color into the picture with the mask as opacity."""
    mask = np.clip(mask, 0, 1)[..., None]
    return picture * (1 - mask) + np.asarray(color, dtype=np.float32) * mask


def _draw_skin(rng, lesion, size, x, y) -> np.ndarray:
    """Draw skin of the lesion's tone and the patient's age, without the lesion."""
    base = np.asarray(TONES[lesion.tone - 1], dtype=np.float32) + rng.uniform(-0.015, 0.015, 3).astype(np.float32)
    mottled = 0.018 * smooth_noise(rng, size, size, size / 6) + 0.012 * smooth_noise(rng, size, size, 4)
    redness = 0.02 * smooth_noise(rng, size, size, size / 4)
    picture = base * (1 + mottled[..., None]) + redness[..., None] * np.array([0.5, -0.3, -0.3], dtype=np.float32)
    if lesion.age >= 40:  # wrinkles: nearly parallel dark lines, more of them with age
        angle = rng.uniform(0, np.pi)
        across = x * np.cos(angle) + y * np.sin(angle) + 0.02 * size * smooth_noise(rng, size, size, size / 4)
        lines = np.clip(np.cos(across * 2 * np.pi * (lesion.age / 9) / size), 0.8, 1) - 0.8
        picture = picture * (1 - (lesion.age - 30) / 130 * lines)[..., None]
    if lesion.age >= 60:  # sun spots
        for _ in range(int(rng.integers(3, 8))):
            cx, cy, r = *rng.uniform(0, size, 2), rng.uniform(0.008, 0.022) * size
            picture = _mix_color(
                picture, (0.52, 0.34, 0.22), 0.4 * ellipse_mask(x, y, cx, cy, r, r * rng.uniform(0.7, 1.3), 0, 2.5)
            )
    return picture


def _draw_region(rng, region, picture, x, y) -> np.ndarray:
    """Draw the surroundings that identify the body region."""
    size = picture.shape[0]
    turn = rng.uniform(-0.12, 0.12)
    along = (x + turn * y) / size
    down = (y + turn * x) / size
    if region in LIMBS:  # the edge of the limb in front of a dark room
        edge = {"ARM": 0.90, "FOREARM": 0.84, "HAND": 0.86, "THIGH": 0.94, "FOOT": 0.82}[region]
        across = down if region in ("HAND", "FOOT") else along
        picture = picture * (1 - 0.35 * np.clip((across - edge + 0.2) / 0.2, 0, 1) ** 2)[..., None]
        room = (0.10, 0.14, 0.22) if region in ("HAND", "FOOT") else (0.06, 0.06, 0.06)
        return _mix_color(picture, room, soft_mask((across - edge) * size, 2.5))
    if region == "NOSE":  # a shiny ridge
        return picture + 0.17 * np.exp(-np.square((along - 0.22) / 0.07))[..., None]
    if region == "EAR":  # the curved shadow of a fold
        return picture * (1 - 0.5 * np.exp(-np.square((np.hypot(along - 1.0, down - 0.5) - 0.72) / 0.03)))[..., None]
    if region == "LIP":
        return _mix_color(picture, (0.76, 0.36, 0.36), 0.85 * soft_mask((down - 0.66) * size, 6))
    if region == "NECK":  # skin folds
        folds = sum(np.exp(-np.square((down - place) / 0.012)) for place in (0.16, 0.84))
        return picture * (1 - 0.35 * folds)[..., None]
    if region == "ABDOMEN":
        return picture * (1 - 0.4 * np.exp(-np.square(np.hypot(along - 0.06, down - 0.9) / 0.12)))[..., None]
    if region == "CHEST":  # light that decreases across the chest
        return picture * (1.08 - 0.16 * along)[..., None]
    if region == "FACE":  # pores
        pores = np.clip(smooth_noise(rng, size, size, 3.2) - 1.5, 0, 1)
        return picture * (1 - 0.22 * pores)[..., None]
    return picture  # BACK is plain, and SCALP is recognized by its hair


def _pigment_factor(picture: np.ndarray) -> float:
    """Return the factor that keeps a pigment visible on dark skin, from 1 on light skin down to 0.3."""
    return float(np.clip(np.median(picture) / 0.6, 0.3, 1.0))


def _paint_ack(lesion_rng, picture, distance, radius, size) -> np.ndarray:
    """Draw actinic keratosis: a red patch with a blurred border under white and yellow scales."""
    picture = _mix_color(picture, (0.80, 0.42, 0.36), 0.55 * soft_mask(distance, max(3.0, 0.5 * radius)))
    flakes = np.clip((smooth_noise(lesion_rng, size, size, 3.0) - 0.35) * 1.6, 0, 1) * soft_mask(
        distance + 0.05 * radius, 3
    )
    return _mix_color(picture, (0.95, 0.90, 0.74), 0.85 * flakes)


def _paint_bcc(lesion_rng, picture, distance, radius, size) -> np.ndarray:
    """Draw basal cell carcinoma: a pink, pearly plaque with a rolled border, a sunken center and fine vessels."""
    picture = _mix_color(picture, (0.88, 0.55, 0.52), 0.75 * soft_mask(distance, 3))
    rim = np.exp(-np.square((distance - 0.18 * radius) / (0.12 * radius + 0.6)))
    picture = _mix_color(picture, (0.98, 0.86, 0.82), 0.62 * rim)
    picture = _mix_color(picture, (0.60, 0.24, 0.22), 0.6 * soft_mask(distance - 0.62 * radius, 0.3 * radius))
    height, width = picture.shape[:2]
    vessels = np.clip(1 - np.abs(smooth_noise(lesion_rng, height, width, max(4.0, radius / 2.2))) / 0.09, 0, 1)
    return _mix_color(picture, (0.70, 0.08, 0.10), 0.65 * vessels * soft_mask(distance, 2))


def _paint_mel(lesion_rng, picture, distance, radius, size) -> np.ndarray:
    """Draw melanoma: dark and irregular, in brown, black, blue-gray and a little red."""
    picture = _mix_color(picture, (0.30, 0.17, 0.12), 0.95 * soft_mask(distance, 2))
    inside = soft_mask(distance, 2)
    for color, offset in (((0.06, 0.05, 0.06), 0.1), ((0.32, 0.36, 0.46), 0.9), ((0.55, 0.20, 0.18), 1.2)):
        patch = np.clip((smooth_noise(lesion_rng, size, size, max(5.0, radius * 0.9)) - offset) * 2.5, 0, 1)
        picture = _mix_color(picture, color, 0.9 * patch * inside)
    return picture


def _paint_nev(lesion_rng, picture, distance, radius, size) -> np.ndarray:
    """Draw a nevus: round and evenly brown with a clear border."""
    brown = (np.array([0.46, 0.27, 0.17]) + lesion_rng.uniform(-0.05, 0.05)) * _pigment_factor(picture)
    darker = soft_mask(distance - 0.3 * radius, radius)
    return _mix_color(_mix_color(picture, brown, 0.92 * soft_mask(distance, 2)), 0.72 * brown, 0.35 * darker)


def _paint_scc(lesion_rng, picture, distance, radius, size) -> np.ndarray:
    """Draw squamous cell carcinoma: a red base around a yellow-brown crust with dark cracks."""
    picture = _mix_color(picture, (0.74, 0.26, 0.24), 0.85 * soft_mask(distance, 3))
    crust = soft_mask(
        distance - 0.34 * radius + 0.12 * radius * smooth_noise(lesion_rng, size, size, max(3.0, radius / 3)), 2
    )
    picture = _mix_color(picture, (0.80, 0.62, 0.30), 0.92 * crust)
    cracks = np.clip((smooth_noise(lesion_rng, size, size, max(3.0, radius / 4)) - 0.5) * 1.8, 0, 1)
    return _mix_color(picture, (0.30, 0.14, 0.08), 0.8 * cracks * crust)


def _paint_sek(lesion_rng, picture, distance, radius, size) -> np.ndarray:
    """Draw seborrheic keratosis: a waxy gray-brown plaque with a sharp border, dark plugs and pale dots."""
    picture = _mix_color(
        picture, np.array([0.47, 0.38, 0.29]) * _pigment_factor(picture), 0.95 * soft_mask(distance, 1.2)
    )
    bumps = smooth_noise(lesion_rng, size, size, max(3.0, radius / 4))
    picture = picture * (1 + 0.10 * bumps * soft_mask(distance, 2))[..., None]
    dots = smooth_noise(lesion_rng, size, size, max(2.6, radius / 6))
    inside = soft_mask(distance - 1.5, 2)
    picture = _mix_color(picture, (0.14, 0.09, 0.06), 0.9 * np.clip((dots - 1.5) * 4, 0, 1) * inside)
    return _mix_color(picture, (0.86, 0.80, 0.62), 0.8 * np.clip((-dots - 1.7) * 4, 0, 1) * inside)


PAINTERS = {
    "ACK": _paint_ack,
    "BCC": _paint_bcc,
    "MEL": _paint_mel,
    "NEV": _paint_nev,
    "SCC": _paint_scc,
    "SEK": _paint_sek,
}


def _shade_dome(picture, distance, radius, light, x, y, cx, cy) -> np.ndarray:
    """Shade the lesion like a dome: bright towards the light, with a small reflection, and dark on the other side."""
    inside = soft_mask(distance, 3)
    slope = (x - cx) * np.cos(light) + (y - cy) * np.sin(light)
    picture = picture * (1 - 0.30 * np.clip(slope / radius, -1.1, 1.1) * inside)[..., None]
    gx, gy = cx - 0.42 * radius * np.cos(light), cy - 0.42 * radius * np.sin(light)
    return _mix_color(
        picture, (1.0, 0.98, 0.95), 0.65 * ellipse_mask(x, y, gx, gy, 0.18 * radius, 0.13 * radius, light, 3)
    )


def _draw_blood(lesion_rng, picture, x, y, cx, cy, radius) -> np.ndarray:
    """Draw fresh blood on the lesion, with a thin line that runs down."""
    size = picture.shape[0]
    run = [(cx + dx * radius, cy + step * size) for step, dx in ((0, 0), (0.09, 0.15), (0.17, 0.08), (0.24, 0.2))]

    def paint(draw) -> None:
        draw.line(run, fill=240, width=max(2, round(0.025 * size)), joint="curve")

    blood = paint_mask(size, size, paint, 0.9)
    for _ in range(3):
        dx, dy = lesion_rng.normal(0, 0.3, 2) * radius
        spot = max(2.0, lesion_rng.uniform(0.16, 0.36) * radius)
        blood = np.maximum(
            blood,
            soft_mask(
                wavy_ellipse_distance(x, y, cx + dx, cy + dy, spot, 0.7 * spot, random_waves(lesion_rng, 6, 0.3)), 2
            ),
        )
    wet = 1 + 0.25 * smooth_noise(lesion_rng, size, size, max(3.0, radius / 4))
    return _mix_color(picture, BLOOD, 0.9 * np.clip(blood * wet, 0, 1))


def _draw_pen_marks(rng, picture, cx, cy, radius) -> np.ndarray:
    """Draw the violet pen marks of a surgeon around the lesion, an interrupted ring."""
    size = picture.shape[0]
    start = rng.uniform(0, 120)

    def paint(draw) -> None:
        box = (cx - radius, cy - radius, cx + radius, cy + radius)
        for arc in range(3):
            draw.arc(box, start + 120 * arc, start + 120 * arc + 62, fill=255, width=max(2, round(size / 70)))

    broken = paint_mask(size, size, paint, 0.8) * np.clip(0.9 + 0.3 * smooth_noise(rng, size, size, 4), 0, 1)
    return _mix_color(picture, (0.33, 0.16, 0.42), 0.75 * broken)


def _draw_scratches(rng, picture, cx, cy, size) -> np.ndarray:
    """Draw the scratch marks of an itching lesion, thin parallel red lines."""
    angle = rng.uniform(-0.5, 0.5) + np.pi / 4
    starts = [(offset * 0.07 * size, rng.uniform(0.26, 0.36) * size) for offset in (-2.6, -1.6, 1.7, 2.7)]

    def paint(draw) -> None:
        for offset, reach in starts:
            ox, oy = cx - offset * np.sin(angle), cy + offset * np.cos(angle)
            dx, dy = reach * np.cos(angle), reach * np.sin(angle)
            draw.line((ox - dx, oy - dy, ox + dx, oy + dy), fill=255, width=max(1, round(size / 110)))

    return _mix_color(picture, (0.72, 0.22, 0.20), 0.75 * paint_mask(size, size, paint, 0.6))


def _draw_hairs(rng, picture, size, lesion) -> np.ndarray:
    """Draw thin curved hairs, most of them on the scalp."""
    count = 95 if lesion.region == "SCALP" else (26 if lesion.hairy else 4)
    lean = rng.uniform(0, np.pi)
    strokes = []
    for _ in range(count):
        start = rng.uniform(0, size, 2)
        angle, reach = lean + rng.normal(0, 0.3), rng.uniform(0.08, 0.22) * size
        bend = rng.normal(0, 0.25)
        middle = start + reach / 2 * np.array([np.cos(angle), np.sin(angle)])
        strokes.append(
            [*start, *middle, *(middle + reach / 2 * np.array([np.cos(angle + bend), np.sin(angle + bend)]))]
        )

    def paint(draw) -> None:
        for stroke in strokes:
            draw.line([float(v) for v in stroke], fill=255, width=1)

    return _mix_color(picture, (0.16, 0.10, 0.07), 0.62 * paint_mask(size, size, paint, 0.35))
