"""Finds a font for each text of a picture, and replaces texts that no installed font can draw by numbers.

DejaVu Sans, which comes with matplotlib, has no Chinese characters. Chinese texts are drawn in Noto Sans SC from the
extra `zh`, or in a font of the operating system. matplotlib would draw a missing character as an empty box.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable
from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # matplotlib is imported where something is drawn
    from matplotlib.font_manager import FontProperties

DPI = 144  # two pixels of a picture per point
# Families with Chinese, of Linux, macOS and Windows.
CHINESE = (
    "Noto Sans SC", "Noto Sans CJK SC", "Source Han Sans SC", "Source Han Sans CN", "Noto Sans CJK JP",
    "WenQuanYi Micro Hei", "WenQuanYi Zen Hei", "Droid Sans Fallback", "PingFang SC", "Hiragino Sans GB", "STHeiti",
    "Heiti SC", "Arial Unicode MS", "Microsoft YaHei", "SimHei", "SimSun",
)  # fmt: skip


@cache
def font_files() -> tuple[str, ...]:
    """The files of the fonts to draw with; each text is drawn in the first one that has all its characters."""
    from matplotlib.font_manager import findfont

    return (findfont("DejaVu Sans"), *chinese_font())


def chinese_font() -> list[str]:
    """The file of a font with Chinese; empty without any."""
    from matplotlib.font_manager import findfont

    try:
        from pylopdf_fonts_zh_cn import sans_path

        return [str(sans_path())]
    except ImportError:
        pass
    for family in CHINESE:
        try:
            return [findfont(family, fallback_to_default=False)]
        except ValueError:  # not installed
            continue
    return []


def file_for(text: str) -> str:
    """The first font that has all characters of a text; empty without any."""
    from matplotlib.font_manager import get_font

    signs = set(map(ord, text))
    return next((file for file in font_files() if all(map(get_font(file).get_char_index, signs))), "")


def font(text: str, size: float) -> FontProperties:
    """What matplotlib needs to draw the text in `size` points."""
    from matplotlib.font_manager import FontProperties

    return FontProperties(fname=file_for(text) or font_files()[0], size=size)


def is_drawable(text: str) -> bool:
    """Whether a text is one line, and one font here has all its characters."""
    return text.isprintable() and bool(file_for(text))


def labels(values: Iterable[str]) -> dict[str, str]:
    """What each value is called in pictures: itself where it can be drawn, otherwise `#1`, `#2`, ...

    The numbers follow the order of the values' text; the card says which is which. An empty value is `(none)`.
    """
    ordered = sorted(set(values))
    taken = {value for value in ordered if value.strip() and is_drawable(value)}
    free = (f"#{number}" for number in range(1, 2 * len(ordered) + 1) if f"#{number}" not in taken)
    return {value: value if value in taken else next(free) if value.strip() else "(none)" for value in ordered}


def fitted(text: str, size: float, width: float) -> str:
    """The text as it is drawn in `size` points, cut where it is wider than `width` points.

    Where no font can draw it, everything but printable ASCII becomes `?`.
    """
    if not is_drawable(text):
        text = "".join(sign if sign.isascii() and sign.isprintable() else "?" for sign in text)
    if measured(text, size) <= width:
        return text
    kept = bisect_right(range(len(text)), width, key=lambda kept: measured(text[:kept] + "…", size))
    return text[: max(kept - 1, 0)].rstrip() + "…"


def measured(text: str, size: float) -> float:
    """How many points a text is wide."""
    from matplotlib.backends.backend_agg import RendererAgg

    width, _, _ = RendererAgg(1, 1, DPI).get_text_width_height_descent(text, font(text, size), ismath=False)
    return width * 72 / DPI
