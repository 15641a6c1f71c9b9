"""Measures how often metrics of texts tell a changed meaning from a changed wording, on minimal pairs.

    python tests/benchmarks/evaluation/clinical_consistency.py

reads `tests/evaluation/metrics/clinical_consistency/probe_{en,zh}.jsonl`, prints the shares by kind, language and part,
writes `tests/benchmarks/results/clinical_consistency.json`, and renews the table in the README of the metric. A row has
a reference, a text that says the same in other words and, except for paraphrases, a text that says something else. A
metric separates the row if it scores the first of these texts higher, and keeps it if it scores the first like the
reference itself.

The rows are in four parts: `tuning` and `held_out` were written before the rules, by their author, who drew the second
one by a hash and saw none of its failures; `unusual` was written when the rules met the bar on both, with wordings far
from them, and rules were then added for what they had missed; `natural` was written after that, in the style of
reports, and no rule was changed because of it. The record keeps the first run on each part. The first runs on `unusual`
and `natural` say what to expect of new texts.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import platform
import re
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path

if __package__ in (None, ""):  # run as a script: import the project from its root, not from this folder
    sys.path[0] = str(Path(__file__).resolve().parents[3])

from importlib.metadata import version

from sacrebleu.metrics import BLEU

from evaluation.metrics.clinical_consistency.agreement import pair_score
from evaluation.metrics.clinical_consistency.claims import read_claims
from model_cards.results import write_json

RESULT = Path(__file__).parents[1] / "results" / "clinical_consistency.json"
PROBES = Path(__file__).parents[2] / "evaluation" / "metrics" / "clinical_consistency"
README = Path(__file__).parents[3] / "evaluation" / "metrics" / "clinical_consistency" / "README.md"
LANGUAGES = ("en", "zh")
PARTS = ("tuning", "held_out", "unusual", "natural")
KINDS = (
    "negation", "uncertainty", "laterality", "severity", "measurement", "finding", "no_change", "double_negation",
    "scope", "paraphrase",
)  # fmt: skip
# The rows with a changed meaning that `clinical_consistency` separated in its first run on each part, and all of them.
FIRST_RUN = {
    "en": {"tuning": [136, 136], "held_out": [74, 74], "unusual": [24, 54], "natural": [30, 36]},
    "zh": {"tuning": [126, 128], "held_out": [70, 72], "unusual": [29, 54], "natural": [30, 36]},
}
REPEATS = 5  # of the measurement of time, of which the fastest counts

Metric = Callable[[str, str], float]


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=RESULT, help="JSON file to write (default: %(default)s)")
    parser.add_argument(
        "--readme", type=Path, default=README, help="page whose table is renewed (default: %(default)s)"
    )
    options = parser.parse_args(argv)
    languages = {}
    for language in LANGUAGES:
        rows = scored(read_probe(language), language)
        languages[language] = {
            "parts": {part: shares(row for row in rows if row["part"] == part) for part in PARTS},
            "kinds": {kind: shares(row for row in rows if row["kind"] == kind) for kind in KINDS},
            "kinds_held_out": {
                kind: shares(row for row in rows if (row["kind"], row["part"]) == (kind, "held_out")) for kind in KINDS
            },
            "all": shares(rows),
            "first_run": FIRST_RUN[language],
            "milliseconds_per_text": time_of(rows),
        }
    result = {
        "date": datetime.now(UTC).date().isoformat(),
        "machine": f"{platform.system()} {platform.machine()}, {multiprocessing.cpu_count()} processors, one used",
        "versions": {"python": platform.python_version(), "sacrebleu": version("sacrebleu")},
        "languages": languages,
    }
    for language, found in languages.items():
        for name, numbers in {**found["parts"], **found["kinds"], "all": found["all"]}.items():
            print(language, name, *(f"{key} {value}" for key, value in numbers.items()))
        print(f"{language}: {found['milliseconds_per_text']} ms per text")
    options.output.parent.mkdir(parents=True, exist_ok=True)
    write_json(options.output, result)
    options.readme.write_text(with_table(options.readme.read_text(encoding="utf-8"), result), encoding="utf-8")
    return 0


def read_probe(language: str) -> list[dict]:
    """Returns the rows of a language: `kind`, `part`, `reference`, `same`, and `changed` except for paraphrases."""
    lines = (PROBES / f"probe_{language}.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines]


def metrics(language: str) -> dict[str, Metric]:
    """Returns the metrics to compare: functions of a prediction and a reference."""
    # `effective_order` gives texts of fewer than four words a score; without it BLEU separates hardly any row.
    bleu = BLEU(tokenize="zh" if language == "zh" else "13a", lowercase=True, effective_order=True)
    return {
        "clinical_consistency": lambda prediction, reference: pair_score(prediction, reference) or 0.0,
        "bleu": lambda prediction, reference: bleu.sentence_score(prediction, [reference]).score,
        "rouge_l": rouge_l,
    }


def rouge_l(prediction: str, reference: str) -> float:
    """Returns the F1 of the longest common subsequence of words; a Chinese character is a word."""
    ours, theirs = (
        re.findall(r"[\u4e00-\u9fff]|[^\W\u4e00-\u9fff]+", text.lower()) for text in (prediction, reference)
    )
    lengths = [0] * (len(theirs) + 1)
    for word in ours:
        before = 0
        for place, other in enumerate(theirs, start=1):
            longest = before + 1 if word == other else max(lengths[place], lengths[place - 1])
            before, lengths[place] = lengths[place], longest
    return 2 * lengths[-1] / (len(ours) + len(theirs)) if ours or theirs else 0.0


def scored(rows: Iterable[Mapping], language: str) -> list[dict]:
    """Returns the rows with `separated` and `kept` of each metric; a paraphrase is not separated from anything."""
    found = []
    for row in rows:
        separated, kept = {}, {}
        for name, metric in metrics(language).items():
            own, same = metric(row["reference"], row["reference"]), metric(row["same"], row["reference"])
            kept[name] = own > 0 and abs(own - same) < 1e-9
            if "changed" in row:
                separated[name] = same - metric(row["changed"], row["reference"]) > 1e-9
        found.append({**row, "separated": separated, "kept": kept})
    return found


def shares(rows: Iterable[Mapping]) -> dict[str, int | float | None]:
    """Returns the number of rows, of those with a changed meaning, and the share separated and kept by each metric."""
    rows = list(rows)
    changed = [row for row in rows if row["separated"]]
    result: dict[str, int | float | None] = {"rows": len(rows), "with_changed": len(changed)}
    for measure, counted in (("separated", changed), ("kept", rows)):
        for name in rows[0]["kept"]:
            right = sum(row[measure][name] for row in counted)
            result[f"{measure}_{name}"] = round(right / len(counted), 4) if counted else None
    return result


def time_of(rows: list[Mapping]) -> float:
    """Returns the processor time to read one text without the memory of earlier ones, in milliseconds."""
    times = []
    for _ in range(REPEATS):
        read_claims.cache_clear()
        start = time.process_time()
        for row in rows:
            read_claims(row["reference"])
        times.append((time.process_time() - start) / len(rows))
    return round(1000 * min(times), 3)


def with_table(page: str, result: Mapping) -> str:
    """Returns a page with the table of a result between its marks."""
    names = ("clinical_consistency", "bleu", "rouge_l")
    lines = [
        "| rows | English: this metric | BLEU | ROUGE-L | Chinese: this metric | BLEU | ROUGE-L |",
        "|---|--:|--:|--:|--:|--:|--:|",
    ]

    def line(title: str, group: str, key: str, measure: str) -> str:
        cells = []
        for language in LANGUAGES:
            found = result["languages"][language]
            numbers = found[group][key] if key else found[group]
            cells += [f"{100 * numbers[f'{measure}_{name}']:.1f}" for name in names]
        return f"| {title} | {' | '.join(cells)} |"

    for kind in KINDS[:-1]:
        lines.append(line(kind.replace("_", " "), "kinds", kind, "separated"))
    for part, title in zip(
        PARTS, ("part for tuning", "part held out", "unusual wordings", "style of reports"), strict=True
    ):
        lines.append(line(title, "parts", part, "separated"))
    first = [
        f"{100 * right / rows:.1f}"
        for right, rows in (result["languages"][language]["first_run"]["unusual"] for language in LANGUAGES)
    ]
    lines.append(f"| unusual wordings, first run | {first[0]} | | | {first[1]} | | |")
    lines.append(line("all", "all", "", "separated"))
    lines.append(line("*scored like the reference itself*", "all", "", "kept"))
    table = "\n".join(lines)
    marked = r"(<!-- probe:table -->\n).*?(<!-- /probe:table -->)"
    return re.sub(marked, lambda match: f"{match[1]}{table}\n{match[2]}", page, flags=re.DOTALL)


if __name__ == "__main__":
    sys.exit(main())
