"""Checks that each text is drawn in a font with its characters or replaced by a number, never by empty boxes."""

from __future__ import annotations

import subprocess
import sys
import unicodedata
from pathlib import Path

import numpy as np
import pytest
from matplotlib.font_manager import findfont

from model_cards.pictures import fonts
from model_cards.pictures.charts import SCALE, canvas, new_figure, write
from model_cards.pictures.fonts import file_for, fitted, font_files, is_drawable, labels, text_width

ROOT = Path(__file__).resolve().parents[3]
DEJAVU = findfont("DejaVu Sans")


@pytest.fixture
def without_chinese(monkeypatch):
    """Simulates a machine on which no font has Chinese characters."""
    monkeypatch.setattr(fonts, "font_files", lambda: (DEJAVU,))


def test_latin_and_chinese_have_their_fonts():
    assert file_for("Brain_Tissue, Émile µm ≤ 5 α") == file_for("") == DEJAVU == font_files()[0]
    assert Path(file_for("肺部 CT 图像")).name == "NotoSansSC-Regular.otf"
    assert not is_drawable("한국어") and not is_drawable("a\nb") and not is_drawable("a\u202eb")


def test_every_character_of_ordinary_chinese_can_be_drawn():
    """Checks all 6,763 Chinese characters of GB 2312, and the punctuation of both scripts."""
    codes = (bytes((row, cell)) for row in range(0xB0, 0xF8) for cell in range(0xA1, 0xFF))
    characters = "".join(code.decode("gb2312", "ignore") for code in codes)
    assert len(characters) == 6763 and unicodedata.name(characters[0]).startswith("CJK UNIFIED")
    assert is_drawable(characters + "，。；：？！（）《》、“”…·")


def test_a_label_is_the_value_itself_or_a_number():
    values = ["Lung", "肺部", "한국어", "#1", "é", "", " ", "a\nb", "$x$"]
    found = labels(values)
    assert {value for value in values if found[value] == value} == {"Lung", "肺部", "#1", "é", "$x$"}
    assert found[""] == found[" "] == "(none)"
    assert {found["한국어"], found["a\nb"]} == {"#2", "#3"}
    assert labels(reversed(values)) == found


def test_without_a_font_chinese_labels_are_numbers(without_chinese):
    assert labels(["Lung", "肺部", "脑"]) == {"Lung": "Lung", "肺部": "#1", "脑": "#2"}
    assert fitted("肺部 CT", 11, 500) == "?? CT"


@pytest.mark.parametrize("text", ["Lung", "WWWWWWWWWW iiiiiiiiii", "肺部 CT 图像", "_" * 30])
@pytest.mark.parametrize("size", [9, 11, 16])
def test_texts_are_as_wide_as_they_are_drawn(text, size):
    figure = new_figure("", "", 40)
    write(figure, 100, 40, text, size)
    ink = np.asarray(canvas(figure).convert("L"))[10:-10, 10:-10] < 200
    assert text_width(text, size) == pytest.approx(np.ptp(np.flatnonzero(ink.any(axis=0))) / SCALE, abs=4)


@pytest.mark.parametrize("text", ["a long name of a category " * 100, "膝关节X线片显示轻度退行性改变" * 30, "W" * 99])
@pytest.mark.parametrize("width", [0, 5, 20, 150, 700])
def test_what_does_not_fit_is_cut(text, width):
    short = fitted(text, 11, width)
    assert short.endswith("…") and text.startswith(short[:-1])
    assert text_width(short, 11) <= max(width, text_width("…", 11))
    kept = len(short) - 1
    assert text[kept] == " " or text_width(text[: kept + 1].rstrip() + "…", 11) > width
    assert fitted("as it is", 11, 200) == "as it is"


def test_what_no_font_has_is_a_question_mark():
    assert fitted("한국 CT 肺", 11, 500) == "?? CT ?"
    assert fitted("a\tb\0", 11, 500) == "a?b?"


FOUND = """
import sys
sys.modules["pylopdf_fonts_zh_cn"] = None  # as if it were not installed
from matplotlib.font_manager import fontManager
if len(sys.argv) > 1:
    fontManager.addfont(sys.argv[1])  # as if the operating system had it
else:
    fontManager.ttflist = [entry for entry in fontManager.ttflist if entry.name == "DejaVu Sans"]
from model_cards.pictures.fonts import font_files, labels
print(len(font_files()), *labels(["肺部"]).values())
"""


@pytest.mark.parametrize("installed", [True, False])
def test_a_font_of_the_operating_system_is_found(installed):
    command = [sys.executable, "-c", FOUND, *[file_for("肺部")] * installed]
    process = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert (process.stdout.split(), process.stderr) == (["2", "肺部"] if installed else ["1", "#1"], "")


def test_matplotlib_is_imported_where_something_is_drawn():
    code = (
        "import sys, model_cards.dataset_card, model_cards.pictures.contact_sheet; print('matplotlib' in sys.modules)"
    )
    process = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert process.stdout.strip() == "False"
