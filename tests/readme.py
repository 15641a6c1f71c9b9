"""The parts of the README that are made from a result file, and its blocks of code.

    python -m tests.readme

writes the table of the last recorded demo into the README.
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
README = ROOT / "README.md"
RECORD = ROOT / "evaluation" / "benchmarks" / "results" / "demo.json"


def blocks(language: str) -> list[str]:
    """The code blocks of the README in one language, in their order."""
    return re.findall(rf"^```{language}\n(.*?)^```$", README.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)


def with_record(text: str) -> str:
    """The README's text with the numbers of the record between its marks."""
    from evaluation.leaderboard import markdown

    record = json.loads(RECORD.read_text(encoding="utf-8"))
    versions = ", ".join(f"{name} {version}" for name, version in record["versions"].items())
    machine = f"{record['date']}, {record['processors']} processor cores, {record['seconds']} s, {versions}"
    filled = {"machine": machine, "tables": "\n" + "\n".join(map(markdown, record["tables"]))}
    for mark, content in filled.items():
        pattern = rf"(<!-- demo:{mark} -->).*?(<!-- /demo:{mark} -->)"
        text = re.sub(pattern, lambda match, content=content: match[1] + content + match[2], text, flags=re.DOTALL)
    return text


def main() -> int:
    README.write_text(with_record(README.read_text(encoding="utf-8")), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
