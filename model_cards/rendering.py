"""Renders cards: fills a template with measured values, escapes them, and checks the result."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Any

from model_cards.card_update import block

TEMPLATES = Path(__file__).parent / "templates"


def environment(html: bool = False) -> Any:
    """Jinja with the templates of this folder: a name that is not given is an error, never an empty place.

    `{% call block("results") %}...{% endcall %}` puts a part of a card between our markers: see `card_update.py`.
    """
    import jinja2

    env = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=html,  # noqa: S701 (Markdown is escaped by the filter `cell`)
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    env.filters |= {"cell": table_cell, "code": code, "number": number}
    env.globals["block"] = lambda name, caller: block(name, caller())
    return env


def render_card(card_type: type, card_data: Any, template: str, **values: Any) -> Any:
    """A card of `huggingface_hub`: its YAML from `card_data`, its text from a template.

    Raises ValueError where a value is missing or of another kind, or a placeholder was left in the text.
    """
    import jinja2

    try:
        text = environment().get_template(template).render(**values)
    except (jinja2.UndefinedError, TypeError) as error:
        raise ValueError(f"{template}: {error}") from None
    card = card_type(f"---\n{card_data.to_yaml()}\n---\n\n{text}")
    if "[More Information Needed]" in card.text:
        raise ValueError(f"{template}: the card still has a placeholder")
    return card


def table_cell(value: Any) -> str:
    """Text that comes from data, as one cell of a Markdown table: it can neither end the cell nor bring markup."""
    text = re.sub(r"\s+", " ", str(value)).strip()
    return re.sub(r"([\\|`*_~&$\[\]<>#])", r"\\\1", text)


def code(value: Any, in_table: bool = False) -> str:
    """A name that comes from data, as code in a line of Markdown; in a cell of a table a bar needs a backslash."""
    text = re.sub(r"\s+", " ", str(value)).strip()
    fence = "`" * (1 + max((len(run) for run in re.findall("`+", text)), default=0))
    text = f" {text} " if "`" in text else text
    return fence + (text.replace("|", r"\|") if in_table else text) + fence


def number(value: float | int | None) -> str:
    """`1,234` for counts, four significant digits for measurements, a dash for nothing and what is not finite."""
    if value is None or not math.isfinite(value):
        return "–"
    return f"{value:,}" if isinstance(value, int) else f"{value:.4g}"
