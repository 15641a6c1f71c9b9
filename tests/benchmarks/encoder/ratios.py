"""Derives speeds, recall per epoch, time to a given quality, and ratios from the runs of `end_to_end.py`."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import mean
from typing import Any


@dataclass(frozen=True, slots=True)
class Run:
    """The measurements of a finished command.

    Attributes:
        seconds, processor_seconds: wall time and CPU time of the complete command, including its start.
        peak_mb: peak resident memory.
        epochs: for each `checkpoint-N` in the output folder, in their order: the folder, and the wall time and CPU time
            in seconds from the start of the command until it appeared.
    """

    seconds: float
    processor_seconds: float
    peak_mb: float
    epochs: tuple[tuple[str, float, float], ...]


def figures(runs: list[Run], pairs: int, scores: dict[str, dict[str, float]]) -> dict[str, Any]:
    """Summarizes the runs of one way, which differ in their seeds: means of the times, and the largest memory peak.

    The steady speed is measured from the end of the first epoch to the end of the last one, without the start of the
    command and without the one-time work of an image cache. Lists contain one number per epoch.
    """
    epochs = len(runs[0].epochs)
    # wall time, then CPU time
    took = [mean(run.epochs[-1][kind] - run.epochs[0][kind] for run in runs) for kind in (1, 2)]
    found: dict[str, Any] = steady(pairs * (epochs - 1), *took) | {
        "whole_run_samples_per_second": round(pairs * epochs / mean(run.seconds for run in runs), 1),
        "whole_run_seconds": round(mean(run.seconds for run in runs), 1),
        "whole_run_processor_seconds": round(mean(run.processor_seconds for run in runs), 1),
        "peak_mb": round(max(run.peak_mb for run in runs)),
        "epoch_ends_after_seconds": by_epoch(runs, lambda epoch: epoch[1], 1),
        "epoch_ends_after_processor_seconds": by_epoch(runs, lambda epoch: epoch[2], 1),
    }
    for metric in ("recall_at_5", "recall_at_1"):
        found[metric] = by_epoch(runs, lambda epoch, metric=metric: scores[epoch[0]][metric], 4)
    return found | {"best_recall_at_5": max(found["recall_at_5"]), "final_recall_at_5": found["recall_at_5"][-1]}


def steady(samples: int, seconds: float, processor_seconds: float) -> dict[str, float]:
    """Returns the speed by wall time and by CPU time."""
    return {
        "steady_samples_per_second": round(samples / seconds, 1),
        "steady_samples_per_processor_second": round(samples / processor_seconds, 1),
    }


def by_epoch(runs: list[Run], number: Any, digits: int) -> list[float]:
    """Returns the mean over the runs of one number per epoch."""
    return [
        round(mean(number(epoch) for epoch in epochs), digits)
        for epochs in zip(*(run.epochs for run in runs), strict=True)
    ]


def reach(found: dict[str, Any], target: float, pairs: int) -> dict[str, Any] | None:
    """Returns samples and times until the mean recall at 5 of an epoch reached `target`; None if it never did."""
    for epoch, recall in enumerate(found["recall_at_5"]):
        if recall >= round(target, 4):
            seconds, used = (found[f"epoch_ends_after_{kind}"][epoch] for kind in ("seconds", "processor_seconds"))
            return {"samples": pairs * (epoch + 1), "seconds": seconds, "processor_seconds": used}
    return None


def ratios(measured: dict[str, dict[str, Any]], peer: str) -> dict[str, dict[str, float | None]]:
    """Returns the ratios of each way to a baseline; above 1 is better: faster, less memory, or a higher recall."""
    more, less = (
        ("steady_samples_per_second", "steady_samples_per_processor_second", "best_recall_at_5", "final_recall_at_5"),
        ("whole_run_seconds", "whole_run_processor_seconds", "peak_mb"),
    )
    base, found = measured[peer], {}
    for way, one in measured.items():
        row: dict[str, float | None] = {name: round(one[name] / base[name], 2) for name in more if base.get(name)}
        row |= {name: round(base[name] / one[name], 2) for name in less if base.get(name)}
        if "to_target" in one:
            for name in ("samples", "seconds", "processor_seconds"):
                both = one["to_target"] and base["to_target"]
                row[f"{name}_to_target"] = round(base["to_target"][name] / one["to_target"][name], 2) if both else None
        found[way] = row
    return found


def print_tables(found: dict[str, Any]) -> None:
    """Prints the results."""
    machine = found["machine"]
    print(f"load {found['load_before']} before, {found['load_after']} after, on {machine['processors']} processors")
    for name in ("sample", "photographs"):
        if name not in found:
            continue
        part = found[name]
        print(f"\n{name}: {part['pairs']['train']} pairs; in brackets: ratio to {', '.join(part['ratios'])}")
        if "target_recall_at_5" in part:
            print(f"target: R@5 {part['target_recall_at_5']:.3f} (chance {part['chance_recall_at_5']:.3f})")
        columns = {
            "steady_samples_per_second": "samples/s",
            "steady_samples_per_processor_second": "samples/CPU s",
            "whole_run_processor_seconds": "CPU s",
            "peak_mb": "MB",
            "best_recall_at_5": "best R@5",
        }
        reached = {"samples_to_target": "samples to target", "processor_seconds_to_target": "CPU s to target"}
        print(f"{'':28}" + "".join(f"{title:>26}" for title in (*columns.values(), *reached.values())))
        for way, one in part["ways"].items():
            goal = {f"{key}_to_target": value for key, value in (one.get("to_target") or {}).items()}
            cells = [cell(part, way, column, (one | goal).get(column)) for column in (*columns, *reached)]
            print(f"{way:28}" + "".join(f"{text:>26}" for text in cells))


def cell(part: dict[str, Any], way: str, column: str, value: float | None) -> str:
    """Formats a number and, in brackets, its ratios to the baselines."""
    if value is None:
        return "-"
    times = [rows[way].get(column) for rows in part["ratios"].values()]
    shown = ", ".join("-" if ratio is None else f"{ratio:.2f}" for ratio in times)
    return f"{value:,.3f} ({shown})" if column == "best_recall_at_5" else f"{value:,.0f} ({shown})"
