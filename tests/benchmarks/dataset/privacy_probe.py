"""Measures which planted identifiers a build publishes, and which sentences without any it flags.

    python tests/benchmarks/dataset/privacy_probe.py

builds a folder of made-up persons (`planted_identifiers.py`), searches every published file for every identifier, and
writes what became of them to `tests/benchmarks/results/privacy_probe.json`, with the number of clean sentences
(`clean_sentences.py`) that are flagged. An identifier in a text is caught if a flag of its row covers a part of it;
anywhere else if no published file holds it.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
import tempfile
from collections import Counter, defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import Any

if __package__ in (None, ""):  # run as a script: import the project from its root, not from this folder
    sys.path[0] = str(Path(__file__).resolve().parents[3])

import pyarrow.parquet as pq

from hub_datasets.build import build
from hub_datasets.options import argument_parser, read_options
from hub_datasets.output.publish import FILES, PATTERNS
from hub_datasets.texts.identifiers import find_identifiers
from model_cards.results import write_json
from tests.benchmarks.dataset.clean_sentences import clean_sentences
from tests.benchmarks.dataset.planted_identifiers import KEPT, Planted, write_folder

RESULT = Path(__file__).parents[1] / "results" / "privacy_probe.json"
PLACE = re.compile(r"characters (\d+) to (\d+)")


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--persons", type=int, default=128, help="persons per table (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="seed of the persons (default: %(default)s)")
    parser.add_argument("--output", type=Path, default=RESULT, help="JSON file to write (default: %(default)s)")
    options = parser.parse_args(argv)
    with tempfile.TemporaryDirectory() as work:
        result = measure(Path(work), options.persons, options.seed)
    write_json(options.output, result)
    for name, row in result["caught"].items():
        print(f"{name:45} {row['caught']:5} of {row['planted']:5}")
    print(f"retained columns: {result['retained']}, patients consistent: {result['patients']}")
    print(f"false alarms: {result['false_alarms']}")
    return 0


def measure(work: Path, persons: int, seed: int) -> dict[str, Any]:
    """Builds the folder and returns the record."""
    planted = write_folder(work / "ward", persons, seed)
    words = ["--reports_dir", str(work / "ward"), "--output_dir", str(work / "out"), "--num_proc", "1"]
    build(read_options(argument_parser().parse_args(words)))
    shown, flags = published(work / "out"), flagged(work / "out")
    caught: dict[str, Counter[str]] = defaultdict(Counter)
    missed = []
    for one in planted:
        good = covered(one, flags) if one.place == "text" else not any(written in shown for written in spellings(one))
        for name in (
            "all",
            one.place,
            f"{one.place}, {one.table}",
            f"{one.place}: {one.kind}",
            f"action: {one.action}",
        ):
            caught[name].update(planted=1, caught=int(good))
        if not good:
            missed.append(f"{one.place} ({one.table}): {one.kind}")
    return {
        "persons": 6 * persons,
        "seed": seed,
        "caught": {name: dict(count) for name, count in sorted(caught.items())},
        "missed": dict(sorted(Counter(missed).items())),
        **consistency(work / "out"),
        "false_alarms": false_alarms(),
    }


def published(folder: Path) -> str:
    """Everything that a push would upload, as one text, without the reports, whose identifiers are flagged."""
    parts = []
    for pattern in (*FILES, *PATTERNS):
        for path in sorted(folder.glob(pattern)):
            if path.suffix == ".parquet":
                table = pq.read_table(path)
                spoken = [name for name in table.column_names if name == "text" or name.endswith("messages")]
                parts.append(repr(table.drop_columns(spoken).to_pylist()))
            elif path.suffix != ".png":
                parts.append(path.read_text(encoding="utf-8"))
    return "\n".join(parts)


def spellings(one: Planted) -> Iterable[str]:
    """An identifier as it is, and as JSON and Python write it."""
    return {one.value, json.dumps(one.value)[1:-1], one.value.replace("'", "\\'")}


def flagged(folder: Path) -> dict[tuple[str, int], list[tuple[int, int]]]:
    """The places in texts that review.jsonl names, by table and row."""
    found = defaultdict(list)
    for line in (folder / "review.jsonl").read_text(encoding="utf-8").splitlines():
        flag = json.loads(line)
        if flag["in"] == "text" and (place := PLACE.match(flag["detail"])):
            table, _, row = flag["item"].partition(".jsonl line ")
            found[table, int(row)].append((int(place[1]) - 1, int(place[2])))
    return found


def covered(one: Planted, flags: dict[tuple[str, int], list[tuple[int, int]]]) -> bool:
    end = one.start + len(one.value)
    return any(start < end and one.start < stop for start, stop in flags.get((one.table, one.row), ()))


def consistency(folder: Path) -> dict[str, Any]:
    """How many of the columns that do not identify are still there, and whether each patient has one hash."""
    kept, rows, patients = 0, 0, set()
    for path in sorted(folder.glob("pairs/*.parquet")):
        for row in pq.read_table(path, columns=["metadata", "language", "group_id"]).to_pylist():
            metadata = json.loads(row["metadata"])
            kept += len(KEPT[row["language"]].keys() & metadata.keys())
            rows += len(KEPT[row["language"]])
            column = "patient_id" if row["language"] == "en" else "患者ID"
            if column in metadata:
                patients.add((metadata[column], row["group_id"]))
    same = all(group.endswith(patient) for patient, group in patients)
    return {"retained": {"columns": rows, "kept": kept}, "patients": {"hashes": len(patients), "consistent": same}}


def false_alarms() -> dict[str, dict[str, int]]:
    """Clean sentences, and those of them that are flagged."""
    found: dict[str, Counter[str]] = defaultdict(Counter)
    for language, sentence in clean_sentences():
        found[language].update(sentences=1, flagged=int(bool(find_identifiers(sentence))))
    return {language: dict(count) for language, count in found.items()}


if __name__ == "__main__":
    sys.exit(main())
