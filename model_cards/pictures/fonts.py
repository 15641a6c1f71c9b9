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
# Font families with Chinese characters on Linux, macOS and Windows.
CHINESE = (
    "Noto Sans SC", "Noto Sans CJK SC", "Source Han Sans SC", "Source Han Sans CN", "Noto Sans CJK JP",
    "WenQuanYi Micro Hei", "WenQuanYi Zen Hei", "Droid Sans Fallback", "PingFang SC", "Hiragino Sans GB", "STHeiti",
    "Heiti SC", "Arial Unicode MS", "Microsoft YaHei", "SimHei", "SimSun",
)  # fmt: skip


@cache
def font_files() -> tuple[str, ...]:
    """Returns the font files; each text is drawn in the first font that has all its characters."""
    from matplotlib.font_manager import findfont

    return (findfont("DejaVu Sans"), *chinese_font())


def chinese_font() -> list[str]:
    """Returns the file of a font with Chinese characters, or an empty list."""
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
    """Returns the first font that has all characters of a text, or an empty string."""
    from matplotlib.font_manager import get_font

    characters = set(map(ord, text))
    # get_char_index returns 0 for a character that the font does not have.
    return next((file for file in font_files() if all(map(get_font(file).get_char_index, characters))), "")


def font(text: str, size: float) -> FontProperties:
    """Returns the font in which matplotlib draws the text with `size` points."""
    from matplotlib.font_manager import FontProperties

    return FontProperties(fname=file_for(text) or font_files()[0], size=size)


def is_drawable(text: str) -> bool:
    """Returns whether a text is a single line and one of the fonts has all its characters."""
    return text.isprintable() and bool(file_for(text))


def labels(values: Iterable[str]) -> dict[str, str]:
    """Returns the label of each value in pictures: the value itself if it can be drawn, otherwise `#1`, `#2`, ...

    The numbers follow the alphabetical order of the values; the card lists them. The label of an empty value is
    `(none)`.
    """
    ordered = sorted(set(values))
    taken = {value for value in ordered if value.strip() and is_drawable(value)}
    free = (f"#{number}" for number in range(1, 2 * len(ordered) + 1) if f"#{number}" not in taken)
    return {value: value if value in taken else next(free) if value.strip() else "(none)" for value in ordered}


def fitted(text: str, size: float, width: float) -> str:
    """Returns the text for drawing with `size` points, truncated to a width of `width` points.

    If no font can draw it, all characters except printable ASCII become `?`.
    """
    if not is_drawable(text):
        text = "".join(sign if sign.isascii() and sign.isprintable() else "?" for sign in text)
    if text_width(text, size) <= width:
        return text
    kept = bisect_right(range(len(text)), width, key=lambda kept: text_width(text[:kept] + "…", size))
    return text[: max(kept - 1, 0)].rstrip() + "…"


def wrapped(text: str, size: float, width: float, most: int) -> list[str]:
    """Returns the text in lines of at most `width` points, and of at most `most` lines; the last one ends with `…` if
    more text follows. Lines end at spaces where there are any."""
    left, lines = " ".join(text.split()), []
    while left and len(lines) < most:
        if len(lines) == most - 1:
            return [*lines, fitted(left, size, width)]
        kept = fitting(left, size, width)
        space = left.rfind(" ", 0, kept + 1) if kept < len(left) else -1
        end = space if space > 0 else max(kept, 1)
        lines.append(left[:end].rstrip())
        left = left[end:].lstrip()
    return lines


def fitting(text: str, size: float, width: float) -> int:
    """Returns how many characters from the start of a text fit in `width` points."""
    most = min(len(text), int(width / size * 5))  # no character is narrower than a fifth of its size
    return bisect_right(range(1, most + 1), width, key=lambda kept: text_width(text[:kept], size))


def text_width(text: str, size: float) -> float:
    """Returns the width of a text in points."""
    from matplotlib.backends.backend_agg import RendererAgg

    width, _, _ = RendererAgg(1, 1, DPI).get_text_width_height_descent(text, font(text, size), ismath=False)
    return width * 72 / DPI
