"""Draws an axial CT or MRI slice of chest, abdomen, pelvis, neck or head with given organs and at most one finding.

A slice is viewed from the feet: the LEFT of the image is the patient's RIGHT, and the back is at the bottom. The gray
level of a tissue depends on the modality: bone is white on CT and black on MRI, fluid is white on T2 and black on T1.
Lengths are shares of the image's side length; the origin is the middle of the body, x points right and y down.
"""

from __future__ import annotations

import numpy as np

from hub_datasets.synthetic.drawings.canvas import (
    Drawing,
    sensor_noise,
    smooth_noise,
    soft_mask,
)
from hub_datasets.synthetic.drawings.slice_page import (
    Page,
    Slice,
    draw_ribs,
    draw_spine,
    draw_table,
    draw_trunk,
    place_lesion,
)


def draw_slice(rng: np.random.Generator, scene: Slice, size: int) -> Drawing:
    """Draw one slice of `size` x `size` pixels.

    Returns:
        The picture with the regions of its organs and its lesion that have at least 12 pixels.
    """
    page = Page(rng, scene, size)
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
        picture = np.maximum(picture, draw_table(rng, size))
    else:  # brightness varies with the distance to the coil
        picture = picture * (1 + rng.uniform(-0.14, 0.14) * page.x * 2 + rng.uniform(-0.14, 0.14) * page.y * 2)
    picture = picture * rng.uniform(0.93, 1.07) + sensor_noise(
        rng, size, size, 0.012 if scene.contrast == "CT" else 0.02
    )
    regions = {name: page.region(name) for name in page.names[1:]}
    return Drawing(picture, {name: region for name, region in regions.items() if region.sum() >= 12})


def _draw_chest(page: Page, scene: Slice) -> None:
    """Draw a slice of the chest."""
    draw_trunk(page, 0.44, 0.30)
    draw_ribs(page, 0.375, 0.245, 0.026)
    for side, cx in (("Right", -0.185), ("Left", 0.185)):
        page.oval("lung", cx, 0.0, 0.150, 0.205, -0.08 * np.sign(cx), name=f"{side} Lung", texture=0.01)
    dots = np.clip(smooth_noise(page.rng, page.size, page.size, page.size / 60) - 1.8, 0, 1) * 0.5
    page.picture += dots * (page.region("Left Lung") | page.region("Right Lung"))
    page.fill("fat", page.shape(0, -0.02, 0.075, 0.17))
    draw_spine(page, 0.13)
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
    cx, cy, radius = place_lesion(page, lesion, 0.215, -0.085, 0.09)
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


def _draw_abdomen(page: Page, scene: Slice) -> None:
    """Draw a slice of the abdomen."""
    has = scene.organs.__contains__
    draw_trunk(page, 0.43, 0.31)
    page.fill("fat", page.shape(0, -0.025, 0.355, 0.235, wave=0.02))
    draw_ribs(page, 0.378, 0.262, 0.020)
    for sign in (-1, 1):
        page.oval("muscle", 0.085 * sign, 0.185, 0.070, 0.050)
        page.oval("muscle", 0.085 * sign, 0.105, 0.030, 0.035)
    draw_spine(page, 0.105)
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
            cx, cy, radius = place_lesion(page, lesion, 0.215, -0.09, 0.025)
        else:  # Kidney Cancer
            cx, cy, radius = place_lesion(page, lesion, 0.195, 0.095, 0.14)
            radius *= 0.8
        page.fill("tumor", page.shape(cx, cy, radius, radius * 0.9, wave=0.08), lesion.name, 0.02)


def _draw_head(page: Page, scene: Slice) -> None:
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
    cx, cy, radius = place_lesion(page, scene.lesion, 0.145, -0.175, 0.165)
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


def _draw_pelvis(page: Page, scene: Slice) -> None:
    """Draw a slice of the pelvis."""
    has = scene.organs.__contains__
    draw_trunk(page, 0.44, 0.29)
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
        cx, cy, radius = place_lesion(page, scene.lesion, 0.06, -0.075, -0.015)
        page.fill("mass", page.shape(cx, cy, radius * 0.8, radius * 0.8, wave=0.12), scene.lesion.name, 0.015)


def _draw_neck(page: Page, scene: Slice) -> None:
    """Draw a slice of the neck."""
    page.fill("fat", page.shape(0, 0, 0.225, 0.235, wave=0.02))
    page.fill("muscle", page.shape(0, 0.01, 0.20, 0.205, wave=0.02), texture=0.03)
    for sign in (-1, 1):
        page.fill("fat", page.shape(0.115 * sign, 0.02, 0.05, 0.10, 0.3 * sign, wave=0.08))
        page.oval("muscle", 0.145 * sign, -0.045, 0.032, 0.070, -0.4 * sign, texture=0.02)
        page.oval("vessel", 0.095 * sign, -0.035, 0.020, 0.020, wave=0)
        page.oval("vessel", 0.125 * sign, 0.000, 0.026, 0.020, wave=0)
    draw_spine(page, 0.045)
    if "Thyroid" in scene.organs:
        for sign in (-1, 1):
            page.oval("thyroid", 0.058 * sign, -0.085, 0.034, 0.058, -0.25 * sign, name="Thyroid", wave=0.05)
        page.oval("thyroid", 0, -0.118, 0.04, 0.012, name="Thyroid", wave=0)
    if "Esophagus" in scene.organs:
        page.oval("bowel", 0.022, -0.028, 0.022, 0.015, name="Esophagus")
    page.oval("air", 0, -0.080, 0.033, 0.037, wave=0, name="Trachea")
    if scene.lesion is not None:
        cx, cy, radius = place_lesion(page, scene.lesion, 0.070, -0.105, -0.065)
        page.fill("tumor", page.shape(cx, cy, radius * 0.75, radius * 0.75, wave=0.08), scene.lesion.name)
