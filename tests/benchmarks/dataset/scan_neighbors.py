"""Measures how many held-out images have a neighboring slice in another split, with and without the join of scans.

    python tests/benchmarks/dataset/scan_neighbors.py --slake_dir ../shared/real_benchmark/slake \
        --slake_dir ../shared/real_data/slake

splits the images of SLAKE for several seeds and fractions, once by what a build knew before (image numbers, pixels,
near-duplicates) and once with the slices of one scan joined, and counts the pairs of images in different splits whose
gray pictures have a correlation above 0.97. The correlation is computed here from the source files, over all pairs,
without the code of `hub_datasets/splits/scans.py`. The table is written to
`tests/benchmarks/results/scan_neighbors.json`.
"""

from __future__ import annotations

import argparse
import io
import sys
import tempfile
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path

if __package__ in (None, ""):  # run as a script: import the project from its root, not from this folder
    sys.path[0] = str(Path(__file__).resolve().parents[3])

import numpy as np
from PIL import Image

from hub_datasets.options import BuildOptions
from hub_datasets.splits.assignment import Decisions
from hub_datasets.splits.groups import Fractions, split_of
from hub_datasets.splits.near_duplicates import NEAR_DISTANCE
from hub_datasets.splits.scans import find_scans
from model_cards.results import write_json
from tests.hub_datasets.checked import options_for, staged

RESULT = Path(__file__).parents[1] / "results" / "scan_neighbors.json"
SIDE, ALIKE = 64, 0.97
SEEDS = range(5)
FRACTIONS = ((0.05, 0.0), (0.1, 0.1), (0.1, 0.2), (0.2, 0.3))  # validation, test


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--slake_dir", type=Path, action="append", required=True, help="folder of SLAKE; can repeat")
    parser.add_argument("--output", type=Path, default=RESULT, help="JSON file to write (default: %(default)s)")
    arguments = parser.parse_args(argv)
    with tempfile.TemporaryDirectory() as work:
        options = options_for({"--slake_dir": arguments.slake_dir}, Path(work) / "out")
        result = measure(options, Path(work))
    for row in result["splits"]:
        print(", ".join(f"{name}: {value}" for name, value in row.items()))
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    write_json(arguments.output, result)
    return 0


def measure(options: BuildOptions, work: Path) -> dict:
    """Returns the counts before and after for each seed and pair of fractions."""
    before, images = groups_of(options, work / "before", joined=False)
    after, _ = groups_of(options, work / "after", joined=True)
    names = sorted(images)
    pictures = np.stack([gray(images[name]) for name in names])
    first, second = np.nonzero(np.triu(pictures @ pictures.T > ALIKE, 1))
    alike = [(names[one], names[other]) for one, other in zip(first, second, strict=True)]
    rows = []
    for fractions in FRACTIONS:
        for seed in SEEDS:
            row = {"validation": fractions[0], "test": fractions[1], "seed": seed}
            for when, groups in (("before", before), ("after", after)):
                splits = {name: split_of(f"{seed} {group}", Fractions(*fractions)) for name, group in groups.items()}
                across = [pair for pair in alike if splits[pair[0]] != splits[pair[1]]]
                held_out = {name for pair in across for name in pair if splits[name] != "train"}
                sizes = Counter(splits.values())
                row |= {f"held_out_{when}": len(names) - sizes["train"], f"pairs_across_{when}": len(across)}
                row[f"held_out_with_a_neighbor_elsewhere_{when}"] = len(held_out)
            rows.append(row)
    largest = Counter(after.values()).most_common(1)[0][1]
    return {
        "date": datetime.now(UTC).date().isoformat(),
        "images": len(names),
        "pairs_alike": len(alike),
        "correlation": ALIKE,
        "groups_before": len(set(before.values())),
        "groups_after": len(set(after.values())),
        "largest_group_after": largest,
        "splits": rows,
    }


def groups_of(options: BuildOptions, work: Path, joined: bool) -> tuple[dict[str, str], dict[str, bytes]]:
    """Returns the group and the source file of each accepted picture, by the path of its image."""
    stages = staged(options, work)
    decisions = Decisions(work / "decisions.sqlite", stages)
    decisions.settle(options.choices)
    decisions.find_near_duplicates(NEAR_DISTANCE)
    if joined:
        find_scans(decisions)
    decisions.make_groups()
    decisions.assign_splits(Fractions(), "group", {})
    found, images, seen = {}, {}, set()
    for number, stage in enumerate(stages):
        for (one,) in decisions.accepted(number):
            if one.image["pixels"] not in seen:  # many questions are about one image
                seen.add(one.image["pixels"])
                found[one.record.image] = one.group_id
                images[one.record.image] = stage.folder.read(one.path)
    decisions.close()
    return found, images


def gray(data: bytes) -> np.ndarray:
    """Returns the gray picture of an image as a vector with mean 0 and norm 1."""
    with Image.open(io.BytesIO(data)) as image:
        values = np.asarray(image.convert("L").resize((SIDE, SIDE)), np.float64).ravel()
    values = values - values.mean()
    return values / (np.linalg.norm(values) or 1)


if __name__ == "__main__":
    sys.exit(main())
