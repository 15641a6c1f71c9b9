"""Measures time and memory of the build command, including its start, compared with two baselines.

    OMP_NUM_THREADS=1 python tests/benchmarks/dataset/build_speed.py --images 2500

The build reads synthetic folders of four sources (`build_sources.py`). The baselines (`build_peers.py`) are a loop that
only reads and decodes the same files, and `imagefolder` of `datasets`, which writes each image once; `pairs` is a build
with `--configs pairs`, which does so, too, and `build` writes pairs and chats. Numbers are medians. On a machine that
also does other work, CPU seconds are more reliable than wall time. The script prints a table and writes
`tests/benchmarks/results/build_dataset.json`.
"""

from __future__ import annotations

import argparse
import os
import platform
import pstats
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import Any

if __package__ in (None, ""):  # run as a script: import the project from its root, not from this folder
    sys.path[0] = str(Path(__file__).resolve().parents[3])

from model_cards.results import write_json
from tests.benchmarks.dataset.build_sources import FLAGS, QUESTIONS, SHARES, draw, lay_out_imagefolder

ROOT = Path(__file__).resolve().parents[3]
MEASURED = ("decode", "imagefolder", "pairs", "build")
PARTS = ("speed", "rebuild", "memory", "rows")
MEMORY_IMAGES = (2_000, 20_000)
SLICES = 640  # images of the measurement of rows: about SLAKE's 14,000 questions
PACKAGES = ("datasets", "pillow", "pyarrow", "numpy")
SECONDS_BETWEEN_LOOKS = 0.05  # at the memory of a command's processes
# The phases of a build in their order: (file, function) with the names of the profiler.
PHASES = {
    "list files": ("ingest.py", "stage_keys"),
    "read and check records": ("ingest.py", "read_records"),
    "examine images": ("ingest.py", "examine_images"),
    "settle": ("assignment.py", "settle"),
    "near-duplicates": ("assignment.py", "find_near_duplicates"),
    "groups": ("assignment.py", "make_groups"),
    "splits": ("assignment.py", "assign_splits"),
    "leaks": ("leakage.py", "find_leaks"),
    "rows": ("rows.py", "write_rows"),
    "Parquet": ("folder.py", "write_shards"),
    "chat_instructions.jsonl": ("rows.py", "write_chat_instructions"),
    "report and card": ("folder.py", "write_card"),
}


@dataclass(frozen=True, slots=True)
class Run:
    """The measurements of a finished command.

    Attributes:
        seconds: wall time.
        processor_seconds: CPU time of all its processes together.
        parent_mb, worker_mb: peak resident memory, in MiB, of the main process and of the largest worker.
    """

    seconds: float
    processor_seconds: float
    parent_mb: float
    worker_mb: float


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=2500, help="images of all sources (default: %(default)s)")
    parser.add_argument("--repeats", type=int, default=3, help="runs of each command (default: %(default)s)")
    parser.add_argument("--only", nargs="+", choices=PARTS, default=PARTS, help="parts to measure (default: all)")
    parser.add_argument(
        "--memory_images",
        type=int,
        nargs=2,
        default=MEMORY_IMAGES,
        metavar="N",
        help="images of the small and the large build for the memory (default: %(default)s)",
    )
    parser.add_argument(
        "--slices", type=int, default=SLICES, help=f"images with {QUESTIONS} questions each (default: %(default)s)"
    )
    parser.add_argument("--work_dir", type=Path, help="folder for all written files (default: a temporary folder)")
    parser.add_argument(
        "--result",
        type=Path,
        default=Path(__file__).parents[1] / "results" / "build_dataset.json",
        help="JSON file to write (default: %(default)s)",
    )
    options = parser.parse_args(argv)
    found: dict[str, Any] = {
        "date": time.strftime("%Y-%m-%d", time.gmtime()),
        "machine": {"processors": os.cpu_count(), "system": f"{platform.system()} {platform.machine()}"},
        "versions": {"python": platform.python_version(), **{name: version(name) for name in PACKAGES}},
        "load_before": round(os.getloadavg()[0], 2),
    }
    with tempfile.TemporaryDirectory(dir=options.work_dir) as folder:
        work = Path(folder)
        if "speed" in options.only or "rebuild" in options.only:
            counts = {kind: max(1, round(options.images * share)) for kind, share in SHARES.items()}
            drawn = draw(work / "mix", counts)
            lay_out_imagefolder(work / "mix", work / "imagefolder", drawn)
        measures = {
            "speed": lambda: measure_speed(work, counts, options.repeats),
            "rebuild": lambda: measure_rebuild(work, counts),
            "memory": lambda: measure_memory(work, options.memory_images),
            "rows": lambda: measure_rows(work, options.slices, options.repeats),
        }
        for part, measure in measures.items():
            if part in options.only:
                found[part] = measure()
                found["load_after"] = round(os.getloadavg()[0], 2)
                write_json(options.result, found)  # a part that fails later loses nothing of this one
    print_table(found)
    return 0


def measure_speed(work: Path, counts: dict[str, int], repeats: int) -> dict[str, Any]:
    """Measures the build and its baselines with one and with two processes, in turns."""
    images, output = sum(counts.values()), work / "out"
    runs: dict[str, dict[int, list[Run]]] = {name: {1: [], 2: []} for name in MEASURED}
    for _ in range(repeats):
        for number in (1, 2):
            runs["decode"][number].append(run(peer("decode", work / "mix", number)))
            parquet = work / "imagefolder.parquet"
            runs["imagefolder"][number].append(
                run(peer("imagefolder", work / "imagefolder", number, "--output", str(parquet)))
            )
            parquet.unlink()
            for name, flags in (("pairs", ["--configs", "pairs"]), ("build", [])):
                forget(output)
                runs[name][number].append(run([*build(work / "mix", counts, output, number), *flags]))
            beside = bytes_in(cache_of(output)) / bytes_in(output)
    seconds = {name: {n: median(one.seconds for one in many) for n, many in by.items()} for name, by in runs.items()}
    work_done = {
        name: {n: median(one.processor_seconds for one in many) for n, many in by.items()} for name, by in runs.items()
    }
    return {
        "images": images,
        "runs": {name: {n: [asdict(one) for one in many] for n, many in by.items()} for name, by in runs.items()},
        "images_per_second": {name: {n: images / took for n, took in by.items()} for name, by in seconds.items()},
        "processor_ms_per_image": {
            name: {n: 1000 * took / images for n, took in by.items()} for name, by in work_done.items()
        },
        **{
            f"{ours}_to_{peer}": {n: seconds[peer][n] / seconds[ours][n] for n in (1, 2)}
            for ours in ("build", "pairs")
            for peer in ("decode", "imagefolder")
        },
        "build_to_decode_by_processor": {n: work_done["decode"][n] / work_done["build"][n] for n in (1, 2)},
        "disk_beside_output": beside,
        "scaling_1_to_2": {name: by[1] / by[2] for name, by in seconds.items()},
    }


def measure_rebuild(work: Path, counts: dict[str, int]) -> dict[str, Any]:
    """Measures a repeated build without changes, and one after a change of one source."""
    output = work / "out"
    forget(output)
    first = run(build(work / "mix", counts, output, 2))
    again = run(build(work / "mix", counts, output, 2))
    before = stages(output)
    table = work / "mix" / "chest" / "reports.jsonl"
    lines = table.read_text(encoding="utf-8").splitlines()
    table.write_text("\n".join([*lines, lines[0].replace("Heart", "The heart")]) + "\n", encoding="utf-8")
    changed = run([*build(work / "mix", counts, output, 2), "--overwrite"])
    return {
        "first_seconds": first.seconds,
        "again_seconds": again.seconds,
        "again_to_first": again.seconds / first.seconds,
        "one_source_changed_seconds": changed.seconds,
        "sources": len(before),
        "sources_read_again": len(stages(output) - before),
    }


def stages(output: Path) -> set[tuple[str, int]]:
    """Returns the cached stages of a build, one per source, with the time at which each was finished."""
    kept = cache_of(output).glob("*/stage.json")
    return {(path.parent.name, path.stat().st_mtime_ns) for path in kept}


def measure_memory(work: Path, numbers: tuple[int, int]) -> dict[str, Any]:
    """Measures the memory of a build of few and one of many small images, with two workers."""
    found = {}
    for number in numbers:
        folder, output = work / f"small-{number}", work / "out-small"
        counts = {kind: round(number * share) for kind, share in SHARES.items()}
        draw(folder, counts, small=True)
        forget(output)
        found[number] = asdict(run(build(folder, counts, output, 2)))
    forget(output)
    few, many = (found[number] for number in numbers)
    parent, worker = (many[who] / few[who] if few[who] else 0.0 for who in ("parent_mb", "worker_mb"))
    return {"runs": found, "parent_growth": parent, "worker_growth": worker}


def measure_rows(work: Path, slices: int, repeats: int) -> dict[str, Any]:
    """Measures the time per row on many questions about few images, in total and by phase.

    A further row is one of the questions that another folder with the same images does not have. The times by phase are
    measured with the profiler, which slows the build down.
    """
    folder, few, output, profile = work / "questions", work / "few-questions", work / "out-rows", work / "profile"
    counts = {"slice": slices}
    draw(folder, counts)
    draw(few, counts, questions=1)
    found: dict[Path, list[Run]] = {few: [], folder: []}
    for _ in range(repeats):
        for place, runs in found.items():
            forget(output)
            runs.append(run(build(place, counts, output, 1)))
    plain = found[folder][0]
    forget(output)
    command = build(folder, counts, output, 1)
    run([command[0], "-m", "cProfile", "-o", str(profile), *command[1:]])
    statistics = pstats.Stats(str(profile)).stats
    rows = slices * QUESTIONS
    took = {
        phase: sum(entry[3] for (file, _, name), entry in statistics.items() if (Path(file).name, name) == place)
        for phase, place in PHASES.items()
    }
    took_by, worked_by = (
        {place: median(getattr(one, what) for one in runs) for place, runs in found.items()}
        for what in ("seconds", "processor_seconds")
    )
    return {
        "rows": rows,
        "images": slices,
        "milliseconds_of_a_further_row": 1000 * (took_by[folder] - took_by[few]) / (rows - slices),
        "processor_ms_of_a_further_row": 1000 * (worked_by[folder] - worked_by[few]) / (rows - slices),
        "seconds": plain.seconds,
        "rows_per_second": rows / plain.seconds,
        "profiled_seconds": took,
        "profiled_rows_per_second": {phase: rows / seconds if seconds else None for phase, seconds in took.items()},
    }


def build(folder: Path, counts: dict[str, int], output: Path, processes: int) -> list[str]:
    """Returns the command line of a build of the generated sources."""
    sources = [part for kind, count in counts.items() if count for part in (FLAGS[kind], str(folder / kind))]
    command = [sys.executable, str(ROOT / "hub_datasets" / "build.py"), *sources]
    return [*command, "--output_dir", str(output), "--num_proc", str(processes)]


def peer(what: str, folder: Path, processes: int, *more: str) -> list[str]:
    script = Path(__file__).with_name("build_peers.py")
    return [sys.executable, str(script), what, str(folder), "--num_proc", str(processes), *more]


def cache_of(output: Path) -> Path:
    return output.with_name(f".{output.name}.cache")


def bytes_in(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def forget(output: Path) -> None:
    """Removes the output of a build and its cache."""
    for path in (output, cache_of(output)):
        shutil.rmtree(path, ignore_errors=True)


def run(command: list[str]) -> Run:
    """Runs a command to its end. Raises RuntimeError with its output if it fails."""
    environment = os.environ | {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "HF_DATASETS_DISABLE_PROGRESS_BARS": "1"}
    with tempfile.TemporaryFile() as said:
        before = os.times()
        started = time.perf_counter()
        process = subprocess.Popen(command, stdout=said, stderr=said, env=environment, cwd=ROOT)
        peaks: dict[int, int] = {}
        watcher = threading.Thread(target=watch, args=(process, peaks))
        watcher.start()
        process.wait()
        seconds = time.perf_counter() - started
        after = os.times()
        watcher.join()
        if process.returncode:
            said.seek(0)
            raise RuntimeError(f"{' '.join(command)} failed:\n{said.read().decode(errors='replace')[-2000:]}")
    parent = peaks.pop(process.pid, 0)
    used = sum(getattr(after, name) - getattr(before, name) for name in ("children_user", "children_system"))
    return Run(seconds, used, parent / 1024, max(peaks.values(), default=0) / 1024)


def watch(process: subprocess.Popen, peaks: dict[int, int]) -> None:
    """Records the peak memory, in KiB, of a process and its children while it runs. It requires Linux's /proc."""
    while process.poll() is None:
        for pid in (process.pid, *children(process.pid)):
            try:
                status = Path(f"/proc/{pid}/status").read_text(encoding="ascii", errors="replace")
                peaks[pid] = max(peaks.get(pid, 0), int(status.split("VmHWM:")[1].split()[0]))
            except (OSError, IndexError):  # the process has just ended
                continue
        time.sleep(SECONDS_BETWEEN_LOOKS)


def children(pid: int) -> list[int]:
    try:
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii").split()]
    except OSError:
        return []


def print_table(found: dict[str, Any]) -> None:
    """Prints the results."""
    processors = found["machine"]["processors"]
    print(f"load {found['load_before']} before, {found['load_after']} after, on {processors} processors")
    if speed := found.get("speed"):
        print(f"\n{speed['images']:,} images    {'images/s':>18}  {'CPU ms/image':>20}  1 to 2")
        for name, by in speed["images_per_second"].items():
            worked = speed["processor_ms_per_image"][name]
            scaling = speed["scaling_1_to_2"][name]
            print(f"{name:14}{by[1]:10.0f} {by[2]:10.0f}  {worked[1]:10.2f} {worked[2]:10.2f}  {scaling:5.2f}")
        for name in (name for name in speed if "_to_" in name and name != "scaling_1_to_2"):
            print(f"{name:30} {speed[name][1]:.2f} with 1 process, {speed[name][2]:.2f} with 2")
        print(f"disk beside the output: {speed['disk_beside_output']:.3f} of it")
    if rebuild := found.get("rebuild"):
        print(f"\nfirst build: {rebuild['first_seconds']:.1f} s")
        print(f"nothing changed: {rebuild['again_seconds']:.2f} s, {rebuild['again_to_first']:.1%} of it")
        print(f"one source changed: {rebuild['one_source_changed_seconds']:.1f} s", end="")
        print(f", {rebuild['sources_read_again']} of {rebuild['sources']} sources read")
    if memory := found.get("memory"):
        for number, one in memory["runs"].items():
            print(f"\n{number:,} small images: {one['seconds']:.1f} s, parent {one['parent_mb']:.0f} MB", end="")
            print(f", largest worker {one['worker_mb']:.0f} MB", end="")
        print(f"\ngrowth: parent {memory['parent_growth']:.2f}, worker {memory['worker_growth']:.2f}")
    if rows := found.get("rows"):
        print(f"\n{rows['rows']:,} questions on {rows['images']:,} images: {rows['seconds']:.1f} s", end="")
        print(f", {rows['rows_per_second']:,.0f} rows/s; a further row takes ", end="")
        print(f"{rows['milliseconds_of_a_further_row']:.3f} ms; by phase, slowed by the profiler:")
        for phase, seconds in rows["profiled_seconds"].items():
            print(f"  {phase:28} {seconds:7.2f} s")


if __name__ == "__main__":
    raise SystemExit(main())
