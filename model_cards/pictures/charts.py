"""Draws the charts of a dataset card: accepted and rejected records, splits, categories and text lengths.

The same input gives the same bytes. Charts have a light background of their own, so that they are also readable in dark
mode, and are drawn at twice their size for sharp text. Figures are made without pyplot and keep no state between calls,
so that they can be drawn in a thread.
"""

from __future__ import annotations

import io
import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from PIL import Image

from model_cards.pictures.fonts import DPI, fitted, font

if TYPE_CHECKING:  # matplotlib is imported where something is drawn
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SCALE = DPI // 72  # pixels of the file per unit of the layout; a unit is a point of matplotlib
WIDTH, MARGIN, LABEL, NUMBERS = 800, 24, 150, 150  # units: page width, margin, columns of names and of numbers
LINE, BAR, HEADING = 28, 18, 26  # units: distance between two bars, height of a bar, height of a heading
TOP = 58  # units: height of the title
LEGEND_COLUMNS, LEGEND_LINE = 3, 22
PANEL_GAP, PANEL, PANEL_HEIGHT = 32, 108, 184  # units: gap between histograms, height without and with texts
PANEL_WIDTH = (WIDTH - 2 * MARGIN - PANEL_GAP) / 2
TEXT, SMALL, TITLE = 11, 9, 16  # points
PAPER, BORDER, GRID, INK, MUTED = "#FCFCFB", "#D5D9DE", "#E3E6EA", "#1F2933", "#56616D"
# White text on each of these colors, and each color on the paper, has a contrast of at least 4.5 (WCAG 2).
ACCEPTED, OTHER = "#2C6AA0", "#69737E"
REASONS = ("#B4540A", "#8A3F7F", "#13795B", "#B3304F", "#7A6A00", "#4B4FA8")
CLASSES = (
    "#2C6AA0", "#B4540A", "#13795B", "#8A3F7F", "#7A6A00", "#B3304F", "#4B4FA8", "#2F7A86", "#86592D", "#5B6B2F",
)  # fmt: skip
SPLITS = {"train": "#2C6AA0", "validation": "#B4540A", "test": "#13795B"}
CATEGORIES_SHOWN = 15
BARS_WIDTH = WIDTH - 2 * MARGIN - LABEL - NUMBERS  # units: width of a stacked bar
COUNTED_BINS = 20  # columns of a histogram that are wide enough for their numbers
HAIRLINE, THINNEST = 0.75, 2.25  # units: gap between two segments of a bar, minimum width of a segment with its gap


def funnel(sources: Mapping[str, Mapping]) -> bytes:
    """Draws one bar per source: the share of its accepted records, and of each reason for rejection.

    The six reasons with the most records have their own colors; the rest is shown as `other reasons`.
    """
    totals: Counter[str] = Counter()
    for source in sources.values():
        totals.update(source["rejected"])
    ranked = sorted(totals, key=lambda code: (-totals[code], code))
    shown = ranked[: len(REASONS)]
    rows = []
    for name, source in sources.items():
        counts = {"accepted": source["accepted"]} | {code: source["rejected"].get(code, 0) for code in shown}
        counts["other reasons"] = sum(source["rejected"].get(code, 0) for code in ranked[len(REASONS) :])
        rows.append((name, counts, f"{source['accepted']:,} of {source['read']:,}"))
    colors = {"accepted": ACCEPTED, **dict(zip(shown, REASONS, strict=False)), "other reasons": OTHER}
    return stacked_bars("Accepted and rejected records", "share of all records read", [("", rows)], colors)


def split_shares(rows_by: Mapping[str, Mapping]) -> bytes:
    """Draws one bar per config and source: the share of the source's rows in each split."""
    sections = []
    for config, columns in rows_by.items():
        by_source = columns["source_dataset"].items()
        sections.append((config, [(name, counts, f"{sum(counts.values()):,} rows") for name, counts in by_source]))
    names = split_order({split for _, rows in sections for _, counts, _ in rows for split in counts})
    others = iter([*REASONS[1:2], *REASONS[3:], *[OTHER] * len(names)])
    colors = {name: SPLITS.get(name) or next(others) for name in names}
    return stacked_bars("Splits of each source", "share of the source's rows", sections, colors)


def split_order(names: Iterable[str]) -> list[str]:
    """Sorts splits: train, validation, test, then any others by name."""
    names = set(names)
    return [name for name in SPLITS if name in names] + sorted(names - set(SPLITS))


def categories(counts: Mapping[str, int], labels: Mapping[str, str]) -> bytes:
    """Draws one bar for each of the 15 largest categories and one for all others.

    Args:
        counts: rows of the config `pairs`, by category.
        labels: the label of each category in pictures, from `fonts.labels`.
    """
    ranked = sorted(counts, key=lambda name: (-counts[name], name))
    # With 16 categories, all are shown, because a bar "1 others" would take as much space as the category itself.
    shown = ranked if len(ranked) <= CATEGORIES_SHOWN + 1 else ranked[:CATEGORIES_SHOWN]
    rows = [(labels[name], counts[name], ACCEPTED) for name in shown]
    if rest := ranked[len(shown) :]:
        rows.append((f"{len(rest):,} others", sum(counts[name] for name in rest), OTHER))
    figure = new_figure("Rows per category", "rows of the config pairs", TOP + LINE * len(rows))
    axes = bar_axes(figure, TOP, LABEL + 50, 90, [name for name, _, _ in rows])
    largest = max((count for _, count, _ in rows), default=0) or 1
    axes.set_xlim(0, largest)
    # A bar has at least 1/400 of the width, so that a single row stays visible next to a million.
    lengths = [max(count, largest / 400) if count else 0 for _, count, _ in rows]
    bars = axes.barh(range(len(rows)), lengths, height=BAR / LINE, color=[color for _, _, color in rows])
    counted = axes.bar_label(bars, [f"{count:,}" for _, count, _ in rows], padding=8)
    style(counted, TEXT, MUTED, va="center_baseline")
    return rendered(figure)


def class_shares(source: str, table: Mapping[str, Mapping[str, int]]) -> bytes:
    """Draws one bar per split: the share of each class of a source.

    The ten largest classes have their own colors; the rest is shown as `other classes`.

    Args:
        table: rows by class and split, in the order of the classes.
    """
    ranked = sorted(table, key=lambda name: -sum(table[name].values()))
    shown = [name for name in table if name in set(ranked[: len(CLASSES)])]
    rows = []
    for split in split_order({split for counts in table.values() for split in counts}):
        counts = {name: table[name].get(split, 0) for name in shown}
        if len(ranked) > len(shown):
            counts["other classes"] = sum(table[name].get(split, 0) for name in ranked if name not in counts)
        rows.append((split, counts, f"{sum(counts.values()):,} rows"))
    colors = {**dict(zip(shown, CLASSES, strict=False)), "other classes": OTHER}
    return stacked_bars(f"Classes of {source}", "share of the rows of pairs", [("", rows)], colors)


def text_lengths(texts: Mapping[str, Mapping[str, Mapping]]) -> bytes:
    """Draws one histogram per config and language.

    Args:
        texts: `{config: {language: {"histogram": [[low, high, count], ...], "median": ...}}}`.
    """
    panels = [(config, language, texts[config][language]) for config in texts for language in texts[config]]
    figure = new_figure("Text lengths", "texts by number of characters", TOP - 16 + PANEL_HEIGHT * -(-len(panels) // 2))
    for place, (config, language, measured) in enumerate(panels):
        left, top = MARGIN + (place % 2) * (PANEL_WIDTH + PANEL_GAP), TOP + PANEL_HEIGHT * (place // 2)
        right, half = left + PANEL_WIDTH, PANEL_WIDTH / 2
        write(figure, left, top, f"{config} · {language}", width=half)
        write(figure, right, top, f"median {measured['median']:,.0f}", color=MUTED, align="right", width=half)
        histogram(new_axes(figure, left, top + 34, PANEL_WIDTH, PANEL), measured["histogram"])
    return rendered(figure)


def histogram(axes: Axes, bins: Sequence[Sequence[float]]) -> None:
    """Draws one column per bin, all of equal width, with as many bounds of bins below as fit."""
    counts = [count for _, _, count in bins]
    largest = max(counts, default=0)
    axes.set(xlim=(0, max(len(bins), 1)), ylim=(0, largest or 1))
    if len(bins) > COUNTED_BINS:  # the columns are too narrow for their numbers
        axes.axhline(largest or 1, color=GRID, linewidth=1)
        style([axes.text(0, (largest or 1) * 1.02, f"{largest:,}", va="bottom")], SMALL, MUTED)
    heights = [max(count, largest / PANEL) if count else 0 for count in counts]  # one unit at least
    drawn = axes.bar(range(len(bins)), heights, width=1 - len(bins) / PANEL_WIDTH, align="edge", color=ACCEPTED)
    if len(bins) <= COUNTED_BINS:
        numbers = axes.bar_label(drawn, [short(count) if count else "" for count in counts], padding=1)
        style(numbers, SMALL, MUTED)
    axes.spines["bottom"].set(visible=True, color=MUTED, linewidth=1)
    edges = [low for low, _, _ in bins] + [bins[-1][1]] if bins else []
    if len(bins) > 1 and bins[-1][1] - bins[-1][0] > bins[0][1] - bins[0][0]:  # the last column holds all longer texts
        edges[-1] = math.inf
    every = max(-(-len(edges) // 7), 1)  # rounded up; seven numbers of five digits fit below a panel
    places = range(0, len(edges), every)
    axes.set_xticks(places, [edge_label(edges, place) for place in places])
    style(axes.get_xticklabels(), SMALL, MUTED)
    for place, label in zip(places, axes.get_xticklabels(), strict=True):
        label.set_horizontalalignment("left" if place == 0 else "right" if place == len(bins) else "center")


def edge_label(edges: Sequence[float], place: int) -> str:
    """Returns the label of a bound between two columns: `≥ 400` for the last one if the last column has no end."""
    if math.isinf(edges[place]):
        return ""
    open_end = place + 1 < len(edges) and math.isinf(edges[place + 1])
    return f"≥ {edges[place]:,.0f}" if open_end else f"{edges[place]:,.0f}"


def short(count: float) -> str:
    """Returns a count in at most four characters: `987`, `1.2k`, `12k`, `1.2M`."""
    for limit, unit, divisor in ((1e3, "", 1), (1e6, "k", 1e3), (1e9, "M", 1e6)):
        if count < limit:
            shown = f"{count / divisor:.1f}" if unit and count < 10 * divisor else f"{count / divisor:.0f}"
            return f"{shown.removesuffix('.0')}{unit}"
    return f"{count / 1e9:.0f}G"


def stacked_bars(
    title: str, subtitle: str, sections: Sequence[tuple[str, Sequence[tuple]]], colors: Mapping[str, str]
) -> bytes:
    """Draws stacked bars of equal length, divided by the shares of their segments, with a legend below.

    Args:
        title, subtitle: texts at the top.
        sections: (heading, rows); a row is (name, {segment: count}, text at its end).
        colors: the color of each segment, in the order of the segments.
    """
    from matplotlib.patches import Patch

    occurring = {part for _, rows in sections for _, counts, _ in rows for part, count in counts.items() if count}
    legend = [Patch(color=color, label=fitted(name, TEXT, 215)) for name, color in colors.items() if name in occurring]
    height = TOP + sum(LINE * len(rows) + (HEADING if heading else 0) for heading, rows in sections)
    figure = new_figure(title, subtitle, height + LEGEND_LINE * -(-len(legend) // LEGEND_COLUMNS))
    top = float(TOP)
    for heading, rows in sections:
        if heading:
            write(figure, MARGIN, top + BAR / 2, heading, color=MUTED, width=WIDTH - 2 * MARGIN)
            top += HEADING
        if rows:
            axes = bar_axes(figure, top, LABEL, NUMBERS, [name for name, _, _ in rows])
            axes.set_xlim(0, 1)
            divided_bars(axes, [counts for _, counts, _ in rows], colors)
        for place, (_, _, numbers) in enumerate(rows):
            y = top + LINE * place + BAR / 2
            write(figure, WIDTH - MARGIN, y, numbers, color=MUTED, align="right", width=NUMBERS - 12)
        top += LINE * len(rows)
    if legend:
        below = figure.legend(
            handles=legend, ncols=LEGEND_COLUMNS, loc="upper left", bbox_to_anchor=at(figure, MARGIN, height + 6),
            frameon=False, borderpad=0, borderaxespad=0, handlelength=1, handleheight=1, handletextpad=0.5,
            fontsize=TEXT, labelspacing=(LEGEND_LINE - 14) / TEXT,
        )  # fmt: skip
        style(below.get_texts(), TEXT, INK)
    return rendered(figure)


def divided_bars(axes: Axes, bars: Sequence[Mapping[str, int]], colors: Mapping[str, str]) -> None:
    """Draws bars from 0 to 1 with gaps between segments; a share is written in its segment if it fits."""
    lines, hairline = range(len(bars)), HAIRLINE / BARS_WIDTH
    axes.barh(lines, 1, height=BAR / LINE, color=GRID)
    ends, parts = [0.0] * len(bars), [segment_widths(counts, colors) for counts in bars]
    for name, widths in zip(colors, zip(*parts, strict=True), strict=True):
        filled = [max(width - hairline, 0) for width in widths]
        drawn = axes.barh(lines, filled, left=ends, height=BAR / LINE, color=colors[name])
        shares = [counts.get(name, 0) / (sum(counts.values()) or 1) for counts in bars]
        texts = [">99%" if 0.995 <= share < 1 else f"{share:.0%}" if share > 0.045 else "" for share in shares]
        style(axes.bar_label(drawn, texts, label_type="center"), SMALL, "#FFFFFF", va="center_baseline")
        ends = [end + width for end, width in zip(ends, widths, strict=True)]


def segment_widths(counts: Mapping[str, int], names: Iterable[str]) -> list[float]:
    """Returns the share of each segment of a bar; thin segments are widened at the expense of the largest one."""
    whole = sum(counts.values()) or 1
    widths = [max(counts.get(name, 0) / whole, THINNEST / BARS_WIDTH if counts.get(name) else 0) for name in names]
    if (excess := sum(widths) - 1) > 0:
        widths[widths.index(max(widths))] -= excess
    return widths


def new_figure(title: str, subtitle: str, height: float, width: float = WIDTH) -> Figure:
    """Makes a page with a border, a title at the upper left and a subtitle; `height`, in units, excludes the margin."""
    from matplotlib.figure import Figure

    figure = Figure((width / 72, round(height + MARGIN) / 72), dpi=DPI, facecolor=PAPER)
    figure.patch.set(edgecolor=BORDER, linewidth=2)  # the outer half is outside of the picture
    write(figure, MARGIN, 26, title, size=TITLE, width=width - 2 * MARGIN - 250)
    write(figure, width - MARGIN, 26, subtitle, color=MUTED, align="right", width=240)
    return figure


def at(figure: Figure, x: float, y: float) -> tuple[float, float]:
    """Converts units from the upper left corner to the coordinates of matplotlib, shares from the lower left."""
    width, height = figure.get_size_inches() * 72
    return x / width, 1 - y / height


def new_axes(figure: Figure, left: float, top: float, width: float, height: float) -> Axes:
    """Makes axes without lines, ticks and background; the arguments are in units."""
    x, y = at(figure, left, top + height)
    right, above = at(figure, left + width, top)
    axes = figure.add_axes((x, y, right - x, above - y), facecolor="none")
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0, pad=6)
    axes.grid(False)  # the user's matplotlib settings may switch it on
    axes.set(xticks=[], yticks=[])
    return axes


def bar_axes(figure: Figure, top: float, left: float, right: float, names: Sequence[str]) -> Axes:
    """Makes axes for one horizontal bar per name, from top to bottom, with a column for names and one on the right."""
    height = LINE * len(names)
    wide = WIDTH - 2 * MARGIN - left - right
    axes = new_axes(figure, MARGIN + left, top + (BAR - LINE) / 2, wide, max(height, 1))
    axes.set_ylim(max(len(names), 1) - 0.5, -0.5)
    axes.set_yticks(range(len(names)), [fitted(name, TEXT, left - 12) for name in names])
    axes.tick_params(axis="y", pad=10)
    style(axes.get_yticklabels(), TEXT, INK)
    return axes


def write(
    figure: Figure, x: float, y: float, text: str, size: float = TEXT, color: str = INK, align: str = "left",
    width: float = WIDTH,
) -> None:  # fmt: skip
    """Writes one line at height `y`, truncated to `width`; `x` is its left end, or its right end if align="right"."""
    style([figure.text(*at(figure, x, y), fitted(text, size, width), ha=align, va="center_baseline")], size, color)


def style(texts: Iterable, size: float, color: str, **more: str) -> None:
    """Gives matplotlib texts a font that can draw them, and disables formulas between dollar signs."""
    for text in texts:
        text.set(fontproperties=font(text.get_text(), size), color=color, parse_math=False, usetex=False, **more)


def canvas(figure: Figure) -> Image.Image:
    """Draws a figure; returns its pixels."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    drawn = FigureCanvasAgg(figure)
    drawn.draw()
    size = drawn.get_width_height(physical=True)
    return Image.frombytes("RGBA", size, bytes(drawn.buffer_rgba())).convert("RGB")


def rendered(figure: Figure) -> bytes:
    """Draws a figure; returns a PNG of a few dozen kilobytes."""
    return png(canvas(figure).quantize(64, method=Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE))


def png(image: Image.Image) -> bytes:
    """Encodes an image with a palette as PNG."""
    buffer = io.BytesIO()
    image.save(buffer, format="PNG", optimize=True)
    return buffer.getvalue()
