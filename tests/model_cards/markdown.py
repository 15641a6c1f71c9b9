"""Reads a card like the Hub: the front matter with a YAML parser, the text with a Markdown parser that knows tables."""

from __future__ import annotations

from typing import Any

import yaml
from markdown_it import MarkdownIt
from markdown_it.token import Token

# Texts that try to end a cell, inline code, the front matter or a template, or to add markup.
HOSTILE = [
    "a | b",
    "| --- |",
    "first\nsecond\r\n\n# third",
    "\n---\nlicense: evil\n---\n",
    "`code` and ``more`",
    "```\nfence",
    "<script>alert(1)</script>",
    "<!-- comment",
    "{{ 7 * 7 }} {% for x in y %} {# note #}",
    "[link](javascript:alert(1)) ![image](http://evil.example/x.png)",
    "**bold** _it_ ~~gone~~ $x$ a*b*c",
    r"back\slash \| \`",
    "&lt;b&gt; &amp; &#124;",
    "line\u2028separator\u0085next",
    "[More Information Needed]",
    "- item",
    "左肺 “quoted” 'single' <5 mm",
]


def front_matter(card: str) -> dict:
    """Parses the YAML of a card, which ends at the first line `---`."""
    assert card.startswith("---\n")
    return yaml.safe_load(card[4:].split("\n---\n", 1)[0])


def parse(text: str) -> list[Token]:
    """Parses a Markdown text without its front matter into tokens; HTML is a token too, because the Hub allows some."""
    if text.startswith("---\n"):
        text = text[4:].split("\n---\n", 1)[1]
    return MarkdownIt("commonmark").enable(["table", "strikethrough"]).parse(text)


def shown(token: Token) -> str:
    """Returns the visible text of an inline token; markup other than code and our emphasis is an error."""
    parts = []
    for child in token.children or []:
        assert child.type in ("text", "code_inline", "softbreak", "strong_open", "strong_close"), child
        parts.append(" " if child.type == "softbreak" else child.content)
    return "".join(parts)


def tables(text: str) -> list[list[list[str]]]:
    """Returns the tables of a text as lists of rows of visible cells, header first."""
    found: list[Any] = []
    for place, token in enumerate(tokens := parse(text)):
        if token.type == "table_open":
            found.append([])
        elif token.type == "tr_open":
            found[-1].append([])
        elif token.type in ("th_open", "td_open"):
            found[-1][-1].append(shown(tokens[place + 1]))
    for table in found:
        assert len({len(row) for row in table}) == 1
    return found


def headings(text: str) -> list[str]:
    tokens = parse(text)
    return [shown(tokens[place + 1]) for place, token in enumerate(tokens) if token.type == "heading_open"]


def code_blocks(text: str) -> list[str]:
    return [token.content for token in parse(text) if token.type == "fence"]


def one_line(text: str) -> str:
    return " ".join(text.split())
