"""Text that is burned into the pixels of an image is found where it is, and not repeated."""

from __future__ import annotations

import functools
import re
import sys

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFont

from hub_datasets.errors import BuildError
from hub_datasets.images import burned_in_text
from hub_datasets.images.burned_in_text import find_burned_in_text
from hub_datasets.synthetic.drawings.canvas import to_image
from hub_datasets.synthetic.drawings.chest import ChestFindings, draw_chest
from hub_datasets.synthetic.drawings.knee import draw_knee


@pytest.fixture(scope="module")
def engine():
    """What the tests of burned-in text need; loaded once."""
    pytest.importorskip("rapidocr_onnxruntime", reason="the extra `ocr` is not installed")
    return burned_in_text.text_engine()


def phantoms() -> dict[str, Image.Image]:
    """One clean picture of each kind."""
    return {
        "knee": draw_knee(np.random.default_rng(1), 2, fibula_left=True),
        "chest": to_image(draw_chest(np.random.default_rng(2), ChestFindings()).picture),
        "noise": Image.fromarray(np.random.default_rng(3).integers(0, 256, (300, 300, 3), np.uint8)),
        "black": Image.new("L", (512, 512)),
        "small": Image.new("1", (8, 8)),
        "clear": Image.new("RGBA", (300, 100)),
        "thin": Image.new("L", (2000, 3), 128),
    }


def written(image: Image.Image, *lines: str) -> Image.Image:
    """The picture with lines of white text from its upper left corner."""
    image = image.convert("L").resize((448, 448))
    for number, line in enumerate(lines):
        font = ImageFont.load_default(22)
        ImageDraw.Draw(image).text((20, 10 + 30 * number), line, fill=255, font=font, stroke_width=1, stroke_fill=0)
    return image


@pytest.mark.parametrize("name", ["knee", "chest", "noise", "black", "small", "clear", "thin"])
def test_a_clean_picture_has_no_text(name, engine):
    assert find_burned_in_text(phantoms()[name]) is None


@pytest.mark.parametrize("name", ["knee", "chest", "black"])
def test_text_in_a_picture_is_found_where_it_is(name, engine):
    flag = find_burned_in_text(written(phantoms()[name], "SMITH, JOHN", "1960-05-12"))
    assert flag.kind == "burned_in_text"
    count, left, right, top, bottom = map(int, re.findall(r"\d+", flag.detail))
    assert count == 2
    assert 10 <= left <= 30 and 100 <= right <= 200
    assert 0 <= top <= 20 and 55 <= bottom <= 75
    assert "SMITH" not in flag.detail and "1960" not in flag.detail


def test_marks_of_the_side_are_passed_over(engine):
    assert find_burned_in_text(written(phantoms()["knee"], "R")) is None


@pytest.mark.slow
def test_real_images_are_flagged_where_they_have_text(real_data, engine):
    """Of the SLAKE images here, one radiograph says PORTABLE; the knees and the skin lesions say nothing."""
    images = [*real_data.glob("slake/imgs/*/source.jpg"), *real_data.glob("knee/oai*/*/*/*.png")]
    images += real_data.glob("pad_ufes/images/*/*.png")
    flagged = []
    for path in images:
        with Image.open(path) as image:
            flagged += [path.parent.name] if find_burned_in_text(image) else []
    assert flagged == ["xmlab169"]


def test_without_the_extra_the_error_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "rapidocr_onnxruntime", None)  # an import of it fails
    monkeypatch.setattr(burned_in_text, "text_engine", functools.cache(burned_in_text.text_engine.__wrapped__))
    with pytest.raises(BuildError, match=r"pip install 'medpairs\[ocr\]'"):
        find_burned_in_text(Image.new("L", (64, 64)))
