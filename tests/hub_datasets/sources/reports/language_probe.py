"""Measures how many sentences of radiology reports get their language, one by one and as rows of one folder.

    python -m tests.hub_datasets.sources.reports.language_probe

writes `tests/benchmarks/results/language_probe.json`. The sentences were written for this probe; the folder of each
language holds nothing else, so that an undetermined sentence can get the language of the others.
"""

from __future__ import annotations

import json
from collections import defaultdict
from pathlib import Path

from hub_datasets.schema import UNDETERMINED
from hub_datasets.sources.reports.language import Majority, detect

SENTENCES = Path(__file__).with_name("language_probe.txt")
RECORD = Path(__file__).resolve().parents[3] / "benchmarks/results/language_probe.json"


def sentences() -> dict[str, list[str]]:
    """The sentences by language."""
    found: dict[str, list[str]] = defaultdict(list)
    language = ""
    for line in SENTENCES.read_text(encoding="utf-8").splitlines():
        if line.startswith("["):
            language = line.strip("[]")
        elif line and not line.startswith("#"):
            found[language].append(line)
    return dict(found)


def measure() -> dict[str, dict[str, int]]:
    """For each language: sentences, right, undetermined and wrong by themselves, and right in a folder of their own."""
    result = {}
    for language, texts in sentences().items():
        found, majority = [detect(text) for text in texts], Majority()
        for code in found:
            majority.add(code)
        in_folder = [majority.language() if code == UNDETERMINED else code for code in found]
        result[language] = {
            "sentences": len(texts),
            "right": found.count(language),
            "undetermined": found.count(UNDETERMINED),
            "wrong": len(texts) - found.count(language) - found.count(UNDETERMINED),
            "right_in_a_folder": in_folder.count(language),
        }
    return result


def main() -> None:
    measured = measure()
    total = {name: sum(row[name] for row in measured.values()) for name in next(iter(measured.values()))}
    note = "The words of the lists were extended once after the first measurement (92.1 % right, 0.7 % wrong)."
    RECORD.write_text(json.dumps({"note": note, "total": total, "languages": measured}, indent=1) + "\n")
    print(total)


if __name__ == "__main__":
    main()
