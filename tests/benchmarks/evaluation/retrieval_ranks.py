"""Compares the exact ranks of `retrieval_recall` with a bare float32 product and its top 10, in the same run.

    python tests/benchmarks/evaluation/retrieval_ranks.py

Embeddings are 512 numbers of unit length, and each query has one relevant candidate. The baseline ranks nothing: it
makes the same product in the same chunks and keeps the ten best candidates, once by PyTorch (`topk`) and once by NumPy
(`argpartition`); the faster one counts. There are two kinds of embeddings: `trained`, where the relevant candidate is
nearer than most others, and `random`, where it is in the middle, so that near-ties are most frequent. Each measurement
has a process of its own, so that its peak memory is its own; seconds are processor time of one thread. `medpairs` also
counts ties and computes average precision in that time. The near-ties that were computed again, and the ranks that a
float32 product alone would have given differently, are counted on the first 1,024 queries. Cases of other sizes and
kinds that are in the file already are kept.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import platform
import resource
import subprocess
import sys
import time
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

if __package__ in (None, ""):  # run as a script: import the project from its root, not from this folder
    sys.path[0] = str(Path(__file__).resolve().parents[3])

import numpy as np

from model_cards.results import write_json

RESULT = Path(__file__).parents[1] / "results" / "retrieval_ranks.json"
DIMENSIONS, CHUNK, TOP = 512, 256, 10
KINDS = ("trained", "random")
METHODS = ("medpairs", "torch", "numpy")
MOST_NUMPY = 20_000  # above this size, the slower baseline takes minutes and is left out
COUNTED = 1024  # queries whose ranks by float32 alone are compared


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs="+", default=[20_000, 100_000], help="numbers of pairs")
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=list(KINDS), help="kinds of embeddings")
    parser.add_argument("--output", type=Path, default=RESULT, help="JSON file to write (default: %(default)s)")
    parser.add_argument("--one", nargs=3, metavar=("METHOD", "KIND", "SIZE"), help=argparse.SUPPRESS)
    options = parser.parse_args(argv)
    if options.one:
        method, kind, size = options.one
        print(json.dumps(measure(method, kind, int(size))))
        return 0
    known = json.loads(options.output.read_text(encoding="utf-8"))["cases"] if options.output.is_file() else []
    cases = {(found["kind"], found["size"]): found for found in known}
    options.output.parent.mkdir(parents=True, exist_ok=True)
    for size in options.sizes:
        for kind in options.kinds:
            cases[kind, size] = case(kind, size)
            ordered = [cases[key] for key in sorted(cases, key=lambda key: (key[1], key[0]))]
            write_json(options.output, {"dimensions": DIMENSIONS, "cases": ordered})  # each takes minutes
    return 0


def case(kind: str, size: int) -> dict:
    """Measures all methods, each in a process of its own, and the ratio to the faster baseline."""
    found = {method: in_process(method, kind, size) for method in METHODS if method != "numpy" or size <= MOST_NUMPY}
    baseline = min(found[method]["seconds"] for method in found if method != "medpairs")
    result = {"kind": kind, "size": size, "ratio": round(found["medpairs"]["seconds"] / baseline, 3), "methods": found}
    result |= {
        "date": datetime.now(UTC).date().isoformat(),
        "machine": f"{platform.system()} {platform.machine()}, {multiprocessing.cpu_count()} processors, one used",
        "versions": {name: version(name) for name in ("numpy", "torch")} | {"python": platform.python_version()},
    }
    print(json.dumps(result), flush=True)
    return result


def in_process(method: str, kind: str, size: int) -> dict:
    words = [sys.executable, __file__, "--one", method, kind, str(size)]
    done = subprocess.run(words, check=True, capture_output=True, text=True, env=one_thread())
    return json.loads(done.stdout.splitlines()[-1])


def one_thread() -> dict[str, str]:
    import os

    names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
    return os.environ | dict.fromkeys(names, "1") | {"PYTHONPATH": str(Path(__file__).resolve().parents[3])}


def embeddings(kind: str, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns [size, 512] float32 queries and candidates of unit length; candidate i is relevant to query i."""
    random = np.random.default_rng(0)
    candidates = random.standard_normal((size, DIMENSIONS), dtype=np.float32)
    candidates /= np.linalg.norm(candidates, axis=1, keepdims=True)
    queries = random.standard_normal((size, DIMENSIONS), dtype=np.float32)
    queries /= np.linalg.norm(queries, axis=1, keepdims=True)
    if kind == "trained":  # a cosine of about 0.2, among 100,000 others of at most 0.2
        queries *= 5
        queries += candidates
        queries /= np.linalg.norm(queries, axis=1, keepdims=True)
    return queries, candidates


def measure(method: str, kind: str, size: int) -> dict:
    """Returns processor seconds, the peak memory of the process and of its inputs in MiB, and what was found."""
    queries, candidates = embeddings(kind, size)
    before = peak_mib()
    run = {"medpairs": rank, "torch": top_by_torch, "numpy": top_by_numpy}[method]
    start = time.process_time()
    facts = run(queries, candidates)
    seconds = time.process_time() - start
    found = {"seconds": round(seconds, 2), "peak_mib": round(peak_mib()), "peak_of_inputs_mib": round(before)}
    return found | facts | (compared(queries, candidates) if method == "medpairs" else {})


def peak_mib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def rank(queries: np.ndarray, candidates: np.ndarray) -> dict:
    from evaluation.metrics.retrieval_recall.exact_ranks import rank_relevant
    from evaluation.metrics.retrieval_recall.ranks import recall_at_k

    ranking = rank_relevant(queries, candidates, np.arange(len(queries))[:, None], CHUNK)
    return {"recall_at_10": recall_at_k(ranking.ranks, 10), "map": float(ranking.average_precision.mean())}


def top_by_torch(queries: np.ndarray, candidates: np.ndarray) -> dict:
    import torch

    torch.set_num_threads(1)
    queries, candidates, hits = torch.from_numpy(queries), torch.from_numpy(candidates), 0
    for start in range(0, len(queries), CHUNK):
        best = torch.topk(queries[start : start + CHUNK] @ candidates.T, TOP).indices
        hits += int((best == torch.arange(start, start + len(best))[:, None]).sum())
    return {"recall_at_10": hits / len(queries)}


def top_by_numpy(queries: np.ndarray, candidates: np.ndarray) -> dict:
    hits = 0
    for start in range(0, len(queries), CHUNK):
        best = np.argpartition(queries[start : start + CHUNK] @ candidates.T, -TOP, axis=1)[:, -TOP:]
        hits += int((best == np.arange(start, start + len(best))[:, None]).sum())
    return {"recall_at_10": hits / len(queries)}


def compared(queries: np.ndarray, candidates: np.ndarray) -> dict:
    """Returns in how many of the first queries the ranks are those in float64, and those of a float32 product."""
    from evaluation.metrics.retrieval_recall.exact_ranks import error_bounds, rank_candidates

    queries, count = queries[:COUNTED], min(COUNTED, len(queries))
    ours = rank_candidates(queries, candidates, np.arange(count)[:, None], CHUNK)
    places = np.stack(ours[:2], axis=1)
    (exact, single), near = np.zeros((2, count, 2), dtype=np.int64), 0
    bounds = error_bounds(queries, candidates)
    for start in range(0, count, CHUNK):
        part = slice(start, min(start + CHUNK, count))
        product = queries[part] @ candidates.T
        double = (queries[part].astype(np.float64) @ candidates.astype(np.float64).T).astype(np.float32)
        own = np.arange(part.start, part.stop)
        near += int((np.abs(product - double[own - start, own][:, None]) <= bounds[part, None]).sum())
        for scores, found in ((product, single), (double, exact)):
            best = scores[own - start, own][:, None]
            found[part] = np.stack([(scores > best).sum(axis=1), (scores == best).sum(axis=1) - 1], axis=1)
    return {
        "counted_queries": count,
        "near_ties_per_query": round(near / count, 1),
        "ranks_as_in_float64": int((places == exact).all(axis=1).sum()),
        "ranks_of_float32_as_in_float64": int((single == exact).all(axis=1).sum()),
    }


if __name__ == "__main__":
    sys.exit(main())
