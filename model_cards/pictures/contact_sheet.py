"""Draws the contact sheet of a dataset card: a grid of sample images with their numbers, sources and categories."""

from __future__ import annotations

import io
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from PIL import Image, ImageChops

from model_cards.pictures.charts import MARGIN, MUTED, SCALE, SMALL, WIDTH, canvas, new_figure, png, write
from model_cards.pictures.fonts import is_drawable, wrapped

COLUMNS, GAP = 4, 12  # images per line; units between two images
HIGH = 130  # units: height of an image
NAMES = 36  # units for the category and the source below an image
TEXT_LINES, TEXT_LINE = 5, 12  # lines of an image's text; units of each
CAPTION = NAMES + TEXT_LINES * TEXT_LINE
MOST = 40  # images on a sheet
MAX_BYTES = 600_000
MAX_ENLARGED = 2.0  # maximum magnification, so that a tiny image stays small and sharp
MAT = "#EBEDEF"  # background of the images
GRAY = 12  # maximum difference, of 255, between the channels of a gray pixel


@dataclass(frozen=True, slots=True)
class Sample:
    """One image of the dataset, for the card to show.

    Attributes:
        data: the published JPEG or PNG file.
        source, category, language: the columns of its row.
        text: the text of its row.
    """

    data: bytes
    source: str
    category: str
    language: str
    text: str


def choose(samples: Sequence[Sample], most: int = MOST) -> list[Sample]:
    """Returns at most `most` samples, taken from all sources and categories in turn, in the order of the sources."""
    queues: dict[str, dict[str, list[Sample]]] = defaultdict(lambda: defaultdict(list))
    for sample in samples:
        queues[sample.source][sample.category].append(sample)
    turns = {source: by_turns(list(by_category.values())) for source, by_category in queues.items()}
    chosen = by_turns(list(turns.values()))[:most]
    order = list(queues)
    return sorted(chosen, key=lambda sample: order.index(sample.source))


def by_turns(queues: list[list]) -> list:
    """Returns the first item of each queue, then the second of each, and so on."""
    longest = max((len(queue) for queue in queues), default=0)
    return [queue[place] for place in range(longest) for queue in queues if place < len(queue)]


def contact_sheet(samples: Sequence[Sample], labels: Mapping[str, str]) -> bytes:
    """Returns a PNG with the samples in their order, numbered from 1, with as many colors as fit below 600 kB.

    The beginning of a sample's text stands below it, as much as fits in five lines.

    Args:
        samples: at least one sample.
        labels: the label of each category in pictures, from `fonts.labels`.

    Raises:
        ValueError: there is no sample.
    """
    if not samples:
        raise ValueError("a contact sheet requires at least one sample")
    lines = -(-len(samples) // COLUMNS)  # rounded up
    side = (WIDTH - 2 * MARGIN - (COLUMNS - 1) * GAP) // COLUMNS
    columns = min(COLUMNS, len(samples))
    wide = max(2 * MARGIN + columns * side + (columns - 1) * GAP, 2 * MARGIN + 2 * side)
    figure = new_figure("", "", MARGIN + lines * (HIGH + CAPTION + GAP) - GAP, width=wide)
    places = []
    for place, sample in enumerate(samples):
        left, top = MARGIN + place % COLUMNS * (side + GAP), MARGIN + place // COLUMNS * (HIGH + CAPTION + GAP)
        places.append((left * SCALE, top * SCALE))
        write(figure, left, top + HIGH + 12, f"{place + 1}. {labels[sample.category]}", width=side)
        write(figure, left, top + HIGH + 27, sample.source, SMALL, MUTED, width=side)
        said = sample.text if is_drawable(" ".join(sample.text.split())) else "(the text is in the table below)"
        for number, line in enumerate(wrapped(said, SMALL, side, TEXT_LINES)):
            write(figure, left, top + HIGH + NAMES + TEXT_LINE * number + 6, line, SMALL, width=side)
    sheet, pictures = canvas(figure), []
    for sample, (x, y) in zip(samples, places, strict=True):
        wide, high = side * SCALE, HIGH * SCALE
        pictures.append(thumbnail(sample.data, wide, high))
        sheet.paste(MAT, (x, y, x + wide, y + high))
        width, height = pictures[-1].size
        sheet.paste(pictures[-1], (x + (wide - width) // 2, y + (high - height) // 2))
    palettes = (palette(pictures, size) for size in (256, 128, 64, 16, 4, 2))
    sheets = (png(sheet.quantize(palette=few, dither=Image.Dither.NONE)) for few in palettes)
    return next(content for content in sheets if len(content) < MAX_BYTES)


def palette(pictures: Sequence[Image.Image], size: int) -> Image.Image:
    """Returns an image whose palette has `size` colors: grays for radiographs, and colors of the color pictures.

    A palette of all pixels would tint the grays, or lose the few reddish pixels of a lesion among many gray ones.
    """
    colored = [picture for picture in pictures if is_colored(picture)]
    grays = max(size // 4, 2) if colored else size
    entries = [(255 * place // (grays - 1),) * 3 for place in range(grays)]
    if colored and size > grays:
        strip = Image.new("RGB", (64 * len(colored), 64))  # one square of 64 pixels per picture, so all weigh the same
        for place, picture in enumerate(colored):
            strip.paste(picture.resize((64, 64), Image.Resampling.NEAREST), (64 * place, 0))
        chosen = strip.quantize(size - grays, method=Image.Quantize.MAXCOVERAGE).getpalette() or []
        entries += zip(chosen[0::3], chosen[1::3], chosen[2::3], strict=True)  # a palette is a flat list of R, G, B
    few = Image.new("P", (1, 1))
    few.putpalette([part for entry in entries[:size] for part in entry])
    return few


def is_colored(picture: Image.Image) -> bool:
    """Returns whether the channels of an RGB image differ by more than those of an encoded gray image."""
    red, green, blue = picture.split()
    apart = (ImageChops.difference(red, green), ImageChops.difference(green, blue))
    return max(channel.getextrema()[1] for channel in apart) > GRAY


def thumbnail(data: bytes, wide: int, high: int) -> Image.Image:
    """Scales an image to fit `wide` x `high` pixels, without cropping or distortion, and replaces transparency."""
    with Image.open(io.BytesIO(data), formats=("JPEG", "PNG")) as image:
        image.draft(None, (wide, high))  # a large JPEG is decoded at a fraction of its size
        picture = image.convert("RGBA") if image.has_transparency_data else image.convert("RGB")
    factor = min(wide / picture.width, high / picture.height, MAX_ENLARGED)
    size = [max(round(length * factor), 1) for length in picture.size]
    picture = picture.resize(size, Image.Resampling.LANCZOS)
    if picture.mode == "RGBA":
        mat = Image.new("RGBA", picture.size, MAT)
        picture = Image.alpha_composite(mat, picture)
    return picture.convert("RGB")
