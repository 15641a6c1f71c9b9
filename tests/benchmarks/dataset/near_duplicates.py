"""Measures the near-duplicate search: its speed, the altered copies that it finds, and false matches.

    python tests/benchmarks/dataset/near_duplicates.py --real_data ../shared/real_data

prints three tables and writes them to `tests/benchmarks/results/near_duplicates.json`: the search among synthetic
hashes compared with a comparison of all pairs, the time to compute the hashes, and the distances between images.
`--real_data` is a folder with `slake/imgs/*/source.jpg`, `knee/**/<patient><L or R>.png` and
`pad_ufes/images/**/*.png`; without it, only the project's synthetic sample is measured.
"""

from __future__ import annotations

import argparse
import math
import multiprocessing
import platform
import re
import resource
import sys
import tempfile
import time
import timeit
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

if __package__ in (None, ""):  # run as a script: import the project from its root, not from this folder
    sys.path[0] = str(Path(__file__).resolve().parents[3])

import numpy as np
import PIL
from PIL import Image

from hub_datasets.generate_sample import generate
from hub_datasets.images.hashing import NO_STRUCTURE, perceptual_hash, pixel_hash
from hub_datasets.splits.near_duplicates import NEAR_DISTANCE, near_duplicates
from model_cards.results import write_json
from tests.benchmarks.dataset.altered_images import ALTERED

RESULT = Path(__file__).parents[1] / "results" / "near_duplicates.json"
ALL_PAIRS_UP_TO = 20_000  # hashes; the comparison of all pairs of more would take minutes
DISTANCES = (4, 8, 12, NEAR_DISTANCE, 20, 24, 32)  # bits
KNEES = 9_786  # images in the OAI dataset from which the knee sample was taken


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--real_data", type=Path, help="folder with samples of the real sources")
    parser.add_argument("--counts", type=int, nargs="+", default=[10_000, 100_000, 1_000_000], help="numbers of hashes")
    parser.add_argument("--scale", type=float, default=1.0, help="size of the synthetic sample (default: %(default)s)")
    parser.add_argument("--output", type=Path, default=RESULT, help="JSON file to write (default: %(default)s)")
    options = parser.parse_args(argv)
    result = {
        "date": datetime.now(UTC).date().isoformat(),
        "machine": f"{platform.system()} {platform.machine()}, {multiprocessing.cpu_count()} processors, one used",
        "versions": {"python": platform.python_version(), "numpy": np.__version__, "pillow": PIL.__version__},
        "distance": NEAR_DISTANCE,
        "search": show("Search", [in_new_process(*case) for case in cases(options.counts)]),
        "hashes": show("Microseconds per image", hash_costs()),
        "images": [distances_of(*collection) for collection in collections(options.real_data, options.scale)],
    }
    show("Bits between different images", [{**row, "altered": "below"} for row in result["images"]])
    show("Share of altered copies within the distance", shares(result["images"]))
    options.output.parent.mkdir(parents=True, exist_ok=True)
    write_json(options.output, result)
    return 0


def show(title: str, rows: list[dict]) -> list[dict]:
    print(f"\n{title}")
    for row in rows:
        print("  " + ", ".join(f"{name}: {value}" for name, value in row.items()), flush=True)
    return rows


# --- the search ---


def cases(counts: list[int]) -> list[tuple[str, int]]:
    return [(name, count) for count in counts for name in ("clusters", "alike")]


def in_new_process(name: str, count: int) -> dict:
    """Measures in a new process, so that the memory peak is that of this measurement only."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(measure_search, (name, count))


def measure_search(name: str, count: int) -> dict:
    hashes = {"clusters": clusters, "alike": alike}[name](np.random.default_rng(0), count)
    before = peak_mb()
    edges, seconds = timed(near_duplicates, hashes)
    row = {"hashes": name, "count": count, "processor_seconds": round(seconds, 3), "edges": len(edges)}
    row |= {"peak_mb": peak_mb(), "peak_mb_before": before}
    if count <= ALL_PAIRS_UP_TO:
        pairs, slow = timed(all_pairs, hashes)
        row |= {"all_pairs_processor_seconds": round(slow, 3), "times_faster": round(slow / seconds, 1)}
        row["same_clusters"] = labels(count, edges) == labels(count, pairs)
    return row


def timed(function: Callable[[np.ndarray], np.ndarray], hashes: np.ndarray) -> tuple[np.ndarray, float]:
    """Returns the result and the CPU seconds, which do not include other work of the machine."""
    start = time.process_time()
    return function(hashes), time.process_time() - start


def peak_mb() -> int:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak // 2**20 if sys.platform == "darwin" else peak // 2**10


def clusters(random: np.random.Generator, count: int) -> np.ndarray:
    """Returns random hashes with near-duplicates, [count, 32] uint8.

    Of each 100 hashes, 10 are copies with up to 15 flipped bits, 2 are equal to others, and 1 belongs to one dense
    cluster. 2 more share 96 bits, like pictures with the same frame.
    """
    hashes = random.integers(0, 256, (count, 32), np.uint8)
    part = count // 100
    dense = np.repeat(hashes[:1], part, axis=0)
    for start, copies, most in ((part * 80, hashes[: part * 10], 15), (part * 90, dense, 5)):
        bits = np.unpackbits(copies, axis=1)
        turned = random.integers(0, most + 1, len(bits))
        for number in range(most):
            rows = np.flatnonzero(turned > number)
            bits[rows, random.integers(0, 256, len(rows))] ^= 1  # flips one random bit of each of these rows
        hashes[start : start + len(bits)] = np.packbits(bits, axis=1)
    hashes[part * 92 : part * 94] = hashes[: part * 2]
    hashes[part * 94 : part * 96, :12] = hashes[0, :12]  # 12 bytes are 96 bits
    return random.permutation(hashes)


def alike(random: np.random.Generator, count: int) -> np.ndarray:
    """Returns hashes of similar pictures, like knees: bits are correlated, and pairs differ in 115 +- 17 bits."""
    mixing = random.normal(size=(24, 256)).astype(np.float32)
    common = (random.normal(size=256) * 0.4 * math.sqrt(24)).astype(np.float32)
    parts = []
    for start in range(0, count, 1 << 14):
        rows = min(1 << 14, count - start)
        values = random.normal(size=(rows, 24)).astype(np.float32) @ mixing + common
        values += random.normal(size=values.shape).astype(np.float32)
        parts.append(np.packbits(values > np.median(values, axis=1, keepdims=True), axis=1))
    return np.concatenate(parts)


def all_pairs(hashes: np.ndarray) -> np.ndarray:
    """Compares every pair, which `near_duplicates` avoids: each row with all rows after it at once."""
    words = hashes.view(np.uint64)  # 32 bytes are four words of 64 bits
    found = []
    for row in range(len(words) - 1):
        near = np.flatnonzero(np.bitwise_count(words[row + 1 :] ^ words[row]).sum(axis=1) <= NEAR_DISTANCE)
        found += [(row, row + 1 + int(other)) for other in near]
    return np.array(found, np.int64).reshape(-1, 2)


def labels(count: int, edges: np.ndarray) -> list[int]:
    """Returns the smallest row of each row's cluster (union-find with path halving)."""
    parent = list(range(count))

    def root(row: int) -> int:
        while parent[row] != row:
            parent[row] = row = parent[parent[row]]
        return row

    for first, second in edges.tolist():
        low, high = sorted((root(first), root(second)))
        parent[high] = low
    return [root(row) for row in range(count)]


# --- images ---


def hash_costs() -> list[dict]:
    random = np.random.default_rng(0)
    rows = []
    for shape in ((512, 512, 3), (800, 800, 3), (161, 640)):
        image = Image.fromarray(random.integers(0, 256, shape, np.uint8))
        row = {"image": f"{image.width} x {image.height} {image.mode}"}
        for function in (pixel_hash, perceptual_hash):
            seconds = min(timeit.repeat(partial(function, image), timer=time.process_time, number=20, repeat=7)) / 20
            row[function.__name__] = round(seconds * 1e6)
        rows.append(row)
    return rows


def collections(real_data: Path | None, scale: float) -> Iterator[tuple[str, dict[Path, Image.Image]]]:
    """Yields the name and the images, by path, of each available collection; equal pixels count once."""
    if real_data:
        yield "slake", load(real_data.glob("slake/imgs/*/source.jpg"))
        yield "knee", load(real_data.glob("knee/**/*.png"))
        yield "pad_ufes_20", load(real_data.glob("pad_ufes/images/**/*.png"))
    with tempfile.TemporaryDirectory() as folder:
        for name, root in generate(Path(folder) / "sample", scale=scale).items():
            paths = (path for path in root.rglob("*") if path.suffix in (".png", ".jpg") and path.stem != "mask")
            yield f"synthetic {name}", load(paths)


def load(paths: Iterable[Path]) -> dict[Path, Image.Image]:
    images, seen = {}, set()
    for path in sorted(paths):
        try:
            with Image.open(path) as image:
                image.load()
                plain = image.copy() if image.mode in ("L", "RGB") else image.convert("RGB")
        except OSError:  # the sample contains images that are damaged on purpose
            continue
        if (key := pixel_hash(plain)) not in seen:
            seen.add(key)
            images[path] = plain
    return images


def distances_of(name: str, images: dict[Path, Image.Image]) -> dict:
    """Measures the distances between each image and its altered copies, and between different images."""
    hashes = {path: perceptual_hash(image) for path, image in images.items()}
    difference_hashes = {path: difference_hash(image) for path, image in images.items()}
    plain = [path for path in images if hashes[path] == NO_STRUCTURE]
    paths = [path for path in images if path not in plain]
    apart, apart_by_difference = [], []
    for number, path in enumerate(paths):
        others = [other for other in paths[:number] if patient(other) != patient(path)]
        apart += [bits_between(hashes[path], hashes[other]) for other in others]
        apart_by_difference += [bits_between(difference_hashes[path], difference_hashes[other]) for other in others]
    row = {"collection": name, "images": len(images), "plain": len(plain), "pairs": len(apart)}
    row |= {"nearest": sorted(apart)[:5], "mean": round(np.mean(apart), 1), "deviation": round(np.std(apart), 1)}
    row["pairs_joined"] = {str(distance): sum(bits <= distance for bits in apart) for distance in DISTANCES}
    row["pairs_joined_by_a_64_bit_difference_hash_of_4"] = sum(bits <= 4 for bits in apart_by_difference)
    if name == "knee":
        row["pairs_joined_expected_in_all"] = {
            str(distance): expected_pairs(apart, distance, KNEES) for distance in DISTANCES
        }
    found = {}
    for alteration, alter in ALTERED.items():
        near = [bits_between(hashes[path], perceptual_hash(alter(images[path]))) for path in paths[:40]]
        found[alteration] = {
            "found": round(sum(bits <= NEAR_DISTANCE for bits in near) / len(near), 3),
            "median": float(np.median(near)),
            "largest": max(near),
        }
    row["altered"] = found
    return row


def shares(rows: list[dict]) -> list[dict]:
    """Returns the table of altered copies, one alteration per row."""
    return [
        {"altered": alteration} | {row["collection"]: row["altered"][alteration]["found"] for row in rows}
        for alteration in ALTERED
    ]


def patient(path: Path) -> str:
    """Returns the patient of a knee image, because both knees of a patient do not count as different images."""
    match = re.match(r"(\d{7})[LR]$", path.stem)
    return match[1] if match else str(path)


def bits_between(first: bytes, second: bytes) -> int:
    return (int.from_bytes(first) ^ int.from_bytes(second)).bit_count()


def difference_hash(image: Image.Image) -> bytes:
    """Computes the common 64-bit difference hash: whether each pixel of 9 x 8 is brighter than its left neighbor."""
    small = np.asarray(image.convert("L").resize((9, 8), Image.Resampling.LANCZOS))
    return np.packbits(small[:, 1:] > small[:, :-1]).tobytes()


def expected_pairs(apart: list[int], distance: int, count: int) -> float:
    """Estimates the number of pairs within a distance by chance among `count` such images.

    The bits of similar pictures are correlated. Their distances are modeled as binomial with fewer independent bits,
    with the same mean and variance. The estimate extrapolates from few images to the tail of the distribution.
    """
    share = float(np.mean(apart)) / 256
    independent = round(256**2 * share * (1 - share) / float(np.var(apart)))
    most = distance * independent // 256
    chance = sum(math.comb(independent, k) * share**k * (1 - share) ** (independent - k) for k in range(most + 1))
    return float(f"{chance * count * (count - 1) / 2:.2g}")


if __name__ == "__main__":
    sys.exit(main())
