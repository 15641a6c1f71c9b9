"""Measures how often metrics of texts tell a changed meaning from a changed wording, on minimal pairs.

    python tests/benchmarks/evaluation/clinical_consistency.py

reads `tests/evaluation/metrics/clinical_consistency/probe_{en,zh}.jsonl`, prints the shares by kind, language and part,
writes `tests/benchmarks/results/clinical_consistency.json`, and renews the table in the README of the metric. A row has
a reference, a text that says the same in other words and, except for paraphrases, a text that says something else. A
metric separates the row if it scores the first of these texts higher; `clinical_consistency` keeps it if it scores the
first like the reference itself.

The rows are in six parts, all by the author of the rules. `tuning` and `held_out` were written before the rules; the
second one was drawn by a hash, and none of its failures were looked at. `unusual`, with wordings far from these,
`natural`, in the style of reports, and `reports`, in the wording of whole findings with wrapped lines and headings,
were each written when the rules were ready. Rules have been mended after each of them, so today's figures on these
parts are those of texts that the rules were tuned on: only the first runs say what to expect of new texts. `later` was
written when the rules had been mended for `reports`, and says what is to be expected since. First runs are measured by

    python tests/benchmarks/evaluation/clinical_consistency.py --first_run before_mending   # natural and reports
    python tests/benchmarks/evaluation/clinical_consistency.py --first_run after_mending    # later

with the rules as they were before any was changed for these parts. Each record names the digest of the rules and of the
rows, and is never overwritten. The earlier first runs were noted by hand.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import multiprocessing
import platform
import re
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from statistics import NormalDist

if __package__ in (None, ""):  # run as a script: import the project from its root, not from this folder
    sys.path[0] = str(Path(__file__).resolve().parents[3])

from importlib.metadata import version

from sacrebleu.metrics import BLEU

from evaluation.metrics.clinical_consistency.agreement import pair_score
from evaluation.metrics.clinical_consistency.claims import read_claims
from model_cards.results import write_json

RESULT = Path(__file__).parents[1] / "results" / "clinical_consistency.json"
PROBES = Path(__file__).parents[2] / "evaluation" / "metrics" / "clinical_consistency"
RULES = Path(__file__).parents[3] / "evaluation" / "metrics" / "clinical_consistency"
README = RULES / "README.md"
LANGUAGES = ("en", "zh")
PARTS = ("tuning", "held_out", "unusual", "natural", "reports", "later")
# Parts whose first run is measured and kept, by the name of the record: those that the rules were mended for
# afterwards, and one that was written when this was done.
FIRST_RUNS = {"before_mending": ("natural", "reports"), "after_mending": ("later",)}
KINDS = (
    "negation", "uncertainty", "laterality", "severity", "measurement", "finding", "no_change", "double_negation",
    "scope", "paraphrase",
)  # fmt: skip
# The rows with a changed meaning that `clinical_consistency` separated in its first run on the earlier parts, and all
# of them; noted by hand.
RECORDED_FIRST_RUN = {
    "en": {"tuning": [136, 136], "held_out": [74, 74], "unusual": [24, 54]},
    "zh": {"tuning": [126, 128], "held_out": [70, 72], "unusual": [29, 54]},
}
OURS = "clinical_consistency"
METRICS = (OURS, "bleu", "rouge_l")
REPEATS = 5  # of the measurement of time, of which the fastest counts

Metric = Callable[[str, str], float]


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=RESULT, help="JSON file to write (default: %(default)s)")
    parser.add_argument(
        "--readme", type=Path, default=README, help="page whose table is renewed (default: %(default)s)"
    )
    parser.add_argument(
        "--first_run",
        choices=FIRST_RUNS,
        help="only score the parts of this first run, and write its record, which must not exist",
    )
    options = parser.parse_args(argv)
    if options.first_run:
        return write_first_run(first_run_path(options.first_run), FIRST_RUNS[options.first_run])
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
            "first_run_noted_by_hand": RECORDED_FIRST_RUN[language],
            "milliseconds_per_text": time_of(rows),
        }
    result = {
        "date": datetime.now(UTC).date().isoformat(),
        "machine": f"{platform.system()} {platform.machine()}, {multiprocessing.cpu_count()} processors, one used",
        "versions": {"python": platform.python_version(), "sacrebleu": version("sacrebleu")},
        "languages": languages,
        "first_runs": {name: read_first_run(name) for name in FIRST_RUNS},
    }
    for language, found in languages.items():
        for name, numbers in {**found["parts"], **found["kinds"], "all": found["all"]}.items():
            print(language, name, *(f"{key} {value}" for key, value in numbers.items()))
        print(f"{language}: {found['milliseconds_per_text']} ms per text")
    options.output.parent.mkdir(parents=True, exist_ok=True)
    write_json(options.output, result)
    options.readme.write_text(with_table(options.readme.read_text(encoding="utf-8"), result), encoding="utf-8")
    return 0


def first_run_path(name: str) -> Path:
    return RESULT.with_name(f"{RESULT.stem}_{name}.json")


def write_first_run(path: Path, parts: Sequence[str]) -> int:
    """Scores parts that no rule has been changed for yet, and writes the record; an existing one is kept."""
    if path.exists():
        print(f"{path} exists: a first run happens once.", file=sys.stderr)
        return 2
    languages = {}
    for language in LANGUAGES:
        rows = scored((row for row in read_probe(language) if row["part"] in parts), language)
        languages[language] = {
            part: {
                **shares(row for row in rows if row["part"] == part),
                "kinds": {
                    kind: shares(row for row in rows if (row["part"], row["kind"]) == (part, kind)) for kind in KINDS
                },
                "missed": [
                    row["reference"]
                    for row in rows
                    if row["part"] == part and not row["separated"].get("clinical_consistency", True)
                ],
            }
            for part in parts
        }
    write_json(path, {"date": datetime.now(UTC).date().isoformat(), **digests(parts), "languages": languages})
    for language, found in languages.items():
        for part, numbers in found.items():
            print(language, part, *(f"{key} {value}" for key, value in numbers.items() if key != "kinds"))
    return 0


def read_first_run(name: str) -> dict:
    """Returns the record of the first run without its parts by kind."""
    record = json.loads(first_run_path(name).read_text(encoding="utf-8"))
    languages = {
        language: {
            part: {key: value for key, value in found.items() if key not in ("kinds", "missed")}
            for part, found in parts.items()
        }
        for language, parts in record["languages"].items()
    }
    return {**record, "languages": languages}


def digests(parts: Sequence[str]) -> dict[str, str]:
    """Returns the digest of the rules, of their files in alphabetical order, and that of the rows of some parts."""
    rules = hashlib.sha256()
    for path in sorted(RULES.glob("*.py")):
        rules.update(path.name.encode() + b"\0" + path.read_bytes())
    rows = [row for language in LANGUAGES for row in read_probe(language) if row["part"] in parts]
    text = json.dumps(rows, ensure_ascii=False, sort_keys=True)
    return {"sha256_of_rules": rules.hexdigest(), "sha256_of_rows": hashlib.sha256(text.encode()).hexdigest()}


def read_probe(language: str) -> list[dict]:
    """Returns the rows of a language: `kind`, `part`, `reference`, `same`, and `changed` except for paraphrases."""
    lines = (PROBES / f"probe_{language}.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines]


def metrics(language: str) -> dict[str, Metric]:
    """Returns the metrics to compare: functions of a prediction and a reference."""
    # `effective_order` gives texts of fewer than four words a score; without it BLEU separates hardly any row.
    bleu = BLEU(tokenize="zh" if language == "zh" else "13a", lowercase=True, effective_order=True)
    return {
        OURS: lambda prediction, reference: pair_score(prediction, reference) or 0.0,
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
            if name == OURS:  # BLEU and ROUGE-L score hardly any other wording like the reference, by their nature
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
        for name in rows[0][measure]:
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
    titles = {
        "later": "later texts", "reports": "wording of reports", "natural": "style of reports",
        "unusual": "unusual wordings", "held_out": "part held out", "tuning": "part for tuning",
    }  # fmt: skip
    lines = [
        "| rows that are separated | English: this metric | BLEU | ROUGE-L | Chinese: this metric | BLEU | ROUGE-L |",
        "|---|--:|--:|--:|--:|--:|--:|",
    ]
    measured = result["languages"]
    first = {
        part: {language: record["languages"][language][part] for language in LANGUAGES}
        for record in result["first_runs"].values()
        for part in record["languages"]["en"]
    }

    def line(title: str, found: Callable[[str], Mapping], measure: str = "separated", interval: bool = False) -> None:
        cells = []
        for language in LANGUAGES:
            numbers = found(language)
            for name in METRICS:
                share = numbers.get(f"{measure}_{name}")
                cells.append("" if share is None else f"{100 * share:.1f}")
                if interval and name == OURS:
                    rows = numbers["with_changed" if measure == "separated" else "rows"]
                    cells[-1] += " [{:.0f}, {:.0f}]".format(*(100 * bound for bound in wilson(share, rows)))
        lines.append(f"| {title} | {' | '.join(cells)} |")

    def heading(title: str) -> None:
        lines.append(f"| *{title}* |" + " |" * 6)

    heading("new texts: the first run, before any rule was changed for them, with 95 % intervals")
    for part, when in (
        ("later", "rules after mending"),
        ("reports", "rules before mending"),
        ("natural", "rules before mending"),
    ):
        pairs = sum(found["with_changed"] for found in first[part].values())
        line(f"{titles[part]}, {pairs} pairs, {when}", first[part].__getitem__, interval=True)
    noted = [measured[language]["first_run_noted_by_hand"]["unusual"] for language in LANGUAGES]
    shares_noted = [f"{100 * right / rows:.1f}" for right, rows in noted]
    lines.append(
        f"| {titles['unusual']}, {sum(rows for _, rows in noted)} pairs, noted by hand | {shares_noted[0]} | | "
        f"| {shares_noted[1]} | | |"
    )
    lines.append(f"| a coin |{' 50.0 |' * 6}")
    heading("the same texts today, after rules were mended for all but the later ones")
    for part, title in titles.items():
        line(title, lambda language, part=part: measured[language]["parts"][part])
    heading("all parts by kind, today: those included that the rules were tuned on")
    for kind in KINDS[:-1]:
        line(kind.replace("_", " "), lambda language, kind=kind: measured[language]["kinds"][kind])
    line("all", lambda language: measured[language]["all"])
    heading("texts with the same meaning that are scored like the reference itself")
    for part in ("later", "reports", "natural"):
        line(f"{titles[part]}, first run", first[part].__getitem__, "kept", interval=True)
    line("all, today", lambda language: measured[language]["all"], "kept")
    table = "\n".join(lines)
    marked = r"(<!-- probe:table -->\n).*?(<!-- /probe:table -->)"
    return re.sub(marked, lambda match: f"{match[1]}{table}\n{match[2]}", page, flags=re.DOTALL)


def wilson(share: float, number: int) -> tuple[float, float]:
    """Returns the 95 % interval of a share of independent rows, by Wilson (1927)."""
    z = NormalDist().inv_cdf(0.975)
    middle = (share + z**2 / (2 * number)) / (1 + z**2 / number)
    reach = z / (1 + z**2 / number) * (share * (1 - share) / number + z**2 / (4 * number**2)) ** 0.5
    return middle - reach, middle + reach


if __name__ == "__main__":
    sys.exit(main())
