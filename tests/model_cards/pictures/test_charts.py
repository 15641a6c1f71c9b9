"""Checks the charts of the dataset card by their pixels and texts."""

from __future__ import annotations

import hashlib
import io
import math
import os
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from model_cards.pictures import charts
from model_cards.pictures import contact_sheet as contact_sheet_module
from model_cards.pictures.charts import categories, class_shares, funnel, split_shares, text_lengths
from model_cards.pictures.contact_sheet import COLUMNS, MAT, MAX_BYTES, MOST, Sample, choose, contact_sheet, thumbnail
from model_cards.pictures.fonts import labels
from tests.model_cards import small_dataset

ROOT = Path(__file__).resolve().parents[3]
PLOT_BYTES = 60_000
WHOLE_BAR = charts.BARS_WIDTH * charts.SCALE  # pixels
LONG = "a category whose name is far longer than any column of a picture can be, " * 3
SEVERAL = """
import hashlib
from model_cards.pictures import charts, contact_sheet, fonts
from tests.model_cards import small_dataset
report, samples = small_dataset.make_report(), small_dataset.samples()
labels = fonts.labels(report["rows_by"]["pairs"]["category"])
pictures = [
    charts.funnel(report["sources"]),
    charts.split_shares(report["rows_by"]),
    charts.categories({name: len(name) for name in labels}, labels),
    charts.text_lengths(report["texts"]),
    contact_sheet.contact_sheet(samples, labels),
]
print(hashlib.sha256(b"".join(pictures)).hexdigest())
"""


def pixels(png: bytes) -> np.ndarray:
    """Returns the pixels of a picture, [height, width, 3]."""
    with Image.open(io.BytesIO(png)) as image:
        return np.asarray(image.convert("RGB")).astype(int)


def rgb(color: str) -> np.ndarray:
    return np.array([int(color[place : place + 2], 16) for place in (1, 3, 5)])


def near(picture: np.ndarray, color: str) -> np.ndarray:
    """Returns where a picture has a color, within the error of a palette, [height, width] bool."""
    return np.abs(picture - rgb(color)).max(axis=2) <= 8


def contrast(one: str, other: str) -> float:
    """Computes the contrast of two colors by WCAG 2, from 1 to 21."""

    def luminance(color: str) -> float:
        parts = rgb(color) / 255
        linear = np.where(parts <= 0.04045, parts / 12.92, ((parts + 0.055) / 1.055) ** 2.4)
        return float(linear @ [0.2126, 0.7152, 0.0722])

    light, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def source(accepted: int, **rejected: int) -> dict:
    return {"read": accepted + sum(rejected.values()), "accepted": accepted, "rejected": rejected}


def bar_length(picture: np.ndarray, color: str, bar: int = 0) -> int:
    """Returns the number of pixels from the first to the last one of a color in a bar of a plot."""
    line = near(picture, color)[round((charts.TOP + charts.LINE * bar + 2) * charts.SCALE)]
    return int(np.ptp(np.flatnonzero(line))) + 1 if line.any() else 0


def encoded(image: Image.Image, kind: str = "PNG") -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format=kind)
    return buffer.getvalue()


def sample(image: Image.Image, category: str = "Lung", name: str = "slake", kind: str = "PNG") -> Sample:
    return Sample(encoded(image, kind), name, category, "en", "a text")


@pytest.mark.slow
def test_pictures_are_the_same_in_every_process(tmp_path):
    """Pictures must depend neither on the order of sets and hashes nor on a user's settings of matplotlib."""
    settings = (
        "axes.grid: True",
        "text.usetex: True",
        "figure.facecolor: black",
        "font.size: 30",
        "font.family: serif",
    )
    (tmp_path / "matplotlibrc").write_text("\n".join(settings))
    digests = set()
    for settings in ({"PYTHONHASHSEED": "1"}, {"PYTHONHASHSEED": "2", "MATPLOTLIBRC": str(tmp_path)}):
        command, env = [sys.executable, "-c", SEVERAL], os.environ | settings
        run = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, check=True)
        assert run.stderr == ""
        digests.add(run.stdout)
    assert len(digests) == 1 and re.fullmatch(r"[0-9a-f]{64}\n", digests.pop())


@pytest.mark.parametrize("color", [charts.ACCEPTED, charts.OTHER, *charts.REASONS, *charts.SPLITS.values()])
def test_colors_can_be_told_from_paper_and_carry_white_text(color):
    assert contrast(color, charts.PAPER) >= 4.5 and contrast(color, "#FFFFFF") >= 4.5
    assert contrast(charts.INK, charts.PAPER) >= 7 and contrast(charts.MUTED, charts.PAPER) >= 4.5


def test_the_colors_of_a_bar_differ():
    used = [charts.ACCEPTED, charts.OTHER, *charts.REASONS]
    apart = [np.abs(rgb(one) - rgb(other)).sum() for one in used for other in used if one < other]
    assert min(apart) >= 60


def test_the_funnel_is_true_to_scale():
    picture = pixels(funnel({"one": source(50, image_missing=25, text_empty=25), "two": source(10, text_empty=30)}))
    whole = charts.BARS_WIDTH * charts.SCALE
    assert bar_length(picture, charts.ACCEPTED) == pytest.approx(whole / 2, abs=3)
    text_empty, image_missing = charts.REASONS[:2]  # by the number of records
    assert bar_length(picture, text_empty) == pytest.approx(whole / 4, abs=3)
    assert bar_length(picture, image_missing) == pytest.approx(whole / 4, abs=3)
    assert bar_length(picture, charts.ACCEPTED, bar=1) == pytest.approx(whole / 4, abs=3)
    assert bar_length(picture, text_empty, bar=1) == pytest.approx(whole * 3 / 4, abs=3)


def test_one_record_of_a_million_can_be_seen():
    picture = pixels(funnel({"one": source(999_994, **{f"reason_{number}": 1 for number in range(6)})}))
    assert all(bar_length(picture, color) >= 2 for color in charts.REASONS)
    whole = charts.BARS_WIDTH * charts.SCALE
    assert bar_length(picture, charts.ACCEPTED) == pytest.approx(whole - 6 * charts.THINNEST * charts.SCALE, abs=3)


def test_many_reasons_share_a_color_and_none_is_lost():
    reasons = {f"reason_{number}": 20 - number for number in range(9)}
    picture = pixels(funnel({"one": source(100, **reasons)}))
    assert all(bar_length(picture, color) > 0 for color in charts.REASONS)
    whole = charts.BARS_WIDTH * charts.SCALE
    rest = sum(sorted(reasons.values())[:3])
    assert bar_length(picture, charts.OTHER) == pytest.approx(whole * rest / (100 + sum(reasons.values())), abs=3)


def test_the_splits_are_true_to_scale():
    counts = {"slake": {"test": 10, "train": 60, "validation": 30}}
    picture = pixels(split_shares({"pairs": {"source_dataset": counts}}))
    line = near(picture, charts.SPLITS["train"])
    widths = {}
    for split, color in charts.SPLITS.items():
        line = near(picture, color)[round((charts.TOP + charts.HEADING + 2) * charts.SCALE)]
        widths[split] = np.count_nonzero(line), int(np.flatnonzero(line)[0])
    total = sum(width for width, _ in widths.values())
    assert [widths[split][0] / total for split in charts.SPLITS] == pytest.approx([0.6, 0.3, 0.1], abs=0.01)
    assert widths["train"][1] < widths["validation"][1] < widths["test"][1]


def test_categories_are_true_to_scale_and_the_rest_is_counted():
    counts = {f"class {number:02}": 100 - number for number in range(30)}
    picture = pixels(categories(counts, labels(counts)))
    first, last = bar_length(picture, charts.ACCEPTED), bar_length(picture, charts.ACCEPTED, bar=14)
    rest = bar_length(picture, charts.OTHER, bar=15)
    others = sum(100 - number for number in range(15, 30))
    assert [first / rest, last / rest] == pytest.approx([100 / others, 86 / others], abs=0.01)
    height = (charts.TOP + charts.LINE * 16 + charts.MARGIN) * charts.SCALE
    assert picture.shape == (height, charts.WIDTH * charts.SCALE, 3)


def test_the_classes_of_a_source_are_true_to_scale():
    table = {"no": {"train": 30, "test": 1}, "yes": {"train": 10, "test": 1}, "rare": {}}
    picture = pixels(class_shares("eyes", table))
    assert bar_length(picture, charts.CLASSES[0], 0) == pytest.approx(0.75 * WHOLE_BAR, abs=4)
    assert bar_length(picture, charts.CLASSES[1], 0) == pytest.approx(0.25 * WHOLE_BAR, abs=4)
    assert bar_length(picture, charts.CLASSES[1], 1) == pytest.approx(0.5 * WHOLE_BAR, abs=4)
    many = {f"class {n}": {"train": 1} for n in range(30)}
    assert bar_length(pixels(class_shares("eyes", many)), charts.OTHER) == pytest.approx(2 / 3 * WHOLE_BAR, abs=4)


@pytest.mark.parametrize(
    ("count", "shown"),
    [(0, "0"), (7, "7"), (987, "987"), (1000, "1k"), (1234, "1.2k"), (12_345, "12k"), (3_400_000, "3.4M"), (2e9, "2G")],
)
def test_a_number_above_a_column_is_short(count, shown):
    assert charts.short(count) == shown


def test_a_last_column_without_an_end_says_so():
    assert charts.edge_label([0, 20, 40, math.inf], 2) == "≥ 40" and charts.edge_label([0, 20, 40, math.inf], 3) == ""
    assert charts.edge_label([0, 20, 40, 60], 2) == "40"


def test_one_row_beside_a_million_can_be_seen():
    picture = pixels(categories({"many": 10**9, "one": 1, "none": 0}, labels(["many", "one", "none"])))
    assert [bar_length(picture, charts.ACCEPTED, bar) for bar in (1, 2)] == [pytest.approx(2, abs=1), 0]


def test_an_other_never_stands_for_one_category():
    for number, bars, rest in ((15, 15, 0), (16, 16, 0), (17, 16, 2)):
        counts = {f"class {place}": 10 for place in range(number)}
        picture = pixels(categories(counts, labels(counts)))
        assert picture.shape[0] == (charts.TOP + charts.LINE * bars + charts.MARGIN) * charts.SCALE
        assert (bar_length(picture, charts.OTHER, bar=bars - 1) > 0) is (rest > 0)


def test_the_columns_of_a_histogram_are_true_to_scale():
    measured = {"median": 15, "histogram": [[0, 10, 8], [10, 20, 4], [20, 30, 0], [30, 40, 1]]}
    picture = near(pixels(text_lengths({"pairs": {"en": measured}})), charts.ACCEPTED)
    heights = picture.sum(axis=0)
    left = charts.MARGIN * charts.SCALE
    wide = (charts.WIDTH - 2 * charts.MARGIN - charts.PANEL_GAP) / 2 * charts.SCALE
    # a quarter of a column from its edge: its number stands above the middle
    of_bins = [int(heights[round(left + wide * (place + 0.25) / 4)]) for place in range(4)]
    assert of_bins == pytest.approx([216, 108, 0, 27], abs=2)


@pytest.mark.parametrize(
    "draw",
    [
        lambda: funnel({LONG: source(1, **{"reason_" * 20: 3}), "肺部": source(0), "none": source(7)}),
        lambda: funnel({f"source {number}": source(number, **{f"r{number}": 2}) for number in range(20)}),
        lambda: funnel({}),
        lambda: split_shares({"pairs": {"source_dataset": {LONG: {"train": 4}}}, "chat": {"source_dataset": {}}}),
        lambda: split_shares({"pairs": {"source_dataset": {"a": {"fold 1": 4, "fold 2": 4, "fold 3": 1}}}}),
        lambda: categories({LONG: 10**9, "": 1, "肺部": 2, "zero": 0}, labels([LONG, "", "肺部", "zero"])),
        lambda: categories({}, {}),
        lambda: class_shares(LONG, {LONG: {"train": 1}, "肺部": {"fold 1": 2}, "": {}}),
        lambda: class_shares("none", {}),
        lambda: text_lengths({}),
        lambda: text_lengths({"pairs": {"en": {"median": 0, "histogram": []}}}),
        lambda: text_lengths({"pairs": {"en": {"median": 3.5, "histogram": [[3, 4, 1]]}}}),
        lambda: text_lengths({"chat": {"zh": {"median": 1e5, "histogram": [[x * 1e5, 1e6, x] for x in range(50)]}}}),
    ],
)
def test_odd_data_gives_a_picture_of_the_same_width(draw):
    png = draw()
    assert pixels(png).shape[1] == charts.WIDTH * charts.SCALE and len(png) < PLOT_BYTES
    border = pixels(png)[:, [0, -1]]
    assert near(border, charts.BORDER).all()  # nothing runs over the edge


def test_plots_are_small():
    report = small_dataset.make_report()
    report["rows_by"]["pairs"]["source_dataset"] = {f"source {place}": {"train": place} for place in range(12)}
    names = [f"a category with a name of some length {place}" for place in range(40)]
    plots = [
        funnel(report["sources"]),
        split_shares(report["rows_by"]),
        categories({name: 7 * place for place, name in enumerate(names)}, labels(names)),
        text_lengths(report["texts"]),
    ]
    assert all(2_000 < len(plot) < PLOT_BYTES for plot in plots)


def test_pictures_can_be_drawn_in_threads():
    report = small_dataset.make_report()
    draws = [lambda: funnel(report["sources"]), lambda: text_lengths(report["texts"])] * 2
    with ThreadPoolExecutor(4) as threads:
        together = list(threads.map(lambda draw: draw(), draws))
    assert together == [draw() for draw in draws]


def test_chinese_is_drawn_and_not_as_boxes():
    """Two labels with equally many characters have different pixels and enough ink; empty boxes would be equal."""
    drawn = {}
    for name in ("肺部肺部", "腹部膝盖", "Lung"):
        picture = pixels(categories({name: 10}, labels([name])))
        top, left = (charts.TOP * charts.SCALE, charts.MARGIN * charts.SCALE)
        drawn[name] = picture[top : top + 40, left : left + (charts.LABEL + 40) * charts.SCALE].sum(axis=2) < 400
    assert drawn["肺部肺部"].sum() > 2 * drawn["Lung"].sum() > 100
    assert (drawn["肺部肺部"] != drawn["腹部膝盖"]).sum() > 200


def test_a_dollar_sign_begins_no_formula():
    one, other = (categories({name: 1}, labels([name])) for name in ("$5 and $6", "$5 and %6"))
    broken = categories({"$\\frac{1$": 1}, labels(["$\\frac{1$"]))
    widths = [np.ptp(np.argwhere(pixels(png)[116:156, 48:420].sum(axis=2) < 400)[:, 1]) for png in (one, other)]
    assert abs(int(widths[0]) - int(widths[1])) < 20 and len(broken) > 2000


def test_a_thumbnail_is_whole_and_undistorted():
    for size in ((640, 161), (161, 640), (500, 500), (3000, 1000)):
        small = thumbnail(encoded(Image.new("RGB", size, "red")), 224, 224)
        assert max(small.size) == 224
        assert small.width / small.height == pytest.approx(size[0] / size[1], rel=0.02)


def test_a_thumbnail_fits_a_place_that_is_not_square():
    for size, fits in (((640, 160), (200, 50)), ((160, 640), (25, 100)), ((300, 300), (100, 100))):
        assert thumbnail(encoded(Image.new("RGB", size, "red")), 200, 100).size == fits


def test_the_text_of_a_sample_stands_below_it():
    """Five lines at most, and what no font can draw is said to be in the table."""
    plain = Image.new("L", (300, 200), 90)
    sheets = {}
    for said in ("", "One line.", "word " * 500, "\U000f0000 private"):
        shown = Sample(encoded(plain), "slake", "Lung", "en", said)
        picture = pixels(contact_sheet([shown], {"Lung": "Lung"}))
        top = (charts.MARGIN + contact_sheet_module.HIGH + contact_sheet_module.NAMES) * charts.SCALE
        ink = np.argwhere((picture[top:] < 100).all(axis=2))[:, 0]
        sheets[said] = len({int(y) // (contact_sheet_module.TEXT_LINE * charts.SCALE) for y in ink})
    assert list(sheets.values()) == [0, 1, 5, 1]


@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
def test_a_tiny_image_is_not_blown_up(kind):
    assert thumbnail(encoded(Image.new("L", (20, 8), 90), kind), 224, 224).size == (40, 16)


def test_an_image_of_one_line_has_a_thumbnail():
    assert thumbnail(encoded(Image.new("L", (4000, 8), 90)), 224, 224).size == (224, 1)


def test_transparency_lies_on_the_mat():
    image = Image.new("RGBA", (300, 300), (0, 0, 0, 0))
    image.paste((250, 0, 0, 255), (100, 100, 200, 200))
    small = np.asarray(thumbnail(encoded(image), 150, 150)).astype(int)
    assert (small[5, 5] == rgb(MAT)).all() and (small[75, 75] == [250, 0, 0]).all()


def test_only_jpeg_and_png_are_opened():
    with pytest.raises(OSError, match="cannot identify"):
        thumbnail(encoded(Image.new("RGB", (50, 50)), "GIF"), 100, 100)


def test_a_sheet_has_every_sample_in_its_place():
    colors = ["#C00000", "#00A000", "#0000C0", "#A0A000", "#00A0A0", "#A000A0", "#804000"]
    samples = [sample(Image.new("RGB", (400, 200), color)) for color in colors]
    picture = pixels(contact_sheet(samples, {"Lung": "Lung"}))
    places = [np.argwhere(near(picture, color)).mean(axis=0) for color in colors]
    rows = [round(y) for y, _ in places]
    assert len(set(rows[:COLUMNS])) == 1 and rows[COLUMNS] > rows[0]
    assert [x for _, x in places[:COLUMNS]] == sorted(x for _, x in places[:COLUMNS])
    assert places[COLUMNS][1] == pytest.approx(places[0][1], abs=1)
    for color in colors:
        across, down = (np.ptp(np.argwhere(near(picture, color))[:, axis]) + 1 for axis in (1, 0))
        assert across / down == pytest.approx(2, abs=0.05)


@pytest.mark.slow
def test_a_sheet_of_noise_stays_below_the_limit():
    noise = np.random.default_rng(0)
    samples = [sample(Image.fromarray(noise.integers(0, 256, (300, 300, 3), np.uint8))) for _ in range(MOST)]
    sheet = contact_sheet(samples, {"Lung": "Lung"})
    assert 100_000 < len(sheet) < MAX_BYTES
    assert pixels(sheet).shape[1] == charts.WIDTH * charts.SCALE


def test_a_sheet_of_nothing_is_an_error():
    with pytest.raises(ValueError, match="at least one"):
        contact_sheet([], {})


def test_every_source_and_category_gets_its_turn():
    plain = Image.new("L", (8, 8))
    samples = [sample(plain, category=f"c{number % 3}", name="large") for number in range(100)]
    samples += [sample(plain, category="rare", name="large"), sample(plain, category="x", name="small")]
    chosen = choose(samples, 8)
    assert [one.source for one in chosen] == ["large"] * 7 + ["small"]
    assert {one.category for one in chosen} == {"c0", "c1", "c2", "rare", "x"}
    assert choose(samples[:3]) == samples[:3] and choose([]) == [] and len(choose(samples)) == MOST


@pytest.mark.parametrize("name", ["skin.png", "xray.jpg"])
def test_the_bytes_of_a_sheet_are_those_of_its_images(name):
    """The same images give the same sheet, another image gives another sheet."""
    one, other = (Image.new("RGB", (300, 200), color) for color in ("#A08070", "#A08075"))
    sheets = [contact_sheet([sample(image, category=name)], {name: name}) for image in (one, one, other)]
    digests = [hashlib.sha256(sheet).hexdigest() for sheet in sheets]
    assert digests[0] == digests[1] != digests[2]


def test_a_small_red_spot_among_gray_images_stays_red():
    noise = np.random.default_rng(0)
    gray = [sample(Image.fromarray(noise.integers(0, 256, (300, 300), np.uint8))) for _ in range(20)]
    skin = Image.new("RGB", (300, 300), "#C89070")
    skin.paste("#A03020", (120, 120, 150, 150))
    picture = pixels(contact_sheet([*gray, sample(skin)], {"Lung": "Lung"}))
    red = np.abs(picture - rgb("#A03020")).max(axis=2) <= 16
    assert red.sum() >= 300
