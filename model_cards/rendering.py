"""Renders cards: fills a template with measured values, escapes them, and checks the result."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from model_cards.card_update import block

TEMPLATES = Path(__file__).parent / "templates"


def environment(html: bool = False) -> Any:
    """Returns a Jinja environment for the templates of this folder, in which a missing value is an error.

    `{% call block("results") %}...{% endcall %}` puts a part of a card between our markers, see `card_update.py`.

    Args:
        html: escape values for HTML instead of Markdown.
    """
    import jinja2

    env = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=html,  # noqa: S701 (the filter `cell` escapes Markdown)
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    env.filters |= {"cell": table_cell, "code": code, "number": number, "markdown_table": markdown_table}
    env.globals["block"] = lambda name, caller: block(name, caller())
    return env


def render_card(card_type: type, card_data: Any, template: str, **values: Any) -> Any:
    """Renders a card of `huggingface_hub`.

    Args:
        card_type: `ModelCard` or `DatasetCard`.
        card_data: the front matter.
        template: name of the template of the text.
        values: the values of the template.

    Raises:
        ValueError: a value is missing or has a wrong type, or the text contains a placeholder.
    """
    import jinja2

    try:
        text = environment().get_template(template).render(**values)
    except (jinja2.UndefinedError, TypeError) as error:
        raise ValueError(f"{template}: {error}") from None
    card = card_type(f"---\n{card_data.to_yaml()}\n---\n\n{text}")
    if "[More Information Needed]" in card.text:
        raise ValueError(f"{template}: the card contains the placeholder [More Information Needed]")
    return card


def table_cell(value: Any) -> str:
    """Escapes a text from the data for a cell of a Markdown table; it can neither end the cell nor add markup."""
    text = re.sub(r"\s+", " ", str(value)).strip()
    return re.sub(r"([\\|`*_~&$\[\]<>#])", r"\\\1", text)


def markdown_table(lines: Sequence[Sequence[str]]) -> str:
    """Returns a Markdown table of texts, which are escaped; the first line is the header."""
    return aligned_table([[table_cell(cell) for cell in line] for line in lines]).rstrip("\n")


def aligned_table(lines: Sequence[Sequence[str]], texts: Sequence[int] = (0,)) -> str:
    """Returns a Markdown table with aligned columns, so that it can also be read in a terminal.

    Args:
        lines: the cells of the header and of each line.
        texts: the numbers of the columns that are aligned to the left.
    """
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]

    def draw(cells: Sequence[str]) -> str:
        aligned = [
            cell.ljust(width) if column in texts else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(cells, widths, strict=True))
        ]
        return f"| {' | '.join(aligned)} |\n"

    rule = "|".join(
        "-" * (width + 2) if column in texts else "-" * (width + 1) + ":" for column, width in enumerate(widths)
    )
    return f"{draw(lines[0])}|{rule}|\n{''.join(map(draw, lines[1:]))}"


def code(value: Any, in_table: bool = False) -> str:
    """Formats a name from the data as inline code in Markdown; in a table cell, bars are escaped."""
    text = re.sub(r"\s+", " ", str(value)).strip()
    # Inline code with backticks in it requires a longer run of backticks around it.
    fence = "`" * (1 + max((len(run) for run in re.findall("`+", text)), default=0))
    text = f" {text} " if "`" in text else text
    return fence + (text.replace("|", r"\|") if in_table else text) + fence


def number(value: float | int | None) -> str:
    """Formats counts as `1,234` and measurements with four significant digits; a dash for None, NaN and infinity."""
    if value is None or not math.isfinite(value):
        return "–"
    return f"{value:,}" if isinstance(value, int) else f"{value:.4g}"
