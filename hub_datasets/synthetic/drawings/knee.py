"""Draws the strip of a knee radiograph for a Kellgren-Lawrence grade.

As in the grading itself, a higher grade has a narrower joint space (the medial side first), larger osteophytes at the
margins, and denser bone below the joint surfaces.
"""

from __future__ import annotations

import numpy as np
from PIL import Image

from hub_datasets.synthetic.drawings.canvas import (
    ellipse_mask,
    pixel_grid,
    sensor_noise,
    smooth_noise,
    soft_mask,
    to_image,
)

HEIGHT, WIDTH = 162, 300  # pixels of one knee; a strip of both knees is twice as wide

# For the grades 0 to 4, in pixels of a strip of height 162.
MEDIAL_GAP = (15.0, 12.0, 8.5, 4.5, 1.0)
LATERAL_GAP = (16.0, 14.0, 11.5, 9.0, 6.0)
OSTEOPHYTE = (0.0, 2.5, 6.0, 10.0, 15.0)
SCLEROSIS = (0.05, 0.09, 0.16, 0.25, 0.36)  # added brightness


def draw_knee(rng: np.random.Generator, grade: int, *, fibula_left: bool, height: int = HEIGHT) -> Image.Image:
    """Draw one knee from the front.

    Args:
        grade: Kellgren-Lawrence grade, 0 to 4.
        fibula_left: whether the fibula is on the left of the image, which is so for a right knee: the fibula is on the
            lateral side, and a radiograph shows the patient's right on the left.
        height: 161 or 162 pixels, as in the dataset.

    Returns:
        Image of mode L, 300 x `height` pixels.
    """
    x, y = pixel_grid(height, WIDTH)
    half = rng.uniform(80, 98)  # half the width of the condyles
    cx, cy = WIDTH / 2 + rng.uniform(-20, 20), height / 2 + rng.uniform(-10, 12)
    tilt = rng.uniform(-0.07, 0.07)
    # u is the position across the joint from -1 (lateral) to 1 (medial); v is the distance below its middle in pixels.
    u = ((x - cx) * np.cos(tilt) + (y - cy) * np.sin(tilt)) / half
    v = (y - cy) * np.cos(tilt) - (x - cx) * np.sin(tilt)
    if not fibula_left:
        u = -u

    lateral_gap = LATERAL_GAP[grade] * rng.uniform(0.92, 1.08)
    medial_gap = MEDIAL_GAP[grade] * rng.uniform(0.92, 1.08)
    gap = lateral_gap + (medial_gap - lateral_gap) * soft_mask(u, 0.4)
    spur = OSTEOPHYTE[grade] * rng.uniform(0.85, 1.15)

    femur = _femur_distance(u, v, gap, half, spur, rng)
    tibia = _tibia_distance(u, v, gap, half, spur, rng)
    fibula = _fibula_distance(u, v, half, height)

    tissue = soft_mask((rng.uniform(1.28, 1.42) - np.abs(u + 0.03) + 0.0012 * v) * half, 22)
    picture = 0.07 + 0.27 * tissue
    bone_texture = 0.02 * smooth_noise(rng, height, WIDTH, 2.5, 9) + 0.015 * smooth_noise(rng, height, WIDTH, 18)
    for distance, density in ((fibula, 0.13), (femur, 0.27), (tibia, 0.25)):
        inside = soft_mask(distance, 1.6)
        cortex = np.exp(-np.square((distance - 1.5) / 1.6)) * (distance > -1.5)
        picture = picture + inside * (density + bone_texture) + 0.10 * cortex
    patella = ellipse_mask(
        u * half, v, rng.uniform(-8, 8), -0.62 * half + rng.uniform(-6, 6), 0.44 * half, 0.42 * half, 0, 9
    )
    picture = picture + 0.055 * patella

    # Sclerosis: a dense band below both joint surfaces, strongest on the medial side.
    band = 3.5 + 1.5 * grade
    side = 0.55 + 0.45 * soft_mask(u, 0.4)
    side = side * soft_mask((np.abs(u) - 0.16) * half, 10) * soft_mask((1.06 - np.abs(u)) * half, 16)
    for distance in (femur, tibia):
        near = np.exp(-np.square(np.clip(distance, 0, None) / band))
        near = near * soft_mask(distance) * soft_mask(30 - np.abs(v), 22)
        picture = picture + SCLEROSIS[grade] * side * near

    picture = _vary_exposure(rng, picture, x, y)
    return to_image(picture + sensor_noise(rng, height, WIDTH, 0.008))


def draw_both_knees(rng: np.random.Generator, grade: int) -> Image.Image:
    """Draw both knees side by side, the patient's right knee on the left; mode L, 600 x 162 pixels."""
    strip = Image.new("L", (2 * WIDTH, HEIGHT))
    strip.paste(draw_knee(rng, grade, fibula_left=True), (0, 0))
    strip.paste(draw_knee(rng, grade, fibula_left=False), (WIDTH, 0))
    return strip


def _femur_distance(u, v, gap, half, spur, rng) -> np.ndarray:
    """Return the signed distance in pixels to the femur, a shaft that widens to two round condyles around a notch."""
    notch = rng.uniform(20, 27)
    a = np.abs(u)
    lower = -gap / 2 - 18 * np.square(np.clip((a - 0.52) / 0.48, 0, None))
    lower = lower - 5 * np.clip((0.52 - a) / 0.3, 0, 1) ** 2 - notch * np.exp(-np.square(u / 0.15))
    # The walls are wide at the condyles and narrower towards the shaft.
    up = np.clip(-v / half, 0, 2)
    wall = 0.97 - 0.26 * np.square(np.sin(np.clip((up - 0.3) / 0.75, 0, 1) * np.pi / 2))
    margin = spur * np.exp(-np.square((v + 12 + gap / 2) / 6.5))
    return np.minimum(lower - v, (wall - a) * half + margin)


def _tibia_distance(u, v, gap, half, spur, rng) -> np.ndarray:
    """Return the signed distance in pixels to the tibia, with shallow plateaus, two spines and a narrowing shaft."""
    spines = rng.uniform(9, 13)
    a = np.abs(u)
    upper = gap / 2 + 1.5 - 2.5 * np.square((a - 0.5) / 0.5)
    upper = upper - spines * (np.exp(-np.square((u - 0.1) / 0.055)) + 0.85 * np.exp(-np.square((u + 0.09) / 0.055)))
    upper = upper + 30 * np.square(np.clip(a - 0.88, 0, None) / 0.12) * 0.25
    down = np.clip(v / half, 0, 2)
    wall = 0.97 - 0.36 * np.square(np.sin(np.clip((down - 0.16) / 0.85, 0, 1) * np.pi / 2))
    margin = spur * 1.15 * np.exp(-np.square((v - 6 - gap / 2) / 5.5))
    return np.minimum(v - upper, (wall - a) * half + margin)


def _fibula_distance(u, v, half, height) -> np.ndarray:
    """Return the signed distance in pixels to head and shaft of the fibula, below and lateral of the joint."""
    head = (1 - np.hypot((u + 0.90) / 0.17, (v - 0.50 * half) / (0.16 * half))) * 0.16 * half
    shaft = np.minimum((0.10 - np.abs(u + 0.92)) * half, v - 0.5 * half)
    return np.maximum(head, shaft)


def _vary_exposure(rng, picture, x, y) -> np.ndarray:
    """Vary gradient, contrast and brightness, and add the dark borders of a collimator to about half of the images."""
    height, width = picture.shape
    picture = picture + rng.uniform(-0.07, 0.07) * (x / width - 0.5) + rng.uniform(-0.06, 0.06) * (y / height - 0.5)
    picture = picture + 0.03 * smooth_noise(rng, height, width, 75)
    picture = np.clip(picture, 0.01, 1.2) ** rng.uniform(0.8, 1.2) * rng.uniform(0.92, 1.18) + rng.uniform(-0.02, 0.06)
    if rng.random() < 0.5:
        left, right = rng.uniform(0, 22, 2)
        picture = picture * soft_mask(x - left, 3) * soft_mask(width - right - x, 3)
    return picture
