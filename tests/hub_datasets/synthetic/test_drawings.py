"""Checks by measurements on the pixels that the drawings show the given content."""

from __future__ import annotations

import numpy as np
import pytest

from hub_datasets.synthetic.drawings.canvas import to_image
from hub_datasets.synthetic.drawings.chest import ChestFindings, draw_chest
from hub_datasets.synthetic.drawings.knee import draw_both_knees, draw_knee
from hub_datasets.synthetic.drawings.skin import FIELD_MM, Lesion, draw_lesion
from hub_datasets.synthetic.drawings.slice_page import Lesion as Finding
from hub_datasets.synthetic.drawings.slice_page import Slice
from hub_datasets.synthetic.drawings.slices import draw_slice

# --- Knees


def test_both_knees_are_two_single_knees_side_by_side():
    both = draw_both_knees(np.random.default_rng(0), 2)
    assert (both.mode, both.size) == ("L", (600, 162))
    assert both.crop((0, 0, 300, 162)).tobytes() == draw_knee(np.random.default_rng(0), 2, fibula_left=True).tobytes()


def test_the_fibula_marks_the_lateral_side():
    def left_minus_right(fibula_left: bool) -> float:
        strips = [np.asarray(draw_knee(np.random.default_rng(n), 0, fibula_left=fibula_left), float) for n in range(12)]
        low = np.mean(strips, axis=0)[135:160]
        return float(low[:, 40:85].mean() - low[:, 215:260].mean())

    assert left_minus_right(True) > 3 and left_minus_right(False) < -3


# --- Skin

PLAIN = {
    "tone": 2, "region": "BACK", "age": 30, "hairy": False, "elevated": False, "bleeding": False, "scratched": False,
    "sore": False, "grown": False, "changed": False, "biopsied": False, "shape_seed": 7,
}  # fmt: skip


def draw_photograph(**properties: object) -> np.ndarray:
    settings = PLAIN | {"diagnosis": "NEV", "length_mm": 10, "width_mm": 10} | properties
    image = draw_lesion(np.random.default_rng(3), Lesion(**settings), 160)
    return np.asarray(image, dtype=np.float32)


@pytest.mark.parametrize("diameter", [6, 10, 14, 20])
def test_a_lesion_is_drawn_at_its_diameter(diameter):
    image = draw_photograph(length_mm=diameter, width_mm=diameter)
    skin = np.median(image[:12].reshape(-1, 3), axis=0)
    area = (np.abs(image - skin).sum(axis=2) > 120).mean()
    expected = np.pi / 4 * (diameter / FIELD_MM) ** 2
    assert abs(area / expected - 1) < 0.2


@pytest.mark.parametrize(
    "properties",
    [{"elevated": True}, {"bleeding": True}, {"scratched": True}, {"sore": True}, {"grown": True}, {"changed": True}]
    + [{"biopsied": True}, {"tone": 5}, {"region": "HAND"}, {"region": "LIP"}, {"age": 85}, {"hairy": True}]
    + [{"diagnosis": name} for name in ("ACK", "BCC", "MEL", "SCC", "SEK")],
    ids=lambda properties: "-".join(f"{key}-{value}" for key, value in properties.items()),
)
def test_every_property_of_a_row_changes_the_photograph(properties):
    assert (np.abs(draw_photograph(**properties) - draw_photograph()).max(axis=2) > 25).mean() > 0.008


# --- Chest radiographs


def measure_lower_lungs(image: np.ndarray) -> tuple[float, float]:
    """Returns the brightness of the lower outer part of the patient's left and right lung."""
    size = image.shape[0]
    band = image[round(0.66 * size) : round(0.75 * size)]
    right, left = band[:, round(0.15 * size) : round(0.26 * size)], band[:, round(0.74 * size) : round(0.85 * size)]
    return float(left.mean()), float(right.mean())


@pytest.mark.parametrize("extent", ["small", "moderate", "large"])
@pytest.mark.parametrize("side", ["left", "right"])
def test_an_effusion_whitens_its_side(side, extent):
    rng = np.random.default_rng(5)
    healthy = dict(zip(("left", "right"), measure_lower_lungs(draw_chest(rng, ChestFindings()).picture), strict=True))
    radiograph = draw_chest(np.random.default_rng(5), ChestFindings(effusions=((side, extent),))).picture
    with_effusion = dict(zip(("left", "right"), measure_lower_lungs(radiograph), strict=True))
    other = "right" if side == "left" else "left"
    assert with_effusion[side] > healthy[side] + 0.15
    assert abs(with_effusion[other] - healthy[other]) < 0.02


def test_the_heart_is_wider_with_cardiomegaly():
    def measure_ratio(cardiomegaly: str) -> float:
        regions = draw_chest(np.random.default_rng(5), ChestFindings(cardiomegaly=cardiomegaly)).regions
        lungs = np.nonzero((regions["Left Lung"] | regions["Right Lung"]).any(axis=0))[0]
        heart = np.nonzero(regions["Heart"].any(axis=0))[0]
        return float(np.ptp(heart) / np.ptp(lungs))

    assert measure_ratio("") < 0.5 < measure_ratio("mild") < measure_ratio("marked")


# --- CT and MRI

ABDOMEN = frozenset({"Liver", "Spleen", "Stomach", "Left Kidney", "Right Kidney", "Colon"})


def find_center(region: np.ndarray) -> tuple[float, float]:
    """Returns the mean x and y of a region as shares of the image."""
    ys, xs = np.nonzero(region)
    return float(xs.mean() / region.shape[1]), float(ys.mean() / region.shape[0])


@pytest.mark.parametrize("contrast", ["CT", "T1", "T2"])
def test_the_organs_of_the_abdomen_are_in_their_places(contrast):
    regions = draw_slice(np.random.default_rng(1), Slice("Abdomen", contrast, ABDOMEN), 192).regions
    assert set(regions) == ABDOMEN | {"Spinal Cord"}
    # The patient's right is on the left of the image.
    assert find_center(regions["Liver"])[0] < 0.45 < 0.55 < find_center(regions["Spleen"])[0]
    assert find_center(regions["Right Kidney"])[0] < 0.45 < 0.55 < find_center(regions["Left Kidney"])[0]
    assert find_center(regions["Spinal Cord"])[1] > find_center(regions["Stomach"])[1]


def test_organs_that_a_slice_does_not_have_are_not_drawn():
    full = draw_slice(np.random.default_rng(1), Slice("Abdomen", "CT", ABDOMEN), 192)
    without = draw_slice(np.random.default_rng(1), Slice("Abdomen", "CT", ABDOMEN - {"Liver"}), 192)
    assert "Liver" not in without.regions
    liver = full.regions["Liver"]
    assert full.picture[liver].mean() > without.picture[liver].mean() + 0.1


def test_gray_levels_of_tissues_depend_on_the_modality():
    def measure_gray(contrast: str, location: str, organs: set[str], name: str) -> float:
        drawing = draw_slice(np.random.default_rng(2), Slice(location, contrast, frozenset(organs), None), 192)
        return float(np.median(drawing.picture[drawing.regions[name]]))

    bone = [
        measure_gray(contrast, "Pelvic Cavity", {"Bladder", "Femoral Head"}, "Femoral Head")
        for contrast in ("CT", "T2")
    ]
    assert bone[0] > 0.8 and bone[1] < 0.3
    fluid = [
        measure_gray(contrast, "Pelvic Cavity", {"Bladder", "Femoral Head"}, "Bladder") for contrast in ("T1", "T2")
    ]
    assert fluid[0] < 0.3 and fluid[1] > 0.7


@pytest.mark.parametrize(("location", "name"), [("Lung", "Lung Cancer"), ("Brain_Tissue", "Brain Tumor")])
@pytest.mark.parametrize("side", ["Left", "Right"])
@pytest.mark.parametrize("end", ["upper", "lower"])
def test_a_finding_has_the_given_position_and_size(location, name, side, end):
    contrast = "CT" if location == "Lung" else "T2"
    areas = {}
    for extent in ("small", "large"):
        scene = Slice(location, contrast, frozenset(), Finding(name, side, extent, end))
        region = draw_slice(np.random.default_rng(3), scene, 192).regions[name]
        x, y = find_center(region)
        assert (x > 0.5) == (side == "Left") and (y < 0.5) == (end == "upper")
        areas[extent] = int(region.sum())
    assert areas["large"] > 2.5 * areas["small"]


def test_pictures_are_converted_to_8_bit_images():
    picture = np.array([[-0.5, 0.0], [0.5, 2.0]], dtype=np.float32)
    assert np.asarray(to_image(picture)).tolist() == [[0, 0], [128, 255]]
