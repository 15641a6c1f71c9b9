"""Draws a close-up photograph of a skin lesion from what a row of clinical data says about it.

Everything that such a row can say of the surface is visible: the diagnosis as colour, border and texture, the diameters
as the drawn size, the skin tone, the body region as its surroundings, elevation as light and shadow, bleeding,
scratching, a sore halo, growth as a paler rim, change as a second colour, a surgeon's pen marks before a biopsy, age as
wrinkles and sun spots, and body hair.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from PIL import Image

from hub_datasets.phantoms.canvas import (
    blob,
    clouds,
    ellipse,
    grain,
    grid,
    painted,
    random_waves,
    soft,
    to_image,
)

FIELD_MM = 32.0  # width of the photographed skin

# RGB, 0 to 1, by Fitzpatrick type 1 to 6.
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
    """What is to be seen.

    Attributes:
        diagnosis: ACK, BCC, MEL, NEV, SCC or SEK.
        length_mm, width_mm: the two diameters, in millimetres; 2 to 28.
        tone: Fitzpatrick skin type, 1 to 6.
        region: one of the collection's region values, such as FOREARM.
        shape_seed: the lesion's own form: two photographs of one lesion share it.
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

    `lesion.shape_seed` decides the lesion, `rng` the photograph: position, turn, light and noise.
    """
    form = np.random.default_rng(lesion.shape_seed)
    x, y = grid(size, size)
    light = float(rng.uniform(0, 2 * np.pi))
    picture = _skin(rng, lesion, size, x, y)
    picture = _region(rng, lesion.region, picture, x, y)

    cx, cy = size * (0.5 + rng.uniform(-0.1, 0.1, 2))
    turn = float(form.uniform(0, np.pi) + rng.uniform(-0.25, 0.25))
    rx, ry = (d / 2 / FIELD_MM * size for d in (lesion.length_mm, lesion.width_mm))
    rough = {"MEL": 0.20, "ACK": 0.16, "SCC": 0.10, "BCC": 0.06, "SEK": 0.04, "NEV": 0.02}[lesion.diagnosis]
    waves = random_waves(form, 7 if rough > 0.1 else 4, rough)
    distance = blob(x, y, cx, cy, rx, ry, waves, turn)
    radius = float(np.sqrt(rx * ry))

    if lesion.sore:  # a red halo around the lesion
        halo = np.exp(-np.square(np.clip(-distance, 0, None) / (0.10 * size)))
        picture = _tint(picture, (0.85, 0.30, 0.28), 0.55 * halo)
    if lesion.grown:  # the new rim is paler than the old lesion within it
        picture = _tint(picture, (0.78, 0.50, 0.42), 0.55 * soft(distance + 0.035 * size, 2))
    if lesion.elevated:  # a shadow falls on the skin, away from the light
        fallen = blob(x - 0.035 * size * np.cos(light), y - 0.035 * size * np.sin(light), cx, cy, rx, ry, waves, turn)
        picture = picture * (1 - 0.45 * soft(fallen, 0.04 * size))[..., None]
    picture = PAINTERS[lesion.diagnosis](form, picture, distance, radius, size)
    if lesion.changed:  # half of the lesion has another colour
        half = soft((x - cx) * np.cos(turn + 0.6) + (y - cy) * np.sin(turn + 0.6), 0.3 * radius)
        picture = _tint(picture, (0.20, 0.13, 0.22), 0.55 * half * soft(distance, 2))
    if lesion.elevated:
        picture = _domed(picture, distance, radius, light, x, y, cx, cy)
    if lesion.bleeding:
        picture = _bleeding(form, picture, x, y, cx, cy, radius)
    if lesion.biopsied:
        picture = _pen_marks(rng, picture, cx, cy, min(0.45 * size, max(rx, ry) + 0.13 * size))
    if lesion.scratched:
        picture = _scratches(rng, picture, cx, cy, size)
    picture = _hairs(rng, picture, size, lesion)

    shade = 1 + rng.uniform(0.05, 0.16) * ((x / size - 0.5) * np.cos(light) + (y / size - 0.5) * np.sin(light)) * -2
    picture = (
        picture * shade[..., None] * rng.uniform(0.92, 1.06) * (1 + rng.uniform(-0.02, 0.02, 3)).astype(np.float32)
    )
    return to_image(picture + grain(rng, size, size, 0.006)[..., None])


def _tint(picture: np.ndarray, colour: tuple[float, float, float] | np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Mix a colour into the picture where the mask is."""
    mask = np.clip(mask, 0, 1)[..., None]
    return picture * (1 - mask) + np.asarray(colour, dtype=np.float32) * mask


def _skin(rng, lesion, size, x, y) -> np.ndarray:
    base = np.asarray(TONES[lesion.tone - 1], dtype=np.float32) + rng.uniform(-0.015, 0.015, 3).astype(np.float32)
    mottled = 0.018 * clouds(rng, size, size, size / 6) + 0.012 * clouds(rng, size, size, 4)
    redness = 0.02 * clouds(rng, size, size, size / 4)
    picture = base * (1 + mottled[..., None]) + redness[..., None] * np.array([0.5, -0.3, -0.3], dtype=np.float32)
    if lesion.age >= 40:  # wrinkles: dark lines, nearly parallel, more of them with age
        angle = rng.uniform(0, np.pi)
        across = x * np.cos(angle) + y * np.sin(angle) + 0.02 * size * clouds(rng, size, size, size / 4)
        lines = np.clip(np.cos(across * 2 * np.pi * (lesion.age / 9) / size), 0.8, 1) - 0.8
        picture = picture * (1 - (lesion.age - 30) / 130 * lines)[..., None]
    if lesion.age >= 60:  # sun spots
        for _ in range(int(rng.integers(3, 8))):
            cx, cy, r = *rng.uniform(0, size, 2), rng.uniform(0.008, 0.022) * size
            picture = _tint(
                picture, (0.52, 0.34, 0.22), 0.4 * ellipse(x, y, cx, cy, r, r * rng.uniform(0.7, 1.3), 0, 2.5)
            )
    return picture


def _region(rng, region, picture, x, y) -> np.ndarray:
    """Show where on the body this is by what surrounds the lesion."""
    size = picture.shape[0]
    turn = rng.uniform(-0.12, 0.12)
    along = (x + turn * y) / size
    down = (y + turn * x) / size
    if region in LIMBS:  # the limb's edge, with the room's dark behind it
        edge = {"ARM": 0.90, "FOREARM": 0.84, "HAND": 0.86, "THIGH": 0.94, "FOOT": 0.82}[region]
        across = down if region in ("HAND", "FOOT") else along
        picture = picture * (1 - 0.35 * np.clip((across - edge + 0.2) / 0.2, 0, 1) ** 2)[..., None]
        room = (0.10, 0.14, 0.22) if region in ("HAND", "FOOT") else (0.06, 0.06, 0.06)
        return _tint(picture, room, soft((across - edge) * size, 2.5))
    if region == "NOSE":  # a shining ridge
        return picture + 0.17 * np.exp(-np.square((along - 0.22) / 0.07))[..., None]
    if region == "EAR":  # a fold's shadow, in a curve
        return picture * (1 - 0.5 * np.exp(-np.square((np.hypot(along - 1.0, down - 0.5) - 0.72) / 0.03)))[..., None]
    if region == "LIP":
        return _tint(picture, (0.76, 0.36, 0.36), 0.85 * soft((down - 0.66) * size, 6))
    if region == "NECK":  # skin folds
        folds = sum(np.exp(-np.square((down - place) / 0.012)) for place in (0.16, 0.84))
        return picture * (1 - 0.35 * folds)[..., None]
    if region == "ABDOMEN":
        return picture * (1 - 0.4 * np.exp(-np.square(np.hypot(along - 0.06, down - 0.9) / 0.12)))[..., None]
    if region == "CHEST":  # the fall of the light over the chest
        return picture * (1.08 - 0.16 * along)[..., None]
    if region == "FACE":  # pores
        pores = np.clip(clouds(rng, size, size, 3.2) - 1.5, 0, 1)
        return picture * (1 - 0.22 * pores)[..., None]
    return picture  # BACK and SCALP: plain; the scalp shows by its hair


def _depth(picture: np.ndarray) -> float:
    """Return what to multiply a pigment with so that it stands out on dark skin, too: 1 on light skin, down to 0.3."""
    return float(np.clip(np.median(picture) / 0.6, 0.3, 1.0))


def _scaly(form, picture, distance, radius, size) -> np.ndarray:
    """ACK: a red patch with a vague border under white and yellow scales."""
    picture = _tint(picture, (0.80, 0.42, 0.36), 0.55 * soft(distance, max(3.0, 0.5 * radius)))
    flakes = np.clip((clouds(form, size, size, 3.0) - 0.35) * 1.6, 0, 1) * soft(distance + 0.05 * radius, 3)
    return _tint(picture, (0.95, 0.90, 0.74), 0.85 * flakes)


def _pearly(form, picture, distance, radius, size) -> np.ndarray:
    """BCC: a pink, pearly plaque with a rolled bright border, a sunken centre and fine vessels."""
    picture = _tint(picture, (0.88, 0.55, 0.52), 0.75 * soft(distance, 3))
    rim = np.exp(-np.square((distance - 0.18 * radius) / (0.12 * radius + 0.6)))
    picture = _tint(picture, (0.98, 0.86, 0.82), 0.62 * rim)
    picture = _tint(picture, (0.60, 0.24, 0.22), 0.6 * soft(distance - 0.62 * radius, 0.3 * radius))
    height, width = picture.shape[:2]
    vessels = np.clip(1 - np.abs(clouds(form, height, width, max(4.0, radius / 2.2))) / 0.09, 0, 1)
    return _tint(picture, (0.70, 0.08, 0.10), 0.65 * vessels * soft(distance, 2))


def _melanoma(form, picture, distance, radius, size) -> np.ndarray:
    """MEL: dark, irregular, in several colours: brown, black, blue-grey, a little red."""
    picture = _tint(picture, (0.30, 0.17, 0.12), 0.95 * soft(distance, 2))
    inside = soft(distance, 2)
    for colour, offset in (((0.06, 0.05, 0.06), 0.1), ((0.32, 0.36, 0.46), 0.9), ((0.55, 0.20, 0.18), 1.2)):
        patch = np.clip((clouds(form, size, size, max(5.0, radius * 0.9)) - offset) * 2.5, 0, 1)
        picture = _tint(picture, colour, 0.9 * patch * inside)
    return picture


def _nevus(form, picture, distance, radius, size) -> np.ndarray:
    """NEV: round, evenly brown, with a clear border."""
    brown = (np.array([0.46, 0.27, 0.17]) + form.uniform(-0.05, 0.05)) * _depth(picture)
    darker = soft(distance - 0.3 * radius, radius)
    return _tint(_tint(picture, brown, 0.92 * soft(distance, 2)), 0.72 * brown, 0.35 * darker)


def _crusted(form, picture, distance, radius, size) -> np.ndarray:
    """SCC: a red base around a yellow-brown crust with dark, broken parts."""
    picture = _tint(picture, (0.74, 0.26, 0.24), 0.85 * soft(distance, 3))
    crust = soft(distance - 0.34 * radius + 0.12 * radius * clouds(form, size, size, max(3.0, radius / 3)), 2)
    picture = _tint(picture, (0.80, 0.62, 0.30), 0.92 * crust)
    cracks = np.clip((clouds(form, size, size, max(3.0, radius / 4)) - 0.5) * 1.8, 0, 1)
    return _tint(picture, (0.30, 0.14, 0.08), 0.8 * cracks * crust)


def _stuck_on(form, picture, distance, radius, size) -> np.ndarray:
    """SEK: a waxy grey-brown plaque, sharply bordered, with dark plugs and pale dots."""
    picture = _tint(picture, np.array([0.47, 0.38, 0.29]) * _depth(picture), 0.95 * soft(distance, 1.2))
    bumps = clouds(form, size, size, max(3.0, radius / 4))
    picture = picture * (1 + 0.10 * bumps * soft(distance, 2))[..., None]
    dots = clouds(form, size, size, max(2.6, radius / 6))
    inside = soft(distance - 1.5, 2)
    picture = _tint(picture, (0.14, 0.09, 0.06), 0.9 * np.clip((dots - 1.5) * 4, 0, 1) * inside)
    return _tint(picture, (0.86, 0.80, 0.62), 0.8 * np.clip((-dots - 1.7) * 4, 0, 1) * inside)


PAINTERS = {"ACK": _scaly, "BCC": _pearly, "MEL": _melanoma, "NEV": _nevus, "SCC": _crusted, "SEK": _stuck_on}


def _domed(picture, distance, radius, light, x, y, cx, cy) -> np.ndarray:
    """Shade the lesion as a dome: bright towards the light with a small reflection, dark away from it."""
    inside = soft(distance, 3)
    slope = (x - cx) * np.cos(light) + (y - cy) * np.sin(light)
    picture = picture * (1 - 0.30 * np.clip(slope / radius, -1.1, 1.1) * inside)[..., None]
    gx, gy = cx - 0.42 * radius * np.cos(light), cy - 0.42 * radius * np.sin(light)
    return _tint(picture, (1.0, 0.98, 0.95), 0.65 * ellipse(x, y, gx, gy, 0.18 * radius, 0.13 * radius, light, 3))


def _bleeding(form, picture, x, y, cx, cy, radius) -> np.ndarray:
    """Fresh blood on the lesion, and a thread of it running down."""
    size = picture.shape[0]
    run = [(cx + dx * radius, cy + step * size) for step, dx in ((0, 0), (0.09, 0.15), (0.17, 0.08), (0.24, 0.2))]

    def paint(draw) -> None:
        draw.line(run, fill=240, width=max(2, round(0.025 * size)), joint="curve")

    blood = painted(size, size, paint, 0.9)
    for _ in range(3):
        dx, dy = form.normal(0, 0.3, 2) * radius
        spot = max(2.0, form.uniform(0.16, 0.36) * radius)
        blood = np.maximum(blood, soft(blob(x, y, cx + dx, cy + dy, spot, 0.7 * spot, random_waves(form, 6, 0.3)), 2))
    wet = 1 + 0.25 * clouds(form, size, size, max(3.0, radius / 4))
    return _tint(picture, BLOOD, 0.9 * np.clip(blood * wet, 0, 1))


def _pen_marks(rng, picture, cx, cy, radius) -> np.ndarray:
    """The violet marks that a surgeon sets around what is to be cut out: a broken ring."""
    size = picture.shape[0]
    start = rng.uniform(0, 120)

    def paint(draw) -> None:
        box = (cx - radius, cy - radius, cx + radius, cy + radius)
        for arc in range(3):
            draw.arc(box, start + 120 * arc, start + 120 * arc + 62, fill=255, width=max(2, round(size / 70)))

    broken = painted(size, size, paint, 0.8) * np.clip(0.9 + 0.3 * clouds(rng, size, size, 4), 0, 1)
    return _tint(picture, (0.33, 0.16, 0.42), 0.75 * broken)


def _scratches(rng, picture, cx, cy, size) -> np.ndarray:
    """Scratch marks of an itching lesion: parallel thin red lines across it."""
    angle = rng.uniform(-0.5, 0.5) + np.pi / 4
    starts = [(offset * 0.07 * size, rng.uniform(0.26, 0.36) * size) for offset in (-2.6, -1.6, 1.7, 2.7)]

    def paint(draw) -> None:
        for offset, reach in starts:
            ox, oy = cx - offset * np.sin(angle), cy + offset * np.cos(angle)
            dx, dy = reach * np.cos(angle), reach * np.sin(angle)
            draw.line((ox - dx, oy - dy, ox + dx, oy + dy), fill=255, width=max(1, round(size / 110)))

    return _tint(picture, (0.72, 0.22, 0.20), 0.75 * painted(size, size, paint, 0.6))


def _hairs(rng, picture, size, lesion) -> np.ndarray:
    """Thin curved hairs; the scalp is full of them."""
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

    return _tint(picture, (0.16, 0.10, 0.07), 0.62 * painted(size, size, paint, 0.35))
