"""The README and the pages of docs/: what is on them, and what happens to each block of code.

The language of a block says how the tests treat it:

- `bash` and `python`: run as printed, page after page, in one copy of the repository and against one Hub on this
  machine. A later command reads what an earlier one wrote. What stands on two pages runs once.
- a `bash` or `python` block that begins with `# Not run by the tests: REASON` is only checked: each command must exist
  and each flag must be known to its parser. REASONS lists the reasons that are allowed.
- `console`: a command after `$` that must fail, and its message. `make test-slow TESTS=tests/test_pages.py` with
  `RENEW_MESSAGES=1` in the environment writes the messages anew.
- `yaml`: a file whose name stands in the first line, as a comment; it is written for the commands that follow.
- `text` and `mermaid`: no code.
"""

from __future__ import annotations

import re
import textwrap
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[1]
README, CONTRIBUTING, DOCS = ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "docs"
LANGUAGES = {"bash", "python", "console", "yaml", "text", "mermaid"}
NOT_RUN = "# Not run by the tests: "
REASONS = (
    "needs a GPU",
    "needs several GPUs",
    "needs a cloud account",
    "needs an account on huggingface.co",
    "needs the internet",
    "needs macOS",
    "needs Windows",
    "needs a Ray cluster",
    "needs LLaMA-Factory",
    "runs until it is stopped",
    "replaces what the pages before it made",
)
FENCE = re.compile(r"^(?P<indent> *)```(?P<language>[^\n`]*)\n(?P<text>.*?)^(?P=indent)```$", re.MULTILINE | re.DOTALL)
HEADING = re.compile(r"^#{1,6} +(.+?) *$", re.MULTILINE)
LINK = re.compile(r"!?\[(?:[^\]\[]|\[[^\]]*\])*\]\(([^)\s]+)\)")
WIDTH = 100  # of the messages in `console` blocks


@dataclass(frozen=True)
class Block:
    """A block of code: its page, its language, its text, and the reason why it is not run, if it is not."""

    page: Path
    language: str
    text: str
    reason: str = ""

    def commands(self) -> list[str]:
        """The commands of a `bash` or `console` block; a line that ends with a backslash is joined with the next."""
        lines = re.sub(r" *\\\n *", " ", self.text).splitlines()
        if self.language == "console":
            return [line.removeprefix("$ ") for line in lines if line.startswith("$ ")]
        return [line.strip() for line in lines if line.strip() and not line.strip().startswith("#")]


def pages() -> list[Path]:
    """The README, then the pages of docs/ in the order of the site's navigation."""
    site = yaml.safe_load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"))
    return [README, *(DOCS / name for name in flat(site["nav"]))]


def flat(entries: list) -> Iterator[str]:
    """The files of a navigation, which may be nested."""
    for entry in entries:
        if isinstance(entry, str):
            yield entry
        else:
            for value in entry.values():
                yield from [value] if isinstance(value, str) else flat(value)


def blocks(page: Path) -> list[Block]:
    """The blocks of code of a page, in their order."""
    found = []
    for match in FENCE.finditer(page.read_text(encoding="utf-8")):
        text, language = textwrap.dedent(match["text"]), match["language"].strip()
        reason = ""
        if text.startswith(NOT_RUN):
            head, _, text = text.partition("\n")
            reason = head.removeprefix(NOT_RUN)
        found.append(Block(page, language, text, reason))
    return found


def links(page: Path) -> list[str]:
    """The targets of a page's links and pictures that are not addresses."""
    text = FENCE.sub("", page.read_text(encoding="utf-8"))
    return [link for link in LINK.findall(text) if not re.match(r"[a-z]+:", link)]


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub and MkDocs make them of plain words."""
    text = FENCE.sub("", page.read_text(encoding="utf-8"))
    return {anchor(title) for title in HEADING.findall(text)}


def anchor(title: str) -> str:
    """`Where things are` becomes `where-things-are`."""
    title = unicodedata.normalize("NFKD", re.sub(r"[`*]", "", title)).lower()
    return re.sub(r"[\s-]+", "-", re.sub(r"[^\w\s-]", "", title).strip())


def failure(output: str) -> str:
    """The message that a command ended with: from its last line with `error: ` on, in one line."""
    lines = output.strip().splitlines()
    starts = [number for number, line in enumerate(lines) if "error: " in line]
    return " ".join(" ".join(lines[starts[-1] :]).split()) if starts else ""
