"""The pictures of a dataset card: what was read and became of it, where it went, what it is. Drawn with Pillow alone.

The same input gives the same bytes. Pictures have a light background of their own, so they read in dark mode, too; they
are drawn at twice their size for sharp text. The font that comes with Pillow has ASCII only: see `ascii_labels`.
"""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from functools import cache

from PIL import Image, ImageDraw, ImageFont

SCALE = 2  # pixels of the file per unit of the layout
WIDTH, MARGIN, LABEL, NUMBERS = 800, 24, 150, 132  # units: the page, its border, the columns of names and of numbers
LINE, BAR, HEADING = 28, 18, 26  # units: from one bar to the next, a bar's height, a heading with its space
PAPER, BORDER, GRID, INK, MUTED = "#FCFCFB", "#D5D9DE", "#E3E6EA", "#1F2933", "#56616D"
# White text is readable on each of them (a contrast of 4.5 and more), and so is each on the paper.
ACCEPTED, OTHER = "#2C6AA0", "#69737E"
REASONS = ("#B4540A", "#8A3F7F", "#13795B", "#B3304F", "#7A6A00", "#4B4FA8")
SPLITS = {"train": "#2C6AA0", "validation": "#B4540A", "test": "#13795B"}
CATEGORIES_SHOWN = 15

Segment = tuple[str, int]  # the name of a part of a bar, and how many it stands for


def funnel(sources: Mapping[str, Mapping]) -> bytes:
    """A bar for each source of the report: the share of its records that was accepted, and of each reason that not.

    The six reasons with the most records have a colour each; what is left is `other reasons`.
    """
    totals: Counter[str] = Counter()
    for source in sources.values():
        totals.update(source["rejected"])
    ranked = sorted(totals, key=lambda code: (-totals[code], code))
    shown = ranked if len(ranked) <= len(REASONS) else ranked[: len(REASONS)]
    rest = [code for code in ranked if code not in shown]
    rows = []
    for name, source in sources.items():
        segments = [("accepted", source["accepted"])]
        segments += [(code, source["rejected"].get(code, 0)) for code in shown]
        segments += [("other reasons", sum(source["rejected"].get(code, 0) for code in rest))] if rest else []
        rows.append((name, segments, f"{source['accepted']:,} of {source['read']:,}"))
    colours = {"accepted": ACCEPTED, **dict(zip(shown, REASONS, strict=False)), "other reasons": OTHER}
    return stacked_bars("What became of the records", "share of all records read", [("", rows)], colours)


def split_shares(rows_by: Mapping[str, Mapping]) -> bytes:
    """For each config a bar for each source: the share of its rows in each split."""
    sections = []
    for config, columns in rows_by.items():
        rows = []
        for name, counts in columns["source_dataset"].items():
            segments = [(split, counts.get(split, 0)) for split in split_order(counts)]
            rows.append((name, segments, f"{sum(counts.values()):,} rows"))
        sections.append((config, rows))
    names = split_order({split for _, rows in sections for _, segments, _ in rows for split, _ in segments})
    others = iter([*REASONS[1:2], *REASONS[3:], *[OTHER] * len(names)])
    colours = {name: SPLITS.get(name) or next(others) for name in names}
    return stacked_bars("Where the rows of each source went", "share of its rows", sections, colours)


def split_order(names: Iterable[str]) -> list[str]:
    """Train, validation, test, then any other by name."""
    names = set(names)
    return [name for name in SPLITS if name in names] + sorted(names - set(SPLITS))


def categories(counts: Mapping[str, int], labels: Mapping[str, str]) -> bytes:
    """A bar for each of the 15 largest categories and one for all others, in rows of `pairs`.

    Args:
        labels: what each category is called in pictures, from `ascii_labels`.
    """
    ranked = sorted(counts, key=lambda name: (-counts[name], name))
    # Never an "other" of one: it would take the place of the category itself.
    shown = ranked if len(ranked) <= CATEGORIES_SHOWN + 1 else ranked[:CATEGORIES_SHOWN]
    rows = [(labels[name], counts[name], ACCEPTED) for name in shown]
    if rest := ranked[len(shown) :]:
        rows.append((f"{len(rest):,} others", sum(counts[name] for name in rest), OTHER))
    page = Page("Rows of each category", "rows of pairs", 62 + LINE * len(rows))
    left, full = MARGIN + LABEL + 50, WIDTH - 2 * MARGIN - LABEL - 50 - 80
    largest = max((count for _, count, _ in rows), default=0) or 1
    for place, (label, count, colour) in enumerate(rows):
        top = 68 + LINE * place
        page.text((left - 10, top + BAR / 2), label, anchor="rm", width=LABEL + 40)
        right = left + full * count / largest
        if count:
            page.box((left, top, right, top + BAR), colour)
        page.text((right + 8, top + BAR / 2), f"{count:,}", fill=MUTED, anchor="lm")
    return page.png()


def text_lengths(texts: Mapping[str, Mapping[str, Mapping]]) -> bytes:
    """A histogram for each config and language of `{config: {language: {"histogram": [[low, high, n], ...]}}}`."""
    panels = [(config, language, texts[config][language]) for config in texts for language in texts[config]]
    columns, height = 2, 184
    wide = (WIDTH - 2 * MARGIN - 32) / columns
    page = Page("Lengths of the texts", "number of texts by characters", 46 + height * -(-len(panels) // columns))
    for place, (config, language, measured) in enumerate(panels):
        left, top = MARGIN + (place % columns) * (wide + 32), 62 + height * (place // columns)
        title = f"{ascii_text(config)} · {ascii_text(language)}"
        page.text((left, top + 8), title, anchor="lm", width=wide / 2)
        page.text((left + wide, top + 8), f"median {measured['median']:,.0f}", fill=MUTED, anchor="rm", width=wide / 2)
        histogram(page, (left, top + 38, left + wide, top + 146), measured["histogram"])
    return page.png()


def histogram(page: Page, box: tuple[float, float, float, float], bins: Sequence[Sequence[float]]) -> None:
    """Columns of equal width, one a bin; the bounds of the bins below, as many as there is room for."""
    left, top, right, bottom = box
    largest = max((count for _, _, count in bins), default=0)
    page.text((left, top - 2), f"{largest:,}", size=10, fill=MUTED, anchor="lb")
    page.box((left, top, right, top + 0.5), GRID)
    step = (right - left) / max(len(bins), 1)
    for place, (_, _, count) in enumerate(bins):
        x = left + step * place
        if count:
            tall = max((bottom - top) * count / largest, 1)
            page.box((x + 0.5, bottom - tall, x + step - 0.5, bottom), ACCEPTED)
    page.box((left, bottom, right, bottom + 1), MUTED)
    edges = [low for low, _, _ in bins] + [bins[-1][1]] if bins else []
    every = -(-len(edges) // 7)  # seven numbers of five digits fit below a panel
    for place in range(0, len(edges), max(every, 1)):
        anchor = "la" if place == 0 else "ra" if place == len(bins) else "ma"
        page.text((left + step * place, bottom + 5), f"{edges[place]:,.0f}", size=10, fill=MUTED, anchor=anchor)


def stacked_bars(
    title: str, subtitle: str, sections: Sequence[tuple[str, Sequence[tuple]]], colours: Mapping[str, str]
) -> bytes:
    """Bars of one length, each divided by the shares of its segments; a legend of the segments that occur below.

    Args:
        sections: (heading, rows); a row is (name, segments, what to write at its end).
    """
    bars = [segments for _, rows in sections for _, segments, _ in rows]
    legend = [name for name in colours if any(count for segments in bars for part, count in segments if part == name)]
    places, legend_height = legend_places(legend)
    height = 68 + sum(LINE * len(rows) + (HEADING if heading else 0) for heading, rows in sections)
    page = Page(title, subtitle, height + legend_height)
    left, full = MARGIN + LABEL, WIDTH - 2 * MARGIN - LABEL - NUMBERS
    top = 68.0
    for heading, rows in sections:
        if heading:
            page.text((MARGIN, top + BAR / 2), heading, fill=MUTED, anchor="lm", width=WIDTH - 2 * MARGIN)
            top += HEADING
        for name, segments, numbers in rows:
            page.text((left - 12, top + BAR / 2), name, anchor="rm", width=LABEL - 16)
            divided_bar(page, (left, top, left + full, top + BAR), segments, colours)
            page.text((WIDTH - MARGIN, top + BAR / 2), numbers, fill=MUTED, anchor="rm", width=NUMBERS - 12)
            top += LINE
    for name, (x, y) in zip(legend, places, strict=True):
        page.box((x, height + y + 8, x + 12, height + y + 20), colours[name])
        page.text((x + 18, height + y + 14), name, anchor="lm", width=WIDTH - 2 * MARGIN - 18)
    return page.png()


def divided_bar(page: Page, box: tuple, segments: Sequence[Segment], colours: Mapping[str, str]) -> None:
    """One bar; a hairline of paper lies between segments, and a share is written where there is room for it."""
    left, top, right, bottom = box
    page.box(box, GRID)
    whole, x = sum(count for _, count in segments), left
    for name, count in segments:
        if not count:
            continue
        end = x + (right - left) * count / whole
        page.box((x, top, max(end - 0.75, x + 0.75), bottom), colours[name])
        share = f"{100 * count / whole:.0f}%"
        share = ">99%" if share == "100%" and count < whole else share
        if end - x > page.width(share, 11) + 8:
            page.text(((x + end) / 2, (top + bottom) / 2), share, size=11, fill="#FFFFFF", anchor="mm")
        x = end


def legend_places(names: Sequence[str]) -> tuple[list[tuple[float, float]], float]:
    """Where each name of a legend begins, in lines that fit the page, and the height of them all."""
    places: list[tuple[float, float]] = []
    x, y = float(MARGIN), 0.0
    for name in names:
        wide = 18 + font(12).getlength(ascii_text(name)) / SCALE + 18
        if x > MARGIN and x + wide > WIDTH - MARGIN:
            x, y = float(MARGIN), y + 22
        places.append((x, y))
        x += wide
    return places, y + 20


class Page:
    """A picture with a title, measured in units of the layout; text that does not fit is cut, never shrunk."""

    def __init__(self, title: str, subtitle: str, height: float, width: float = WIDTH) -> None:
        self.size = (round(width * SCALE), round((height + MARGIN) * SCALE))
        self.image = Image.new("RGB", self.size, PAPER)
        self.draw = ImageDraw.Draw(self.image)
        self.draw.rectangle((0, 0, self.size[0] - 1, self.size[1] - 1), outline=BORDER, width=SCALE)
        if title:
            self.text((MARGIN, 30), title, size=17, anchor="lm", width=width - 2 * MARGIN - 250)
            self.text((width - MARGIN, 30), subtitle, fill=MUTED, anchor="rm", width=240)

    def text(
        self, place: tuple, text: str, size: int = 12, fill: str = INK, anchor: str = "la", width: float | None = None
    ) -> None:
        """Writes one line. `anchor` as in Pillow: where `place` lies in the text, horizontally and vertically."""
        text = ascii_text(text)
        if width is not None and self.width(text, size) > width:
            while text and self.width(text + "...", size) > width:
                text = text[:-1]
            text = text.rstrip() + "..."
        at = (round(place[0] * SCALE), round(place[1] * SCALE))
        self.draw.text(at, text, font=font(size), fill=fill, anchor=anchor)

    def width(self, text: str, size: int) -> float:
        return font(size).getlength(ascii_text(text)) / SCALE

    def box(self, box: Sequence[float], fill: str) -> None:
        """Fills a rectangle; one that is too thin for a pixel is a pixel wide."""
        left, top, right, bottom = (round(value * SCALE) for value in box)
        self.draw.rectangle((left, top, max(right - 1, left), max(bottom - 1, top)), fill=fill)

    def png(self) -> bytes:
        return png(self.image.quantize(64, method=Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE))


def png(image: Image.Image) -> bytes:
    """The bytes of an image with a palette: a few dozen kilobytes for a plot."""
    buffer = io.BytesIO()
    image.save(buffer, format="PNG", optimize=True)
    return buffer.getvalue()


@cache
def font(size: int) -> ImageFont.FreeTypeFont:
    """The font that comes with Pillow, at a size in units of the layout."""
    return ImageFont.load_default(size=size * SCALE)


def ascii_text(text: str) -> str:
    """The text with a question mark for what the font has no sign for."""
    return "".join(sign if (sign.isascii() and sign.isprintable()) or sign == "·" else "?" for sign in str(text))


def ascii_labels(values: Iterable[str]) -> dict[str, str]:
    """What each value is called in pictures: itself where the font can write it, otherwise `#1`, `#2`, ...

    The numbers follow the order of the values' text; the card says which is which. An empty value is `(none)`.
    """
    ordered = sorted(set(values))
    taken = {value for value in ordered if value.isascii() and value.isprintable() and value.strip()}
    free = (f"#{number}" for number in range(1, 2 * len(ordered) + 1) if f"#{number}" not in taken)
    return {value: value if value in taken else next(free) if value.strip() else "(none)" for value in ordered}
